//! A problem of a SidecarSet: a field, one of Kubernetes' reasons, and a message.

use crate::api::decode::FieldError;
use crate::api::shorten::shortened;
use serde_json::Value;
use std::fmt;

/// At most 256 characters of a value are shown.
const SHOWN_CHARACTERS: usize = 256;

/// A problem of a SidecarSet.
///
/// Displayed as Kubernetes writes field errors: `spec.containers[0].image: Required value`.
#[derive(Clone, PartialEq)]
pub struct Cause {
    /// Path of the field, such as `spec.containers[0].image`.
    pub field: String,
    /// The kind of problem.
    pub reason: Reason,
    /// The problem without the field, such as `Invalid value: "v": must be lower case`.
    pub message: String,
    /// Whether every Pod that gets the set is refused because of it. Other problems concern other parts of the set, or are
    /// stricter than the API server's rules.
    pub refuses_pods: bool,
    /// The path with names instead of list indexes, so that an item that moves within its list stays the same.
    pub(super) identity: String,
    /// The field's value; `null` if it has none.
    pub(super) value: Value,
}

impl Cause {
    /// A field with a type that prevents the object from being read at all.
    #[must_use]
    pub fn unreadable(FieldError { field, problem }: FieldError) -> Self {
        let message = Reason::TypeInvalid.message(&Value::Null, &problem);
        let (identity, reason) = (field.clone(), Reason::TypeInvalid);
        Self { field, reason, message, refuses_pods: true, identity, value: Value::Null }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// Omits the value, which may be a secret if the message does not show it.
impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} ({})", self.reason.cause_type())
    }
}

/// Kinds of problems: `CauseType` of `k8s.io/apimachinery/pkg/apis/meta/v1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A required value is missing.
    Required,
    /// A value must be unique and is not.
    Duplicate,
    /// A malformed value.
    Invalid,
    /// A value of the wrong JSON type.
    TypeInvalid,
    /// The named object does not exist.
    NotFound,
    /// The value is not one of the allowed values.
    NotSupported,
    /// Well-formed, but not allowed here.
    Forbidden,
    /// Longer than allowed.
    TooLong,
}

impl Reason {
    /// Returns the value of `reason` in a `StatusCause`.
    #[must_use]
    pub fn cause_type(self) -> &'static str {
        match self {
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::TypeInvalid => "FieldValueTypeInvalid",
            Self::NotFound => "FieldValueNotFound",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
        }
    }

    /// The beginning of Kubernetes' messages.
    fn title(self) -> &'static str {
        match self {
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotFound => "Not found",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
        }
    }

    /// Whether Kubernetes' messages show the value.
    fn shows_value(self) -> bool {
        !matches!(self, Self::Required | Self::Forbidden | Self::TooLong | Self::TypeInvalid)
    }

    /// Returns the message for a value, without the field.
    pub(super) fn message(self, value: &Value, detail: &str) -> String {
        let mut message = self.title().to_owned();
        if self.shows_value() {
            message.push_str(": ");
            message.push_str(&shortened(value.to_string(), SHOWN_CHARACTERS));
        }
        if !detail.is_empty() {
            message.push_str(": ");
            message.push_str(detail);
        }
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_read_as_those_of_kubernetes() {
        for (reason, value, detail, message) in [
            (Reason::Required, Value::Null, "", "Required value"),
            (Reason::Required, Value::Null, "name it", "Required value: name it"),
            (Reason::Invalid, "v".into(), "no", r#"Invalid value: "v": no"#),
            (Reason::Invalid, (-1).into(), "no", "Invalid value: -1: no"),
            (Reason::Duplicate, "a\"b".into(), "", r#"Duplicate value: "a\"b""#),
            (Reason::Forbidden, "v".into(), "no", "Forbidden: no"),
            (Reason::NotFound, "v".into(), "", r#"Not found: "v""#),
        ] {
            assert_eq!(reason.message(&value, detail), message);
        }
    }
}
