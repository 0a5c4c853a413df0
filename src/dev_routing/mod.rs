//! Services and one ConfigMap -> Istio VirtualServices. A request that names a developer in its header goes to the developer's copy of
//! a Service, every other request to the Service itself. If a developer has no copy, a placeholder refers to the Service.
//!
//! [`plan`](plan()) decides what to write for the Services of one name, from the [`Configuration`] and the observed state
//! ([`ObservedService`], [`ObservedVirtualService`]). [`routes`] builds the VirtualService. The [`Controller`] receives events,
//! which change the [`RoutingIndex`]. In the leader it writes (`leader`) and reports (`tell`).

mod annotated;
pub mod claims;
pub mod configuration;
mod controller;
mod endpoints;
pub mod excluded;
mod gauges;
mod index;
mod istio_version;
mod key;
mod leader;
pub mod mark;
mod memory;
pub mod metrics;
pub mod placeholder;
pub mod plan;
pub mod routes;
pub mod service;
pub mod template;
#[cfg(test)]
mod tests;
pub mod trial;
pub mod virtual_service;
mod virtual_services;

pub use configuration::Configuration;
pub use controller::{Controller, Settings, Watches};
pub use index::RoutingIndex;
pub use key::{Key, QueueKey};
pub use plan::{Plan, plan};
pub use service::ObservedService;
pub use virtual_service::ObservedVirtualService;
