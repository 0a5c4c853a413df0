//! The integrity of a mesh: where Services, Istio's objects and workloads do not fit together.
//!
//! Relations are rows of an `SQLite` database (`store`). Wildcards, selectors and `exportTo` are checked in Rust.

mod checks;
mod code;
mod concern;
mod correct_mesh;
mod defaults;
mod engine;
mod finding;
mod mesh;
mod object;
mod picture;
mod secret;
mod store;
#[cfg(test)]
mod tests;
mod worker;

pub(crate) use checks::subset_selector;
pub use code::{Code, Severity};
pub use correct_mesh::correct_mesh;
pub use defaults::assumed;
pub use engine::{Change, Engine};
pub use finding::Finding;
pub use mesh::Options;
pub use object::{Key, Kind, Object};
pub use picture::{Edge, Picture};
pub use store::StoreError;
pub use worker::{Changes, Checks, Found, start};
