//! What a plan comes to: objects that are to be, and what a user has to know.

use super::key::Key;
use super::kind::MeshKind;
use super::observed::ObservedMeshService;
use crate::api::mesh_service::Violation;
use kube::api::DynamicObject;
use std::collections::BTreeSet;

/// What is to be done for one MeshService.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// What there is to be, in the order in which it is written.
    pub objects: Vec<DynamicObject>,
    /// What stands in the way, and what a user has to know.
    pub violations: Vec<Violation>,
    /// The Service, as `NAMESPACE/NAME`, that its objects are for.
    pub service: Option<String>,
    /// The namespaces that let it in, if it is not to go anyway.
    pub(super) places: Option<BTreeSet<String>>,
    /// Objects that are not written, and stay if they are there.
    pub(super) kept: BTreeSet<(MeshKind, Key)>,
    /// Kinds whose objects are not written, and stay.
    pub(super) left_out: BTreeSet<MeshKind>,
}

impl Plan {
    /// Whether an object of this MeshService that is there is to go: it is of no use any more, or its namespace does not let it in. Nothing
    /// that a MeshService says keeps it there.
    #[must_use]
    pub fn sweeps(&self, kind: MeshKind, key: &Key) -> bool {
        let is_kept = self.left_out.contains(&kind) || self.kept.contains(&(kind, key.clone()));
        let is = |object: &DynamicObject| {
            object.types.as_ref().is_some_and(|types| types.kind == kind.as_str()) && Key::of(&object.metadata) == *key
        };
        let is_let_in = self.places.as_ref().is_none_or(|places| places.contains(&key.namespace));
        !is_let_in || !is_kept && !self.objects.iter().any(is)
    }

    /// Nothing is written or deleted where it may have objects.
    pub(super) fn held(mesh_service: &ObservedMeshService, violation: Violation) -> Self {
        let service = mesh_service.status.service.clone();
        Self { service, left_out: MeshKind::ALL.into(), violations: vec![violation], ..Self::default() }
    }
}
