//! What every controller needs of a cluster: a client, watches, a work queue, leadership, the skeleton of its work, careful writes,
//! conditions and events.
//!
//! Nothing here knows a kind of object: what is watched, queued and written is the affair of the jobs.

pub mod api_server;
pub mod apply;
pub mod calls;
pub mod client;
pub mod conditions;
pub mod controller;
pub mod events;
pub mod failpoint;
pub mod feeds;
pub mod lease;
pub mod objects;
pub mod own_writes;
pub mod queue;
pub mod shutdown;
pub mod watch;

#[cfg(test)]
pub(crate) mod tests;

pub use apply::{WriteError, Written};
pub use client::{ClientError, connect, describe};
pub use controller::{IndexedQueue, Reconciler};
pub use events::Events;
pub use feeds::Feeds;
pub use lease::{Leadership, Standing, Term};
pub use objects::{ObjectVersion, Objects, Versioned};
pub use own_writes::{Overlay, OwnWrite};
pub use queue::{Outcome, WorkQueue};
pub use shutdown::{Shutdown, Tasks};
pub use watch::{Event, Slice, Watch};
