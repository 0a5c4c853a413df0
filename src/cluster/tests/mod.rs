//! Tests of this room, against API servers in memory, which other rooms use in theirs, and by a clock that does not wait.

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

/// Longer than anything here takes by the paused clock.
const LONG: Duration = Duration::from_secs(3600);

/// Waits for what must come.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, future).await.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}
