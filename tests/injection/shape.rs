//! The structure of a patch: it is minimal in every case.

use json_patch::{Patch, PatchOperation};
use serde_json::{Value, json};

use crate::reference::INJECTED_LIST;
use crate::sets::LISTS;

/// Returns why a patch is not minimal. It must only add, except that a container may be replaced after a test of its
/// name and an annotation may get another text. Additions to a kept container also follow such a test, and go to the
/// ends of its lists.
pub fn fault_of_shape(pod: &Value, operations: &Patch) -> Option<String> {
    let mut pod = pod.clone();
    // The container whose name was tested, and whether anything was done to it since.
    let mut tested: Option<(String, bool)> = None;
    for operation in &operations.0 {
        let fault = |what: &str| Some(format!("{operation}: {what}"));
        let path = operation.path().to_string();
        let present = pod.pointer(&path).filter(|present| !present.is_null());
        let concerned = match operation {
            PatchOperation::Add(_) => container_around(&path),
            PatchOperation::Replace(_) => Some(path.as_str()),
            _ => None,
        };
        let is_tested = concerned.is_some() && concerned == tested.as_ref().map(|(tested, _)| tested.as_str());
        if tested.as_ref().is_some_and(|(_, used)| !used && !is_tested) {
            return fault("follows a test and is about something else");
        }
        tested = tested.filter(|_| is_tested).map(|(tested, _)| (tested, true));
        match operation {
            PatchOperation::Add(add) => {
                let (parent, _) = path.rsplit_once('/').unwrap_or_default();
                let inserts = pod.pointer(parent).is_some_and(Value::is_array);
                let rewrites = parent == "/metadata/annotations" && present != Some(&add.value);
                if !inserts && present.is_some() && !rewrites {
                    return fault("overwrites what is there");
                }
                if let Some(field) = concerned.and_then(|container| path.strip_prefix(container)) {
                    let at_end = ["volumeMounts", "volumeDevices", "env"]
                        .iter()
                        .any(|list| field == format!("/{list}") || field == format!("/{list}/-"));
                    if !is_tested || !at_end {
                        return fault(
                            "adds something else than to the end of a list of a container whose name was tested",
                        );
                    }
                }
            }
            PatchOperation::Test(_) => match path.strip_suffix("/name") {
                Some(container) => tested = Some((container.to_owned(), false)),
                None => return fault("tests something else than a name"),
            },
            PatchOperation::Replace(_) => {
                if !is_tested {
                    return fault("replaces something else than a container whose name was tested");
                }
            }
            _ => return fault("neither adds nor tests nor replaces"),
        }
        if let Err(error) = json_patch::patch(&mut pod, std::slice::from_ref(operation)) {
            return fault(&error.to_string());
        }
    }
    tested.filter(|(_, used)| !used).map(|(path, _)| format!("the test of {path} guards nothing"))
}

/// Returns the path of the container that a path leads into.
fn container_around(path: &str) -> Option<&str> {
    LISTS.iter().find_map(|list| {
        let (_, within) = path.strip_prefix(&format!("/spec/{list}/"))?.split_once('/')?;
        path.strip_suffix(within)?.strip_suffix('/')
    })
}

#[test]
fn a_patch_that_adds_and_replaces_tested_containers_is_minimal() {
    let pod = json!({"spec": {"containers": [{"name": "a"}], "volumes": null}, "metadata": {"annotations": {INJECTED_LIST: "a"}}});
    let good = json!([
        {"op": "add", "path": "/spec/containers/0", "value": {"name": "first"}},
        {"op": "add", "path": "/spec/volumes", "value": []},
        {"op": "add", "path": "/spec/volumes/-", "value": {}},
        {"op": "test", "path": "/spec/containers/1/name", "value": "a"},
        {"op": "replace", "path": "/spec/containers/1", "value": {"name": "a", "image": "b"}},
        {"op": "test", "path": "/spec/containers/1/name", "value": "a"},
        {"op": "add", "path": "/spec/containers/1/env", "value": []},
        {"op": "add", "path": "/spec/containers/1/env/-", "value": {"name": "LEVEL"}},
        {"op": "add", "path": "/metadata/annotations/kruise.io~1sidecarset-injected-list", "value": "a,b"},
    ]);
    let shape = |patch: &Value| fault_of_shape(&pod, &serde_json::from_value(patch.clone()).expect("a patch"));
    assert_eq!(shape(&good), None);
    for bad in [
        json!([{"op": "replace", "path": "", "value": {}}]),
        json!([{"op": "add", "path": "/spec", "value": {}}]),
        json!([{"op": "remove", "path": "/spec/containers/0"}]),
        json!([{"op": "replace", "path": "/spec/containers/0", "value": {}}]),
        json!([{"op": "test", "path": "/spec/containers/0/name", "value": "a"}]),
        json!([{"op": "add", "path": "/spec/containers/0/env", "value": []}]),
        json!([{"op": "test", "path": "/spec/containers/0/name", "value": "a"}, {"op": "add", "path": "/spec/containers/0/image", "value": "b"}]),
        json!([{"op": "test", "path": "/spec/containers/0/name", "value": "b"}, {"op": "replace", "path": "/spec/containers/0", "value": {}}]),
        json!([{"op": "add", "path": "/metadata/annotations/kruise.io~1sidecarset-injected-list", "value": "a"}]),
    ] {
        assert!(shape(&bad).is_some(), "{bad}");
    }
}
