//! Whether Istio accepts an object: the rules of its `CustomResourceDefinitions` and of istiod's webhook, for objects as
//! users write them.
//!
//! Source: `pkg/config/validation` of Istio 1.32.

mod balancer;
mod crd;
mod destination_rule;
mod duration;
mod faults;
mod gateway;
mod http;
mod route;
mod schema;
mod security;
mod service_entry;
mod shadow;
mod sidecar;
#[cfg(test)]
mod tests;
mod virtual_service;

pub(crate) use faults::{By, Fault, FaultKind};

use super::node::Node;
use crate::api::decode::FieldError;
use crate::api::istio::message::Field;
use crate::api::istio::networking::VIRTUAL_SERVICE;
use faults::Faults;
use serde_json::Value;

/// Returns all problems of an Istio object in a namespace, by its CustomResourceDefinition and by istiod.
pub(crate) fn object(kind: &str, version: &str, object: &Value, namespace: &str) -> Vec<Fault> {
    let mut faults = Faults::default();
    let Some(fields) = schema::of(kind) else { return faults.0 };
    let is_policy = matches!(kind, "PeerAuthentication" | "AuthorizationPolicy");
    if is_policy && !["v1", "v1beta1"].contains(&version) {
        faults.error("apiVersion", "must be security.istio.io/v1 or v1beta1");
    } else if !is_policy && !["v1", "v1beta1", "v1alpha3"].contains(&version) {
        faults.error("apiVersion", "must be networking.istio.io/v1, v1beta1 or v1alpha3");
    }
    faults.metadata(object);
    let spec = Node::root(object, "spec");
    check(kind, fields, &spec, namespace, &mut faults);
    faults.joined()
}

/// Returns why Istio would reject a VirtualService with this `spec` in a namespace.
pub(crate) fn refused_virtual_service(spec: &Value, namespace: &str) -> Vec<FieldError> {
    let mut faults = Faults::default();
    check("VirtualService", VIRTUAL_SERVICE, &Node::new(spec, "spec"), namespace, &mut faults);
    let errors = faults.joined().into_iter().filter(|fault| matches!(fault.kind, FaultKind::Error(_)));
    errors.map(|Fault { field, problem, .. }| FieldError::new(field, problem)).collect()
}

/// Checks both rule sets: the CustomResourceDefinition's, and that of istiod's webhook.
fn check(kind: &str, fields: &'static [Field], spec: &Node<'_>, namespace: &str, faults: &mut Faults) {
    if schema::check(fields, spec, faults) {
        match kind {
            "VirtualService" => virtual_service::check(spec, namespace, faults),
            "DestinationRule" => destination_rule::check(spec, namespace, faults),
            "Gateway" => gateway::check(spec, faults),
            "ServiceEntry" => service_entry::check(spec, namespace, faults),
            "Sidecar" => sidecar::check(spec, namespace, faults),
            "PeerAuthentication" => security::peer_authentication(spec, faults),
            "AuthorizationPolicy" => security::authorization_policy(spec, faults),
            _ => {}
        }
    }
    crd::check(kind, spec.value, faults);
}
