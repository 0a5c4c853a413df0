//! Findings about the `spec` of an Istio object.

use super::names::Checked;
use crate::api::decode::FieldError;

/// Findings about the `spec` of an Istio object. Fields are relative to `spec`, such as `egress[1].hosts[0]`. A finding about the whole
/// names no field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Why it would be rejected.
    pub errors: Vec<FieldError>,
    /// What Istio accepts, although it does not work as it appears to.
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
