//! Shared by the tests of this module: configurations, Services and VirtualServices as users write them, and a small
//! world of them.

mod fake;
mod stream;
mod table;
mod written;

use super::{Configuration, ObservedService};
use serde_json::{Value, json};

pub(super) fn configuration(text: &str) -> Configuration {
    Configuration::read(text).unwrap_or_else(|problems| panic!("{problems:?}\n{text}"))
}

/// The Service in the README: one port without a name.
pub(super) fn service(namespace: &str, name: &str) -> ObservedService {
    service_with(namespace, name, &json!({"ports": [{"port": 80, "targetPort": 8080}]}))
}

pub(super) fn service_with(namespace: &str, name: &str, spec: &Value) -> ObservedService {
    ObservedService::read(json!({
        "metadata": {"name": name, "namespace": namespace, "uid": format!("{namespace}-{name}"), "resourceVersion": "1"},
        "spec": spec,
    }))
}
