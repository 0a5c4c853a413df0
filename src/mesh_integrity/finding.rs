//! Findings: what is wrong, with which object, and what to do.

use super::code::{Code, Severity};
use super::object::Key;

/// Something wrong with an object, or with several together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The objects that it is about. The first is the one to change.
    pub objects: Vec<Key>,
    /// The field of the first object, such as `spec.http[0].route[0].destination`. Empty for the whole object.
    pub field: String,
    /// What is wrong.
    pub code: Code,
    /// How bad it is.
    pub severity: Severity,
    /// `Kind/namespace/name`, or what several have in common.
    pub resource: String,
    /// What is wrong, in words.
    pub message: String,
    /// What to do about it; may be empty.
    pub advice: String,
}

impl Finding {
    pub(crate) fn new(code: Code, object: &Key, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            resource: object.to_string(),
            objects: vec![object.clone()],
            field: field.into(),
            code,
            severity: code.severity(),
            message: message.into(),
            advice: String::new(),
        }
    }

    pub(crate) fn advice(mut self, advice: impl Into<String>) -> Self {
        self.advice = advice.into();
        self
    }

    pub(crate) fn severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    /// Adds more objects.
    pub(crate) fn with(mut self, others: impl IntoIterator<Item = Key>) -> Self {
        self.objects.extend(others);
        self
    }
}
