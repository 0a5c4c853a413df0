//! Time limits of a Lease: how long a leader may be silent, and how long others wait.

use std::time::Duration;

/// Time limits of a Lease. The defaults are those of Kubernetes components.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// The time that a Lease must be unchanged before others may take it. Default 15 s; whole seconds, at least one.
    pub duration: Duration,
    /// The time from sending the last renewal to the end of the term. Default 10 s; at most two thirds of `duration`. Nobody
    /// leads in between.
    pub renew_deadline: Duration,
    /// The time between two attempts to take or renew it. Default 2 s.
    pub retry: Duration,
    /// The time for work to end by itself at shutdown before it is dropped. Default 5 s.
    pub grace: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { duration: seconds(15), renew_deadline: seconds(10), retry: seconds(2), grace: seconds(5) }
    }
}

impl Timing {
    /// Shortens times that would allow two leaders.
    pub(super) fn shortened(self) -> Self {
        let duration = self.duration.max(Duration::from_secs(1));
        Self { duration, renew_deadline: self.renew_deadline.min(duration * 2 / 3), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_would_let_two_lead_are_shortened() {
        let long = Timing { renew_deadline: Duration::from_secs(60), ..Timing::default() };
        assert_eq!(long.shortened().renew_deadline, Duration::from_secs(10));
    }
}
