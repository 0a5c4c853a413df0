//! MeshService -> Istio's objects for a service in the mesh: what they are to be like, and what stands in the way.

mod key;
mod kind;
mod mark;
mod observed;
mod plan;
mod world;

pub use key::Key;
pub use kind::{MeshKind, MeshKinds};
pub use mark::{mark, owner_of};
pub use observed::{ObservedMeshService, Usable};
pub use plan::{Kept, Plan, plan, violation};
pub use world::{Consents, ObservedGateway, ObservedService, Rival, World};
