//! Tests of this module with in-memory API servers, which other modules' tests also use, and a paused clock.

mod apply;
mod controller;
mod events;
mod feeds;
mod lease;
mod objects;
mod own_writes;
mod queue;
pub mod script;
pub mod server;
mod shutdown;
mod store;
mod things;
mod watch;

use std::time::Duration;

/// Longer than anything here takes on the paused clock.
const LONG: Duration = Duration::from_secs(3600);

/// Waits for something that must happen.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, future).await.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}
