//! What every controller needs of a cluster: a client, watches, a work queue, leadership, careful writes, conditions and events.
//!
//! Nothing here knows a kind of object: what is watched, queued and written is the affair of the jobs.

pub mod client;
pub mod lease;
pub mod queue;
pub mod watch;

pub use client::{ClientError, connect, describe};
pub use lease::{Leadership, Term};
pub use queue::{Outcome, WorkQueue};
pub use watch::{Event, Watch, watch};
