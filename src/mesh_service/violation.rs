//! The types of the violations that a plan finds itself.

use super::observed::ObservedMeshService;
use crate::api::mesh_service::{Severity, Violation};
use crate::api::shorten::shortened;

/// The spec cannot be followed.
pub const INVALID_SPEC: &str = "InvalidSpec";
/// The namespace of the Service does not let this MeshService in.
pub const NO_CONSENT: &str = "NoConsent";
/// Another MeshService has the Service.
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
/// Policies of this namespace are for the whole mesh, and never for one Service.
pub const ROOT_NAMESPACE: &str = "RootNamespace";
/// The shares of the subsets do not make a whole.
pub const WEIGHTS: &str = "Weights";
/// Routes would lead to subsets of a DestinationRule that is not made; those that are there stay.
pub const SUBSETS_NOT_MADE: &str = "SubsetsNotMade";
/// A field has no effect.
pub const NO_EFFECT: &str = "NoEffect";
/// An annotation says that nothing is to be written or deleted.
pub const LEFT_ALONE: &str = "LeftAlone";
/// `--mesh-kinds` leaves out a kind that the spec asks for.
pub const KIND_LEFT_OUT: &str = "KindLeftOut";

/// The longest message: names and texts of users are in it.
const LONGEST_MESSAGE: usize = 1024;

/// A violation of a MeshService itself.
pub(super) fn told(mesh_service: &ObservedMeshService, type_: &str, severity: Severity, message: String) -> Violation {
    Violation {
        type_: type_.to_owned(),
        resource: format!("MeshService/{}", mesh_service.key),
        message: shortened(message, LONGEST_MESSAGE),
        severity,
    }
}
