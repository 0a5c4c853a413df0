//! URL -> Istio Sidecar: the hosts from a SidecarGenerator's URL become the Sidecar of its name, which is kept up to
//! date.
//!
//! [`plan()`] decides what to do, from what was observed ([`ObservedGenerator`], [`ObservedSidecar`]) and what is remembered
//! ([`memory::GeneratorMemory`]). The [`Controller`] receives events, which change the [`GeneratorIndex`]. In the leader it fetches
//! (`fetches`, `fetching`) and writes (`leader`).

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
