//! The PeerAuthentication and the AuthorizationPolicy of a MeshService. They select the Pods of its Service, unless the spec has a selector.

use super::build::Builder;
use super::kind::MeshKind;
use super::violation;
use crate::api::mesh_service::{Message, Severity};
use serde_json::{Value, json};

pub(super) fn build(builder: &mut Builder<'_>) {
    let spec = &builder.asked.spec;
    if let Some(policy) = &spec.peer_authentication {
        policy_of(builder, MeshKind::PeerAuthentication, policy, "spec.peerAuthentication");
    }
    if let Some(policy) = &spec.authorization {
        policy_of(builder, MeshKind::AuthorizationPolicy, policy, "spec.authorization");
    }
}

fn policy_of(builder: &mut Builder<'_>, kind: MeshKind, policy: &Message, field: &str) {
    if !builder.makes(kind) {
        return;
    }
    let key = builder.key("");
    let namespace = &builder.asked.service.namespace;
    if namespace == builder.world.root_namespace {
        // There Istio ignores a PeerAuthentication with a selector, and applies an AuthorizationPolicy in all namespaces.
        let message = format!(
            "{field}: {namespace} is Istio's root namespace, whose policies are for the whole mesh and not for one Service. No {kind} is \
             written"
        );
        builder.tell(violation::ROOT_NAMESPACE, Severity::Error, message);
        return;
    }
    let selector = match selector(builder, policy) {
        Ok(selector) => selector,
        Err(problem) => {
            builder.tell(violation::NO_SELECTOR, Severity::Error, format!("{field}: {problem}. No {kind} is written"));
            builder.keep(kind, key);
            return;
        }
    };
    let mut spec = policy.clone();
    spec.insert("selector".to_owned(), selector);
    builder.add(kind, key, spec.into(), |below| below.strip_prefix("spec").map(|below| format!("{field}{below}")));
}

/// Returns the selector of a policy. Without one it would apply to all Pods of the namespace.
fn selector(builder: &Builder<'_>, policy: &Message) -> Result<Value, &'static str> {
    if let Some(selector) = policy.get("selector") {
        let labels = selector.get("matchLabels").and_then(Value::as_object);
        return if labels.is_some_and(|labels| !labels.is_empty()) {
            Ok(selector.clone())
        } else {
            Err("selector.matchLabels must have a label: without one the policy is for all Pods of the namespace")
        };
    }
    let of_service = builder.world.service.map(|service| &service.selector);
    let labels = of_service.or(builder.asked.service_selector.as_ref().ok().and_then(Option::as_ref));
    match labels {
        Some(labels) if !labels.is_empty() => Ok(json!({"matchLabels": labels})),
        Some(_) => Err("the Service selects no Pods: give the labels of those that are meant in selector.matchLabels"),
        None => {
            Err("the Service, whose Pods are meant, does not exist: create it, or give labels in selector.matchLabels")
        }
    }
}
