//! URL -> Istio Sidecar: what a SidecarGenerator's URL says may be reached becomes the Sidecar of its name, and stays so.
//!
//! [`plan`] says what is to be done, from what was observed ([`ObservedGenerator`], [`ObservedSidecar`]) and what is remembered
//! ([`memory::GeneratorMemory`]). The [`Controller`] is told of events, which change the [`GeneratorIndex`]; in the replica that leads
//! it fetches (`fetches`, `fetching`) and writes (`leader`).

pub mod answer;
mod controller;
mod fetches;
mod fetching;
mod gauges;
pub mod generator;
mod index;
mod leader;
pub mod memory;
mod mesh_wide;
pub mod metrics;
pub mod neighbours;
mod plan;
mod secrets;
pub mod sidecar;
pub mod status;
#[cfg(test)]
mod tests;
pub mod write;

pub use controller::{Controller, Settings, Watches};
pub use generator::{Key, ObservedGenerator};
pub use index::GeneratorIndex;
pub use mesh_wide::ROOT_NAMESPACE;
pub use plan::{Around, Fetch, Plan, plan};
pub use sidecar::ObservedSidecar;
