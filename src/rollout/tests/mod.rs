//! Pods and SidecarSets for the tests of this module.

mod budget;

use super::counting::CountingRules;
use super::watched_pod::WatchedPod;
use crate::api::decode;
use crate::injection::InjectableSet;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};

/// Builds a Pod step by step.
#[derive(Clone)]
pub struct PodBuilder(Value);

impl PodBuilder {
    /// A running Pod in the namespace `default`.
    pub fn new(name: &str) -> Self {
        Self(json!({
            "metadata": {"name": name, "namespace": "default", "uid": format!("uid-of-{name}"),
                         "labels": {}, "annotations": {}},
            "spec": {"containers": []},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}], "containerStatuses": []}
        }))
    }

    pub fn namespace(mut self, namespace: &str) -> Self {
        self.0["metadata"]["namespace"] = json!(namespace);
        self
    }

    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.0["metadata"]["labels"][key] = json!(value);
        self
    }

    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.0["metadata"]["annotations"][key] = json!(value);
        self
    }

    /// Marks it as injected by this set alone, when the set had this hash.
    pub fn injected(self, set: &str, hash: &str) -> Self {
        let record = json!({set: {"hash": hash, "controllerRevision": format!("{set}-{hash}")}}).to_string();
        self.annotation("kruise.io/sidecarset-injected-list", set).annotation("kruise.io/sidecarset-hash", &record)
    }

    /// Adds an injected container that runs its image, hot or not.
    pub fn container(mut self, name: &str, image: &str) -> Self {
        let status = json!({"name": name, "image": image, "imageID": image, "ready": true});
        let version = |variable: &str, key: &str| {
            let path = format!("metadata.annotations['{key}.sidecarset.kruise.io/{name}']");
            json!({"name": variable, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}})
        };
        let mark = json!({"name": "IS_INJECTED", "value": "true"});
        let env = [mark, version("SIDECARSET_VERSION", "version"), version("SIDECARSET_VERSION_ALT", "versionalt")];
        self.list("/spec/containers").push(json!({"name": name, "image": image, "env": env}));
        self.list("/status/containerStatuses").push(status);
        self
    }

    pub fn init_containers(mut self, containers: &Value) -> Self {
        self.0["spec"]["initContainers"] = containers.clone();
        self
    }

    /// Changes fields of a container.
    pub fn changed(mut self, name: &str, fields: &Value) -> Self {
        for container in self.list("/spec/containers").iter_mut().filter(|container| container["name"] == name) {
            container.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        }
        self
    }

    /// Sets the kubelet's status of a container.
    pub fn status(mut self, name: &str, image: &str, image_id: &str) -> Self {
        for status in self.list("/status/containerStatuses").iter_mut().filter(|status| status["name"] == name) {
            status["image"] = json!(image);
            status["imageID"] = json!(image_id);
        }
        self
    }

    pub fn without_status(mut self, name: &str) -> Self {
        self.list("/status/containerStatuses").retain(|status| status["name"] != name);
        self
    }

    /// Merges these fields into its own.
    pub fn state(mut self, fields: &Value) -> Self {
        fn lay(over: &mut Value, fields: &Value) {
            match (over, fields) {
                (Value::Object(over), Value::Object(fields)) => {
                    fields.iter().for_each(|(key, value)| lay(over.entry(key).or_insert(Value::Null), value));
                }
                (over, fields) => *over = fields.clone(),
            }
        }
        lay(&mut self.0, fields);
        self
    }

    pub fn ready(mut self) -> Self {
        self.0["status"]["conditions"][0]["status"] = json!("True");
        self
    }

    pub fn phase(mut self, phase: &str) -> Self {
        self.0["status"]["phase"] = json!(phase);
        self
    }

    pub fn deleting(mut self) -> Self {
        self.0["metadata"]["deletionTimestamp"] = json!("2026-01-02T03:04:05Z");
        self
    }

    /// Returns the Pod as the API server has it.
    pub fn json(&self) -> Value {
        self.0.clone()
    }

    /// Returns the Pod as the watch delivers it, with its own resourceVersion.
    pub fn watched(&self) -> WatchedPod {
        static VERSION: AtomicU64 = AtomicU64::new(1);
        let mut pod = self.0.clone();
        pod["metadata"]["resourceVersion"] = json!(VERSION.fetch_add(1, Ordering::Relaxed).to_string());
        serde_json::from_value(pod).unwrap()
    }

    fn list(&mut self, path: &str) -> &mut Vec<Value> {
        self.0.pointer_mut(path).and_then(Value::as_array_mut).unwrap()
    }
}

/// A SidecarSet of this name and spec.
pub fn set(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet", "spec": spec,
        "metadata": {"name": name, "uid": format!("uid-of-{name}"), "resourceVersion": "1", "generation": 1}
    })
}

/// The counting rules of a set with this spec.
pub fn rules(name: &str, spec: &Value) -> CountingRules {
    let set = decode::sidecarset(set(name, spec)).unwrap();
    let spec = set.spec.clone();
    CountingRules::of(&InjectableSet::new(set).unwrap(), &spec)
}
