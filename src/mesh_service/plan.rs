//! Pure: the plan for one MeshService, from its spec and the objects around it.

use super::build::Builder;
use super::observed::{ObservedMeshService, Usable};
use super::outcome::Plan;
use super::world::{Consents, World};
use super::{destination_rule, gateway, outside, policy, route, service, service_ports, violation};
use crate::api::keys;
use crate::api::mesh_service::{Severity, Violation};

/// Plans for one MeshService. The plan is empty if it is being deleted: its objects are swept.
#[must_use]
pub fn plan(mesh_service: &ObservedMeshService, world: World<'_>) -> Plan {
    if mesh_service.deleting {
        return Plan::default();
    }
    let mut plan = match obstacle(mesh_service, &world) {
        Ok(asked) => made(mesh_service, asked, world),
        Err(violation) => Plan::held(mesh_service, violation),
    };
    plan.violations.extend(no_consent(mesh_service, world.consents));
    plan.places = Some(world.consents.places(&mesh_service.key.namespace));
    plan
}

/// Returns what the MeshService requests, or why it is not applied.
fn obstacle<'a>(mesh_service: &'a ObservedMeshService, world: &World<'_>) -> Result<&'a Usable, Violation> {
    let left_alone = |what: &str| {
        let message = format!(
            "The annotation {}: \"{}\" of {what}: nothing is written or deleted",
            keys::MANAGED,
            keys::NOT_MANAGED
        );
        Err(violation::told(mesh_service, violation::LEFT_ALONE, Severity::Info, message))
    };
    if mesh_service.is_left_alone() {
        return left_alone("this object");
    }
    match &mesh_service.usable {
        Ok(asked) if world.service.is_some_and(|service| service.is_left_alone) => {
            left_alone(&format!("the Service {}", asked.service))
        }
        Ok(asked) => Ok(asked),
        Err(problem) => Err(violation::told(mesh_service, violation::INVALID_SPEC, Severity::Error, problem.clone())),
    }
}

/// Returns the violation if the namespace of the Service does not allow it. Annotations and errors of the MeshService
/// do not prevent it.
fn no_consent(mesh_service: &ObservedMeshService, consents: &Consents) -> Option<Violation> {
    let (own, service) = (&mesh_service.key.namespace, mesh_service.named.service.as_ref()?);
    let message = format!(
        "spec.namespace: the Namespace {} does not let MeshServices of {own} in: annotate it {}: {own}",
        service.namespace,
        keys::ALLOW_MESH_FROM
    );
    let is_let_in = consents.allow(&service.namespace, own);
    (!is_let_in).then(|| violation::told(mesh_service, violation::NO_CONSENT, Severity::Error, message))
}

/// Returns the plan for a usable spec.
fn made(mesh_service: &ObservedMeshService, asked: &Usable, world: World<'_>) -> Plan {
    let service = &asked.service;
    let mut builder = Builder::new(mesh_service, asked, world);
    if !world.consents.allow(&service.namespace, &mesh_service.key.namespace) {
        return builder.plan;
    }
    let own = mesh_service.as_rival();
    let rivals = builder.rivals(&service.namespace, |rival| rival.service == Some(service));
    let first = rivals.iter().chain(&own).min_by_key(|rival| rival.for_service());
    if let Some(first) = first.filter(|first| *first.key != mesh_service.key) {
        let before = if first.serves { "has it already" } else { "is older" };
        let message = format!(
            "The MeshService {} names the Service {service}, too, and {before}: nothing is made for this one",
            first.key
        );
        builder.tell(violation::SERVICE_CLAIMED, Severity::Error, message);
        return builder.plan;
    }
    builder.plan.service = Some(service.to_string());
    service_ports::check(&mut builder);
    service::build(&mut builder);
    outside::build(&mut builder);
    destination_rule::build(&mut builder);
    gateway::build(&mut builder);
    route::build(&mut builder);
    policy::build(&mut builder);
    builder.plan
}
