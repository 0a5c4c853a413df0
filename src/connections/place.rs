//! What is known of one connection: where it is in its exchange, what it was worth so far, and whether it has to go.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::Context;

use futures::task::AtomicWaker;

/// Where a connection is in its exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ConnectionPhase {
    /// Before the first request, or between two.
    Idle,
    /// A request has begun; its head is not whole.
    Head,
    /// The head is whole, the body is not.
    Body,
    /// The service has the whole request.
    Busy,
    /// The answer is being written.
    Answer,
    /// Our side is over.
    Close,
}

/// What stream, service and body of a connection, which live in one task, tell each other and the table of places.
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
    /// Of a connection that begins now; see [`worth_after`] for the time.
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

    /// The next answer, or the one under way, is the last.
    pub fn ends_with_this_answer(&self) {
        self.last_answer.store(true, Ordering::Relaxed);
    }

    pub fn had_its_last_answer(&self) -> bool {
        self.last_answer.load(Ordering::Relaxed)
    }

    /// The client has shown a certificate that is good.
    pub fn certify(&self) {
        self.certified.store(true, Ordering::Relaxed);
    }

    pub fn is_certified(&self) -> bool {
        self.certified.load(Ordering::Relaxed)
    }

    /// A request was served. Only the task of the connection calls this.
    pub fn served(&self, now: f64) {
        let worth = worth_after(self.worth(), now);
        self.worth.store(worth.to_bits(), Ordering::Relaxed);
    }

    pub fn worth(&self) -> f64 {
        f64::from_bits(self.worth.load(Ordering::Relaxed))
    }

    /// Tells the task of the connection to end it.
    pub fn lose(&self) {
        self.lost.store(true, Ordering::Release);
        self.waker.wake();
    }

    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// Whether the connection has to go. If not, the task is woken when it has to.
    pub fn poll_lost(&self, context: &Context<'_>) -> bool {
        self.waker.register(context.waker());
        self.is_lost()
    }
}

/// What a connection is worth after one more request was served. Time is counted in half-lives.
///
/// A connection has a credit: 1 when it begins, 1 more for each request that was served, and half of it is lost in each half-life.
/// So it follows the requests served a second, and what was served long ago buys nothing. The worth is the moment at which the credit
/// was or will be 1: it changes only with requests, and the worths of connections compare as their credits do at any moment.
fn worth_after(worth: f64, now: f64) -> f64 {
    now + ((worth - now).exp2() + 1.0).log2()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The worth of a connection that begins at `begin` and has requests served at these times.
    fn worth(begin: f64, served: impl IntoIterator<Item = f64>) -> f64 {
        served.into_iter().fold(begin, worth_after)
    }

    #[test]
    fn a_connection_is_worth_more_the_more_requests_a_second_it_had_served() {
        let every = |pause: f64| worth(0.0, (1..).map(|n| f64::from(n) * pause).take_while(|time| *time <= 10.0));
        assert!(every(0.01) > every(0.1) && every(0.1) > every(1.0) && every(1.0) > every(5.0));
        // A steady connection is worth more than one that begins.
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
