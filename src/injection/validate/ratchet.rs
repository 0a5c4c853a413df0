//! Stored objects: a problem that existed before and was not touched is only a warning.
//!
//! OpenKruise accepted more than [`super::validate`] does. Without this, a finalizer or a label could not be changed on an
//! object that was stored under looser rules.

use super::cause::Cause;

/// The decision about a SidecarSet that is written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// Problems that prevent storing the object.
    pub errors: Vec<Cause>,
    /// Problems that existed before.
    pub warnings: Vec<Cause>,
}

/// Separates the problems that the stored object already had: the same problem of the same field with the same value.
/// List items are identified by name, so moving one within its list is not a change.
#[must_use]
pub fn ratchet(new: Vec<Cause>, mut old: Vec<Cause>) -> Verdict {
    let mut verdict = Verdict::default();
    for cause in new {
        let same = |other: &Cause| {
            (&other.identity, other.reason, &other.message, &other.value)
                == (&cause.identity, cause.reason, &cause.message, &cause.value)
        };
        // Each old problem excuses one new one.
        if let Some(index) = old.iter().position(same) {
            old.swap_remove(index);
            verdict.warnings.push(cause);
        } else {
            verdict.errors.push(cause);
        }
    }
    verdict
}
