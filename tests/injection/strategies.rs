//! Generated requests to generated worlds: small pools of names, so that they meet often.

use std::fmt;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

use crate::api_server::default_pod;
use crate::pods::pod_parts;
use crate::reference::{Outcome, Request, World, inject, items};
use crate::sets::{LISTS, NAMESPACES, json_values, namespaces, sets};
use crate::{NOW, world};

/// A world, a request to it, and the JSON text in which the request's Pod comes.
#[derive(Clone)]
pub struct Case {
    pub world: World,
    pub request: Request,
    pub pod_text: String,
}

/// One JSON document a line, as a failure is best read and pasted.
impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Request { operation, sub_resource, namespace, pod } = &self.request;
        writeln!(f, "{operation} pods/{sub_resource} in {namespace:?} of")?;
        writeln!(f, "{pod}\nspelled {}\nwith", self.pod_text)?;
        for set in &self.world.sets {
            writeln!(f, "{} hash {} without image {}", set.written, set.hash, set.hash_without_image)?;
        }
        self.world.namespaces.iter().try_for_each(|namespace| writeln!(f, "{namespace}"))
    }
}

/// Worlds of up to four sets and Pods that often, but not always, match them.
pub fn cases() -> impl Strategy<Value = Case> {
    let parts = (sets(), namespaces(), request_parts(), pod_parts(), history(), select(&[0, 1, 2][..]));
    parts.prop_map(|(sets, namespaces, mut request, pod_parts, history, spelling)| {
        let world = world(&sets, &namespaces);
        request.pod = pod_parts.assemble(&world);
        request.pod = history.apply(&sets, &namespaces, &request);
        let pod_text = spell(&request.pod, spelling);
        Case { world, request, pod_text }
    })
}

// ---- requests

fn request_parts() -> impl Strategy<Value = Request> {
    let operation = prop_oneof![30 => Just("CREATE"), 1 => select(&["UPDATE", "DELETE", "CONNECT"][..])];
    let sub_resource = prop_oneof![30 => Just(""), 1 => select(&["status", "binding", "ephemeralcontainers"][..])];
    let namespace = prop_oneof![4 => Just("shop"), 2 => Just("default"), 2 => Just(""), 1 => select(&NAMESPACES[..])];
    (operation, sub_resource, namespace).prop_map(|(operation, sub_resource, namespace)| Request {
        operation: operation.to_owned(),
        sub_resource: sub_resource.to_owned(),
        namespace: namespace.to_owned(),
        pod: Value::Null,
    })
}

/// Whether the Pod has been injected before, by sets whose images may have differed since.
#[derive(Clone, Debug)]
enum History {
    None,
    Injected { changed_since: [bool; 4], defaulted: bool },
}

fn history() -> impl Strategy<Value = History> {
    let injected = (prop::array::uniform4(any::<bool>()), any::<bool>())
        .prop_map(|(changed_since, defaulted)| History::Injected { changed_since, defaulted });
    prop_oneof![3 => Just(History::None), 1 => injected]
}

impl History {
    fn apply(&self, sets: &[Value], namespaces: &[Value], request: &Request) -> Value {
        let History::Injected { changed_since, defaulted } = self else { return request.pod.clone() };
        let mut sets = sets.to_vec();
        for (set, changed) in sets.iter_mut().zip(changed_since) {
            for list in LISTS.iter().filter(|_| *changed) {
                for container in set["spec"][list].as_array_mut().into_iter().flatten() {
                    container["image"] = json!("example.com/earlier:0");
                }
            }
        }
        match inject(&world(&sets, namespaces), request, NOW) {
            Outcome::Injected(pod) if *defaulted => default_pod(&pod),
            Outcome::Injected(pod) => pod,
            _ => request.pod.clone(),
        }
    }
}

/// The same JSON in one of three spellings: compact, indented, and with every string character escaped.
fn spell(pod: &Value, spelling: usize) -> String {
    match spelling {
        0 => pod.to_string(),
        1 => format!("{pod:#}"),
        _ => escaped(pod),
    }
}

fn escaped(value: &Value) -> String {
    let string = |text: &str| {
        let escapes: Vec<_> = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
        format!("\"{}\"", escapes.concat())
    };
    match value {
        Value::String(text) => string(text),
        Value::Array(elements) => format!("[{}]", elements.iter().map(escaped).collect::<Vec<_>>().join(",")),
        Value::Object(fields) => {
            let members: Vec<_> =
                fields.iter().map(|(key, field)| format!("{}:{}", string(key), escaped(field))).collect();
            format!("{{{}}}", members.join(","))
        }
        other => other.to_string(),
    }
}

// ---- broken input

/// An `AdmissionReview` as the API server sends it.
pub fn review(operation: &str, sub_resource: &str, namespace: &str, object: &Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "subResource": sub_resource,
            "namespace": namespace,
            "operation": operation,
            "object": object,
            "dryRun": false,
        },
    })
}

/// An `AdmissionReview` of a case, in which some nodes were replaced by anything.
pub fn mutated_reviews() -> impl Strategy<Value = (Case, Value)> {
    (cases(), vec((any::<Index>(), json_values()), 1..=4)).prop_map(|(case, mutations)| {
        let Request { operation, sub_resource, namespace, pod } = &case.request;
        let mut review = review(operation, sub_resource, namespace, pod);
        mutate(&mut review, &mutations);
        (case, review)
    })
}

/// `SidecarSets` in which some nodes were replaced by anything.
pub fn mutated_sets() -> impl Strategy<Value = Vec<Value>> {
    (sets(), vec((any::<Index>(), json_values()), 1..=4)).prop_map(|(sets, mutations)| {
        let mut sets = Value::from(sets);
        mutate(&mut sets, &mutations);
        items(&sets, "").to_vec()
    })
}

fn mutate(document: &mut Value, mutations: &[(Index, Value)]) {
    for (index, value) in mutations {
        let pointer = index.get(&pointers(document, "")).clone();
        if let Some(node) = document.pointer_mut(&pointer) {
            *node = value.clone();
        }
    }
}

/// The JSON pointers of all nodes of a document.
fn pointers(value: &Value, at: &str) -> Vec<String> {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(fields) => {
            fields.iter().map(|(key, field)| (key.replace('~', "~0").replace('/', "~1"), field)).collect()
        }
        Value::Array(elements) => {
            elements.iter().enumerate().map(|(index, element)| (index.to_string(), element)).collect()
        }
        _ => Vec::new(),
    };
    let below = children.iter().flat_map(|(token, child)| pointers(child, &format!("{at}/{token}")));
    std::iter::once(at.to_owned()).chain(below).collect()
}
