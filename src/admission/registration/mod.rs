//! Makes this webhook known to the API server, and keeps it so.
//!
//! - [`desired`]: what is to be registered, as plain objects
//! - [`scope`]: which Pods are to be sent here
//! - [`registrar`]: writes it where it is not so
//! - `target`: the objects
//! - `narrowing`, `repair`: when that has to wait
//! - [`widening`]: lets a SidecarSet in once its Pods are sent
//! - [`break_glass`]: the switch that takes everything out
//! - [`published`]: which CAs it was seen to trust

pub mod break_glass;
pub mod desired;
mod narrowing;
mod own_ca;
pub mod published;
pub mod registrar;
mod repair;
pub mod scope;
mod target;
pub mod widening;

pub use break_glass::BreakGlass;
pub use desired::{CONVERSION_SERVICE, FailurePolicy, Reach, Registration, SERVICE};
pub use published::{Bundles, Published, keep_in_sync_metric};
pub use registrar::{Registrar, ScopeMode, WatchedTargets};
pub use scope::Scope;
pub use widening::Widening;
