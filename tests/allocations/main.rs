//! The number of allocations of a review. Unlike time it is the same on every machine, so it can be limited.
//!
//! The Pod has three containers and about 8 KB, and there are 1,000 SidecarSets. The limits are slightly above the
//! measured values. A change that exceeds them on purpose raises them.

// The benchmarks use more of it.
#[allow(dead_code)]
#[path = "../../benches/cases/mod.rs"]
mod cases;
mod files;
mod generators;
mod hostile;
mod sets;
mod watched_pods;

use allocation_counter::AllocationInfo;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cases::{Matching, NAMESPACE};
use jiff::Timestamp;
use outrigger::admission::Metrics;
use outrigger::admission::mutate_pod;
use outrigger::admission::validate_sidecarset::{self, KnownWorld};
use outrigger::api::decode;
use outrigger::documents;
use outrigger::injection::validate::OtherSet;
use outrigger::injection::{Index, InjectableSet, Options, Snapshot};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

const SETS: usize = 1_000;

fn snapshot(matching: Matching) -> Snapshot {
    let mut index = Index::new(Options::default());
    for (name, yaml) in cases::sets(SETS, matching) {
        for document in documents::parse(&name, yaml.as_bytes()).expect("YAML") {
            let set = decode::sidecarset(document.value).expect("a SidecarSet");
            index.apply_set(InjectableSet::new(set).expect("it can be injected"));
        }
    }
    index.apply_namespace(NAMESPACE.to_owned(), BTreeMap::new());
    index.snapshot()
}

/// Returns the allocations of the answer to one review with its body, after a first review.
fn review(matching: Matching) -> AllocationInfo {
    let (snapshot, metrics) = (snapshot(matching), Metrics::default());
    let pod = cases::pod(3);
    let size = pod.to_string().len();
    assert!((8_000..9_000).contains(&size), "{size} bytes");
    let body = cases::review(&pod);
    let waited_for = AtomicBool::new(false);
    let answer = || mutate_pod::answer(body.as_bytes(), &waited_for, &snapshot, Timestamp::UNIX_EPOCH, &metrics);
    let first: Value = serde_json::from_slice(&answer().body).expect("JSON");
    assert_eq!(first["response"]["allowed"], true);
    assert_eq!(first["response"]["patch"].is_string(), matching == Matching::One);
    allocation_counter::measure(|| drop(answer()))
}

#[track_caller]
fn holds(measured: &AllocationInfo, times: u64, bytes: u64) {
    assert!(measured.count_total <= times && measured.bytes_total <= bytes, "{measured:?}");
    assert!(measured.count_total > 0, "the counter does not count");
    assert_eq!(measured.bytes_current, 0, "something is kept after the answer");
}

/// No caller gives up.
static NEVER: AtomicBool = AtomicBool::new(false);

#[test]
fn a_pod_that_nothing_matches() {
    // Measured: 6 times, 1,176 bytes.
    holds(&review(Matching::None), 8, 1_500);
}

#[test]
fn a_pod_that_one_set_of_a_thousand_matches() {
    // Measured: 286 times, 50,051 bytes.
    holds(&review(Matching::One), 300, 52_000);
}

#[test]
fn a_pod_that_comes_twice() {
    let (snapshot, metrics) = (snapshot(Matching::One), Metrics::default());
    let answer = |pod: &Value| {
        let body = cases::review(pod);
        let reply = mutate_pod::answer(body.as_bytes(), &NEVER, &snapshot, Timestamp::UNIX_EPOCH, &metrics);
        serde_json::from_slice::<Value>(&reply.body).expect("JSON")["response"].take()
    };
    let mut pod = cases::pod(3);
    let patch = STANDARD.decode(answer(&pod)["patch"].as_str().expect("a patch")).expect("base64");
    let patch: json_patch::Patch = serde_json::from_slice(&patch).expect("a JSON Patch");
    json_patch::patch(&mut pod, &patch).expect("it can be applied");
    let second = answer(&pod);
    assert_eq!((&second["allowed"], second.get("patch"), second.get("warnings")), (&json!(true), None, None));
    let body = cases::review(&pod);
    let measured = allocation_counter::measure(|| {
        drop(mutate_pod::answer(body.as_bytes(), &NEVER, &snapshot, Timestamp::UNIX_EPOCH, &metrics));
    });
    // Measured: 338 times, 19,892 bytes.
    holds(&measured, 350, 21_000);
}

/// Returns the allocations of the answer to a review of a SidecarSet next to `sets` others with different containers.
fn sidecarset_review(sets: usize) -> AllocationInfo {
    let set = |name: &str| {
        json!({"apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet", "metadata": {"name": name}, "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "containers": [{"name": format!("{name}-agent"), "image": "x:1"}, {"name": format!("{name}-logs"), "image": "x:1"}],
        }})
    };
    let others = (0..sets).map(|index| format!("other-{index}"));
    let others = others
        .map(|name| (name.clone(), Arc::new(OtherSet::of(&decode::sidecarset(set(&name)).expect("a SidecarSet")))));
    let world = KnownWorld { sets: Some(Arc::new(others.collect())), ..KnownWorld::default() };
    let kind = json!({"group": "apps.kruise.io", "version": "v1beta1", "kind": "SidecarSet"});
    let request = json!({"uid": "u", "kind": kind, "operation": "UPDATE", "object": set("s"), "oldObject": set("s")});
    let review =
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}).to_string();
    let answer = || validate_sidecarset::answer(review.as_bytes(), &world);
    let first: Value = serde_json::from_slice(&answer().body).expect("JSON");
    assert_eq!(first["response"]["allowed"], true, "{first}");
    allocation_counter::measure(|| drop(answer()))
}

#[test]
fn a_sidecarset_that_is_validated_beside_a_thousand_others_copies_none_of_them() {
    // Measured: 916 times, 52,039 bytes.
    let alone = sidecarset_review(0);
    holds(&alone, 1_000, 60_000);
    // One list of references.
    holds(&sidecarset_review(SETS), alone.count_total + 1, alone.bytes_total + 8 * SETS as u64);
}
