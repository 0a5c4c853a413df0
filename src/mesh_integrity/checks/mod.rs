//! The checks, a file for each subject.

mod duplicates;
mod gateways;
mod references;
mod routes;
mod services;
mod sidecars;
mod validity;

use super::finding::Finding;
use super::mesh::{Mesh, Touched};
use super::object::{Kind, Object};
use super::store::{Store, StoreError};
use std::sync::Arc;

/// What checks look at, and what they found.
pub(super) struct Checked<'e> {
    pub mesh: &'e Mesh,
    pub store: &'e Store,
    pub touched: &'e Touched,
    pub findings: Vec<Finding>,
}

impl<'e> Checked<'e> {
    /// The objects of a kind that are to be checked.
    fn subjects(&self, kind: Kind) -> impl Iterator<Item = &'e Arc<Object>> + use<'e> {
        let touched = self.touched;
        self.mesh.of(kind).filter(move |object| touched.has(&object.key))
    }
}

pub(super) fn all(checked: &mut Checked<'_>) -> Result<(), StoreError> {
    references::check(checked)?;
    duplicates::check(checked)?;
    sidecars::check(checked)?;
    gateways::check(checked);
    routes::check(checked);
    services::check(checked);
    validity::check(checked);
    Ok(())
}
