//! Which sets inject into a Pod.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::json::{items, text};
use super::{Request, Set, World};

/// The kubelet's annotation on the mirror of a static Pod.
pub const MIRROR: &str = "kubernetes.io/config.mirror";
/// `"true"` on a `SidecarSet` that replaces its [`BASE`] in Pods that both match.
pub const CANARY: &str = "apps.kruise.io/sidecarset-canary";
/// The set that a [`CANARY`] replaces.
pub const BASE: &str = "apps.kruise.io/sidecarset-base";

const EXCLUDED_NAMESPACES: [&str; 1] = ["kube-system"];
const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Returns the sets that inject into the request's Pod, by name.
pub fn matching_sets<'w>(world: &'w World, request: &Request) -> Vec<&'w Set> {
    let pod = &request.pod;
    let namespace = pod_namespace(request);
    if is_excluded(request, namespace) {
        return Vec::new();
    }
    let mut sets: Vec<&Set> = world.sets.iter().filter(|set| matches(set, pod, namespace, &world.namespaces)).collect();
    let replaced: BTreeSet<&str> = sets.iter().filter_map(|set| canary_base(set)).collect();
    sets.retain(|set| !replaced.contains(set.name()));
    sets.sort_by_key(|set| set.name());
    sets
}

/// Returns the name of the set that this one replaces.
fn canary_base(set: &Set) -> Option<&str> {
    let annotations = &set.written["metadata"]["annotations"];
    let base = annotations[BASE].as_str().filter(|base| !base.is_empty() && *base != set.name());
    base.filter(|_| annotations[CANARY] == "true")
}

fn pod_namespace(request: &Request) -> &str {
    let candidates = [text(&request.pod, "/metadata/namespace"), request.namespace.as_str(), "default"];
    candidates.into_iter().find(|namespace| !namespace.is_empty()).unwrap_or_default()
}

fn is_excluded(request: &Request, namespace: &str) -> bool {
    let pod = &request.pod;
    request.operation != "CREATE"
        || !request.sub_resource.is_empty()
        || EXCLUDED_NAMESPACES.contains(&namespace)
        || pod["metadata"]["annotations"].get(MIRROR).is_some()
        || !pod["metadata"]["deletionTimestamp"].is_null()
        || ["Succeeded", "Failed"].contains(&text(pod, "/status/phase"))
}

fn matches(set: &Set, pod: &Value, namespace: &str, namespaces: &[Value]) -> bool {
    let spec = &set.written["spec"];
    spec["injectionStrategy"]["paused"] != true
        && covers_namespace(set, namespace, namespaces)
        && !is_empty(&spec["selector"])
        && selects(&spec["selector"], &labels(pod))
}

fn covers_namespace(set: &Set, namespace: &str, namespaces: &[Value]) -> bool {
    let spec = &set.written["spec"];
    if set.written["apiVersion"] == "apps.kruise.io/v1alpha1" && !text(spec, "/namespace").is_empty() {
        return text(spec, "/namespace") == namespace;
    }
    if spec["namespaceSelector"].is_null() {
        return true;
    }
    // The API server gives every Namespace this label, whatever the file says, even if there is none.
    let object = namespaces.iter().find(|object| text(object, "/metadata/name") == namespace);
    let mut labels = object.map(labels).unwrap_or_default();
    labels.insert(NAMESPACE_NAME_LABEL.to_owned(), namespace.to_owned());
    selects(&spec["namespaceSelector"], &labels)
}

fn is_empty(selector: &Value) -> bool {
    selector["matchLabels"].as_object().is_none_or(Map::is_empty) && items(selector, "/matchExpressions").is_empty()
}

fn selects(selector: &Value, labels: &BTreeMap<String, String>) -> bool {
    let label_matches = |(key, value): (&String, &Value)| labels.get(key).map(String::as_str) == value.as_str();
    let expression_matches = |expression: &Value| {
        let label = labels.get(text(expression, "/key"));
        let is_listed = |label: &String| items(expression, "/values").iter().any(|value| value == label);
        match text(expression, "/operator") {
            "In" => label.is_some_and(is_listed),
            "NotIn" => !label.is_some_and(is_listed),
            "Exists" => label.is_some(),
            "DoesNotExist" => label.is_none(),
            _ => false,
        }
    };
    selector["matchLabels"].as_object().into_iter().flatten().all(label_matches)
        && items(selector, "/matchExpressions").iter().all(expression_matches)
}

fn labels(object: &Value) -> BTreeMap<String, String> {
    let labels = object["metadata"]["labels"].as_object().into_iter().flatten();
    labels.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
}
