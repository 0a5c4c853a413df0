//! Registers this webhook with the API server, and repairs the registration.
//!
//! - [`desired`]: the desired registration, as plain objects
//! - [`scope`]: the Pods that are sent here
//! - [`registrar`]: writes the registration
//! - `target`: the objects
//! - `narrowing`, `repair`: when a write has to wait
//! - [`widening`]: admits a SidecarSet once its Pods are sent
//! - [`break_glass`]: the switch that removes everything
//! - [`published`]: the CAs that the objects trust

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
