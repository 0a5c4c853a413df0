//! Pure: builds the Sidecar from an answer of the URL, or decides why the answer is not applied.

use super::generator::{ObservedGenerator, UsableSpec};
use crate::api::decode::FieldError;
use crate::api::sidecar_generator::OnEmpty;
use crate::documents;
use crate::fetch::{Answer, Validators};
use crate::istio::sidecar::egress::{self, ReadError};
use crate::istio::sidecar::{EgressListener, NOTHING, Sidecar, exclusions, validate};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// At most this many findings are named. Others are counted.
const NAMED: usize = 5;

/// The last good answer and its Sidecar.
#[derive(Clone, Debug)]
pub struct Good {
    /// The generation of the SidecarGenerator for which it was fetched.
    pub generation: i64,
    /// The Sidecar's spec as JSON text, which takes a fraction of the memory of its values.
    pub spec: Arc<str>,
    /// Its hash.
    pub hash: String,
    /// The number of its hosts.
    pub hosts: usize,
    /// Istio's warnings; empty if there are none.
    pub warnings: String,
    /// The validators with which the server can tell whether it has changed.
    pub validators: Validators,
}

/// Why an answer makes no Sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerProblem {
    /// The reason in the conditions.
    pub reason: &'static str,
    /// A sentence without secrets and without text of the answer.
    pub message: String,
    /// How long the server asked to wait.
    pub retry_after: Option<Duration>,
}

/// The URL cannot be fetched.
pub const FETCH_FAILED: &str = "FetchFailed";
/// The answer is not a list of egress listeners that Istio accepts.
pub const INVALID_ANSWER: &str = "InvalidAnswer";
/// The answer has no listeners.
pub const EMPTY_ANSWER: &str = "EmptyAnswer";
/// The answer has too few hosts.
pub const SHRUNK_ANSWER: &str = "ShrunkAnswer";

impl AnswerProblem {
    /// A problem without a waiting time.
    pub fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), retry_after: None }
    }
}

impl Good {
    /// Returns the Sidecar's spec.
    #[must_use]
    pub fn spec(&self) -> Value {
        serde_json::from_str(&self.spec).unwrap_or_default() // it was serialized from a value, so this cannot fail
    }
}

/// Checks an answer by itself, in time that grows with its size. Returns `None` if nothing has changed.
///
/// # Errors
/// When the answer must not be applied, so the Sidecar stays unchanged.
pub fn judge(answer: Answer, generator: &ObservedGenerator, spec: &UsableSpec) -> Result<Option<Good>, AnswerProblem> {
    let Answer::Body { bytes, validators, .. } = answer else { return Ok(None) };
    let value = documents::json(&bytes).map_err(|error| unreadable(&error))?;
    drop(bytes);
    let mut egress = egress::read(&value).map_err(|error| match error {
        ReadError::Field(error) => not_applied(&[error]),
        error @ ReadError::NotAList(_) => AnswerProblem::new(INVALID_ANSWER, error.to_string()),
    })?;
    drop(value);
    if egress.is_empty() && spec.on_empty == OnEmpty::Keep {
        let message = "the answer has no egress listeners, which Istio rejects; the Sidecar is not changed (with \
            spec.onEmpty: Apply its Pods could reach nothing)";
        return Err(AnswerProblem::new(EMPTY_ANSWER, message));
    }
    if egress.is_empty() {
        egress.push(EgressListener { hosts: vec![NOTHING.to_owned()], ..EgressListener::default() });
    }
    let sidecar = Sidecar { workload_selector: spec.selector.clone(), egress };
    let mut findings = validate(&sidecar, &generator.key.namespace);
    findings.warnings.extend(exclusions(&sidecar));
    if !findings.errors.is_empty() {
        return Err(not_applied(&findings.errors));
    }
    Ok(Some(Good {
        generation: generator.generation,
        spec: sidecar.to_value().to_string().into(),
        hash: sidecar.spec_hash(),
        hosts: sidecar.hosts(),
        warnings: listed(&findings.warnings),
        validators,
    }))
}

/// Checks a good answer against the number of the Sidecar's hosts, if it exists.
///
/// # Errors
/// When it removes too many hosts to be applied.
pub fn compare(good: &Good, spec: &UsableSpec, hosts_before: Option<usize>) -> Result<(), AnswerProblem> {
    let hosts = good.hosts;
    if let (Some(percent), Some(before)) = (spec.max_shrink_percent, hosts_before)
        && hosts * 100 < before * (100 - usize::from(percent.min(100)))
    {
        let message = format!(
            "the answer has {hosts} hosts instead of {before}, a larger loss than spec.maxShrinkPercent: {percent} \
             allows; the Sidecar is not changed"
        );
        return Err(AnswerProblem::new(SHRUNK_ANSWER, message));
    }
    Ok(())
}

/// Removes the keys of the answer, which are its text as much as values are.
fn unreadable(error: &serde_json::Error) -> AnswerProblem {
    let message = if error.is_data() {
        format!(
            "the answer's JSON violates a rule at line {} column {}: keys are unique within an object, values are \
             nested at most {} deep, numbers fit into 64 bits",
            error.line(),
            error.column(),
            documents::MAX_DEPTH
        )
    } else {
        format!("the answer is not JSON: {error}")
    };
    AnswerProblem::new(INVALID_ANSWER, message)
}

fn not_applied(errors: &[FieldError]) -> AnswerProblem {
    AnswerProblem::new(INVALID_ANSWER, format!("the answer is not applied: {}", listed(errors)))
}

fn listed(findings: &[FieldError]) -> String {
    let mut told: Vec<String> = findings.iter().take(NAMED).map(ToString::to_string).collect();
    if findings.len() > NAMED {
        told.push(format!("and {} more", findings.len() - NAMED));
    }
    told.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sidecar_generator::tests::observed;
    use http::StatusCode;
    use proptest::prelude::*;
    use serde_json::json;

    fn judged(body: &Value, spec: &Value, before: Option<usize>) -> Result<Good, AnswerProblem> {
        judged_text(&body.to_string(), spec, before)
    }

    fn judged_text(body: &str, spec: &Value, before: Option<usize>) -> Result<Good, AnswerProblem> {
        let mut full = json!({"url": "http://h"});
        full.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let generator = observed("g", &full);
        let spec = generator.usable.as_ref().unwrap();
        let answer =
            Answer::Body { status: StatusCode::OK, bytes: body.to_owned().into(), validators: Validators::default() };
        let good = judge(answer, &generator, spec)?.unwrap();
        compare(&good, spec, before).map(|()| good)
    }

    fn hosts(number: usize) -> Value {
        json!([{"hosts": (0..number).map(|n| format!("ns{n}/*")).collect::<Vec<_>>()}])
    }

    fn reason(result: Result<Good, AnswerProblem>) -> &'static str {
        result.unwrap_err().reason
    }

    #[test]
    fn the_answer_and_the_selector_make_the_sidecar() {
        let body = json!([{"hosts": ["./*", "istio-system/*", "ns2/*", "ns1/*"]}]);
        let good = judged(&body, &json!({"workloadSelector": {"labels": {"app": "myapp"}}}), None).unwrap();
        assert_eq!(good.hash, "96e264924cbf40670253cf8627f3bab038a3b7684f9fac8d5039a4dc2318ee37");
        assert_eq!((good.warnings.as_str(), good.generation), ("", 1));
    }

    #[test]
    fn an_answer_without_listeners_is_kept_out_unless_it_is_to_be_applied() {
        for empty in [json!([]), json!(null)] {
            assert_eq!(reason(judged(&empty, &json!({}), Some(3))), EMPTY_ANSWER);
            assert_eq!(reason(judged(&empty, &json!({"onEmpty": "Keep"}), None)), EMPTY_ANSWER);
            let applied = judged(&empty, &json!({"onEmpty": "Apply"}), Some(3)).unwrap();
            assert_eq!(applied.spec(), json!({"egress": [{"hosts": ["~/*"]}]}));
            let guarded = json!({"onEmpty": "Apply", "maxShrinkPercent": 90});
            assert_eq!(reason(judged(&empty, &guarded, Some(3))), SHRUNK_ANSWER);
            let before = Some(applied.hosts);
            assert!(judged(&empty, &guarded, before).is_ok(), "the same again takes nothing away");
        }
    }

    #[test]
    fn an_answer_that_shrinks_too_much_is_kept_out() {
        let shrunk =
            |percent: u8, before, now| judged(&hosts(now), &json!({"maxShrinkPercent": percent}), before).is_ok();
        assert!(shrunk(50, Some(10), 5) && !shrunk(50, Some(10), 4));
        assert!(shrunk(0, Some(10), 10) && !shrunk(0, Some(10), 9));
        assert!(shrunk(100, Some(10), 1) && shrunk(0, None, 1) && shrunk(0, Some(3), 30));
        assert!(judged(&hosts(1), &json!({}), Some(1000)).is_ok(), "there is no limit unless one is set");
    }

    #[test]
    fn what_istio_would_not_take_is_named_without_its_value() {
        for (body, field) in [
            (json!({"egress": []}), "must be a JSON list"),
            (json!([null]), "the answer is not applied: egress[0]: "),
            (json!([{"hosts": []}]), "egress[0]"),
            (json!([{"hosts": ["./*"]}, {"hosts": ["secret-text"]}]), "egress[1].hosts[0]"),
            (json!([{"hosts": ["./*"]}, {"hosts": ["./*"]}]), "egress[0]"),
        ] {
            let problem = judged(&body, &json!({}), None).unwrap_err();
            assert_eq!(problem.reason, INVALID_ANSWER, "{body}");
            assert!(problem.message.contains(field) && !problem.message.contains("secret-text"), "{}", problem.message);
        }
        let many = json!([{"hosts": vec!["x"; 20]}]);
        let message = judged(&many, &json!({}), None).unwrap_err().message;
        assert!(message.ends_with("and 15 more") && message.matches(';').count() == NAMED, "{message}");
    }

    #[test]
    fn an_answer_that_is_not_json_or_breaks_its_rules_is_refused_without_its_text() {
        for (answer, message) in [
            ("", "the answer is not JSON: EOF while parsing a value at line 1 column 0"),
            ("[secret]", "the answer is not JSON: expected value at line 1 column 2"),
            ("[] secret", "the answer is not JSON: trailing characters at line 1 column 4"),
            (
                r#"[{"hosts":["./*"],"hosts":["a/*"]}]"#,
                "the answer's JSON violates a rule at line 1 column 25: keys are unique",
            ),
            (r#"[{"hosts":["./*"],"secret":{"b":1,"b":2}}]"#, "the answer's JSON violates a rule at line 1 column "),
            (&("[".repeat(65) + &"]".repeat(65)), "the answer's JSON violates a rule at line 1 column "),
            (
                r#"[{"hosts":["./*"],"secret":18446744073709551616}]"#,
                "the answer's JSON violates a rule at line 1 column ",
            ),
        ] {
            let problem = judged_text(answer, &json!({}), None).unwrap_err();
            assert_eq!(problem.reason, INVALID_ANSWER);
            assert!(problem.message.starts_with(message) && !problem.message.contains("secret"), "{}", problem.message);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_cause_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = judged_text(&String::from_utf8_lossy(&bytes), &json!({}), None);
        }
    }
}
