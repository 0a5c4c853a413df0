//! Lets one log line pass per interval and counts the others, so that an attack does not fill the disk.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lets one message pass per interval and counts the others.
#[derive(Debug, Default)]
pub struct Throttle {
    last: Mutex<(Option<Instant>, u64)>,
}

impl Throttle {
    const INTERVAL: Duration = Duration::from_secs(10);

    /// The number of messages held back since the last that passed, if this one may pass.
    pub fn pass(&self) -> Option<u64> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.0.is_some_and(|last| last.elapsed() < Self::INTERVAL) {
            last.1 += 1;
            return None;
        }
        let unsaid = last.1;
        *last = (Some(Instant::now()), 0);
        Some(unsaid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_messages_one_passes_and_the_others_are_counted() {
        let throttle = Throttle::default();
        assert_eq!(throttle.pass(), Some(0));
        assert_eq!(throttle.pass(), None);
        assert_eq!(throttle.pass(), None);
        throttle.last.lock().expect("not poisoned").0 = Instant::now().checked_sub(Throttle::INTERVAL);
        assert_eq!(throttle.pass(), Some(2));
    }
}
