//! Tests of this module: the owner of a file, allowed files, and writes to a real folder.

mod agent;
mod calls;
mod engine;
mod folder;
mod naming;
mod plan;
mod reload;

use std::time::Duration;

use super::naming::{Absolute, Naming};
use super::object::{Kind, ObjectKey, WireObject};
use super::options::{Calls, Login, Method, Options, Reload, Selection, Urls};

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

/// A `ConfigMap` with this data and these annotations as JSON, created at this second.
pub(super) fn object(name: &str, created: i64, data: &serde_json::Value, folder: Option<&str>) -> WireObject {
    let created = jiff::Timestamp::from_second(created).expect("a time").to_string();
    let annotations = folder.map(|folder| serde_json::json!({"folder": folder}));
    let object = serde_json::json!({
        "metadata": {"name": name, "namespace": "n", "creationTimestamp": created, "annotations": annotations},
        "data": data,
    });
    serde_json::from_value(object).expect("an object")
}

pub(super) fn calls() -> Calls {
    Calls {
        retries: 5,
        retries_connect: 10,
        retries_read: 5,
        backoff: 0.001,
        timeout: Duration::from_secs(10),
        skip_verify: false,
        ca_file: None,
        login: Login::default(),
    }
}

/// Allows URLs on this machine.
pub(super) fn urls() -> Urls {
    Urls {
        allow: crate::fetch::Allow::loopback(),
        limit: 1_000_000,
        store_5xx: false,
        refused: Vec::new(),
        credentials: Some(Vec::new()),
        credentials_home: true,
    }
}

/// Selects `ConfigMaps` in these namespaces.
pub(super) fn options(root: &std::path::Path, method: Method, namespaces: &[&str]) -> Options {
    Options {
        selection: Selection {
            kinds: vec![Kind::ConfigMap],
            namespaces: namespaces.iter().map(ToString::to_string).collect(),
            labels: Some("l".to_owned()),
            names: Vec::new(),
        },
        method,
        naming: naming(root),
        mode: None,
        resync: Duration::from_secs(60),
        heal: true,
        urls: urls(),
        reload: Reload::default(),
        calls: calls(),
        contact: Duration::from_secs(120),
        watch: (60, Duration::from_secs(66)),
        longest_pause: Duration::from_secs(5),
    }
}
