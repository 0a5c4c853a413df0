//! What is said about the `spec` of an object of Istio.

use super::names::Checked;
use crate::api::decode::FieldError;

/// What is to be said about the `spec` of an object of Istio. Fields are named below `spec`, such as `egress[1].hosts[0]`; what is wrong
/// with the whole of it names none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Why it would be refused.
    pub errors: Vec<FieldError>,
    /// What Istio takes, but which is not what it looks like.
    pub warnings: Vec<FieldError>,
}

impl Findings {
    pub(super) fn error(&mut self, field: impl Into<String>, problem: impl Into<String>) {
        self.errors.push(FieldError::new(field, problem));
    }

    pub(super) fn warning(&mut self, field: impl Into<String>, problem: impl Into<String>) {
        self.warnings.push(FieldError::new(field, problem));
    }

    pub(super) fn check(&mut self, field: impl Into<String>, checked: Checked) {
        if let Err(problem) = checked {
            self.error(field, problem);
        }
    }
}
