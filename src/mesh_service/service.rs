//! The Service of a MeshService, if one is to be made.

use super::build::Builder;
use super::kind::MeshKind;
use super::port::Port;
use super::violation;
use crate::api::keys;
use crate::api::mesh_service::Severity;
use serde_json::{Value, json};

pub(super) fn build(builder: &mut Builder<'_>) {
    let key = &builder.asked.service;
    let selector = match &builder.asked.service_selector {
        Ok(Some(selector)) => selector,
        Ok(None) => return,
        Err(problem) => {
            builder.tell(
                violation::INVALID_SPEC,
                Severity::Error,
                format!("{problem}. The Service {key} is not written"),
            );
            builder.keep(MeshKind::Service, key.clone());
            return;
        }
    };
    let is_of_somebody_else =
        builder.world.service.is_some_and(|service| service.owner.as_ref() != Some(&builder.mesh_service.key));
    if is_of_somebody_else {
        let message = format!(
            "The Service {key} is somebody else's and is left as it is: remove the annotation {}, or delete the Service",
            keys::SERVICE_SELECTOR
        );
        builder.tell(violation::SERVICE_NOT_OWNED, Severity::Warning, message);
        return;
    }
    if !builder.makes(MeshKind::Service) {
        return;
    }
    let ports: Vec<Value> = builder.ports.iter().map(Port::of_service).collect();
    let spec = json!({"selector": selector, "ports": ports});
    builder.add(MeshKind::Service, key.clone(), spec, |_| None);
}
