//! Objects that are stored already: what was wrong before and has not been touched passes with a warning.
//!
//! OpenKruise accepted more than [`super::validate`] does. Without this, a finalizer or a label could not be changed on an
//! object that was stored under looser rules.

use super::cause::Cause;

/// What comes of a SidecarSet that is written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// The object must not be stored because of these.
    pub errors: Vec<Cause>,
    /// Wrong, but as it was before.
    pub warnings: Vec<Cause>,
}

/// Sorts the causes of an object by whether the stored object had them: the same problem of the same field with the same
/// value. List items are known by their names, so moving one within its list is no change.
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
