//! What is wrong with a SidecarSet: a field, a reason of Kubernetes' list, and a message.

use crate::api::decode::FieldError;
use crate::api::shorten::shortened;
use serde_json::Value;
use std::fmt;

/// At most 256 characters of a value are shown.
const SHOWN_CHARACTERS: usize = 256;

/// Something that is wrong with a SidecarSet.
///
/// Displayed as Kubernetes writes field errors: `spec.containers[0].image: Required value`.
#[derive(Clone, PartialEq)]
pub struct Cause {
    /// Path of the field, such as `spec.containers[0].image`.
    pub field: String,
    /// What kind of problem it is.
    pub reason: Reason,
    /// The problem without the field, such as `Invalid value: "v": must be lower case`.
    pub message: String,
    /// Whether every Pod that gets the set is refused for it. The other rules are about what else the set says, or stricter than
    /// the API server's.
    pub refuses_pods: bool,
    /// The path with names in place of the indexes of list items: an item that moves within its list stays the same.
    pub(super) identity: String,
    /// The field's value; `null` where it has none.
    pub(super) value: Value,
}

impl Cause {
    /// A field for whose type the object cannot be read at all.
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

/// Without the value, which may be a secret where the message does not show it.
impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} ({})", self.reason.cause_type())
    }
}

/// Kinds of problems: `CauseType` of `k8s.io/apimachinery/pkg/apis/meta/v1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A value that must be there is not.
    Required,
    /// A value that must be unique is not.
    Duplicate,
    /// A malformed value.
    Invalid,
    /// A value of the wrong JSON type.
    TypeInvalid,
    /// Something of this name is not there.
    NotFound,
    /// Not one of the values there are.
    NotSupported,
    /// Well formed, but not permitted here.
    Forbidden,
    /// Longer than it may be.
    TooLong,
}

impl Reason {
    /// The value of `reason` in a `StatusCause`.
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

    /// How Kubernetes' messages begin.
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

    /// The message for a value, without the field.
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
