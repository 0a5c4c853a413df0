//! The maximum memory for an answer, whatever the body is: many small values take fifty times the memory of their text.

use super::{Matching, snapshot};
use jiff::Timestamp;
use outrigger::admission::Metrics;
use outrigger::admission::validate_sidecarset::{self, KnownWorld};
use outrigger::admission::{Reply, convert, mutate_pod, mutate_sidecarset};
use serde_json::{Value, json};
use std::cell::Cell;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};

const MIB: usize = 1024 * 1024;
/// The limit for all reviews together, in addition to their bodies.
const REVIEWS: usize = 64 * MIB;

/// The whole process shares the budget, so tests run one after the other.
static TURN: Mutex<()> = Mutex::new(());

/// Returns the status of an answer, and its peak memory including the body.
fn measured(answer: impl Fn() -> Reply) -> (u16, usize) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let status = Cell::new(0);
    let info = allocation_counter::measure(|| status.set(answer().status));
    (status.get(), usize::try_from(info.bytes_max).expect("bytes"))
}

/// `[item,item,…]` of about this many bytes.
fn list(item: &str, bytes: usize) -> String {
    let mut list = format!("[{}", format!("{item},").repeat(bytes / (item.len() + 1)));
    list.pop();
    list + "]"
}

fn admission(group: &str, kind: &str, object: &str, old: &str) -> String {
    let version = if group.is_empty() { "v1" } else { "v1beta1" };
    let request = json!({
        "uid": "u", "operation": "UPDATE", "namespace": "default", "object": "new", "oldObject": "old",
        "kind": {"group": group, "version": version, "kind": kind},
    });
    let review =
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}).to_string();
    review.replace("\"new\"", object).replace("\"old\"", old)
}

/// List items in a SidecarSet that take much memory for their size.
const ITEMS: [(&str, &str); 6] = [
    ("x", "1"),
    ("x", r#"{"a":1}"#),
    ("volumes", r#"{"a":1}"#),
    ("volumes", r#"{"a":[1]}"#),
    ("containers", "{}"),
    ("containers", r#"{"a":{"b":{}}}"#),
];

/// The largest body of this form that is answered takes no more than the reserved memory.
fn is_bounded(what: &str, body: impl Fn(usize) -> String, answer: impl Fn(&[u8]) -> Reply) {
    let sizes = std::iter::successors(Some(7 * MIB), |bytes| Some(bytes / 4 * 3));
    for bytes in sizes.take_while(|bytes| *bytes > MIB / 8) {
        let body = body(bytes);
        let (status, taken) = measured(|| answer(body.as_bytes()));
        println!("{what}: {status} to {} KiB, with {} KiB", bytes / 1024, taken / 1024);
        match status {
            413 => assert!(taken < MIB, "{what}: {taken} bytes"),
            _ => return assert!(bytes < 5 * MIB && taken < REVIEWS, "{what}: {taken} bytes for {bytes}"),
        }
    }
    panic!("{what}: never answered");
}

#[test]
fn reviews_of_sidecarsets_take_no_more_than_is_reserved_for_them() {
    for (field, item) in ITEMS {
        let set = |bytes: usize| {
            let spec = format!(r#"{{"selector":{{"matchLabels":{{"a":"b"}}}},"{field}":{}}}"#, list(item, bytes));
            format!(
                r#"{{"apiVersion":"apps.kruise.io/v1beta1","kind":"SidecarSet","metadata":{{"name":"s"}},"spec":{spec}}}"#
            )
        };
        let body = |bytes: usize| admission("apps.kruise.io", "SidecarSet", &set(bytes / 2), &set(bytes / 2));
        is_bounded(&format!("mutate {field} {item}"), body, mutate_sidecarset::answer);
        is_bounded(&format!("validate {field} {item}"), body, |body| {
            validate_sidecarset::answer(body, &KnownWorld::default())
        });
    }
}

#[test]
fn reviews_of_pods_take_no_more_than_is_reserved_for_them() {
    let (snapshot, metrics) = (snapshot(Matching::One), Metrics::default());
    let waited_for = AtomicBool::new(false);
    let answer = |body: &[u8]| mutate_pod::answer(body, &waited_for, &snapshot, Timestamp::UNIX_EPOCH, &metrics);
    let labels = super::cases::pod(1)["metadata"]["labels"].to_string();
    for (field, item) in [
        ("containers", "{}"),
        ("containers", r#"{"name":"a","env":[{}]}"#),
        ("containers", r#"{"volumeMounts":[{},{},{},{}]}"#),
        ("volumes", "{}"),
        ("imagePullSecrets", "{}"),
    ] {
        let body = |bytes: usize| {
            let pod = format!(
                r#"{{"metadata":{{"name":"p","labels":{labels}}},"spec":{{"containers":[{{"name":"app"}}],"{field}":{}}}}}"#,
                list(item, bytes)
            );
            let pod = if field == "containers" { pod.replace(r#""containers":[{"name":"app"}],"#, "") } else { pod };
            admission("", "Pod", &pod, "null").replace("UPDATE", "CREATE").replace("default", super::NAMESPACE)
        };
        is_bounded(&format!("pod {field} {item}"), body, answer);
    }
    let labelled = |bytes: usize| {
        let labels = list(r#""a":"b""#, bytes).replace('[', "{").replace(']', "}");
        admission("", "Pod", &format!(r#"{{"metadata":{{"labels":{labels}}}}}"#), "null").replace("UPDATE", "CREATE")
    };
    is_bounded("pod labels", labelled, answer);
}

fn conversion(objects: &str) -> String {
    let request = json!({"uid": "u", "desiredAPIVersion": "apps.kruise.io/v1beta1", "objects": "here"});
    let review = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "request": request});
    review.to_string().replace("\"here\"", objects)
}

fn old_set(spec: &Value) -> String {
    json!({"apiVersion": "apps.kruise.io/v1alpha1", "kind": "SidecarSet", "metadata": {"name": "s"}, "spec": spec})
        .to_string()
}

#[test]
fn a_conversion_takes_hardly_more_than_its_answer() {
    // The answer needs memory for another object, which is unused, and for one in parts.
    let bound = |body: &str| body.len() + body.len() / 4 + 14 * MIB;
    let env: Vec<Value> = (0..100).map(|n| json!({"name": format!("NAME_{n}"), "value": "x".repeat(100)})).collect();
    let realistic = old_set(&json!({"namespace": "team-a", "containers": [{"name": "c", "image": "x:1", "env": env}]}));
    let body = conversion(&list(&realistic, 4 * MIB));
    let (status, taken) = measured(|| convert::answer(body.as_bytes()));
    assert!(status == 200 && taken < bound(&body), "{status}: {taken} bytes for {}", body.len());

    let tiny = list(&old_set(&json!({"namespace": "a"})), 4 * MIB);
    let ones = format!("[{}]", old_set(&json!({"x": "here"})).replace("\"here\"", &list("1", 3 * MIB)));
    let too_many = format!("[{}]", old_set(&json!({"x": "here"})).replace("\"here\"", &list("1", 8 * MIB)));
    let selector = old_set(&json!({"namespace": "a", "namespaceSelector": "here"}));
    let selector = format!("[{}]", selector.replace("\"here\"", &list("1", 2 * MIB)));
    let key = format!(r#"[{{"{}":1}}]"#, "\\u0041".repeat(MIB));
    for objects in [tiny, ones, too_many, selector, list("1", 4 * MIB), list("[]", 4 * MIB), key] {
        let body = conversion(&objects);
        let (_, taken) = measured(|| convert::answer(body.as_bytes()));
        assert!(taken < bound(&body), "{taken} bytes for {} of {}…", body.len(), &objects[..80]);
    }
}
