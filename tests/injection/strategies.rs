//! Generated requests to generated worlds, from small pools of names so that they often meet.

use std::fmt;

use proptest::bool::weighted;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Map, Value, json};

use crate::api_server::default_pod;
use crate::containers::{mounts_and_devices, variable};
use crate::pods::pod_parts;
use crate::reference::{Outcome, Request, WORKING, World, inject, items};
use crate::sets::{LISTS, NAMESPACES, json_values, namespaces, sets};
use crate::{NOW, world};

/// A world, a request to it, and the JSON text of the request's Pod.
#[derive(Clone)]
pub struct Case {
    pub world: World,
    pub request: Request,
    pub pod_text: String,
}

/// One JSON document on each line, which is easy to read and paste.
impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Request { operation, sub_resource, namespace, pod } = &self.request;
        writeln!(f, "{operation} pods/{sub_resource} in {namespace:?} of")?;
        writeln!(f, "{pod}\nspelled {}\nwith", self.pod_text)?;
        for set in &self.world.sets {
            writeln!(f, "{} hash {} without image {}", set.written, set.hash, set.hash_without_image)?;
        }
        self.world.namespaces.iter().try_for_each(|namespace| writeln!(f, "{namespace}"))?;
        writeln!(f, "default container: {}", self.world.default_container)
    }
}

/// Worlds of up to four sets, and Pods that often, but not always, match them.
pub fn cases() -> impl Strategy<Value = Case> {
    let parts = (sets(), namespaces(), any::<bool>(), request_parts(), pod_parts(), history(), select(&[0, 1, 2][..]));
    parts.prop_map(|(sets, namespaces, default_container, mut request, pod_parts, history, spelling)| {
        let world = World { default_container, ..world(&sets, &namespaces) };
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

/// Whether the Pod was injected before, by sets whose images may have changed since.
#[derive(Clone, Debug)]
enum History {
    None,
    Injected { changed_since: [bool; 4], defaulted: bool, afterwards: Vec<Meddling> },
}

/// Changes of others to an injected Pod.
#[derive(Clone, Debug)]
enum Meddling {
    Field(Index, &'static str, Value),
    ContainerGone(Index),
    AnnotationGone(Index),
    AnnotationNull(Index),
    OtherHalfWorks,
}

fn history() -> impl Strategy<Value = History> {
    let injected = (prop::array::uniform4(weighted(0.3)), any::<bool>(), vec(meddling(), 0..=4))
        .prop_map(|(changed_since, defaulted, afterwards)| History::Injected { changed_since, defaulted, afterwards });
    prop_oneof![2 => Just(History::None), 1 => injected]
}

fn meddling() -> impl Strategy<Value = Meddling> {
    let env = prop_oneof![3 => vec(variable(), 0..=4).prop_map(Value::from), 1 => Just(Value::Null)];
    let env = env.prop_map(|env| vec![("env", env)]);
    let mounts = mounts_and_devices()
        .prop_map(|(mounts, devices)| vec![("volumeMounts", json!(mounts)), ("volumeDevices", json!(devices))]);
    let nulls = Just(vec![("volumeMounts", Value::Null), ("volumeDevices", Value::Null)]);
    let fields = prop_oneof![env, mounts, nulls];
    let field = (any::<Index>(), any::<Index>(), fields).prop_map(|(container, field, fields)| {
        let (field, value) = field.get(&fields).clone();
        Meddling::Field(container, field, value)
    });
    prop_oneof![
        6 => field,
        1 => any::<Index>().prop_map(Meddling::ContainerGone),
        2 => any::<Index>().prop_map(Meddling::AnnotationGone),
        1 => any::<Index>().prop_map(Meddling::AnnotationNull),
        1 => Just(Meddling::OtherHalfWorks),
    ]
}

impl History {
    fn apply(&self, sets: &[Value], namespaces: &[Value], request: &Request) -> Value {
        let History::Injected { changed_since, defaulted, afterwards } = self else { return request.pod.clone() };
        let mut sets = sets.to_vec();
        for (set, changed) in sets.iter_mut().zip(changed_since) {
            for list in LISTS.iter().filter(|_| *changed) {
                for container in set["spec"][list].as_array_mut().into_iter().flatten() {
                    container["image"] = json!("example.com/earlier:0");
                }
            }
        }
        let mut pod = match inject(&world(&sets, namespaces), request, NOW) {
            Outcome::Injected(pod) if *defaulted => default_pod(&pod),
            Outcome::Injected(pod) => pod,
            _ => return request.pod.clone(),
        };
        for meddling in afterwards {
            meddling.apply(&mut pod);
        }
        pod
    }
}

impl Meddling {
    /// Applies them to a Pod with annotations and a list of containers.
    fn apply(&self, pod: &mut Value) {
        match self {
            Meddling::Field(index, field, value) => {
                let lists = LISTS.map(|list| items(pod, &format!("/spec/{list}")).len());
                let position = index.index(lists[0] + lists[1]);
                let (list, at) = if position < lists[0] { (0, position) } else { (1, position - lists[0]) };
                pod["spec"][LISTS[list]][at][field] = value.clone();
            }
            Meddling::ContainerGone(index) => {
                if let Some(containers) = pod["spec"]["containers"].as_array_mut().filter(|list| list.len() > 1) {
                    containers.remove(index.index(containers.len()));
                }
            }
            Meddling::AnnotationGone(index) => {
                if let Some(annotations) = pod["metadata"]["annotations"].as_object_mut() {
                    let keys: Vec<String> = annotations.keys().cloned().collect();
                    annotations.shift_remove(index.get(&keys));
                }
            }
            Meddling::AnnotationNull(index) => {
                let keys: Vec<String> =
                    pod["metadata"]["annotations"].as_object().into_iter().flat_map(Map::keys).cloned().collect();
                pod["metadata"]["annotations"][index.get(&keys)] = Value::Null;
            }
            Meddling::OtherHalfWorks => {
                if let Some(text) = pod["metadata"]["annotations"][WORKING].as_str() {
                    pod["metadata"]["annotations"][WORKING] = json!(text.replace("-1\"", "-2\""));
                }
            }
        }
    }
}

/// The same JSON in one of three spellings: compact, indented, and with every character escaped.
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

/// An `AdmissionReview` of a case with some nodes replaced by arbitrary ones.
pub fn mutated_reviews() -> impl Strategy<Value = (Case, Value)> {
    (cases(), vec((any::<Index>(), json_values()), 1..=4)).prop_map(|(case, mutations)| {
        let Request { operation, sub_resource, namespace, pod } = &case.request;
        let mut review = review(operation, sub_resource, namespace, pod);
        mutate(&mut review, &mutations);
        (case, review)
    })
}

/// `SidecarSets` with some nodes replaced by arbitrary ones.
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

/// Returns the JSON pointers of all nodes of a document.
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
