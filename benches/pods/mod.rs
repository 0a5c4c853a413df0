//! Pods as the API server hands them to a watch, injected by one set, for measurements of the rollout's index.

use outrigger::rollout::{ObservedSet, PodIndex, WatchedPod};
use serde_json::{Value, json};

/// The set that all Pods are injected by.
pub const SET: &str = "logs";

/// A running Pod of a Deployment with three app containers, two injected ones and ten labels; the rest of a real Pod, which is
/// left out when it is decoded, is not there.
pub fn pod(number: usize) -> Value {
    let name = format!("checkout-{}-7d9c5b8f6d-{number:05}", number / 10);
    let digest = "4bcff63911fcb4448bd4fdacec207030997caf25e9bea4045fa6c8c44de311d1";
    let containers = ["web", "cache", "metrics", "log-agent", "log-shipper"];
    let image = |container: &str| format!("registry.example.com/team/{container}:2026.1.{}", number % 3);
    let statuses: Vec<Value> = containers
        .iter()
        .map(|container| {
            json!({"name": container, "image": image(container), "ready": true,
                   "imageID": format!("registry.example.com/team/{container}@sha256:{digest}")})
        })
        .collect();
    let record = |hash: &str| {
        json!({SET: {"updateTimestamp": "2026-01-02T03:04:05Z", "hash": hash, "sidecarSetName": SET,
                     "sidecarList": ["log-agent", "log-shipper"], "controllerRevision": "logs-7bd95d5c6b"}})
        .to_string()
    };
    json!({
        "metadata": {
            "name": name, "namespace": format!("team-{}", number % 20), "resourceVersion": (1_000_000 + number).to_string(),
            "uid": format!("6f1b7a54-0c1e-4f6e-9d6b-{number:012}"),
            "labels": {
                "app": "checkout", "tier": "backend", "team": format!("team-{}", number % 20), "pod-template-hash": "7d9c5b8f6d",
                "app.kubernetes.io/name": "checkout", "app.kubernetes.io/instance": format!("checkout-{}", number / 10),
                "app.kubernetes.io/version": "2026.1.0", "app.kubernetes.io/managed-by": "Helm",
                "topology.kubernetes.io/zone": format!("zone-{}", number % 3), "logs.example.com/enabled": "true",
            },
            "annotations": {
                "kruise.io/sidecarset-injected-list": SET,
                "kruise.io/sidecarset-hash": record("w26c4x8fz245642fdv499b464248f974xddx4x55z5dw55bc6x66464fxz77dc78"),
                "kruise.io/sidecarset-hash-without-image":
                    record("8wzddb4dvv9c6x8zdc77z4z75987424f457dfv6724ddw6zbdx467wz5x24fc759"),
            },
        },
        "spec": {"containers": containers.map(|container| json!({"name": container, "image": image(container)}))},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": statuses},
    })
}

/// So many Pods, as the watch decodes them.
pub fn watched(pods: usize) -> Vec<WatchedPod> {
    (0..pods).filter_map(|number| serde_json::from_value(pod(number)).ok()).collect()
}

/// The set with these containers' images; another image is another hash.
pub fn set(version: usize) -> ObservedSet {
    ObservedSet::read(&json!({
        "apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet", "metadata": {"name": SET, "generation": version},
        "spec": {"selector": {"matchLabels": {"logs.example.com/enabled": "true"}},
                 "containers": [{"name": "log-agent", "image": format!("registry.example.com/team/log-agent:{version}")},
                                {"name": "log-shipper", "image": "registry.example.com/team/log-shipper:1"}]}
    }))
}

/// Makes the index know the set.
pub fn apply(index: &mut PodIndex, set: &ObservedSet) {
    index.apply_set(&set.name, set.usable.as_ref().ok().map(|usable| usable.rules.clone()));
}
