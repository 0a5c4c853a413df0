//! The data of the checks, and their findings.

use crate::mesh_integrity::finding::Finding;
use crate::mesh_integrity::mesh::{Mesh, Touched};
use crate::mesh_integrity::object::{Kind, Object};
use crate::mesh_integrity::store::Store;
use std::sync::Arc;

/// The data of the checks, and their findings.
pub(in crate::mesh_integrity) struct Checked<'e> {
    pub mesh: &'e Mesh,
    pub store: &'e Store,
    pub touched: &'e Touched,
    pub findings: Vec<Finding>,
}

impl<'e> Checked<'e> {
    /// Returns the objects of a kind that must be checked.
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
