//! Log lines of which somebody else decides how many there are: some pass in each interval, the others are counted.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lets some messages of a kind pass in each interval and counts the others.
#[derive(Debug, Default)]
pub struct Throttle {
    window: Mutex<Window>,
}

#[derive(Debug, Default)]
struct Window {
    /// When the present interval began.
    begun: Option<Instant>,
    /// Messages that passed in it.
    passed: u32,
    /// Messages that were held back since the last that passed.
    suppressed: u64,
}

impl Throttle {
    /// How long an interval is.
    const INTERVAL: Duration = Duration::from_secs(10);

    /// At most this many messages pass in one.
    const PASSING: u32 = 10;

    /// Nothing was said yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { window: Mutex::new(Window { begun: None, passed: 0, suppressed: 0 }) }
    }

    /// The number of messages held back since the last that passed, if this one may pass.
    pub fn pass(&self) -> Option<u64> {
        self.pass_at(Instant::now())
    }

    fn pass_at(&self, now: Instant) -> Option<u64> {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if window.begun.is_none_or(|begun| now.duration_since(begun) >= Self::INTERVAL) {
            (window.begun, window.passed) = (Some(now), 0);
        }
        if window.passed >= Self::PASSING {
            window.suppressed += 1;
            return None;
        }
        window.passed += 1;
        Some(std::mem::take(&mut window.suppressed))
    }
}

/// Logs as `tracing`'s macro of that level does, but not more than some lines of this place in a while: how many there would be is
/// decided by others, such as a name space that is gone or a client that tries again and again. The next line tells in `suppressed` how
/// many were left out.
macro_rules! seldom {
    ($level:ident, $($message:tt)+) => {{
        static THROTTLE: $crate::telemetry::Throttle = $crate::telemetry::Throttle::new();
        if let Some(suppressed) = THROTTLE.pass() {
            tracing::$level!(suppressed = (suppressed > 0).then_some(suppressed), $($message)+);
        }
    }};
}

pub(crate) use seldom;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_messages_some_pass_in_each_interval_and_the_others_are_counted() {
        let (throttle, begun) = (Throttle::new(), Instant::now());
        let passed = |now: Instant| (0..1_000).filter_map(|_| throttle.pass_at(now)).collect::<Vec<_>>();
        let ten = |first: u64| [&[first][..], &[0; 9]].concat();
        assert_eq!(passed(begun), ten(0));
        assert!(passed(begun + Throttle::INTERVAL / 2).is_empty());
        assert_eq!(passed(begun + Throttle::INTERVAL), ten(1_990));
        assert_eq!(passed(begun + 3 * Throttle::INTERVAL), ten(990));
    }

    #[test]
    fn few_messages_all_pass() {
        let (throttle, begun) = (Throttle::new(), Instant::now());
        assert!((0..100).all(|n| throttle.pass_at(begun + n * Throttle::INTERVAL / 5) == Some(0)));
    }
}
