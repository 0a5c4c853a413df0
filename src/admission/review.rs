//! The common part of all reviews: reading the envelope, reporting errors in it, and answering an AdmissionReview.

use super::memory::{LARGEST_OBJECT, NoMemory, REVIEWS, Reserved, Survey};
use super::reply::Reply;
use crate::api::admission_review::{
    AdmissionRequest, AdmissionResponse, AdmissionReview, AdmissionReviewAnswer, Status,
};
use crate::api::decode::without_value;
use crate::api::shorten::shortened;
use crate::telemetry::seldom;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Deserialize, IgnoredAny};
use serde_json::value::RawValue;
use std::collections::HashSet;
use std::fmt::Display;

/// The kind of reviews and of their answers.
pub(super) const ADMISSION_REVIEW: &str = "AdmissionReview";
/// Deeper nesting is refused. The API server's own reader has the same limit.
const MAX_DEPTH: usize = 10_000;
/// Kubernetes passes on this many characters of all warnings of an answer. Beyond that it cuts each to 256.
const ALL_WARNINGS_CHARACTERS: usize = 4096;
/// A warning that would be cut below this length is left out.
const LEAST_OF_A_WARNING: usize = 256;
/// Texts of callers are quoted up to this length, because they go into the log.
const QUOTED_CHARACTERS: usize = 64;
/// A whole message is cut after this many, because the path of a field contains keys of the caller.
const MESSAGE_CHARACTERS: usize = 1024;
/// A name, and the path of a field, are quoted up to this length.
pub(super) const NAME_CHARACTERS: usize = 256;
/// An answer without warnings is shorter.
const SHORT_ANSWER: usize = 256;
/// The answer repeats the `uid`, of which Kubernetes sends 36 bytes.
const LONGEST_UID: usize = 256;

/// An AdmissionReview that was read: the request, and what the answer repeats.
#[derive(Debug)]
pub(super) struct Review<'a, O, Old = IgnoredAny> {
    pub api_version: &'static str,
    pub request: AdmissionRequest<'a, O, Old>,
    /// The memory of the result.
    pub memory: Reserved,
}

/// Why a review is not handled.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It cannot be read: the field and the error.
    Unreadable(String),
    /// It is larger than any that the API server sends.
    TooLarge(String),
    /// The memory that it needs is in use.
    Busy,
    /// The caller no longer waits for the answer.
    Abandoned,
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Self::Unreadable(reason)
    }
}

impl Refusal {
    /// Returns the answer.
    pub fn reply(self) -> Reply {
        match self {
            Self::Unreadable(reason) => {
                let reason = message(reason);
                seldom!(info, reason, "a review cannot be read");
                Reply::text(400, format!("{reason}\n"))
            }
            Self::TooLarge(reason) => {
                let reason = message(reason);
                seldom!(warn, reason, "a review is too large");
                Reply::text(413, format!("{reason}\n"))
            }
            Self::Abandoned => Reply::text(503, "the review was abandoned by its caller\n"),
            Self::Busy => {
                Reply::text(503, "other reviews take the memory that this one needs: try again in a second\n")
            }
        }
    }
}

impl<'a, O: Deserialize<'a>, Old: Deserialize<'a>> Review<'a, O, Old> {
    /// Reads a body as the review of a `kind` of `group`. Each value takes about `memory` bytes.
    pub fn read(body: &'a [u8], group: &str, kind: &str, bytes_a_value: usize) -> Result<Self, Refusal> {
        let (text, survey) = text_of(body)?;
        let memory = match survey {
            Some(survey) => reserve(text, survey, bytes_a_value)?,
            None => Reserved::NOTHING,
        };
        let review: AdmissionReview<'a, O, Old> = read(text, ADMISSION_REVIEW)?;
        let api_version = match &*review.api_version {
            "admission.k8s.io/v1" => "admission.k8s.io/v1",
            "admission.k8s.io/v1beta1" => "admission.k8s.io/v1beta1",
            other => {
                return Err(
                    format!("apiVersion: expected admission.k8s.io/v1 or v1beta1, found {}", quoted(other)).into()
                );
            }
        };
        expect_kind(&review.kind, ADMISSION_REVIEW)?;
        let request = review
            .request
            .ok_or_else(|| "request: required in an AdmissionReview that is sent to a webhook".to_owned())?;
        check_uid(&request.uid)?;
        if !(*request.kind.group == *group && *request.kind.kind == *kind) {
            let of = &request.kind;
            let (found, group, version) = (quoted(&of.kind), quoted(&of.group), quoted(&of.version));
            return Err(format!("request.kind: expected a {kind}, found {found} of {group} {version}").into());
        }
        Ok(Self { api_version, request, memory })
    }

    /// Returns a response that allows the object unchanged.
    pub fn allow(&self) -> AdmissionResponse<'_> {
        AdmissionResponse { uid: &self.request.uid, allowed: true, ..AdmissionResponse::default() }
    }

    /// Returns a response that denies the object.
    pub fn deny<'r>(&'r self, status: Status<'r>) -> AdmissionResponse<'r> {
        AdmissionResponse { uid: &self.request.uid, status: Some(status), ..AdmissionResponse::default() }
    }

    /// Returns the answer with this response.
    pub fn reply(&self, response: AdmissionResponse<'_>) -> Reply {
        written(&self.answer(response))
    }

    /// Returns the answer with this response and a JSON Patch.
    ///
    /// The patch is by far the longest part. It is written straight to its place: base64 has nothing to escape.
    pub fn reply_with_patch(&self, response: AdmissionResponse<'_>, patch: &[u8]) -> Reply {
        const LONGEST_REST: usize = 512;
        let failed = |e: &dyn Display| Reply::text(500, format!("the answer cannot be written: {e}\n"));
        let answer = self.answer(AdmissionResponse { patch_type: Some("JSONPatch"), ..response });
        let length = patch.len().div_ceil(3) * 4;
        let mut json = Vec::with_capacity(length + LONGEST_REST);
        if let Err(e) = serde_json::to_writer(&mut json, &answer) {
            return failed(&e);
        }
        // The answer ends with its response.
        json.truncate(json.len() - "}}".len());
        json.extend_from_slice(b",\"patch\":\"");
        let start = json.len();
        json.resize(start + length, 0);
        if let Err(e) = STANDARD.encode_slice(patch, &mut json[start..]) {
            return failed(&e);
        }
        json.extend_from_slice(b"\"}}");
        Reply::json(json)
    }

    fn answer<'r>(&self, response: AdmissionResponse<'r>) -> AdmissionReviewAnswer<'r> {
        AdmissionReviewAnswer { api_version: self.api_version, kind: ADMISSION_REVIEW, response }
    }
}

/// Returns an answer as JSON.
pub(super) fn written(answer: &impl serde::Serialize) -> Reply {
    let mut body = Vec::with_capacity(SHORT_ANSWER);
    match serde_json::to_writer(&mut body, answer) {
        Ok(()) => Reply::json(body),
        Err(e) => Reply::text(500, format!("the answer cannot be written: {e}\n")),
    }
}

/// Returns the text of a body, and its content if that is much.
pub(super) fn text_of(body: &[u8]) -> Result<(&str, Option<Survey>), Refusal> {
    let text = std::str::from_utf8(body)
        .map_err(|e| format!("the body is not UTF-8: a wrong byte stands at offset {}", e.valid_up_to()))?;
    let survey = Survey::of(text);
    match survey {
        Some(survey) if survey.depth > MAX_DEPTH => {
            Err(format!("the body has objects or lists more than {MAX_DEPTH} deep").into())
        }
        Some(survey) if survey.longest > LARGEST_OBJECT => {
            Err(Refusal::TooLarge(format!("the body has a text of more than {LARGEST_OBJECT} bytes")))
        }
        _ => Ok((text, survey)),
    }
}

/// Reserves memory for the content of a body.
fn reserve(text: &str, survey: Survey, bytes_a_value: usize) -> Result<Reserved, Refusal> {
    if text.len() > LARGEST_OBJECT {
        let review: AdmissionReview<'_, &RawValue, &RawValue> = read(text, ADMISSION_REVIEW)?;
        let objects = review.request.iter().flat_map(|r| [("object", r.object), ("oldObject", r.old_object)]);
        for (field, object) in objects {
            let size = object.map_or(0, |object| object.get().len());
            if size > LARGEST_OBJECT {
                let reason = format!("request.{field}: has {size} bytes, at most {LARGEST_OBJECT} are read");
                return Err(Refusal::TooLarge(reason));
            }
        }
    }
    let values = survey.values;
    REVIEWS.reserve(2 * text.len() + values * bytes_a_value).map_err(|no_memory| match no_memory {
        NoMemory::TooMuch => Refusal::TooLarge(format!("the body has {values} values, more than can be read")),
        NoMemory::Now => Refusal::Busy,
    })
}

/// Reads a text as an `envelope`, borrowing from it. The error names the field at fault.
pub(super) fn read<'a, T: Deserialize<'a>>(text: &'a str, envelope: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|e| diagnosis::<T>(text, envelope, &e))
}

/// Fails when an envelope has another type.
pub(super) fn expect_kind(kind: &str, expected: &str) -> Result<(), String> {
    if kind == expected { Ok(()) } else { Err(format!("kind: expected {expected}, found {}", quoted(kind))) }
}

/// Fails when the `uid` of a request cannot be repeated in an answer.
pub(super) fn check_uid(uid: &str) -> Result<(), String> {
    match uid.len() {
        0 => Err("request.uid: required".to_owned()),
        1..=LONGEST_UID => Ok(()),
        bytes => Err(format!("request.uid: has {bytes} bytes, at most {LONGEST_UID} are read")),
    }
}

/// Returns a message for an answer and the log, cut to its limit.
pub(super) fn message(text: String) -> String {
    shortened(text, MESSAGE_CHARACTERS)
}

/// Returns a name or the path of a field for an answer and the log, cut to its limit.
pub(super) fn short(name: &str) -> String {
    shortened(name.to_owned(), NAME_CHARACTERS)
}

/// Returns the warnings that Kubernetes passes on: each once and on one line. When their total is too long, the longest
/// are cut at the end, and the last are left out once all are short.
pub(super) fn bounded(warnings: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut seen = HashSet::new();
    let mut told: Vec<String> = warnings.into_iter().map(on_one_line).collect();
    told.retain(|warning| seen.insert(warning.clone()));
    let mut lengths: Vec<usize> = told.iter().map(|warning| warning.chars().count()).collect();
    lengths.sort_unstable();
    // The shortest come first: the others get the part of its share that a warning does not need.
    let (mut left, mut longest) = (ALL_WARNINGS_CHARACTERS, usize::MAX);
    for (index, length) in lengths.iter().enumerate() {
        let share = left / (lengths.len() - index);
        if *length > share {
            longest = share.max(LEAST_OF_A_WARNING);
            break;
        }
        left -= length;
    }
    let mut left = ALL_WARNINGS_CHARACTERS;
    let cut = told.into_iter().map(|warning| shortened(warning, longest));
    cut.take_while(|warning| {
        let length = warning.chars().count();
        let fits = length <= left;
        left = left.saturating_sub(length);
        fits
    })
    .collect()
}

/// Removes line breaks and other control characters: Kubernetes drops a warning that has one.
fn on_one_line(text: String) -> String {
    if !text.chars().any(char::is_control) {
        return text;
    }
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line
}

/// Returns a text of the caller for a message, cut to its limit.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARACTERS) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// Returns the most precise error of a body. It only runs after decoding has failed.
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::collections::BTreeMap;

    fn error(body: &[u8]) -> String {
        match Review::<IgnoredAny>::read(body, "apps", "Deployment", 0).unwrap_err() {
            Refusal::Unreadable(reason) => reason,
            other => panic!("{other:?}"),
        }
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
    fn more_than_the_api_server_sends_is_refused_before_it_is_read() {
        let refused = |object: &str| {
            let kind = r#""kind":{"group":"apps","version":"v1","kind":"Deployment"}"#;
            let review =
                format!(r#"{{"apiVersion":"admission.k8s.io/v1","request":{{"uid":"u",{kind},"object":{object}}}}}"#);
            Review::<IgnoredAny>::read(review.as_bytes(), "apps", "Deployment", 100).unwrap_err().reply()
        };
        for (object, text) in [
            (
                format!("[1{}]", " ".repeat(LARGEST_OBJECT)),
                "request.object: has 4194307 bytes, at most 4194304 are read\n",
            ),
            (format!("\"{}\"", "x".repeat(LARGEST_OBJECT)), "the body has a text of more than 4194304 bytes\n"),
            (format!("[{}1]", "1,".repeat(1_200_000)), "the body has 1200009 values, more than can be read\n"),
        ] {
            let reply = refused(&object);
            assert_eq!((reply.status, String::from_utf8(reply.body).unwrap().as_str()), (413, text));
        }
    }

    #[test]
    fn what_callers_wrote_makes_no_long_message() {
        let long = "x".repeat(100_000);
        let reply = |uid: &str, fields: &Value| {
            let mut request = json!({"uid": uid, "kind": {"group": "apps", "version": "v1", "kind": "Deployment"}});
            request.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            let review =
                json!({"apiVersion": "admission.k8s.io/v1", "kind": ADMISSION_REVIEW, "request": request}).to_string();
            let read =
                Review::<BTreeMap<String, BTreeMap<String, u8>>>::read(review.as_bytes(), "apps", "Deployment", 0);
            read.map_err(Refusal::reply).map(|review| review.request.uid.len())
        };
        let text = |reply: Reply| (reply.status, String::from_utf8(reply.body).unwrap());
        let (status, by_key) = text(reply("u", &json!({"object": {&long: {"k": "no number"}}})).unwrap_err());
        assert!(status == 400 && by_key.starts_with("request.object.xxx") && by_key.ends_with("…\n"), "{by_key}");
        assert_eq!(by_key.trim_end().chars().count(), MESSAGE_CHARACTERS);
        let uid = "request.uid: has 100000 bytes, at most 256 are read\n";
        assert_eq!(text(reply(&long, &json!({})).unwrap_err()), (400, uid.to_owned()));
        assert_eq!(reply(&long[..LONGEST_UID], &json!({})).unwrap(), LONGEST_UID);
    }

    #[test]
    fn warnings_are_told_whole_up_to_what_kubernetes_hands_on() {
        let of = |lengths: &[usize]| {
            let warnings =
                lengths.iter().enumerate().map(|(index, length)| format!("{index:0>3}{}", "ü".repeat(length - 3)));
            bounded(warnings).iter().map(|warning| warning.chars().count()).collect::<Vec<_>>()
        };
        assert_eq!(of(&[4_096]), [4_096]);
        assert_eq!(of(&[4_097]), [4_096]);
        assert_eq!(of(&[100, 3_000, 996]), [100, 3_000, 996]);
        assert_eq!(of(&[100, 5_000, 1_000]), [100, 2_996, 1_000], "the longest is cut");
        assert_eq!(of(&[5_000, 10, 5_000]), [2_043, 10, 2_043]);
        assert_eq!(of(&[300; 20]), [256; 16], "the last are left out");
        assert_eq!(of(&[200; 25]), [200; 20]);
        assert_eq!(bounded(["a".to_owned(), "b".to_owned(), "a".to_owned()]), ["a", "b"]);
        assert!(bounded(["x".repeat(5_000)])[0].ends_with('…'));
    }

    #[test]
    fn a_warning_is_one_line_without_control_characters() {
        let hostile = "a\nb\r\tc\u{0}\u{7f}\u{85}ü\u{2028}".to_owned();
        assert_eq!(bounded([hostile]), ["a\\nb\\r\\tc\\u{0}\\u{7f}\\u{85}ü\u{2028}"]);
    }
}
