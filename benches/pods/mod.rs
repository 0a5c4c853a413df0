//! Pods as the API server sends them to a watch, injected by one set, for measurements of the rollout's index.

use outrigger::injection::StoredSet;
use outrigger::rollout::{ObservedSet, PodIndex, WatchedPod};
use serde_json::{Value, json};
use std::sync::LazyLock;

/// The set that is injected into all Pods.
pub const SET: &str = "logs";

/// The hashes of the set's first version, with and without images.
static HASHES: LazyLock<[String; 2]> = LazyLock::new(|| {
    let hashes =
        set(1).usable.map(|usable| [usable.rules.hash(), usable.rules.hash_without_image()].map(str::to_owned));
    hashes.unwrap_or_default()
});

/// Returns a running Pod of a Deployment with three app containers, two injected ones and ten labels. It lacks the
/// parts of a real Pod that decoding drops.
pub fn pod(number: usize) -> Value {
    let name = format!("checkout-{}-7d9c5b8f6d-{number:05}", number / 10);
    let digest = "4bcff63911fcb4448bd4fdacec207030997caf25e9bea4045fa6c8c44de311d1";
    let containers = ["web", "cache", "metrics", "log-agent", "log-shipper"];
    let image = |container: &str| match container {
        "log-agent" | "log-shipper" => format!("registry.example.com/team/{container}:1"),
        _ => format!("registry.example.com/team/{container}:2026.1.{}", number % 3),
    };
    let statuses: Vec<Value> = containers
        .iter()
        .map(|container| {
            json!({"name": container, "image": image(container), "ready": true,
                   "imageID": format!("registry.example.com/team/{container}@sha256:{digest}")})
        })
        .collect();
    let [hash, hash_without_image] = &*HASHES;
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
                "kruise.io/sidecarset-hash": record(hash),
                "kruise.io/sidecarset-hash-without-image": record(hash_without_image),
            },
        },
        "spec": {"containers": containers.map(|name| container(name, &image(name), number))},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": statuses},
    })
}

/// Returns a container as the API server has it. The volume of the service account's token has another name in each
/// Pod.
fn container(name: &str, image: &str, number: usize) -> Value {
    let token = json!({"name": format!("kube-api-access-{number:05}"), "readOnly": true,
                       "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"});
    let sidecar = name.starts_with("log-");
    let own = if sidecar { sidecar_fields() } else { json!({"env": [{"name": "PORT", "value": "8080"}]}) };
    let mut env = own["env"].as_array().cloned().unwrap_or_default();
    let mut mounts = own["volumeMounts"].as_array().cloned().unwrap_or_default();
    env.push(json!({"name": "TRACE_AGENT", "value": "10.0.0.1"}));
    mounts.push(token);
    if sidecar {
        env.push(json!({"name": "IS_INJECTED", "value": "true"}));
    }
    json!({"name": name, "image": image, "args": own["args"], "env": env, "volumeMounts": mounts})
}

/// Reports to the index that these are all Pods.
pub fn list(index: &mut PodIndex, pods: &[WatchedPod]) {
    index.begin_list();
    for pod in pods {
        index.apply_pod(pod);
    }
    index.end_list();
}

/// Returns what both containers of the set have in addition to name and image.
fn sidecar_fields() -> Value {
    json!({
        "args": ["--config=/etc/logs/agent.conf", "--buffer=/var/log/app", "--listen=:2020"],
        "env": [{"name": "LOG_LEVEL", "value": "info"}, {"name": "CLUSTER", "value": "eu-1"},
                {"name": "POD_NAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}},
                {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "logs", "key": "token"}}}],
        "volumeMounts": [{"name": "buffer", "mountPath": "/var/log/app"}, {"name": "config", "mountPath": "/etc/logs"}],
    })
}

/// Returns so many Pods, as the watch decodes them.
pub fn watched(pods: usize) -> Vec<WatchedPod> {
    (0..pods).filter_map(|number| serde_json::from_value(pod(number)).ok()).collect()
}

/// Returns the set with these containers' images; another image is another hash.
pub fn set(version: usize) -> ObservedSet {
    let container = |name: &str, version: usize| {
        let mut container = sidecar_fields();
        container["name"] = name.into();
        container["image"] = format!("registry.example.com/team/{name}:{version}").into();
        container
    };
    ObservedSet::of(&StoredSet::read(json!({
        "apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet", "metadata": {"name": SET, "generation": version},
        "spec": {"selector": {"matchLabels": {"logs.example.com/enabled": "true"}},
                 "updateStrategy": {"maxUnavailable": "10%"},
                 "containers": [container("log-agent", version), container("log-shipper", 1)],
                 "volumes": [{"name": "buffer", "emptyDir": {}}, {"name": "config", "configMap": {"name": "logs"}}]}
    })))
}

/// Adds the set to the index.
pub fn apply(index: &mut PodIndex, set: &ObservedSet) {
    index.apply_set(&set.name, set.usable.as_ref().ok().map(|usable| usable.rules.clone()));
}
