//! Pure: when to write an object again that somebody keeps changing back.

use jiff::Timestamp;
use std::time::Duration;

/// At most this many repairs in a row are made without a pause, for somebody who experiments, or a tool that writes a
/// few times.
const BURST: u32 = 5;

/// The pause before the next repair. It doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The maximum pause. After twice this time without a repair the count is reset.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Recent repeated writes of an object that should not have changed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Repairs {
    writes: u32,
    last: Option<Timestamp>,
}

impl Repairs {
    /// The object was written now. `again` means that it was written with the same content as before, so somebody had
    /// changed it.
    pub fn written(&mut self, again: bool, now: Timestamp) {
        let counts = again && self.rests(now).is_some();
        self.writes = if counts { self.writes.saturating_add(1) } else { 1 };
        self.last = Some(now);
    }

    /// Returns how long to wait before it may be written again; zero after the first write and a burst of repairs.
    #[must_use]
    pub fn pause(&self, now: Timestamp) -> Duration {
        let Some((last, more)) = self.last.zip(self.writes.checked_sub(BURST + 1)) else { return Duration::ZERO };
        let doubled = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(more));
        doubled.min(LONGEST_PAUSE).saturating_sub(passed(last, now))
    }

    /// Returns how long the earlier writes still count, if they do.
    #[must_use]
    pub fn rests(&self, now: Timestamp) -> Option<Duration> {
        let age = passed(self.last?, now);
        (2 * LONGEST_PAUSE).checked_sub(age).filter(|rest| !rest.is_zero())
    }
}

/// Returns the time between two moments; zero if the clock went backwards.
#[must_use]
pub fn passed(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn what_is_undone_again_and_again_is_repaired_more_seldom() {
        let mut repairs = Repairs::default();
        let pauses = (0..14).map(|second| {
            repairs.written(true, at(second));
            repairs.pause(at(second)).as_secs()
        });
        assert_eq!(pauses.collect::<Vec<_>>(), [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(repairs.pause(at(33)).as_secs(), 40);
        repairs.written(false, at(14));
        assert_eq!(repairs.pause(at(14)), Duration::ZERO, "it is to be otherwise now");
        for second in (200..2_000).step_by(130) {
            repairs.written(true, at(second));
            assert_eq!(repairs.pause(at(second)), Duration::ZERO, "once in a while");
        }
    }

    #[test]
    fn what_was_written_counts_for_two_minutes() {
        let mut repairs = Repairs::default();
        assert_eq!(repairs.rests(at(0)), None);
        repairs.written(true, at(0));
        assert_eq!(repairs.rests(at(20)), Some(Duration::from_secs(100)));
        assert_eq!(repairs.rests(at(120)), None);
    }
}
