//! What a plan comes to: objects that are to be, and what a user has to know.

use super::key::Key;
use super::kind::MeshKind;
use super::observed::ObservedMeshService;
use super::violation;
use crate::api::mesh_service::{Severity, Violation};
use kube::api::DynamicObject;
use std::collections::BTreeSet;

/// What is to be done for one MeshService.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// What there is to be, in the order in which it is written.
    pub objects: Vec<DynamicObject>,
    /// What stands in the way, and what a user has to know.
    pub violations: Vec<Violation>,
    /// Objects that are not written, and stay if they are there.
    pub(super) kept: BTreeSet<(MeshKind, Key)>,
    /// Kinds whose objects are not written, and stay.
    pub(super) left_out: BTreeSet<MeshKind>,
}

impl Plan {
    /// Whether an object of this MeshService that is there is of no use any more.
    #[must_use]
    pub fn sweeps(&self, kind: MeshKind, key: &Key) -> bool {
        let is_kept = self.left_out.contains(&kind) || self.kept.contains(&(kind, key.clone()));
        let is = |object: &DynamicObject| {
            object.types.as_ref().is_some_and(|types| types.kind == kind.as_str()) && Key::of(&object.metadata) == *key
        };
        !is_kept && !self.objects.iter().any(is)
    }

    /// Nothing is written or deleted.
    pub(super) fn held(mesh_service: &ObservedMeshService, type_: &str, severity: Severity, message: String) -> Self {
        let violations = vec![violation::told(mesh_service, type_, severity, message)];
        Self { left_out: MeshKind::ALL.into(), violations, ..Self::default() }
    }
}
