//! How long a leader may be silent, and others have to wait.

use std::time::Duration;

/// How long a leader may be silent. The defaults are those of the Kubernetes components.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Others may take a Lease that has not changed for so long. Default 15 s; whole seconds, at least one.
    pub duration: Duration,
    /// A term ends so long after the last renewal was sent. Default 10 s; at most two thirds of `duration`: in the time between
    /// nobody leads.
    pub renew_deadline: Duration,
    /// Between two tries to take or renew it. Default 2 s.
    pub retry: Duration,
    /// For the work to end by itself at shutdown before it is dropped. Default 5 s.
    pub grace: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { duration: seconds(15), renew_deadline: seconds(10), retry: seconds(2), grace: seconds(5) }
    }
}

impl Timing {
    /// The same, but for times that would let two lead at once.
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
