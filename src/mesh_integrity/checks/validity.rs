//! Istio's validation of each object, as findings.

use super::checked::Checked;
use crate::istio::validate::{By, FaultKind};
use crate::mesh_integrity::code::Code;
use crate::mesh_integrity::finding::Finding;
use crate::mesh_integrity::object::Kind;

pub(super) fn check(checked: &mut Checked<'_>) {
    let kinds = [
        Kind::VirtualService,
        Kind::DestinationRule,
        Kind::Gateway,
        Kind::ServiceEntry,
        Kind::Sidecar,
        Kind::PeerAuthentication,
        Kind::AuthorizationPolicy,
    ];
    for kind in kinds {
        for object in checked.subjects(kind) {
            for fault in &object.faults {
                let code = match fault.kind {
                    FaultKind::Error(_) => Code::IST0106,
                    FaultKind::Warning => Code::IST0133,
                    FaultKind::Unreachable => Code::IST0130,
                    FaultKind::Ineffective => Code::IST0131,
                    FaultKind::Deprecated => Code::IST0002,
                    FaultKind::Unaddressed => Code::IST0134,
                };
                let advice = match fault.kind {
                    FaultKind::Error(By::Crd) => "the API server refuses the object",
                    FaultKind::Error(By::Istiod) => "the webhook of istiod refuses the object",
                    FaultKind::Error(By::Both) => "the API server and the webhook of istiod refuse the object",
                    FaultKind::Unaddressed => "give spec.addresses",
                    _ => "",
                };
                let message = format!("{} {}", fault.field, fault.problem);
                checked.findings.push(Finding::new(code, &object.key, &fault.field, message).advice(advice));
            }
        }
    }
}
