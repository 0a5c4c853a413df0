//! Our own CA: kept in one Secret, renewed in steps without a loss of trust, with a short-lived leaf for each replica.
//!
//! - [`signer`]: a CA with its key, and the leaves it signs
//! - `generated`: a leaf of a CA that is made only for it
//! - [`content`]: the content of the Secret
//! - [`mod@plan`]: the next step and its time
//! - [`keeper`]: watches the Secret and takes the steps
//!
//! A leaf is trusted only if the API server knows its CA, and an API server learns of a new CA with a delay. So a new
//! CA is announced first (it joins the trusted bundle). It signs once every registered object has had it for a while.
//! The old CA stays trusted until its last leaf has expired.

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

/// The lifetimes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Lifetime of a CA; a new one is announced when a third of it is left. Default 365 days.
    pub authority: Duration,
    /// Lifetime of a leaf; a new one is signed when a third of it is left, or a little earlier. Default 7 days.
    pub leaf: Duration,
    /// The time from when every registered object has a new CA until it signs leaves: API servers learn of changes with
    /// a delay. Default 60 s.
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

/// Returns this time later, or the maximum time.
fn after(time: Timestamp, pause: Duration) -> Timestamp {
    time.checked_add(pause).unwrap_or(Timestamp::MAX)
}

/// Returns this time earlier, or the minimum time.
fn before(time: Timestamp, pause: Duration) -> Timestamp {
    time.checked_sub(pause).unwrap_or(Timestamp::MIN)
}
