//! What every controller needs of a cluster: a client, watches, a work queue, leadership, careful writes, conditions and events.
//!
//! Nothing here knows a kind of object: what is watched, queued and written is the affair of the jobs.

pub mod api_server;
pub mod apply;
mod causes;
pub mod client;
pub mod conditions;
pub mod events;
pub mod lease;
pub mod own_writes;
pub mod proxy;
pub mod queue;
pub mod shutdown;
mod tunnel;
pub mod watch;

#[cfg(test)]
pub(crate) mod tests;

pub use apply::{WriteError, Written};
pub use client::{ClientError, connect, describe};
pub use events::Events;
pub use lease::{Leadership, Term};
pub use own_writes::OwnWrite;
pub use queue::{Outcome, WorkQueue};
pub use shutdown::Tasks;
pub use watch::{Event, Watch, recover_together, watch, watch_as};
