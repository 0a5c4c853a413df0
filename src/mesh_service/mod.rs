//! MeshServices: the Istio objects that are made for a service in the mesh, and what is wrong with them.
//!
//! [`plan`](plan()) computes the objects of a MeshService. The [`Controller`] receives events, which change the
//! [`MeshIndex`]. `look` decides what to write and the content of the status, and `leader` writes it. The checks of the
//! whole mesh ([`crate::mesh_integrity`]) run on a separate thread (`judge`). Their findings become violations and
//! repairs (`repair`).

mod build;
mod claims;
mod controller;
mod destination_rule;
mod drift;
mod gateway;
mod gauges;
mod index;
mod judge;
mod key;
mod kind;
mod leader;
mod look;
mod mark;
mod memory;
mod mend;
pub mod metrics;
mod observed;
mod obstacle;
mod outcome;
mod outside;
mod plan;
mod policy;
mod port;
mod release;
mod repair;
mod rival;
mod route;
#[cfg(test)]
mod sample;
mod seen;
mod selection;
mod service;
mod service_ports;
mod state;
mod subsets;
#[cfg(test)]
mod tests;
mod told;
pub mod violation;
mod watched;
mod world;

pub use controller::Controller;
pub use index::{MeshIndex, Settings};
pub use key::Key;
pub use kind::{MeshKind, MeshKinds};
pub use mark::{mark, owner_of};
pub use mend::{Mend, ServicePort};
pub use observed::{Cascade, ObservedMeshService, Usable};
pub use outcome::Plan;
pub use plan::plan;
pub use rival::Rival;
pub use world::{Consents, ObservedGateway, ObservedService, Places, World};
