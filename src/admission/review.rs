//! What all reviews share: reading an envelope, saying what is wrong with it, and answering an AdmissionReview.

use super::reply::Reply;
use crate::api::admission_review::{
    AdmissionRequest, AdmissionResponse, AdmissionReview, AdmissionReviewAnswer, Status,
};
use crate::api::decode::without_value;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Deserialize, IgnoredAny};
use serde_json::value::RawValue;

/// The kind of reviews and of their answers.
pub(super) const ADMISSION_REVIEW: &str = "AdmissionReview";
/// Objects and lists inside each other beyond this are refused; the API server's own reader stops there too.
const MAX_DEPTH: usize = 10_000;
/// Kubernetes cuts a warning after this many characters,
const WARNING_CHARACTERS: usize = 256;
/// and all warnings of an answer after this many.
const ALL_WARNINGS_CHARACTERS: usize = 4096;
/// What callers wrote is quoted up to this length: they choose it, and it goes into the log.
const QUOTED_CHARACTERS: usize = 64;

/// An AdmissionReview that was read: what is asked, and what the answer repeats.
#[derive(Debug)]
pub(super) struct Review<'a, O, Old = IgnoredAny> {
    pub api_version: &'static str,
    pub request: AdmissionRequest<'a, O, Old>,
}

impl<'a, O: Deserialize<'a>, Old: Deserialize<'a>> Review<'a, O, Old> {
    /// Reads a body as the review of a `kind` of `group`. The error names the field at fault.
    pub fn read(body: &'a [u8], group: &str, kind: &str) -> Result<Self, String> {
        let review: AdmissionReview<'a, O, Old> = read(body, ADMISSION_REVIEW)?;
        let api_version = match &*review.api_version {
            "admission.k8s.io/v1" => "admission.k8s.io/v1",
            "admission.k8s.io/v1beta1" => "admission.k8s.io/v1beta1",
            other => {
                return Err(format!("apiVersion: expected admission.k8s.io/v1 or v1beta1, found {}", quoted(other)));
            }
        };
        expect_kind(&review.kind, ADMISSION_REVIEW)?;
        let request = review.request.ok_or("request: required in an AdmissionReview that is sent to a webhook")?;
        if request.uid.is_empty() {
            return Err("request.uid: required".to_owned());
        }
        if !(*request.kind.group == *group && *request.kind.kind == *kind) {
            let of = &request.kind;
            let (found, group, version) = (quoted(&of.kind), quoted(&of.group), quoted(&of.version));
            return Err(format!("request.kind: expected a {kind}, found {found} of {group} {version}"));
        }
        Ok(Self { api_version, request })
    }

    /// A response that allows the object as it is.
    pub fn allow(&self) -> AdmissionResponse<'_> {
        AdmissionResponse { uid: &self.request.uid, allowed: true, ..AdmissionResponse::default() }
    }

    /// A response that does not allow the object.
    pub fn deny<'r>(&'r self, status: Status<'r>) -> AdmissionResponse<'r> {
        AdmissionResponse { uid: &self.request.uid, status: Some(status), ..AdmissionResponse::default() }
    }

    /// The answer with this response.
    pub fn reply(&self, response: AdmissionResponse<'_>) -> Reply {
        written(&AdmissionReviewAnswer { api_version: self.api_version, kind: ADMISSION_REVIEW, response })
    }
}

/// The response with a JSON Patch.
pub(super) fn with_patch<'r>(response: AdmissionResponse<'r>, patch: &[u8]) -> AdmissionResponse<'r> {
    AdmissionResponse { patch_type: Some("JSONPatch"), patch: Some(STANDARD.encode(patch)), ..response }
}

/// An answer as JSON.
pub(super) fn written(answer: &impl serde::Serialize) -> Reply {
    match serde_json::to_vec(answer) {
        Ok(body) => Reply::json(body),
        Err(e) => Reply::text(500, format!("the answer cannot be written: {e}\n")),
    }
}

/// The answer to a body that cannot be read.
pub(super) fn unreadable(reason: &str) -> Reply {
    tracing::info!(reason, "a review cannot be read");
    Reply::text(400, format!("{reason}\n"))
}

/// Reads a body as an `envelope`, borrowing from it. The error names the field at fault.
pub(super) fn read<'a, T: Deserialize<'a>>(body: &'a [u8], envelope: &str) -> Result<T, String> {
    let text = std::str::from_utf8(body)
        .map_err(|e| format!("the body is not UTF-8: a wrong byte stands at offset {}", e.valid_up_to()))?;
    if is_deeper_than(text, MAX_DEPTH) {
        return Err(format!("the body has objects or lists more than {MAX_DEPTH} deep"));
    }
    serde_json::from_str(text).map_err(|e| diagnosis::<T>(text, envelope, &e))
}

/// Errs where an envelope says that it is something else.
pub(super) fn expect_kind(kind: &str, expected: &str) -> Result<(), String> {
    if kind == expected { Ok(()) } else { Err(format!("kind: expected {expected}, found {}", quoted(kind))) }
}

/// Warnings as far as Kubernetes shows them, each cut at the end rather than dropped.
pub(super) fn bounded(warnings: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut left = ALL_WARNINGS_CHARACTERS;
    let cut = warnings.into_iter().map(|warning| match warning.char_indices().nth(WARNING_CHARACTERS - 1) {
        Some((end, last)) if end + last.len_utf8() < warning.len() => format!("{}…", &warning[..end]),
        _ => warning,
    });
    cut.take_while(|warning| {
        let fits = warning.chars().count() <= left;
        left = left.saturating_sub(warning.chars().count());
        fits
    })
    .collect()
}

/// A text of the caller's for a message, as far as it may be long.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARACTERS) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// What is wrong with a body, as precisely as it can be said. Only runs once reading has failed.
fn diagnosis<'a, T: Deserialize<'a>>(text: &'a str, envelope: &str, error: &serde_json::Error) -> String {
    let article = if envelope.starts_with('A') { "an" } else { "a" };
    if text.trim().is_empty() {
        return format!("the body is empty: {article} {envelope} is expected");
    }
    if serde_json::from_str::<&RawValue>(text).is_err() {
        return format!("the body is not JSON: {error}");
    }
    let deserializer = &mut serde_json::Deserializer::from_str(text);
    match serde_path_to_error::deserialize::<_, T>(deserializer) {
        Err(e) if e.path().iter().next().is_some() => {
            format!("{}: {}", e.path(), without_value(&e.inner().to_string()))
        }
        _ => format!("the body is not {article} {envelope}: {}", without_value(&error.to_string())),
    }
}

/// Whether objects and lists stand more than `limit` deep in each other. What the readers skip they skip at any depth, so this
/// is looked at first; counting the opening brackets settles it for almost every body.
fn is_deeper_than(text: &str, limit: usize) -> bool {
    let opening = |byte: &u8| u8::from(matches!(byte, b'{' | b'['));
    // By chunks whose count fits a byte, which the compiler turns into vector instructions.
    let count =
        |text: &str| text.as_bytes().chunks(255).map(|c| usize::from(c.iter().map(opening).sum::<u8>())).sum::<usize>();
    if text.len() <= limit || count(text) <= limit {
        return false;
    }
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > limit {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(body: &[u8]) -> String {
        Review::<IgnoredAny>::read(body, "apps", "Deployment").unwrap_err()
    }

    #[test]
    fn an_envelope_that_cannot_be_read_is_named() {
        assert_eq!(error(b" "), "the body is empty: an AdmissionReview is expected");
        assert!(error(b"{").starts_with("the body is not JSON: "));
        assert!(error(b"[]").starts_with("the body is not an AdmissionReview: "));
        assert_eq!(error(b"{}"), "apiVersion: expected admission.k8s.io/v1 or v1beta1, found \"\"");
        let with = |rest: &str| error(format!(r#"{{"apiVersion":"admission.k8s.io/v1",{rest}}}"#).as_bytes());
        assert_eq!(with(r#""kind":"Pod""#), "kind: expected AdmissionReview, found \"Pod\"");
        assert!(with(r#""kind":"AdmissionReview""#).starts_with("request: required"));
        let request = |request: &str| with(&format!(r#""kind":"AdmissionReview","request":{request}"#));
        assert_eq!(request("{}"), "request.uid: required");
        assert_eq!(
            request(r#"{"uid":"u","kind":{"kind":"Pod","version":"v1"}}"#),
            "request.kind: expected a Deployment, found \"Pod\" of \"\" \"v1\""
        );
        assert_eq!(
            request(r#"{"uid":5}"#),
            "request.uid: invalid type: integer `5`, expected a string at line 1 column 79"
        );
    }

    #[test]
    fn depth_is_bounded_and_brackets_in_texts_do_not_count() {
        let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(is_deeper_than(&deep(10_001), MAX_DEPTH));
        assert!(!is_deeper_than(&deep(10_000), MAX_DEPTH));
        assert!(!is_deeper_than(&format!("\"\\\"{}\"", "[".repeat(20_000)), MAX_DEPTH));
    }

    #[test]
    fn warnings_are_cut_as_kubernetes_would() {
        let warnings = bounded(vec!["ü".repeat(300); 20]);
        assert_eq!(warnings.len(), 16);
        assert!(warnings.iter().all(|w| w.chars().count() == 256 && w.ends_with('…')));
        assert_eq!(bounded(vec!["x".repeat(256)]), ["x".repeat(256)]);
    }
}
