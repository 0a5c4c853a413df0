//! Everything a controller needs to work with a cluster: client, watches, work queue, leadership, skeleton, conditional writes,
//! conditions and events.
//!
//! Nothing here knows a kind of object. Jobs decide what is watched, queued and written.
//!
//! The parts of a controller:
//! - [`feeds`], [`watch`]: one watch for each slice of a kind, shared by all subscribers
//! - [`controller`]: the skeleton: an index, the keys affected by changes, and the work on them during a term
//! - [`queue`]: which objects to examine next
//! - [`lease`]: who leads, and for how long: a [`Term`]
//! - [`own_writes`]: writes that the watch has not reported yet
//! - [`repairs`]: when to write again what somebody changes back
//!
//! Writing and reporting:
//! - [`objects`]: a controller's writes to the objects of one kind, and Events about them
//! - [`apply`]: a single conditional write
//! - [`conditions`], [`events`]: reports to users
//! - [`failpoint`]: the name of each write, at which test builds can exit
//!
//! The process:
//! - [`client`]: the connection to the API server
//! - [`api_server`]: its addresses, for code that must not connect to it
//! - [`shutdown`]: drain, then stop

pub mod api_server;
pub mod apply;
pub mod calls;
mod causes;
pub mod client;
pub mod conditions;
pub mod controller;
pub mod events;
pub mod failpoint;
pub mod feeds;
pub mod lease;
pub mod objects;
pub mod own_writes;
pub mod proxy;
pub mod queue;
pub mod repairs;
pub mod shutdown;
mod tunnel;
pub mod watch;

#[cfg(test)]
pub(crate) mod tests;

pub use apply::{WriteError, Written};
pub use client::{Access, ClientError, connect, connect_by, describe};
pub use controller::{IndexedQueue, Reconciler};
pub use events::Events;
pub use feeds::Feeds;
pub use lease::{Leadership, LeaseStanding, Term};
pub use objects::{ObjectVersion, Objects, Versioned};
pub use own_writes::{Overlay, OwnWrite};
pub use queue::{Outcome, WorkQueue};
pub use repairs::Repairs;
pub use shutdown::{Shutdown, Tasks};
pub use watch::{Event, Pace, Slice, Watch};
