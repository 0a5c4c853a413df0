//! Decides when unused label values are removed from the registration: after they have been unused for a while.
//!
//! A replica that admits a SidecarSet widens the registration before the set is stored, so a value that seems unused
//! may be about to be used.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::scope::{Labels, Scope};

/// A value is removed after it was unused for so long.
const UNUSED: Duration = Duration::from_secs(60);

/// When each registered value became unused.
#[derive(Debug, Default)]
pub(super) struct Narrowing {
    /// By key and value.
    values: BTreeMap<(String, String), Instant>,
    broad: Option<Instant>,
}

impl Narrowing {
    /// Returns what to register for these registered and needed values, and when to ask again if nothing changes.
    pub fn next(&mut self, registered: &Scope, needed: Scope, now: Instant) -> (Scope, Option<Duration>) {
        let left = |since: Instant| UNUSED.saturating_sub(now.saturating_duration_since(since));
        let Scope::Labels(labels) = registered else {
            self.values.clear();
            if needed == Scope::Broad {
                self.broad = None;
                return (needed, None);
            }
            let left = left(*self.broad.get_or_insert(now));
            return if left.is_zero() { (needed, None) } else { (Scope::Broad, Some(left)) };
        };
        self.broad = None;
        let is_needed = |key: &str, value: &str| match &needed {
            Scope::Broad => true,
            Scope::Labels(needed) => needed.get(key).is_some_and(|values| values.contains(value)),
        };
        let before = std::mem::take(&mut self.values);
        let (mut kept, mut again) = (Labels::new(), None);
        for (key, value) in labels.iter().flat_map(|(key, values)| values.iter().map(move |value| (key, value))) {
            if is_needed(key, value) {
                continue;
            }
            let label = (key.clone(), value.clone());
            let since = before.get(&label).copied().unwrap_or(now);
            self.values.insert(label, since);
            let left = left(since);
            if !left.is_zero() {
                kept.entry(key.clone()).or_default().insert(value.clone());
                again = Some(again.map_or(left, |earliest: Duration| earliest.min(left)));
            }
        }
        (needed.with(Scope::Labels(kept)), again)
    }
}

#[cfg(test)]
mod tests {
    use super::super::scope::tests::labels;
    use super::*;
    use serde_json::json;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_value_goes_when_it_has_been_unused_for_a_minute() {
        let (mut narrowing, start) = (Narrowing::default(), Instant::now());
        let both = labels(json!({"a": ["1", "2"]}));
        let one = labels(json!({"a": ["1"]}));
        assert_eq!(narrowing.next(&both, both.clone(), start), (both.clone(), None));
        assert_eq!(narrowing.next(&both, one.clone(), start), (both.clone(), Some(60 * SECOND)));
        assert_eq!(narrowing.next(&both, one.clone(), start + 59 * SECOND), (both.clone(), Some(SECOND)));
        assert_eq!(narrowing.next(&both, one.clone(), start + 60 * SECOND), (one.clone(), None));
        assert_eq!(narrowing.next(&one, Scope::default(), start + 60 * SECOND), (one, Some(60 * SECOND)));
    }

    #[test]
    fn a_value_that_was_needed_in_between_stays_for_another_minute() {
        let (mut narrowing, start) = (Narrowing::default(), Instant::now());
        let one = labels(json!({"a": ["1"]}));
        narrowing.next(&one, Scope::default(), start);
        narrowing.next(&one, one.clone(), start + 30 * SECOND);
        let next = narrowing.next(&one, Scope::default(), start + 60 * SECOND);
        assert_eq!(next, (one, Some(60 * SECOND)));
    }

    #[test]
    fn what_is_needed_comes_at_once() {
        let registered = labels(json!({"a": ["1"]}));
        let (scope, _) = Narrowing::default().next(&registered, labels(json!({"b": ["2"]})), Instant::now());
        assert_eq!(scope, labels(json!({"a": ["1"], "b": ["2"]})));
        assert_eq!(Narrowing::default().next(&registered, Scope::Broad, Instant::now()), (Scope::Broad, None));
    }

    #[test]
    fn broad_goes_when_it_has_not_been_needed_for_a_minute() {
        let (mut narrowing, start) = (Narrowing::default(), Instant::now());
        let one = labels(json!({"a": ["1"]}));
        assert_eq!(narrowing.next(&Scope::Broad, one.clone(), start), (Scope::Broad, Some(60 * SECOND)));
        assert_eq!(narrowing.next(&Scope::Broad, Scope::Broad, start + 30 * SECOND), (Scope::Broad, None));
        assert_eq!(narrowing.next(&Scope::Broad, one.clone(), start + 60 * SECOND), (Scope::Broad, Some(60 * SECOND)));
        let narrow = (one.clone(), None);
        assert_eq!(narrowing.next(&Scope::Broad, one.clone(), start + 120 * SECOND), narrow);
        assert_eq!(narrowing.next(&Scope::Broad, one, start + 121 * SECOND), narrow, "the write may have failed");
    }
}
