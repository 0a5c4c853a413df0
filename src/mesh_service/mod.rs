//! MeshService -> Istio's objects for a service in the mesh: what they are to be like, and what stands in the way.

mod build;
mod destination_rule;
mod gateway;
mod key;
mod kind;
mod mark;
mod observed;
mod outcome;
mod outside;
mod plan;
mod policy;
mod port;
mod rival;
mod route;
mod service;
#[cfg(test)]
mod tests;
pub mod violation;
mod world;

pub use key::Key;
pub use kind::{MeshKind, MeshKinds};
pub use mark::{mark, owner_of};
pub use observed::{ObservedMeshService, Usable};
pub use outcome::Plan;
pub use plan::plan;
pub use rival::Rival;
pub use world::{Consents, ObservedGateway, ObservedService, World};
