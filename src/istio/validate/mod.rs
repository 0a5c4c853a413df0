//! Whether Istio takes an object: the rules of its `CustomResourceDefinitions` and of istiod's webhook, for objects as users
//! write them.
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
mod service_entry;
mod shadow;
mod sidecar;
#[cfg(test)]
mod tests;
mod virtual_service;

pub(crate) use faults::{By, Fault, FaultKind};

use super::findings::Findings;
use super::node::Node;
use faults::Faults;
use serde_json::Value;

/// All that is wrong with the `spec` of a VirtualService, DestinationRule, Gateway, ServiceEntry or Sidecar in a namespace, as JSON that
/// the API server would be sent. Of other kinds nothing is said.
#[must_use]
pub fn spec(kind: &str, spec: &Value, namespace: &str) -> Findings {
    let object = serde_json::json!({"metadata": {"name": "unnamed"}, "spec": spec});
    let mut findings = Findings::default();
    for Fault { kind, field, problem } in self::object(kind, "v1", &object, namespace) {
        let below = field.strip_prefix("spec").map_or(field.as_str(), |rest| rest.trim_start_matches('.'));
        match kind {
            FaultKind::Error(_) => findings.error(below, problem),
            _ => findings.warning(below, problem),
        }
    }
    findings
}

/// All that is wrong with an object of `networking.istio.io` in a namespace: by its CustomResourceDefinition, and by istiod.
pub(crate) fn object(kind: &str, version: &str, object: &Value, namespace: &str) -> Vec<Fault> {
    let mut faults = Faults::default();
    let Some(fields) = schema::of(kind) else { return faults.0 };
    if !["v1", "v1beta1", "v1alpha3"].contains(&version) {
        faults.error("apiVersion", "must be networking.istio.io/v1, v1beta1 or v1alpha3");
    }
    faults.metadata(object);
    let spec = Node::root(object, "spec");
    if schema::check(fields, &spec, &mut faults) {
        match kind {
            "VirtualService" => virtual_service::check(&spec, namespace, &mut faults),
            "DestinationRule" => destination_rule::check(&spec, namespace, &mut faults),
            "Gateway" => gateway::check(&spec, &mut faults),
            "ServiceEntry" => service_entry::check(&spec, namespace, &mut faults),
            "Sidecar" => sidecar::check(&spec, namespace, &mut faults),
            _ => {}
        }
    }
    crd::check(kind, spec.value, &mut faults);
    faults.joined()
}
