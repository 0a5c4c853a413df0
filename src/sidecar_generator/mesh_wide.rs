//! Pure: the condition of a SidecarGenerator whose namespace makes its Sidecar apply to the whole mesh.

use super::generator::ObservedGenerator;
use crate::api::sidecar_generator::SidecarGeneratorStatus;
use crate::cluster::conditions;
use jiff::Timestamp;

/// Whether the Sidecar also applies to other namespaces. Only reported if it does or did.
pub const MESH_WIDE: &str = "MeshWide";

/// Istio's root namespace, unless the mesh configuration sets another.
pub const ROOT_NAMESPACE: &str = "istio-system";

/// Returns the planned status, or else the current one, with the condition; `None` if it is unchanged.
#[must_use]
pub fn told(
    generator: &ObservedGenerator,
    root_namespace: &str,
    planned: Option<SidecarGeneratorStatus>,
    now: Timestamp,
) -> Option<SidecarGeneratorStatus> {
    let Ok(spec) = &generator.usable else { return planned };
    let has_selector = spec.selector.as_ref().is_some_and(|selector| !selector.labels.is_empty());
    let is_mesh_wide = generator.key.namespace == root_namespace && !has_selector;
    let was = generator.status.conditions.iter().any(|condition| condition.type_ == MESH_WIDE);
    if !is_mesh_wide && !was {
        return planned;
    }
    let (reason, message) = if is_mesh_wide {
        let message = format!(
            "{root_namespace} is Istio's root namespace: the Sidecar applies to the Pods of every namespace without \
             its own Sidecar; unless that is intended, give the SidecarGenerator a workloadSelector, or move it"
        );
        ("RootNamespace", message)
    } else {
        ("OwnNamespaceOnly", "the Sidecar applies only to Pods of its own namespace".to_owned())
    };
    let condition = conditions::condition(MESH_WIDE, is_mesh_wide, reason, message, Some(generator.generation), now);
    let mut status = planned.unwrap_or_else(|| generator.status.clone());
    conditions::set(&mut status.conditions, condition);
    (status != generator.status).then_some(status)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sidecar_generator::tests::generator;
    use serde_json::{Value, json};

    /// Returns status and message of the condition for a generator in this namespace, given the previous one.
    fn condition(namespace: &str, spec: &Value, before: &Value) -> Option<(String, String)> {
        let mut object = generator("g", spec);
        object["metadata"]["namespace"] = namespace.into();
        object["status"] = before.clone();
        let status = told(&ObservedGenerator::read(object), ROOT_NAMESPACE, None, Timestamp::UNIX_EPOCH)?;
        let condition = status.conditions.into_iter().find(|condition| condition.type_ == MESH_WIDE)?;
        Some((condition.status, condition.message))
    }

    #[test]
    fn a_sidecar_of_the_root_namespace_without_a_selector_says_that_it_is_for_the_mesh() {
        let (none, spec) = (json!(null), json!({"url": "http://deps.example.com/x"}));
        let mut selecting = spec.clone();
        selecting["workloadSelector"] = json!({"labels": {"app": "gateway"}});
        let (is, message) = condition("istio-system", &spec, &none).unwrap();
        assert_eq!(is, "True");
        assert!(message.starts_with("istio-system is Istio's root namespace: the Sidecar applies to"), "{message}");
        assert_eq!(condition("istio-system", &selecting, &none), None);
        assert_eq!(condition("shop", &spec, &none), None);

        let told = json!({"conditions": [{"type": MESH_WIDE, "status": "True", "reason": "RootNamespace", "message": message,
                                          "observedGeneration": 1, "lastTransitionTime": "1970-01-01T00:00:00Z"}]});
        assert_eq!(condition("istio-system", &spec, &told), None, "it is said once");
        assert_eq!(condition("istio-system", &selecting, &told).unwrap().0, "False");
    }
}
