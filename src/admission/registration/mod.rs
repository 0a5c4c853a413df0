//! Makes this webhook known to the API server, and keeps it so.
//!
//! - [`desired`]: what is to be registered, as plain objects
//! - [`registrar`]: writes it where it is not so

pub mod desired;
pub mod registrar;

pub use desired::{CONVERSION_SERVICE, FailurePolicy, Reach, Registration, SERVICE};
pub use registrar::Registrar;
