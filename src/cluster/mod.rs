//! What every controller needs of a cluster: a client, watches, a work queue, leadership, the skeleton of its work, careful writes,
//! conditions and events.
//!
//! Nothing here knows a kind of object: what is watched, queued and written is the affair of the jobs.
//!
//! What a controller is made of:
//! - [`feeds`], [`watch`]: one watch for each slice of a kind, told to all who want it
//! - [`controller`]: the skeleton: an index, the keys that changes touch, and the work on them for a term
//! - [`queue`]: which objects to look at next
//! - [`lease`]: who leads, and for how long: a [`Term`]
//! - [`own_writes`]: what was written and the watch has not shown yet
//! - [`repairs`]: how soon to write again what somebody changes back
//!
//! How it writes and tells:
//! - [`objects`]: the writes of a controller to the objects of one kind, and Events about them
//! - [`apply`]: a single careful write
//! - [`conditions`], [`events`]: what a user is told
//! - [`failpoint`]: the name of each write, at which builds for tests can be made to end
//!
//! And the process:
//! - [`client`]: the connection to the API server
//! - [`api_server`]: its addresses, for whoever must not be led there
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
