//! Pure: what is to be made for one MeshService, given what is around it, and what stands in the way.

use super::build::Builder;
use super::observed::ObservedMeshService;
use super::outcome::Plan;
use super::world::World;
use super::{destination_rule, gateway, outside, policy, route, service, violation};
use crate::api::keys;
use crate::api::mesh_service::Severity;

/// Plans for one MeshService. One that is being deleted is planned nothing: all that was made for it is swept.
#[must_use]
pub fn plan(mesh_service: &ObservedMeshService, world: World<'_>) -> Plan {
    if mesh_service.deleting {
        return Plan::default();
    }
    let left_alone = |what: &str| {
        let message = format!(
            "The annotation {}: \"{}\" of {what}: nothing is written or deleted",
            keys::MANAGED,
            keys::NOT_MANAGED
        );
        Plan::held(mesh_service, violation::LEFT_ALONE, Severity::Info, message)
    };
    if mesh_service.is_left_alone() {
        return left_alone("this object");
    }
    let asked = match &mesh_service.usable {
        Ok(asked) => asked,
        Err(problem) => return Plan::held(mesh_service, violation::INVALID_SPEC, Severity::Error, problem.clone()),
    };
    let service = &asked.service;
    if world.service.is_some_and(|service| service.is_left_alone) {
        return left_alone(&format!("the Service {service}"));
    }
    let mut builder = Builder::new(mesh_service, asked, world);
    let own = &mesh_service.key.namespace;
    if !world.consents.allow(&service.namespace, own) {
        let message = format!(
            "spec.namespace: the Namespace {} does not let MeshServices of {own} in: annotate it {}: {own}",
            service.namespace,
            keys::ALLOW_MESH_FROM
        );
        builder.tell(violation::NO_CONSENT, Severity::Error, message);
        return builder.plan;
    }
    if let Some(older) = builder.older_rival(|rival| rival.service == service, &service.namespace) {
        let message = format!(
            "The MeshService {older} is older, and names the Service {service}, too: nothing is made for this one"
        );
        builder.tell(violation::SERVICE_CLAIMED, Severity::Error, message);
        return builder.plan;
    }
    service::build(&mut builder);
    outside::build(&mut builder);
    destination_rule::build(&mut builder);
    gateway::build(&mut builder);
    route::build(&mut builder);
    policy::build(&mut builder);
    builder.plan
}
