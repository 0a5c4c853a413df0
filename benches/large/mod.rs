//! Pods with very many items, and SidecarSets that read each of them. They show work that grows faster than the Pod.

use serde_json::{Value, json};

/// A kind of large Pod.
pub struct Shape {
    /// The items that the Pod has many of.
    pub name: &'static str,
    /// Returns the Pod with so many of them.
    pub pod: fn(usize) -> Value,
    /// Returns the spec of a SidecarSet for it. Its own lists grow with the Pod's when both are read together.
    pub spec: fn(usize) -> Value,
}

/// Returns the spec of a SidecarSet that uses nothing of a Pod.
pub fn shares_nothing() -> Value {
    spec(json!({"containers": [{"name": "plain", "image": "x:1"}]}))
}

/// Returns the spec of a SidecarSet without its selector, as an object.
pub fn sidecarset(spec: &Value) -> Value {
    json!({"apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet", "metadata": {"name": "large"}, "spec": spec})
}

/// Two sidecars that share mounts, as in the other measurements.
pub const MOUNTS: Shape = Shape {
    name: "mounts",
    pod: |n| {
        let mounts = each(n, |i| json!({"name": "data", "mountPath": format!("/data/{i}")}));
        pod(&[json!({"name": "app", "image": "x:1", "volumeMounts": mounts})], &json!({}), &json!({}))
    },
    spec: |_| sharing(&json!({"shareVolumePolicy": {"type": "enabled"}})),
};

/// All kinds.
pub const SHAPES: [Shape; 12] = [
    MOUNTS,
    Shape {
        name: "mounts that the sidecars have already",
        pod: |n| {
            let mounts = each(n, |i| json!({"name": "data", "mountPath": format!("/data/{i}")}));
            pod(&[json!({"name": "app", "image": "x:1", "volumeMounts": mounts})], &json!({}), &json!({}))
        },
        spec: |n| {
            let mounts = each(n / 2, |i| json!({"name": "data", "mountPath": format!("/data/{i}")}));
            sharing(&json!({"shareVolumePolicy": {"type": "enabled"}, "volumeMounts": mounts}))
        },
    },
    Shape {
        name: "block devices",
        pod: |n| {
            let devices = each(n, |i| json!({"name": "data", "devicePath": format!("/dev/{i}")}));
            pod(&[json!({"name": "app", "image": "x:1", "volumeDevices": devices})], &json!({}), &json!({}))
        },
        spec: |_| sharing(&json!({"shareVolumeDevicePolicy": {"type": "enabled"}})),
    },
    Shape {
        name: "variables of subPathExpr",
        pod: |n| {
            let env = each(n, |i| json!({"name": format!("V{i}"), "value": "v"}));
            let mounts = each(
                n,
                |i| json!({"name": "data", "mountPath": format!("/data/{i}"), "subPathExpr": format!("$(V{})", n - 1 - i)}),
            );
            pod(&[json!({"name": "app", "image": "x:1", "env": env, "volumeMounts": mounts})], &json!({}), &json!({}))
        },
        spec: |_| sharing(&json!({"shareVolumePolicy": {"type": "enabled"}})),
    },
    Shape {
        name: "transferred variables",
        pod: |n| {
            let env = each(n, |i| json!({"name": format!("V{i}"), "value": "v"}));
            pod(&[json!({"name": "app", "image": "x:1", "env": env})], &json!({}), &json!({}))
        },
        spec: |n| {
            let sources = each(n / 4, |i| json!({"sourceContainerName": "app", "envName": format!("V{i}")}));
            sharing(&json!({"transferEnv": sources}))
        },
    },
    Shape {
        name: "references of a transferred variable",
        pod: |n| {
            let mut env: Vec<_> = (0..n).map(|i| json!({"name": format!("V{i}"), "value": "v"})).collect();
            env.push(json!({"name": "URL", "value": "$(ABSENT)".repeat(n)}));
            pod(&[json!({"name": "app", "image": "x:1", "env": env})], &json!({}), &json!({}))
        },
        spec: |_| sharing(&json!({"transferEnv": [{"sourceContainerName": "app", "envName": "URL"}]})),
    },
    Shape {
        name: "transfers by label",
        pod: |n| {
            let labels = (0..n).map(|i| (format!("l{i}"), json!("app"))).collect();
            pod(
                &[json!({"name": "app", "image": "x:1", "env": [{"name": "V", "value": "v"}]})],
                &Value::Object(labels),
                &json!({}),
            )
        },
        spec: |n| {
            let source = |i: usize| json!({"fieldRef": {"fieldPath": format!("metadata.labels['l{i}']")}});
            let sources = each(n / 4, |i| json!({"sourceContainerNameFrom": source(i), "envName": "V"}));
            sharing(&json!({"transferEnv": sources}))
        },
    },
    Shape {
        name: "containers beside computed resources",
        pod: |n| {
            let containers = each(
                n,
                |i| json!({"name": format!("app-{i}"), "image": "x:1", "resources": {"requests": {"cpu": "1m"}}}),
            );
            pod(containers.as_array().map_or(&[], Vec::as_slice), &json!({}), &json!({}))
        },
        spec: |n| {
            let computed = json!({"targetContainersNameRegex": "^app-[0-9]*$", "targetContainersMode": "sum",
                                  "resourcesExpr": {"requests": {"cpu": "cpu*10%"}}});
            let mut containers =
                (0..n / 4).map(|i| json!({"name": format!("own-{i}"), "image": "x:1"})).collect::<Vec<_>>();
            containers.push(json!({"name": "computed", "image": "x:1", "resourcesPolicy": computed}));
            spec(json!({"containers": containers}))
        },
    },
    Shape {
        name: "init containers beside those of the set",
        pod: |n| {
            let containers = each(n, |i| json!({"name": format!("app-{i}"), "image": "x:1"}));
            let mut pod = pod(&[json!({"name": "app", "image": "x:1"})], &json!({}), &json!({}));
            pod["spec"]["initContainers"] = containers;
            pod
        },
        spec: |n| {
            let app = json!({"name": "app-sidecar", "image": "x:1"});
            spec(json!({"containers": [app],
                        "initContainers": each(n / 4, |i| json!({"name": format!("own-{i}"), "image": "x:1"}))}))
        },
    },
    Shape {
        name: "volumes",
        pod: |n| {
            let mut pod = pod(&[json!({"name": "app", "image": "x:1"})], &json!({}), &json!({}));
            pod["spec"]["volumes"] = each(n, |i| json!({"name": format!("own-{i}"), "emptyDir": {}}));
            pod
        },
        spec: |n| {
            let mounts = each(n / 4, |i| json!({"name": format!("v{i}"), "mountPath": format!("/v/{i}")}));
            let volumes = each(n / 4, |i| json!({"name": format!("v{i}"), "emptyDir": {}}));
            spec(json!({"containers": [{"name": "c", "image": "x:1", "volumeMounts": mounts}], "volumes": volumes}))
        },
    },
    Shape {
        name: "pull secrets",
        pod: |n| {
            let mut pod = pod(&[json!({"name": "app", "image": "x:1"})], &json!({}), &json!({}));
            pod["spec"]["imagePullSecrets"] = each(n, |i| json!({"name": format!("own-{i}")}));
            pod
        },
        spec: |n| {
            let secrets = each(n / 4, |i| json!({"name": format!("s{i}")}));
            spec(json!({"containers": [{"name": "c", "image": "x:1"}], "imagePullSecrets": secrets}))
        },
    },
    Shape {
        name: "annotations",
        pod: |n| {
            let annotations = (0..n).map(|i| (format!("a{i}"), json!(""))).collect();
            pod(&[json!({"name": "app", "image": "x:1"})], &json!({}), &Value::Object(annotations))
        },
        spec: |n| {
            let annotations: serde_json::Map<_, _> = (0..n / 4).map(|i| (format!("s{i}"), json!(""))).collect();
            spec(json!({"containers": [{"name": "c", "image": "x:1"}],
                        "patchPodMetadata": [{"annotations": annotations, "patchPolicy": "Retain"}]}))
        },
    },
];

fn each(n: usize, item: impl Fn(usize) -> Value) -> Value {
    (0..n).map(item).collect()
}

fn pod(containers: &[Value], labels: &Value, annotations: &Value) -> Value {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": labels, "annotations": annotations},
                         "spec": {"containers": containers}});
    pod["metadata"]["labels"]["app"] = json!("large");
    pod
}

fn spec(mut spec: Value) -> Value {
    spec["selector"] = json!({"matchLabels": {"app": "large"}});
    spec
}

/// Returns two sidecars with these fields.
fn sharing(fields: &Value) -> Value {
    let sidecar = |name: &str| {
        let mut sidecar = fields.clone();
        sidecar["name"] = json!(name);
        sidecar["image"] = json!("x:1");
        sidecar
    };
    spec(json!({"containers": [sidecar("one"), sidecar("two")]}))
}
