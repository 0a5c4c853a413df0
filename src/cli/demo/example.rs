//! A Pod from the examples, and the review of its creation.

use crate::cli::input::describe;
use crate::cli::template::pod_template;
use crate::documents::Document;
use bytes::Bytes;
use serde_json::{Value, json};

/// A Pod that the examples would create.
pub(super) struct Example {
    /// The object's name for people.
    pub what: String,
    /// The object's file, relative to the folder of the examples.
    pub file: String,
    pub pod: Value,
    pub review: Bytes,
}

impl Example {
    /// Returns `None` for objects without Pods.
    pub fn of(document: &Document) -> Option<Self> {
        let pod = pod_template(&document.value)?.pod();
        let namespace = pod.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or("default");
        let review = json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": format!("demo-{}", document.position),
                "kind": {"group": "", "version": "v1", "kind": "Pod"},
                "resource": {"group": "", "version": "v1", "resource": "pods"},
                "operation": "CREATE",
                "namespace": namespace,
                "object": pod,
            }
        });
        let review = Bytes::from(review.to_string());
        Some(Self { what: describe(document), file: document.position.file.to_string(), pod, review })
    }
}
