//! A plan: the objects of a MeshService, and what is wrong with it.

use super::key::Key;
use super::kind::MeshKind;
use super::mend::Mend;
use super::observed::ObservedMeshService;
use super::world::Places;
use crate::api::mesh_service::Violation;
use kube::api::DynamicObject;
use std::collections::BTreeSet;

/// The plan for one MeshService.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The objects, in the order in which they are written.
    pub objects: Vec<DynamicObject>,
    /// What is wrong.
    pub violations: Vec<Violation>,
    /// The change of the Service, if it has another owner who allows it.
    pub mend: Option<Mend>,
    /// The Service, as `NAMESPACE/NAME`, that its objects are for.
    pub service: Option<String>,
    /// The namespaces that allow it.
    pub(super) places: Option<Places>,
    /// Objects that are not written, and are not deleted either.
    pub(super) kept: BTreeSet<(MeshKind, Key)>,
    /// Kinds whose objects are neither written nor deleted.
    pub(super) left_out: BTreeSet<MeshKind>,
}

impl Plan {
    /// Returns whether an existing object of this MeshService is deleted: it is no longer planned, or its namespace
    /// does not allow it. Nothing in a MeshService prevents the latter.
    #[must_use]
    pub fn sweeps(&self, kind: MeshKind, key: &Key) -> bool {
        let is_kept = self.left_out.contains(&kind) || self.kept.contains(&(kind, key.clone()));
        let is = |object: &DynamicObject| {
            object.types.as_ref().is_some_and(|types| types.kind == kind.as_str()) && Key::of(&object.metadata) == *key
        };
        let is_let_in = self.places.as_ref().is_none_or(|places| places.contain(&key.namespace, kind));
        !is_let_in || !is_kept && !self.objects.iter().any(is)
    }

    /// Returns an outcome that writes and deletes nothing where the MeshService may have objects.
    pub(super) fn held(mesh_service: &ObservedMeshService, violation: Violation) -> Self {
        let service = mesh_service.status.service.clone();
        Self { service, left_out: MeshKind::ALL.into(), violations: vec![violation], ..Self::default() }
    }
}
