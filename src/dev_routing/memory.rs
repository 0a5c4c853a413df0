//! Pure: what the leader remembers of the Services with one name: its pauses, and its reports.

use super::plan::{Finding, Part};
use crate::cluster::repairs::{Repairs, passed};
use jiff::Timestamp;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

/// The pause after a conflict with another writer. It doubles with each further one.
const FIRST_CONFLICT: Duration = Duration::from_secs(1);

/// The maximum pause: 1, 2, 4, 8, 16 s.
const LONGEST_CONFLICT: Duration = Duration::from_secs(16);

/// The maximum number of writes of a part without a pause. Each is pushed to all proxies of the mesh, and a developer can cause any
/// number.
const WRITES_AT_ONCE: u32 = 10;

/// After that, one write in this time.
const BETWEEN_WRITES: Duration = Duration::from_secs(2);

/// The memory of a name.
#[derive(Debug, Default)]
pub(super) struct Memory {
    paces: HashMap<Part, Pace>,
    /// Reported findings.
    told: BTreeSet<Finding>,
}

/// The pace of a part's writes.
#[derive(Debug, Default)]
struct Pace {
    /// Consecutive conflicts.
    conflicts: u32,
    /// The time before which nothing is written.
    not_before: Option<Timestamp>,
    /// The hash of the last writes.
    written: Option<u64>,
    repairs: Repairs,
    /// The time at which the writes so far would end if they were made at the sustained rate ([`BETWEEN_WRITES`]).
    paid_until: Option<Timestamp>,
}

impl Memory {
    /// Returns how long to wait before the next write of a part.
    pub fn pause(&self, part: &Part, now: Timestamp) -> Duration {
        self.paces.get(part).and_then(|pace| pace.not_before).map_or(Duration::ZERO, |then| passed(now, then))
    }

    /// A write had a conflict. Returns how long to wait before the next one.
    pub fn conflicted(&mut self, part: Part, now: Timestamp) -> Duration {
        let pace = self.paces.entry(part).or_default();
        let pause = FIRST_CONFLICT.saturating_mul(2_u32.saturating_pow(pace.conflicts)).min(LONGEST_CONFLICT);
        pace.conflicts = pace.conflicts.saturating_add(1);
        pace.wait(now, pause);
        pause
    }

    /// All writes of a part, with this hash, succeeded.
    pub fn written(&mut self, part: Part, what: u64, now: Timestamp) {
        let pace = self.paces.entry(part).or_default();
        pace.conflicts = 0;
        pace.repairs.written(pace.written == Some(what), now);
        pace.written = Some(what);
        let paid_until = pace.paid_until.map_or(now, |until| until.max(now));
        pace.paid_until = paid_until.checked_add(BETWEEN_WRITES).ok();
        let of_rate = passed(now, pace.paid_until.unwrap_or(now)).saturating_sub(BETWEEN_WRITES * WRITES_AT_ONCE);
        pace.wait(now, of_rate.max(pace.repairs.pause(now)));
    }

    /// Returns the findings that were not reported yet. A finding that disappears may be reported again later.
    pub fn news(&mut self, findings: &[Finding]) -> Vec<Finding> {
        let now: BTreeSet<Finding> = findings.iter().cloned().collect();
        let news = now.difference(&self.told).cloned().collect();
        self.told = now;
        news
    }

    /// Whether there are no current findings.
    pub fn is_silent(&self) -> bool {
        self.told.is_empty()
    }

    /// Returns the current findings.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.told.iter()
    }
}

impl Pace {
    fn wait(&mut self, now: Timestamp, pause: Duration) {
        self.not_before = now.checked_add(pause).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev_routing::Key;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    const ONE: Part = Part::VirtualService;

    #[test]
    fn conflicts_back_off_and_a_success_ends_that() {
        let mut memory = Memory::default();
        let pauses: Vec<u64> = (0..6).map(|_| memory.conflicted(ONE, at(0)).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 16]);
        assert_eq!((memory.pause(&ONE, at(0)).as_secs(), memory.pause(&ONE, at(16)).as_secs()), (16, 0));
        memory.written(ONE, 1, at(16));
        assert_eq!(memory.conflicted(ONE, at(20)).as_secs(), 1);
    }

    #[test]
    fn what_is_undone_again_and_again_is_repaired_more_seldom() {
        let mut memory = Memory::default();
        let mut pauses = Vec::new();
        for second in 0..8 {
            memory.written(ONE, 7, at(second));
            pauses.push(memory.pause(&ONE, at(second)).as_secs());
        }
        assert_eq!(pauses, [0, 0, 0, 0, 0, 1, 2, 4]);
        let mut memory = Memory::default();
        for second in 0..5 {
            memory.written(ONE, u64::try_from(second).unwrap(), at(second));
            assert_eq!(memory.pause(&ONE, at(second)), Duration::ZERO, "something else each time");
        }
        for second in [0, 200, 400, 600] {
            memory.written(ONE, 7, at(second));
            assert_eq!(memory.pause(&ONE, at(second)), Duration::ZERO, "once in a while");
        }
    }

    /// For example, when a developer's Service comes and goes.
    #[test]
    fn writes_that_follow_each_other_are_bounded() {
        let mut memory = Memory::default();
        let (mut now, mut writes) = (at(0), 0);
        while now < at(60) {
            memory.written(ONE, writes, now);
            writes += 1;
            now += memory.pause(&ONE, now).max(Duration::from_millis(50));
        }
        assert!((35..=45).contains(&writes), "{writes}");
        for second in (100_i64..1000).step_by(5) {
            memory.written(ONE, second.unsigned_abs(), at(second));
            assert_eq!(memory.pause(&ONE, at(second)), Duration::ZERO, "one after the other");
        }
    }

    #[test]
    fn who_undoes_a_placeholder_of_his_own_holds_up_nobody_else() {
        let (his, mut memory) = (Part::Placeholder("dev-a".to_owned()), Memory::default());
        for second in 0..9 {
            memory.written(his.clone(), 7, at(second));
            memory.conflicted(his.clone(), at(second));
        }
        assert!(memory.pause(&his, at(8)) > Duration::ZERO);
        for other in [ONE, Part::Placeholder("dev-b".to_owned())] {
            assert_eq!(memory.pause(&other, at(8)), Duration::ZERO);
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
