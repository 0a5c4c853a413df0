//! MeshService -> Istio's objects for a service in the mesh: what they are to be like, what stands in the way, and what is wrong around
//! them.
//!
//! [`plan`](plan()) says what is to be made for a MeshService, from what is around it. The [`Controller`] is told of events, which
//! change the [`MeshIndex`]; `look` says what is to be written and told, `leader` does so. The checks of the whole mesh
//! ([`crate::mesh_integrity`]) run on a thread of their own (`judge`), and what they find becomes violations and repairs (`repair`).

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
pub mod metrics;
mod observed;
mod outcome;
mod outside;
mod plan;
mod policy;
mod port;
mod repair;
mod rival;
mod route;
#[cfg(test)]
mod sample;
mod seen;
mod service;
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
pub use observed::{ObservedMeshService, Usable};
pub use outcome::Plan;
pub use plan::plan;
pub use rival::Rival;
pub use world::{Consents, ObservedGateway, ObservedService, World};
