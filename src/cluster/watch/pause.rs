//! How long a watch waits before it retries: short at first, and never long enough to matter.

use std::time::Duration;

/// The approximate first pause. Each further one is twice as long.
const FIRST: Duration = Duration::from_millis(250);

/// The approximate maximum pause. All watches recover soon after an outage of the API server.
const LONGEST: Duration = Duration::from_secs(3);

/// The pauses of one outage.
#[derive(Debug)]
pub(super) struct Pauses {
    next: Duration,
    longest: Duration,
}

impl Default for Pauses {
    fn default() -> Self {
        Self::up_to(LONGEST)
    }
}

impl Pauses {
    /// Creates pauses that grow to about this.
    pub fn up_to(longest: Duration) -> Self {
        Self { next: FIRST.min(longest), longest }
    }

    /// Returns the next pause, up to a quarter longer or shorter by `chance`, from 0 to 1, so that replicas do not
    /// retry together.
    pub fn next(&mut self, chance: f64) -> Duration {
        let pause = self.next.mul_f64(0.75 + chance.clamp(0.0, 1.0) / 2.0);
        self.next = (self.next * 2).min(self.longest);
        pause
    }

    /// The outage is over.
    pub fn reset(&mut self) {
        *self = Self::up_to(self.longest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_about_three_seconds_and_begin_anew_after_a_good_spell() {
        let mut pauses = Pauses::default();
        let mut of = |chance| (0..6).map(|_| pauses.next(chance).as_millis()).collect::<Vec<_>>();
        assert_eq!(of(0.5), [250, 500, 1_000, 2_000, 3_000, 3_000]);
        assert_eq!((of(0.0)[0], of(1.0)[0]), (2_250, 3_750));
        pauses.reset();
        assert_eq!(pauses.next(0.5).as_millis(), 250);
    }
}
