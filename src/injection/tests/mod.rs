//! Decisions about Pods, tested through the index and its snapshots with sets and Pods as users write them.

mod denials;
mod explanations;
mod forecasts;
mod index;
mod job_sidecars;
mod large;
mod outcomes;
mod revisions;
mod sharing;
mod token;
mod verification;
mod warnings;

use super::{Index, InjectableSet, Injected, Injection, Options, PodRequest, Revision};
use crate::api::decode;
use crate::api::pod::PodView;
use jiff::Timestamp;
use serde_json::{Value, json};

/// A set for Pods labelled `app: web`, unless its spec says otherwise.
fn set(name: &str, spec: Value) -> Value {
    let mut spec = spec;
    let fields = spec.as_object_mut().unwrap();
    fields.entry("selector").or_insert_with(|| json!({"matchLabels": {"app": "web"}}));
    json!({"apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet", "metadata": {"name": name}, "spec": spec})
}

/// A set with one container.
fn plain(name: &str, container: &str) -> Value {
    set(name, json!({"containers": [{"name": container, "image": "x:1"}]}))
}

/// A set that replaces another one.
fn canary(name: &str, base: &str) -> Value {
    let mut canary = plain(name, name);
    canary["metadata"]["annotations"] =
        json!({"apps.kruise.io/sidecarset-canary": "true", "apps.kruise.io/sidecarset-base": base});
    canary
}

/// The Pod `app: web` with this spec.
fn pod(spec: &Value) -> Value {
    json!({"metadata": {"labels": {"app": "web"}}, "spec": spec})
}

/// A Pod with one app container.
fn bare() -> Value {
    pod(&json!({"containers": [{"name": "app", "image": "nginx:1"}]}))
}

fn ready(set: &Value) -> InjectableSet {
    InjectableSet::new(decode::sidecarset(set.clone()).unwrap()).unwrap()
}

/// A `ControllerRevision` of a set whose only container has this name and image.
fn revision(set: &str, name: &str, number: i64, container: &str, image: &str) -> Revision {
    let object = json!({
        "apiVersion": "apps/v1", "kind": "ControllerRevision", "revision": number,
        "metadata": {"name": name, "namespace": "kruise-system", "labels": {"kruise.io/sidecarset-name": set}},
        "data": {"spec": {"containers": [{"name": container, "image": image}]}}
    });
    Revision::read(object).unwrap().unwrap()
}

fn index(sets: &[Value]) -> Index {
    let mut index = Index::new(Options::default());
    for set in sets {
        index.apply_set(ready(set));
    }
    index
}

/// Returns the decision about a Pod created in the namespace `shop`, with the error as its author reads it.
fn decide(index: &Index, pod: &Value) -> Result<Injection, String> {
    let text = pod.to_string();
    let pod: PodView<'_> = serde_json::from_str(&text).unwrap();
    let request = PodRequest::create("shop", Timestamp::UNIX_EPOCH);
    index.snapshot().inject(&pod, &request).map_err(|error| error.to_string())
}

/// The same for a Pod that must match.
#[track_caller]
fn injected(index: &Index, pod: &Value) -> Injected {
    match decide(index, pod) {
        Ok(Injection::Matched(injected)) => injected,
        other => panic!("{other:?}"),
    }
}

/// Returns the patched Pod.
#[track_caller]
fn patched(pod: &Value, injected: &Injected) -> Value {
    let mut pod = pod.clone();
    let patch: json_patch::Patch = serde_json::from_str(injected.patch.as_deref().unwrap_or("[]")).unwrap();
    json_patch::patch(&mut pod, &patch).unwrap();
    pod
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().map(|item| item["name"].as_str().unwrap()).collect()
}
