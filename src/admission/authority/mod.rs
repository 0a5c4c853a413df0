//! A CA of our own: kept in one Secret, renewed in steps that leave no moment without trust, with a short leaf for each replica.
//!
//! - [`signer`]: a CA with its key, and the leaves it signs
//! - `generated`: a leaf of a CA that is made for it alone
//! - [`content`]: what the Secret holds
//! - [`mod@plan`]: what to do next, and when
//! - [`keeper`]: watches the Secret and does it
//!
//! A leaf is trusted only if the API server already knows its CA, and an API server hears of a new CA with a delay. So a new CA
//! is announced first (it joins the bundle of trusted ones), signs once every registered object has been seen with it for a
//! while, and the one before it stays trusted until its last leaf has expired.

pub mod content;
mod generated;
pub mod keeper;
pub mod plan;
pub mod signer;
#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::Timestamp;

pub use content::{Content, SECRET};
pub use keeper::Keeper;
pub use signer::{Authority, AuthorityError};

/// How long things last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Life of a CA; a new one is announced when a third of it is left. Default 365 days.
    pub authority: Duration,
    /// Life of a leaf; a new one is signed when a third of it is left, or a little before. Default 7 days.
    pub leaf: Duration,
    /// From the moment that every registered object was seen with a new CA until leaves are signed by it: API servers hear of
    /// changes with a delay. Default 60 s.
    pub grace: Duration,
}

impl Default for Times {
    fn default() -> Self {
        const DAY: u64 = 24 * 60 * 60;
        Self {
            authority: Duration::from_secs(365 * DAY),
            leaf: Duration::from_secs(7 * DAY),
            grace: Duration::from_secs(60),
        }
    }
}

/// This much later; the end of time, if that is beyond it.
fn after(time: Timestamp, pause: Duration) -> Timestamp {
    time.checked_add(pause).unwrap_or(Timestamp::MAX)
}

/// This much earlier; the beginning of time, if that is before it.
fn before(time: Timestamp, pause: Duration) -> Timestamp {
    time.checked_sub(pause).unwrap_or(Timestamp::MIN)
}
