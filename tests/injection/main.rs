//! The injection core against a slow, plainly written reference injector, on generated sets, Namespaces and Pods.

mod api_server;
mod examples;
mod pods;
mod properties;
mod reference;
mod sets;
mod strategies;

use reference::{Outcome, Request, Set, World};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The time of every review.
const NOW: &str = "2026-01-02T03:04:05Z";

/// What the crate answers to a request.
#[derive(Debug)]
enum Answer {
    Patch(json_patch::Patch),
    Nothing,
    Denied(String),
}

/// The sets as users write them, with what the crate makes of them.
fn world(sets: &[Value], namespaces: &[Value]) -> World {
    let set = |written: &Value| {
        let stored = stored(written);
        let (hash, hash_without_image) = hashes(&stored);
        Set { written: written.clone(), stored, hash, hash_without_image }
    };
    World { sets: sets.iter().map(set).collect(), namespaces: namespaces.to_vec() }
}

// ---- the crate's side. UNTIL THE CRATE'S API STANDS the reference answers in its place.

/// A `SidecarSet` as it is stored: defaulted.
fn stored(set: &Value) -> Value {
    let mut set = set.clone();
    for (list, policy) in [("containers", "BeforeAppContainer"), ("initContainers", "AfterAppContainer")] {
        for container in set.pointer_mut(&format!("/spec/{list}")).and_then(Value::as_array_mut).into_iter().flatten() {
            let defaults = json!({
                "imagePullPolicy": "IfNotPresent", "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File", "resources": {}, "podInjectPolicy": policy,
                "upgradeStrategy": {"upgradeType": "ColdUpgrade"}, "shareVolumePolicy": {"type": "disabled"},
            });
            let Some(fields) = container.as_object_mut() else { continue };
            for (key, default) in defaults.as_object().cloned().unwrap_or_default() {
                fields.entry(key).or_insert(default);
            }
        }
    }
    set
}

/// The hash of a stored `SidecarSet`, and the one without images.
fn hashes(stored: &Value) -> (String, String) {
    let hash = |value: &Value| format!("{:x}", Sha256::digest(value.to_string()));
    let init = reference::items(stored, "/spec/initContainers");
    let native = init.iter().any(|container| container["restartPolicy"] == "Always");
    let mut hashed = json!([stored["spec"]["containers"], if native { init } else { &[] }]);
    let with_image = hash(&hashed);
    for container in hashed.as_array_mut().into_iter().flatten().filter_map(Value::as_array_mut).flatten() {
        if let Some(fields) = container.as_object_mut() {
            fields.shift_remove("image");
        }
    }
    (with_image, hash(&hashed))
}

/// The crate's answer to a request whose Pod is spelled `pod_text`.
fn real(world: &World, request: &Request, pod_text: &str) -> Answer {
    let pod = serde_json::from_str(pod_text).expect("the spelling of a Pod is JSON");
    match reference::inject(world, &Request { pod, ..request.clone() }, NOW) {
        Outcome::Nothing => Answer::Nothing,
        Outcome::Denied(reason) => Answer::Denied(reason),
        Outcome::Injected(pod) => {
            let patch = json!([{"op": "replace", "path": "", "value": pod}]);
            Answer::Patch(serde_json::from_value(patch).expect("a patch"))
        }
    }
}

/// Runs the crate on sets that may be anything and the body of a review that may be anything; the answer does not
/// matter.
fn real_on_anything(sets: &[Value], namespaces: &[Value], review: &[u8]) {
    let Ok(review) = serde_json::from_slice::<Value>(review) else { return };
    let text = |pointer: &str| review.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let request = Request {
        operation: text("/request/operation"),
        sub_resource: text("/request/subResource"),
        namespace: text("/request/namespace"),
        pod: review.pointer("/request/object").cloned().unwrap_or_default(),
    };
    real(&world(sets, namespaces), &request, &request.pod.to_string());
}
