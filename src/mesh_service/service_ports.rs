//! Pure: compares the ports of a Service that has another owner with the spec, and plans the change that the Service allows.

use super::build::Builder;
use super::kind::MeshKind;
use super::mend::{Mend, ServicePort};
use super::port::{self, Port, Routing};
use super::repair::Act;
use super::violation;
use super::world::ObservedService;
use crate::api::keys;
use crate::api::mesh_service::Severity;
use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, PatchOperation};
use serde_json::Value;

/// The error of one port, and its repair.
struct Fault {
    act: Act,
    violation: &'static str,
    problem: String,
    /// What the owner of the Service can do.
    remedy: String,
    /// The change, or why outrigger cannot make it.
    mend: Result<Mend, String>,
}

/// Compares the existing Service with the spec. One that was made for the MeshService is repaired anyway.
pub(super) fn check(builder: &mut Builder<'_>) {
    let own = &builder.mesh_service.key;
    let Some(service) = builder.world.service.filter(|service| service.owner.as_ref() != Some(own)) else { return };
    for word in &service.unknown_repairs {
        let message = format!(
            "The annotation {} of the Service {} names {word:?}, which is none: it may be {}",
            keys::MESH_REPAIR,
            service.key,
            Act::OF_SERVICES.map(Act::as_str).join(", ")
        );
        builder.tell(violation::UNKNOWN_REPAIR, Severity::Warning, message);
    }
    if service.ports.is_empty() || service.is_external {
        return; // such a Service leads wherever it is asked to
    }
    let faults: Vec<(usize, Fault)> =
        builder.ports.iter().enumerate().filter_map(|(index, port)| Some((index, fault(port, service)?))).collect();
    let mut mend = Mend::default();
    for (index, Fault { act, violation, problem, remedy, mend: change }) in faults {
        let hindrance = hindrance(builder, service);
        let remedy = match change.and_then(|change| hindrance.map_or(Ok(change), Err)) {
            Ok(change) if service.consent.covers(act) => {
                mend.join(change);
                format!("it is about to be changed, as its annotation {} says", keys::MESH_REPAIR)
            }
            Ok(_) => format!("{remedy}, or annotate the Service {}: {}", keys::MESH_REPAIR, act.as_str()),
            Err(obstacle) if service.consent.covers(act) => format!("{remedy}: {obstacle}"),
            Err(_) => remedy,
        };
        let message = format!("spec.ports[{index}]: {problem}: {remedy}");
        builder.tell(violation, Severity::Error, message);
    }
    builder.plan.mend = (!mend.operations.is_empty()).then_some(mend);
}

/// Returns why a Service is not changed, even if its annotation allows it.
fn hindrance(builder: &Builder<'_>, service: &ObservedService) -> Option<String> {
    match (&service.owner, &service.controller) {
        (Some(owner), _) => Some(format!("it was made for the MeshService {owner}, whose spec.ports decide")),
        (None, Some(controller)) => Some(format!("it is controlled by {controller}, which would undo a change")),
        (None, None) if !builder.world.kinds.contains(MeshKind::Service) => {
            Some("--mesh-kinds leaves out Services".to_owned())
        }
        (None, None) => None,
    }
}

fn fault(port: &Port, service: &ObservedService) -> Option<Fault> {
    let is_udp = port.routing() == Routing::None;
    let same = |there: &&ServicePort| there.number == i64::from(port.number) && there.is_udp == is_udp;
    let Some((index, there)) = service.ports.iter().enumerate().find(|(_, there)| same(there)) else {
        return Some(missing(port, service));
    };
    let taken = port::taken_for(there.number, &there.name, there.app_protocol.as_deref()).filter(|_| !is_udp)?;
    if port::routing_of(taken) == port.routing() {
        return None;
    }
    let said = match &there.app_protocol {
        Some(app_protocol) => format!("appProtocol {app_protocol}"),
        None => format!("name {:?}", there.name),
    };
    let problem = format!(
        "Istio takes port {} of the Service {} for {taken}, by its {said}, so that routes of {} do not count",
        port.number, service.key, port.protocol
    );
    let app_protocol = port.protocol.to_ascii_lowercase();
    let mend = match &there.app_protocol {
        Some(_) => Err("somebody gave it an appProtocol".to_owned()),
        None => Ok(Mend {
            operations: vec![add(["ports", &index.to_string(), "appProtocol"], app_protocol.as_str().into())],
            done: vec![format!("port {} has appProtocol: {app_protocol}", port.number)],
            undo: vec![format!("appProtocol of port {}", port.number)],
        }),
    };
    Some(Fault {
        act: Act::SetProtocol,
        violation: violation::PORT_PROTOCOL,
        problem,
        remedy: format!("give the port of the Service appProtocol: {app_protocol}, or correct name and protocol here"),
        mend,
    })
}

fn missing(port: &Port, service: &ObservedService) -> Fault {
    let named = service.ports.iter().find(|there| there.name == port.name);
    let mend = if service.ports.iter().any(|there| there.name.is_empty()) {
        Err("its port has no name, which all need where there are several".to_owned())
    } else if let Some(named) = named {
        Err(format!("its port {} has the name {} already", named.number, port.name))
    } else {
        Ok(Mend {
            operations: vec![add(["ports", "-"], port.of_service())],
            done: vec![format!("port {} was added, named {}", port.number, port.name)],
            undo: vec![format!("port {}", port.number)],
        })
    };
    Fault {
        act: Act::AddPort,
        violation: violation::PORT_MISSING,
        problem: format!("the Service {} has no port {} of {}", service.key, port.number, port.transport()),
        remedy: "add it to the Service, or remove it here".to_owned(),
        mend,
    }
}

fn add<const N: usize>(path: [&str; N], value: Value) -> PatchOperation {
    let path = PointerBuf::from_tokens(["spec"].into_iter().chain(path));
    PatchOperation::Add(AddOperation { path, value })
}
