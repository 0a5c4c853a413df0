//! Rate limit for log lines whose number others determine: some pass in each interval, the others are counted.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Passes some messages in each interval and counts the others.
#[derive(Debug, Default)]
pub struct Throttle {
    window: Mutex<Window>,
}

#[derive(Debug, Default)]
struct Window {
    /// The beginning of the current interval.
    begun: Option<Instant>,
    /// The number of messages that passed in it.
    passed: u32,
    /// The number of suppressed messages since the last one that passed.
    suppressed: u64,
}

impl Throttle {
    /// The length of an interval.
    const INTERVAL: Duration = Duration::from_secs(10);

    /// The maximum number of messages in an interval.
    const PASSING: u32 = 10;

    /// Creates a throttle before its first message.
    #[must_use]
    pub const fn new() -> Self {
        Self { window: Mutex::new(Window { begun: None, passed: 0, suppressed: 0 }) }
    }

    /// If this message may pass, returns the number of messages suppressed since the last one.
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

/// Logs like `tracing`'s macro of that level, but at most a few lines of this place in an interval. Use it if others determine the
/// number of lines, such as a client that keeps retrying. The field `suppressed` of the next line has the number of suppressed ones.
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
