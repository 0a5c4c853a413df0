//! Pure: what is to be made for one MeshService, given what is around it, and what stands in the way.

use super::key::Key;
use super::kind::MeshKind;
use super::observed::ObservedMeshService;
use super::world::World;
use crate::api::mesh_service::Violation;
use kube::api::DynamicObject;
use std::collections::BTreeSet;

/// Types of the violations that a plan finds itself.
pub mod violation {
    /// The spec cannot be followed.
    pub const INVALID_SPEC: &str = "InvalidSpec";
    /// The namespace of the Service does not let this MeshService in.
    pub const NO_CONSENT: &str = "NoConsent";
    /// An older MeshService names the same Service.
    pub const SERVICE_CLAIMED: &str = "ServiceClaimed";
    /// An object would be refused by Istio; what there is of it stays as it is.
    pub const INVALID_OBJECT: &str = "InvalidObject";
    /// Istio would take an object with a warning.
    pub const WARNED: &str = "IstioWarning";
    /// A Gateway that is not there cannot be made.
    pub const GATEWAY_NOT_MADE: &str = "GatewayNotMade";
    /// The Gateway, which is somebody else's, does not offer a host.
    pub const GATEWAY_HOST_MISSING: &str = "GatewayHostMissing";
    /// A Service was asked for, but there is one of somebody else.
    pub const SERVICE_NOT_OWNED: &str = "ServiceNotOwned";
    /// It is not known for which Pods a policy is.
    pub const NO_SELECTOR: &str = "NoSelector";
    /// The policy of one Service would be that of the whole mesh.
    pub const ROOT_NAMESPACE: &str = "RootNamespace";
    /// The shares of the subsets do not make a whole.
    pub const WEIGHTS: &str = "Weights";
    /// A field has no effect.
    pub const NO_EFFECT: &str = "NoEffect";
    /// `--mesh-kinds` leaves out a kind that the spec asks for.
    pub const KIND_LEFT_OUT: &str = "KindLeftOut";
}

/// What is to be done for one MeshService.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// What there is to be, in the order in which it is written.
    pub objects: Vec<DynamicObject>,
    /// What is not written, and is not deleted either if it is there.
    pub kept: Kept,
    /// What stands in the way, and what a user has to know.
    pub violations: Vec<Violation>,
}

/// Objects of a MeshService that stay as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// These.
    These(BTreeSet<(MeshKind, Key)>),
    /// Whatever there is.
    All,
}

/// None.
impl Default for Kept {
    fn default() -> Self {
        Self::These(BTreeSet::new())
    }
}

impl Plan {
    /// Whether an object of this MeshService that is there is of no use any more.
    #[must_use]
    pub fn sweeps(&self, kind: MeshKind, key: &Key) -> bool {
        let is_kept = match &self.kept {
            Kept::All => true,
            Kept::These(these) => these.contains(&(kind, key.clone())),
        };
        let is = |object: &DynamicObject| {
            object.types.as_ref().is_some_and(|types| types.kind == kind.as_str()) && Key::of(&object.metadata) == *key
        };
        !is_kept && !self.objects.iter().any(is)
    }
}

/// Plans for one MeshService. One that is being deleted is planned nothing: all that was made for it is swept.
#[must_use]
pub fn plan(mesh_service: &ObservedMeshService, world: World<'_>) -> Plan {
    let _ = (mesh_service, world);
    Plan::default()
}
