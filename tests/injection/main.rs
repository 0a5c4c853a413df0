//! The injection against a slow, simple reference injector, on generated sets, Namespaces and Pods.

mod api_server;
mod containers;
mod cost;
mod examples;
mod feature_examples;
#[path = "../../benches/large/mod.rs"]
mod large;
mod metadata;
mod mutators;
mod pods;
mod properties;
mod reference;
mod sets;
mod shape;
mod strategies;

use jiff::Timestamp;
use outrigger::admission::Metrics;
use outrigger::admission::mutate_pod;
use outrigger::api::decode;
use outrigger::api::pod::PodView;
use outrigger::injection::{Index, InjectableSet, Injection, Options, PodRequest, Snapshot, hash};
use reference::{Request, Set, World};
use serde_json::Value;
use std::sync::atomic::AtomicBool;

/// The time of every review.
const NOW: &str = "2026-01-02T03:04:05Z";

/// The crate's answer to a request.
#[derive(Debug)]
enum Answer {
    Patch(json_patch::Patch),
    Nothing,
    Denied(String),
}

/// The sets as users write them, with their injectable form.
fn world(sets: &[Value], namespaces: &[Value]) -> World {
    let set = |written: &Value| {
        let stored = stored(written);
        let (hash, hash_without_image) = hashes(&stored);
        let hash_of_rest = hash_of_rest(&stored);
        Set { written: written.clone(), stored, hash, hash_without_image, hash_of_rest }
    };
    World { sets: sets.iter().map(set).collect(), namespaces: namespaces.to_vec(), default_container: false }
}

/// A `SidecarSet` as stored, with defaults. An unreadable one stays unchanged.
fn stored(set: &Value) -> Value {
    match decode::sidecarset(set.clone()) {
        Ok(stored) => serde_json::to_value(stored).expect("a SidecarSet is JSON"),
        Err(_) => set.clone(),
    }
}

/// Returns the hash of a stored `SidecarSet`, and the one without images.
fn hashes(stored: &Value) -> (String, String) {
    let spec = decode::typed(stored.get("spec").cloned().unwrap_or_default());
    let hashes = spec.ok().and_then(|spec| hash::hashes(&spec).ok());
    hashes.map(|hashes| (hashes.hash, hashes.without_image)).unwrap_or_default()
}

/// Returns the hash of fields that these do not cover.
fn hash_of_rest(stored: &Value) -> Option<String> {
    let spec = decode::typed(stored.get("spec").cloned().unwrap_or_default());
    hash::hash_of_rest(&spec.ok()?).ok().flatten()
}

fn snapshot<'v>(sets: impl Iterator<Item = &'v Value>, namespaces: &[Value], default_container: bool) -> Snapshot {
    let mut index = Index::new(Options { default_container, ..Options::default() });
    for set in sets.filter_map(|set| InjectableSet::new(decode::sidecarset(set.clone()).ok()?).ok()) {
        index.apply_set(set);
    }
    for namespace in namespaces {
        let text = |pointer: &str| namespace.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let labels = decode::typed(namespace.pointer("/metadata/labels").cloned().unwrap_or_default());
        index.apply_namespace(text("/metadata/name"), labels.unwrap_or_default());
    }
    index.snapshot()
}

/// Returns the crate's answer to a request whose Pod has the text `pod_text`.
fn real(world: &World, request: &Request, pod_text: &str) -> Answer {
    let pod: PodView<'_> = serde_json::from_str(pod_text).expect("a generated Pod can be read");
    let circumstances = PodRequest {
        namespace: &request.namespace,
        operation: &request.operation,
        sub_resource: &request.sub_resource,
        uid: "",
        now: Some(NOW.parse().expect("a time")),
        abandoned: None,
    };
    let sets = world.sets.iter().map(|set| &set.written);
    let snapshot = snapshot(sets, &world.namespaces, world.default_container);
    match snapshot.inject(&pod, &circumstances) {
        Ok(Injection::Excluded(_) | Injection::NotMatched) => Answer::Nothing,
        Ok(Injection::Matched(injected)) => match injected.patch {
            Some(patch) => Answer::Patch(serde_json::from_str(&patch).expect("the patch is a JSON Patch")),
            None => Answer::Nothing,
        },
        Err(error) => Answer::Denied(error.to_string()),
    }
}

/// Runs the crate on arbitrary sets and an arbitrary review body. The answer does not matter.
fn real_on_anything(sets: &[Value], namespaces: &[Value], review: &[u8]) {
    let snapshot = snapshot(sets.iter(), namespaces, true);
    let reply =
        mutate_pod::answer(review, &AtomicBool::new(false), &snapshot, Timestamp::UNIX_EPOCH, &Metrics::default());
    assert!([200, 400].contains(&reply.status), "{}", String::from_utf8_lossy(&reply.body));
}
