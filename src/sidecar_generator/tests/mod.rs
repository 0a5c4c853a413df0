//! SidecarGenerators and Sidecars for the tests of this module.

pub mod world;

use super::generator::ObservedGenerator;
use serde_json::{Value, json};
use std::sync::Arc;

/// A SidecarGenerator with this name and spec in the namespace `default`.
pub fn generator(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "networking.example.com/v1alpha1", "kind": "SidecarGenerator", "spec": spec,
        "metadata": {"name": name, "namespace": "default", "uid": format!("uid-of-{name}"), "resourceVersion": "1",
                     "generation": 1}
    })
}

/// The same as last seen.
pub fn observed(name: &str, spec: &Value) -> Arc<ObservedGenerator> {
    Arc::new(ObservedGenerator::read(generator(name, spec)))
}

/// A Sidecar with this name and spec in the namespace `default`.
pub fn sidecar(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "Sidecar", "spec": spec,
        "metadata": {"name": name, "namespace": "default", "uid": format!("uid-of-sidecar-{name}"), "resourceVersion": "1"}
    })
}
