//! The review of a written SidecarSet, as the mutating and the validating handler read it.

use super::review::{Refusal, Review, message, short};
use crate::api::conversion::ConversionError;
use crate::api::decode::{self, DecodeError, FieldError};
use crate::api::sidecarset::{GROUP, KIND, SidecarSet};
use crate::telemetry::seldom;
use serde_json::Value;
use serde_json::value::RawValue;

/// A review of a SidecarSet of either version.
pub(super) type SidecarSetReview<'a> = Review<'a, &'a RawValue, &'a RawValue>;

/// The memory of a value of the old and the new object: as it was read, as a set, as the wanted object, and in grown
/// lists.
const BYTES_A_VALUE: usize = 6 * size_of::<Value>();

/// More containers of a kind than any Pod has.
const MOST_CONTAINERS: usize = 1_000;

/// A SidecarSet that is created or updated.
pub(super) struct Write<'r> {
    /// As received.
    pub object: &'r RawValue,
    /// As v1beta1, with its defaults.
    pub set: SidecarSet,
    /// The stored set likewise, on an update and only if it can be decoded.
    pub old: Option<SidecarSet>,
}

/// Why a write cannot be reviewed.
pub(super) enum Unreadable {
    /// It is not a SidecarSet: the wrong review was sent. Names the field at fault.
    Review(String),
    /// It is a SidecarSet with a field of the wrong type: a user wrote it.
    Set(FieldError),
}

impl From<String> for Unreadable {
    fn from(reason: String) -> Self {
        Self::Review(reason)
    }
}

impl From<DecodeError> for Unreadable {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Field(error) => Self::Set(error),
            DecodeError::Conversion(ConversionError::NotAnObject { field }) => {
                Self::Set(FieldError::new(field, "expected an object"))
            }
            DecodeError::Conversion(error) => Self::Review(format!("request.object.{error}")),
        }
    }
}

/// Reads a body. The error names the field at fault.
pub(super) fn read(body: &[u8]) -> Result<SidecarSetReview<'_>, Refusal> {
    Review::read(body, GROUP, KIND, BYTES_A_VALUE)
}

/// Checks the size: a container of `{}` takes a thousand times its text once its defaults are written.
fn check_size(object: &Value) -> Result<(), FieldError> {
    for field in ["containers", "initContainers"] {
        let containers = object["spec"][field].as_array().map_or(0, Vec::len);
        if containers > MOST_CONTAINERS {
            let problem = format!("has {containers} items, at most {MOST_CONTAINERS} are possible");
            return Err(FieldError::new(format!("spec.{field}"), problem));
        }
    }
    Ok(())
}

/// Returns the object as it was received.
pub(super) fn received(object: &RawValue) -> Result<Value, String> {
    serde_json::from_str(object.get()).map_err(|error| format!("request.object: {error}"))
}

impl<'r> Write<'r> {
    /// Returns the written set; `None` for a write of the status, a deletion …
    pub fn of(review: &'r SidecarSetReview<'_>) -> Result<Option<Self>, Unreadable> {
        let request = &review.request;
        let operation = &*request.operation;
        if !["CREATE", "UPDATE"].contains(&operation) || request.sub_resource.as_deref().is_some_and(|s| !s.is_empty())
        {
            return Ok(None);
        }
        let object =
            request.object.ok_or_else(|| "request.object: required to create or update a SidecarSet".to_owned())?;
        let value = received(object)?;
        check_size(&value).map_err(Unreadable::Set)?;
        let set = decode::sidecarset(value)?;
        let old = request.old_object.filter(|_| operation == "UPDATE").and_then(|old| {
            // It may have been stored while no webhook was called, and must not prevent its repair.
            decode::sidecarset(received(old).ok().filter(|old| check_size(old).is_ok())?)
                .inspect_err(|error| {
                    seldom!(
                        warn,
                        set = short(name(&set)),
                        error = message(error.to_string()),
                        "the stored SidecarSet cannot be read"
                    );
                })
                .ok()
        });
        Ok(Some(Self { object, set, old }))
    }
}

/// Returns the set's name, empty when it has none.
pub(super) fn name(set: &SidecarSet) -> &str {
    set.metadata.name.as_deref().unwrap_or_default()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::admission::Reply;
    use serde_json::json;

    /// Returns the review of a created object, or of an updated one if there is an old one.
    pub fn review_of(object: &Value, old: Option<&Value>) -> Value {
        let version = object["apiVersion"].as_str().unwrap_or_default().rsplit('/').next();
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
            "uid": "u-1", "kind": {"group": "apps.kruise.io", "version": version, "kind": "SidecarSet"},
            "operation": if old.is_some() { "UPDATE" } else { "CREATE" }, "object": object, "oldObject": old
        }})
    }

    /// Returns the response in an answer.
    #[track_caller]
    pub fn response(reply: &Reply) -> Value {
        assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
        serde_json::from_slice::<Value>(&reply.body).unwrap()["response"].take()
    }

    /// Checks that a handler answers 400 with a text that begins like this.
    #[track_caller]
    pub fn rejects(answer: impl Fn(&[u8]) -> Reply, review: &Value, message: &str) {
        let reply = answer(review.to_string().as_bytes());
        let text = String::from_utf8(reply.body).unwrap();
        assert_eq!(reply.status, 400, "{text}");
        assert!(text.starts_with(message), "{text}");
    }

    /// Checks what both handlers answer to reviews that they cannot read and to reviews of other kinds.
    pub fn reads_reviews_of_sidecarsets(answer: impl Fn(&[u8]) -> Reply) {
        let set = |version: &str, spec: Value| json!({"apiVersion": version, "kind": "SidecarSet", "metadata": {"name": "s"}, "spec": spec});
        let v1beta1 = "apps.kruise.io/v1beta1";
        let review = |object: Value| review_of(&object, None);
        rejects(
            &answer,
            &review(set("apps.kruise.io/v2", json!({}))),
            "request.object.apiVersion: \"apps.kruise.io/v2\" is",
        );
        rejects(&answer, &review(json!(5)), "request.object.apiVersion: \"\" is not a version");
        rejects(&answer, &review(Value::Null), "request.object: required");
        let mut other = review(set(v1beta1, json!({})));
        other["request"]["kind"]["kind"] = json!("CloneSet");
        rejects(
            &answer,
            &other,
            "request.kind: expected a SidecarSet, found \"CloneSet\" of \"apps.kruise.io\" \"v1beta1\"",
        );

        let broken = set(v1beta1, json!(5));
        let mut deletion = review_of(&Value::Null, Some(&broken));
        deletion["request"]["operation"] = json!("DELETE");
        let mut status = review_of(&broken, Some(&broken));
        status["request"]["subResource"] = json!("status");
        for untouched in [deletion, status] {
            let reply = answer(untouched.to_string().as_bytes());
            assert_eq!(response(&reply), json!({"uid": "u-1", "allowed": true}), "{untouched}");
        }
    }
}
