//! Our own writes over stale caches: a watch that has not told of a write yet shows the object as it was before, and whoever takes
//! that for somebody else's change accuses the wrong one, or undoes what was just done.

use std::cmp::Ordering;

use super::Watch;
use super::watch::Ticket;

/// A write of an object that succeeded.
#[derive(Clone, Debug)]
pub struct OwnWrite {
    version: String,
    /// A list of the watch that was begun after the write; where versions cannot be compared, it decides.
    list: Option<Ticket>,
}

impl OwnWrite {
    /// The object has this resourceVersion since the write; the watch tells of it.
    #[must_use]
    pub fn new(version: String, watch: &Watch) -> Self {
        let list = (!is_number(&version)).then(|| watch.ask());
        Self { version, list }
    }

    /// Whether the object as the watch shows it, with this resourceVersion, is from before the write. Where versions cannot be
    /// compared that may end without an event: look again a moment later.
    #[must_use]
    pub fn is_newer_than(&self, shown: &str) -> bool {
        match (compare(&self.version, shown), &self.list) {
            (Some(order), _) => order == Ordering::Greater,
            (None, Some(list)) => self.version != shown && !list.is_answered(),
            (None, None) => self.version != shown,
        }
    }
}

/// Versions of one resource are comparable as decimal numbers of any length:
/// <https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions>.
fn compare(one: &str, other: &str) -> Option<Ordering> {
    (is_number(one) && is_number(other)).then(|| one.len().cmp(&other.len()).then_with(|| one.cmp(other)))
}

fn is_number(version: &str) -> bool {
    !version.is_empty() && !version.starts_with('0') && version.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers_and_others_not_at_all() {
        assert_eq!(compare("999", "1000"), Some(Ordering::Less));
        assert_eq!(compare("36893488147419103233", "36893488147419103232"), Some(Ordering::Greater));
        assert_eq!(compare("7", "7"), Some(Ordering::Equal));
        for other in ["", "a1", "007", "-1", "1.5"] {
            assert_eq!(compare("7", other), None, "{other}");
        }
    }
}
