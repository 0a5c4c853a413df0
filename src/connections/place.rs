//! The state of one connection: its phase, its worth, and whether it has to close.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::Context;

use futures::task::AtomicWaker;

/// The phase of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ConnectionPhase {
    /// Before the first request, or between two.
    Idle,
    /// A request has begun; its head is incomplete.
    Head,
    /// The head is complete, the body is not.
    Body,
    /// The service has the whole request.
    Busy,
    /// The answer is being written.
    Answer,
    /// Our side is closed.
    Close,
}

/// What the stream, service and body of a connection, which share one task, report to each other and to the table of
/// places.
#[derive(Debug)]
pub struct Place {
    phase: AtomicU8,
    last_answer: AtomicBool,
    certified: AtomicBool,
    worth: AtomicU64,
    lost: AtomicBool,
    waker: AtomicWaker,
}

impl Place {
    /// Returns the state of a new connection; see [`worth_after`] for the time.
    pub fn new(now: f64) -> Self {
        Self {
            phase: AtomicU8::new(ConnectionPhase::Idle as u8),
            last_answer: AtomicBool::new(false),
            certified: AtomicBool::new(false),
            worth: AtomicU64::new(now.to_bits()),
            lost: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        }
    }

    pub fn phase(&self) -> ConnectionPhase {
        match self.phase.load(Ordering::Relaxed) {
            0 => ConnectionPhase::Idle,
            1 => ConnectionPhase::Head,
            2 => ConnectionPhase::Body,
            3 => ConnectionPhase::Busy,
            4 => ConnectionPhase::Answer,
            _ => ConnectionPhase::Close,
        }
    }

    pub fn enter(&self, phase: ConnectionPhase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// Marks the next answer, or the one in progress, as the last.
    pub fn ends_with_this_answer(&self) {
        self.last_answer.store(true, Ordering::Relaxed);
    }

    pub fn had_its_last_answer(&self) -> bool {
        self.last_answer.load(Ordering::Relaxed)
    }

    /// Records that the client has presented a valid certificate.
    pub fn certify(&self) {
        self.certified.store(true, Ordering::Relaxed);
    }

    pub fn is_certified(&self) -> bool {
        self.certified.load(Ordering::Relaxed)
    }

    /// Counts a served request. Only the task of the connection calls this.
    pub fn served(&self, now: f64) {
        let worth = worth_after(self.worth(), now);
        self.worth.store(worth.to_bits(), Ordering::Relaxed);
    }

    pub fn worth(&self) -> f64 {
        f64::from_bits(self.worth.load(Ordering::Relaxed))
    }

    /// Tells the task of the connection to close it.
    pub fn lose(&self) {
        self.lost.store(true, Ordering::Release);
        self.waker.wake();
    }

    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// Returns whether the connection has to close. If not, the task is woken when it has to.
    pub fn poll_lost(&self, context: &Context<'_>) -> bool {
        self.waker.register(context.waker());
        self.is_lost()
    }
}

/// Returns the worth of a connection after one more served request. Time is counted in half-lives.
///
/// A connection has a credit: 1 at its start and 1 more for each served request. Half of it is lost in each half-life,
/// so it follows the recent rate of requests. The worth is the time at which the credit was or will be 1. It changes
/// only with requests, and the worths of two connections compare as their credits do at any time.
fn worth_after(worth: f64, now: f64) -> f64 {
    now + ((worth - now).exp2() + 1.0).log2()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the worth of a connection that starts at `begin` and has requests served at these times.
    fn worth(begin: f64, served: impl IntoIterator<Item = f64>) -> f64 {
        served.into_iter().fold(begin, worth_after)
    }

    #[test]
    fn a_connection_is_worth_more_the_more_requests_a_second_it_had_served() {
        let every = |pause: f64| worth(0.0, (1..).map(|n| f64::from(n) * pause).take_while(|time| *time <= 10.0));
        assert!(every(0.01) > every(0.1) && every(0.1) > every(1.0) && every(1.0) > every(5.0));
        // A steady connection is worth more than a new one.
        assert!(every(1.0) > worth(10.0, []));
    }

    #[test]
    fn one_request_buys_one_half_life() {
        assert!((worth(0.0, [0.0]) - 1.0).abs() < 1e-9);
        assert!(worth(0.0, [0.0]) < worth(1.1, []));
    }

    #[test]
    fn ten_thousand_requests_at_once_are_forgotten_after_fourteen_half_lives() {
        assert!(worth(0.0, std::iter::repeat_n(0.0, 10_000)) < 14.0);
    }

    #[test]
    fn a_year_changes_nothing() {
        let year = 365.0 * 24.0 * 3600.0;
        let late = worth(year, [year + 0.5, year + 1.0]) - year;
        assert!((late - worth(0.0, [0.5, 1.0])).abs() < 1e-6);
        assert!((worth(0.0, [year]) - year).abs() < 1e-6);
    }
}
