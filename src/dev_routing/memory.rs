//! Pure: what the leader remembers of the Services of one name: why it waits before the next write, and what it has told.

use super::plan::Finding;
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::time::Duration;

/// The pause after a write that came too late because somebody else wrote meanwhile; it doubles with each further one.
const FIRST_CONFLICT: Duration = Duration::from_secs(1);

/// No such pause is longer: 1, 2, 4, 8, 16 s.
const LONGEST_CONFLICT: Duration = Duration::from_secs(16);

/// The pause between two repairs of what somebody undoes again and again; it doubles with each further one.
const FIRST_REPAIR: Duration = Duration::from_secs(1);

/// No such pause is longer; after twice as long without a repair the count starts anew.
const LONGEST_REPAIR: Duration = Duration::from_secs(60);

/// What is remembered.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Writes in a row that came too late.
    conflicts: u32,
    /// No write before this moment.
    not_before: Option<Timestamp>,
    /// What was last written, as a hash.
    written: Option<u64>,
    /// How often that was written again, and when at last.
    repairs: u32,
    repaired: Option<Timestamp>,
    /// What was told.
    told: BTreeSet<Finding>,
}

impl Memory {
    /// How long to wait before the next write.
    pub fn pause(&self, now: Timestamp) -> Duration {
        self.not_before.map_or(Duration::ZERO, |then| until(now, then))
    }

    /// A write came too late.
    pub fn conflicted(&mut self, now: Timestamp) {
        let pause = doubled(FIRST_CONFLICT, self.conflicts).min(LONGEST_CONFLICT);
        self.conflicts = self.conflicts.saturating_add(1);
        self.wait(now, pause);
    }

    /// All was written; what, says its hash.
    pub fn written(&mut self, what: u64, now: Timestamp) {
        self.conflicts = 0;
        let is_again = self.written == Some(what);
        let is_soon = self.repaired.is_none_or(|last| until(last, now) <= 2 * LONGEST_REPAIR);
        self.repairs = if is_again && is_soon { self.repairs.saturating_add(1) } else { 0 };
        self.written = Some(what);
        self.repaired = Some(now);
        if self.repairs > 1 {
            self.wait(now, doubled(FIRST_REPAIR, self.repairs - 2).min(LONGEST_REPAIR));
        }
    }

    /// Which of these were not told yet. What is not found any more may be told again later.
    pub fn news(&mut self, findings: &[Finding]) -> Vec<Finding> {
        let now: BTreeSet<Finding> = findings.iter().cloned().collect();
        let news = now.difference(&self.told).cloned().collect();
        self.told = now;
        news
    }

    /// What was found at last.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.told.iter()
    }

    fn wait(&mut self, now: Timestamp, pause: Duration) {
        self.not_before = now.checked_add(pause).ok();
    }
}

fn doubled(first: Duration, times: u32) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(times))
}

/// The time from one moment to a later one; zero where that is past.
fn until(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev_routing::Key;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn conflicts_back_off_and_a_success_ends_that() {
        let mut memory = Memory::default();
        let mut pauses = Vec::new();
        for _ in 0..6 {
            memory.conflicted(at(0));
            pauses.push(memory.pause(at(0)).as_secs());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 16]);
        assert_eq!(memory.pause(at(16)), Duration::ZERO);
        memory.written(1, at(16));
        memory.conflicted(at(20));
        assert_eq!(memory.pause(at(20)).as_secs(), 1);
    }

    #[test]
    fn what_is_undone_again_and_again_is_repaired_more_seldom() {
        let mut memory = Memory::default();
        let mut pauses = Vec::new();
        for second in 0..5 {
            memory.written(7, at(second));
            pauses.push(memory.pause(at(second)).as_secs());
        }
        assert_eq!(pauses, [0, 0, 1, 2, 4]);
        let mut memory = Memory::default();
        for second in 0..5 {
            memory.written(u64::try_from(second).unwrap(), at(second));
            assert_eq!(memory.pause(at(second)), Duration::ZERO, "something else each time");
        }
        for second in [0, 200, 400, 600] {
            memory.written(7, at(second));
            assert_eq!(memory.pause(at(second)), Duration::ZERO, "once in a while");
        }
    }

    #[test]
    fn a_finding_is_told_once_until_it_was_gone() {
        let mut memory = Memory::default();
        let finding = Finding { service: Key::new("a", "b"), reason: "R", note: "n".to_owned() };
        let one = std::slice::from_ref(&finding);
        assert_eq!(memory.news(one), one);
        assert_eq!(memory.news(one), []);
        assert_eq!(memory.news(&[]), []);
        assert_eq!(memory.news(one), one);
    }
}
