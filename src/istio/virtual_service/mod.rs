//! Istio's VirtualService, which routes requests to hosts: the whole `spec` of version 1.32.

mod destination;
mod hosts;
pub mod http;
pub mod l4;
mod spec;
#[cfg(test)]
mod tests;
mod zero;

pub use destination::{Destination, PortSelector};
pub use hosts::{MESH, exports_to, fqdn, is_for_mesh, resolve, service_of};
pub use spec::VirtualService;

/// The group of Istio's networking kinds.
pub const GROUP: &str = "networking.istio.io";

/// The versions in which Istio serves a VirtualService, the preferred one first. They differ only in name.
pub const VERSIONS: [&str; 3] = ["v1", "v1beta1", "v1alpha3"];
