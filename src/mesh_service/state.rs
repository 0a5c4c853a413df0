//! Pure: the state of a MeshService, and when its status reports it.
//!
//! A state is reported once it has been stable for a moment, so that half-applied changes do not show.

use crate::api::mesh_service::{ConsistencyState, Severity, Violation};
use jiff::Timestamp;
use std::time::Duration;

/// The inputs of a state.
#[derive(Clone, Copy, Debug, Default)]
pub struct Grounds<'a> {
    /// Why the state is not known yet.
    pub waits: bool,
    /// The progress of our writes.
    pub writes: Writes,
    /// Whether a repair of the error is known.
    pub is_known: bool,
    /// What is wrong.
    pub violations: &'a [Violation],
}

/// The progress of the writes for a MeshService.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Writes {
    /// There is nothing to write.
    #[default]
    Done,
    /// Something is not written yet.
    Outstanding,
    /// The API server refuses one.
    Refused,
}

/// A status is written when its content has been stable for so long.
const SETTLED: Duration = Duration::from_secs(1);

/// A status that changes all the time is written after this.
const UNSETTLED: Duration = Duration::from_secs(10);

/// The content to report, and since when it is the same.
#[derive(Clone, Debug)]
pub struct Settling<T> {
    candidate: Option<Candidate<T>>,
}

#[derive(Clone, Debug)]
struct Candidate<T> {
    told: T,
    since: Timestamp,
    /// Since when the status has been outdated.
    differs_since: Timestamp,
}

/// What to do about a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Nothing: it is up to date.
    Same,
    /// Check it again after this time.
    After(Duration),
    /// Write it.
    Now,
}

/// Returns the state.
#[must_use]
pub fn state(grounds: Grounds<'_>) -> ConsistencyState {
    let has_error = grounds.violations.iter().any(|violation| violation.severity == Severity::Error);
    match grounds {
        Grounds { waits: true, .. } => ConsistencyState::Checking,
        Grounds { writes: Writes::Refused, .. } => ConsistencyState::RepairFailed,
        Grounds { writes: Writes::Outstanding, .. } => ConsistencyState::RepairPending,
        Grounds { is_known: true, .. } if has_error => ConsistencyState::RepairPending,
        _ if has_error => ConsistencyState::Inconsistent,
        _ => ConsistencyState::Consistent,
    }
}

impl<T> Default for Settling<T> {
    fn default() -> Self {
        Self { candidate: None }
    }
}

impl<T: PartialEq> Settling<T> {
    /// Returns what to do when `told` is to be reported, and is in the status already or not.
    pub fn settle(&mut self, told: T, is_told: bool, now: Timestamp) -> Settled {
        if is_told {
            self.candidate = None;
            return Settled::Same;
        }
        let before = self.candidate.take();
        let differs_since = before.as_ref().map_or(now, |before| before.differs_since);
        let since = before.filter(|before| before.told == told).map_or(now, |before| before.since);
        self.candidate = Some(Candidate { told, since, differs_since });
        let left = left(since, SETTLED, now).min(left(differs_since, UNSETTLED, now));
        if left.is_zero() { Settled::Now } else { Settled::After(left) }
    }
}

/// Returns the rest of a pause that began at this time.
fn left(began: Timestamp, pause: Duration, now: Timestamp) -> Duration {
    // A clock that is set back does not extend a pause.
    let passed = Duration::try_from(now.duration_since(began)).unwrap_or(pause);
    pause.saturating_sub(passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violation(severity: Severity) -> Violation {
        let [type_, resource, message] = ["t", "r", "m"].map(str::to_owned);
        Violation { type_, resource, message, severity }
    }

    #[test]
    fn each_state_has_its_grounds() {
        let (warning, error) = (violation(Severity::Warning), violation(Severity::Error));
        let (none, minor, bad) = (&[][..], &[warning.clone()][..], &[warning, error][..]);
        let nothing = Grounds::default();
        for (grounds, expected) in [
            (Grounds { violations: none, ..nothing }, ConsistencyState::Consistent),
            (Grounds { violations: minor, is_known: true, ..nothing }, ConsistencyState::Consistent),
            (Grounds { violations: bad, ..nothing }, ConsistencyState::Inconsistent),
            (Grounds { violations: bad, is_known: true, ..nothing }, ConsistencyState::RepairPending),
            (Grounds { writes: Writes::Outstanding, ..nothing }, ConsistencyState::RepairPending),
            (Grounds { writes: Writes::Refused, ..nothing }, ConsistencyState::RepairFailed),
            (
                Grounds { violations: bad, is_known: true, writes: Writes::Refused, ..nothing },
                ConsistencyState::RepairFailed,
            ),
            (Grounds { waits: true, writes: Writes::Refused, violations: bad, ..nothing }, ConsistencyState::Checking),
        ] {
            assert_eq!(state(grounds), expected, "{grounds:?}");
        }
    }

    fn at(millisecond: i64) -> Timestamp {
        Timestamp::from_millisecond(millisecond).unwrap()
    }

    #[test]
    fn what_passes_within_a_second_is_not_told() {
        let mut settling = Settling::default();
        assert_eq!(settling.settle("bad", false, at(0)), Settled::After(SETTLED));
        assert_eq!(settling.settle("good", true, at(900)), Settled::Same);
        assert_eq!(settling.settle("bad", false, at(1000)), Settled::After(SETTLED), "anew");
        assert_eq!(settling.settle("bad", false, at(1400)), Settled::After(Duration::from_millis(600)));
        assert_eq!(settling.settle("worse", false, at(1500)), Settled::After(SETTLED));
        assert_eq!(settling.settle("worse", false, at(2500)), Settled::Now);
        assert_eq!(settling.settle("worse", true, at(2501)), Settled::Same, "once it is written");
    }

    #[test]
    fn what_never_settles_is_told_now_and_then() {
        let (mut settling, mut told, mut now) = (Settling::default(), Vec::new(), 0);
        for change in 0..100 {
            if settling.settle(change, false, at(now)) == Settled::Now {
                told.push(now);
                settling.settle(change, true, at(now));
            }
            now += 300;
        }
        assert_eq!(told, [10_200, 20_700]);
    }

    #[test]
    fn a_clock_that_is_set_back_holds_nothing_up() {
        let mut settling = Settling::default();
        settling.settle("bad", false, at(1_000_000));
        assert_eq!(settling.settle("bad", false, at(0)), Settled::Now);
    }
}
