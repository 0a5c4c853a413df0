//! The violations of a status: their types, and the messages of those that do not come from a plan.

use super::key::Key;
use super::observed::ObservedMeshService;
use super::watched::ObjectKey;
use crate::api::keys;
use crate::api::mesh_service::{Severity, Violation};
use crate::api::shorten::shortened;
use crate::mesh_integrity::{self, Finding};

/// Something refers to a missing object.
pub const FOREIGN_KEY: &str = "ForeignKeyViolation";
/// An object of the name exists and is not ours.
pub const NAME_TAKEN: &str = "NameTaken";
/// The API server refuses a write.
pub const WRITE_REFUSED: &str = "WriteRefused";
/// The spec is invalid.
pub const INVALID_SPEC: &str = "InvalidSpec";
/// The namespace of the Service does not allow this MeshService.
pub const NO_CONSENT: &str = "NoConsent";
/// Another MeshService has the Service.
pub const SERVICE_CLAIMED: &str = "ServiceClaimed";
/// Istio would refuse an object; the existing one stays.
pub const INVALID_OBJECT: &str = "InvalidObject";
/// Istio would accept an object with a warning.
pub const WARNED: &str = "IstioWarning";
/// A missing Gateway cannot be made.
pub const GATEWAY_NOT_MADE: &str = "GatewayNotMade";
/// A gateway serves TLS at the port of plain HTTP.
pub const TLS_AT_PORT_80: &str = "TlsAtPort80";
/// The Gateway, which has another owner, does not offer a host.
pub const GATEWAY_HOST_MISSING: &str = "GatewayHostMissing";
/// The Service, which has another owner, lacks a port that the spec lists.
pub const PORT_MISSING: &str = "PortMissing";
/// Istio assumes another protocol than the spec for a port of the Service.
pub const PORT_PROTOCOL: &str = "PortProtocol";
/// Another client changes an object repeatedly.
pub const CHANGED_BACK: &str = "ChangedBack";
/// The annotation [`keys::MESH_REPAIR`] names an unknown repair.
pub const UNKNOWN_REPAIR: &str = "UnknownRepair";
/// A Service was requested, but one of another owner exists.
pub const SERVICE_NOT_OWNED: &str = "ServiceNotOwned";
/// It is not known which Pods a policy selects.
pub const NO_SELECTOR: &str = "NoSelector";
/// Policies of this namespace apply to the whole mesh, and never to one Service.
pub const ROOT_NAMESPACE: &str = "RootNamespace";
/// The shares of the subsets do not add up.
pub const WEIGHTS: &str = "Weights";
/// Routes would use subsets of a DestinationRule that is not made; existing routes stay.
pub const SUBSETS_NOT_MADE: &str = "SubsetsNotMade";
/// The labels of a subset select no Pod.
pub const SUBSET_WITHOUT_PODS: &str = "SubsetWithoutPods";
/// A field has no effect.
pub const NO_EFFECT: &str = "NoEffect";
/// An annotation forbids writes and deletes.
pub const LEFT_ALONE: &str = "LeftAlone";
/// `--mesh-kinds` leaves out a kind that the spec requests.
pub const KIND_LEFT_OUT: &str = "KindLeftOut";

/// At most this many objects of a finding are named.
const NAMED: usize = 5;

/// The longest message: names and texts of users are in it.
const LONGEST_MESSAGE: usize = 1024;

/// Returns a violation of a MeshService itself.
pub(super) fn told(mesh_service: &ObservedMeshService, type_: &str, severity: Severity, message: String) -> Violation {
    Violation {
        type_: type_.to_owned(),
        resource: format!("MeshService/{}", mesh_service.key),
        message: shortened(message, LONGEST_MESSAGE),
        severity,
    }
}

/// Returns the violation of a write that the API server refuses.
pub(super) fn refused(object: &ObjectKey, problem: &str) -> Violation {
    Violation {
        type_: WRITE_REFUSED.to_owned(),
        resource: object.to_string(),
        message: format!("{problem}; it is tried again"),
        severity: Severity::Error,
    }
}

/// Another client changes an object repeatedly.
pub(super) fn changed_back(object: &ObjectKey) -> Violation {
    Violation {
        type_: CHANGED_BACK.to_owned(),
        resource: object.to_string(),
        message: "Somebody changes or deletes it again and again: metadata.managedFields says who. It is repaired at most once a minute"
            .to_owned(),
        severity: Severity::Warning,
    }
}

/// Returns the violation of an annotation that names an unknown repair.
pub(super) fn unknown_repair(mesh_service: &Key, word: &str) -> Violation {
    Violation {
        type_: UNKNOWN_REPAIR.to_owned(),
        resource: format!("MeshService/{mesh_service}"),
        message: format!("The annotation {} names {word:?}, which is none: it may be Adopt", keys::MESH_REPAIR),
        severity: Severity::Warning,
    }
}

/// Returns the violation of a finding.
pub(super) fn of_finding(finding: &Finding) -> Violation {
    let mut message = finding.message.clone();
    if let [_, _, ..] = &finding.objects[..] {
        let names: Vec<String> = finding.objects.iter().take(NAMED).map(ToString::to_string).collect();
        message = format!("{message}: {}", names.join(", "));
        if finding.objects.len() > NAMED {
            message = format!("{message} and {} more", finding.objects.len() - NAMED);
        }
    }
    Violation {
        type_: finding.code.violation().unwrap_or(finding.code.name()).to_owned(),
        resource: finding.resource.clone(),
        message: format!("{message} ({})", finding.code),
        severity: match finding.severity {
            mesh_integrity::Severity::Error => Severity::Error,
            mesh_integrity::Severity::Warning => Severity::Warning,
            mesh_integrity::Severity::Info => Severity::Info,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh_integrity::Code;

    #[test]
    fn of_many_objects_of_a_finding_a_few_are_named() {
        let object = |number: u32| mesh_integrity::Key {
            kind: mesh_integrity::Kind::Gateway,
            namespace: "a".to_owned(),
            name: number.to_string(),
        };
        let finding = Finding {
            objects: (0..1000).map(object).collect(),
            field: String::new(),
            code: Code::IST0132,
            severity: mesh_integrity::Severity::Error,
            resource: "x".to_owned(),
            message: "Shared".to_owned(),
            advice: String::new(),
        };
        let message = of_finding(&finding).message;
        assert!(message.ends_with("Gateway/a/4 and 995 more (IST0132)"), "{message}");
    }
}
