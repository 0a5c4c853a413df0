//! What checks look at, and what they found.

use crate::mesh_integrity::finding::Finding;
use crate::mesh_integrity::mesh::{Mesh, Touched};
use crate::mesh_integrity::object::{Kind, Object};
use crate::mesh_integrity::store::Store;
use std::sync::Arc;

/// What checks look at, and what they found.
pub(in crate::mesh_integrity) struct Checked<'e> {
    pub mesh: &'e Mesh,
    pub store: &'e Store,
    pub touched: &'e Touched,
    pub findings: Vec<Finding>,
}

impl<'e> Checked<'e> {
    /// The objects of a kind that are to be checked.
    pub fn subjects(&self, kind: Kind) -> Box<dyn Iterator<Item = &'e Arc<Object>> + 'e> {
        let mesh = self.mesh;
        match self.touched {
            Touched::All => Box::new(mesh.of(kind)),
            Touched::Only(keys) => {
                Box::new(keys.iter().filter(move |key| key.kind == kind).filter_map(|key| mesh.get(key)))
            }
        }
    }
}
