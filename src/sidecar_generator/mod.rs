//! URL -> Istio Sidecar: what a SidecarGenerator's URL says may be reached becomes the Sidecar of its name, and stays so.
//!
//! [`plan`] says what is to be done, from what was observed ([`ObservedGenerator`], [`ObservedSidecar`]) and what is remembered
//! ([`memory::Memory`]). The [`Controller`] is told of events by its [`Watches`], fetches, and writes.

pub mod answer;
mod controller;
mod fetching;
mod gauges;
pub mod generator;
mod leader;
pub mod memory;
mod mesh_wide;
pub mod metrics;
pub mod neighbours;
mod plan;
mod secrets;
pub mod sidecar;
mod state;
pub mod status;
#[cfg(test)]
mod tests;
mod watches;
pub mod write;

pub use controller::{Controller, Settings};
pub use generator::{Key, ObservedGenerator};
pub use mesh_wide::ROOT_NAMESPACE;
pub use plan::{Around, Fetch, Plan, plan};
pub use sidecar::ObservedSidecar;
pub use state::State;
pub use watches::Watches;
