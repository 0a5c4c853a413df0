//! Decides how soon another client's edit is undone: at once, and later when it is repeated. A deletion is different:
//! no Pod gets its sidecars while nothing is registered.

use std::time::{Duration, Instant};

use serde_json::Value;

/// At most this many edits in a row are undone at once: a user tries it, or a tool writes a few times.
const BURST: u32 = 5;
/// The pause before the next repair. It doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5 * 60);
/// After so long without an edit the history is forgotten.
const CALM: Duration = Duration::from_secs(10 * 60);
/// Our name as field manager: the first part of the client's user agent.
const OURS: &str = "outrigger";

/// The edits of one object by others, and their repairs.
#[derive(Debug, Default)]
pub(super) struct Repairs {
    /// The number of edits in a row.
    edits: u32,
    /// When the last repair was made.
    last: Option<Instant>,
    /// When the present edit is to be undone.
    due: Option<Instant>,
}

impl Repairs {
    /// Records another client's edit. Returns how long it may stay, and whether it is seen for the first time.
    pub fn edited(&mut self, now: Instant) -> (Duration, bool) {
        let left = |due: Instant| due.saturating_duration_since(now);
        if let Some(due) = self.due {
            return (left(due), false);
        }
        let calm = self.last.is_none_or(|last| now.saturating_duration_since(last) >= CALM);
        self.edits = if calm { 1 } else { self.edits.saturating_add(1) };
        let pause = match self.edits.checked_sub(BURST + 1) {
            None => Duration::ZERO,
            Some(more) => FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(more)).min(LONGEST_PAUSE),
        };
        self.due = Some(now + pause);
        (pause, true)
    }

    /// Records that the object is correct. Returns whether an edit has ended.
    pub fn well(&mut self, now: Instant) -> bool {
        let edited = self.due.take().is_some();
        if edited {
            self.last = Some(now);
        }
        edited
    }

    /// Returns the number of edits in a row.
    pub fn edits(&self) -> u32 {
        self.edits
    }
}

/// Returns the last writer of an object other than us, by its `metadata.managedFields`.
pub(super) fn last_other_manager(object: &Value) -> Option<&str> {
    let entries = object["metadata"]["managedFields"].as_array()?.iter();
    // The API server writes all times in one format, so they sort as texts.
    let newest = entries.filter(|entry| entry["manager"] != OURS).max_by_key(|entry| entry["time"].as_str());
    newest.and_then(|entry| entry["manager"].as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_burst_of_edits_is_undone_at_once_and_further_ones_ever_later() {
        let (mut repairs, mut now) = (Repairs::default(), Instant::now());
        let mut pauses = Vec::new();
        for _ in 0..16 {
            let (pause, new) = repairs.edited(now);
            assert!(new);
            now += pause;
            assert_eq!(repairs.edited(now), (Duration::ZERO, false));
            assert!(repairs.well(now));
            pauses.push(pause.as_secs());
        }
        assert_eq!(pauses, [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(repairs.edited(now + CALM).0, Duration::ZERO);
        assert_eq!(repairs.edits(), 1);
    }

    #[test]
    fn seeing_an_edit_again_does_not_make_its_repair_later() {
        let (mut repairs, now) = (Repairs::default(), Instant::now());
        for _ in 0..BURST {
            assert_eq!(repairs.edited(now), (Duration::ZERO, true));
            repairs.well(now);
        }
        assert_eq!(repairs.edited(now), (Duration::from_secs(1), true));
        assert_eq!(repairs.edited(now + Duration::from_millis(400)), (Duration::from_millis(600), false));
        assert!(repairs.well(now + Duration::from_secs(1)));
        assert!(!repairs.well(now + Duration::from_secs(2)));
    }

    #[test]
    fn the_last_manager_that_is_not_us_is_named() {
        let managed = |entries: Value| json!({"metadata": {"managedFields": entries}});
        let object = managed(json!([
            {"manager": "argocd", "time": "2026-01-02T00:00:00Z"},
            {"manager": "outrigger", "time": "2026-01-03T00:00:00Z"},
            {"manager": "helm", "time": "2026-01-01T00:00:00Z"},
        ]));
        assert_eq!(last_other_manager(&object), Some("argocd"));
        assert_eq!(last_other_manager(&managed(json!([{"manager": "outrigger"}]))), None);
        assert_eq!(last_other_manager(&json!({})), None);
    }
}
