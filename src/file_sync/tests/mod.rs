//! Tests of the room: who owns a file, which files there may be, and writes to a real folder.

mod engine;
mod folder;
mod naming;
mod plan;

use super::naming::{Absolute, Naming};
use super::object::{Kind, ObjectKey, WireObject};

pub(super) fn key(namespace: &str, name: &str) -> ObjectKey {
    ObjectKey { kind: Kind::ConfigMap, namespace: namespace.into(), name: name.into() }
}

pub(super) fn naming(root: &std::path::Path) -> Naming {
    Naming {
        roots: vec![root.to_owned()],
        annotation: "folder".to_owned(),
        absolute: Absolute::Itself,
        per_namespace: false,
        unique: false,
        suffixes: Vec::new(),
        urls: true,
    }
}

/// A `ConfigMap` from JSON of its data and annotations, created at this second.
pub(super) fn object(name: &str, created: i64, data: &serde_json::Value, folder: Option<&str>) -> WireObject {
    let created = jiff::Timestamp::from_second(created).expect("a time").to_string();
    let annotations = folder.map(|folder| serde_json::json!({"folder": folder}));
    let object = serde_json::json!({
        "metadata": {"name": name, "namespace": "n", "creationTimestamp": created, "annotations": annotations},
        "data": data,
    });
    serde_json::from_value(object).expect("an object")
}
