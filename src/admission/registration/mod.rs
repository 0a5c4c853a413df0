//! Makes this webhook known to the API server, and keeps it so.
//!
//! - [`desired`]: what is to be registered, as plain objects
//! - [`registrar`]: writes it where it is not so
//! - [`published`]: which CAs it was seen to trust

pub mod desired;
pub mod published;
pub mod registrar;

pub use desired::{CONVERSION_SERVICE, FailurePolicy, Reach, Registration, SERVICE};
pub use published::{Bundles, Published, keep_in_sync_metric};
pub use registrar::Registrar;
