//! Properties that hold for any SidecarSets and any review body. Shared by the fuzzer and the replay of its corpus.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use outrigger::admission::Metrics;
use outrigger::admission::mutate_pod;
use outrigger::api::decode;
use outrigger::injection::{Index, InjectableSet, Options, Revision, Snapshot};
use serde_json::{Value, json};
use std::sync::atomic::AtomicBool;

/// An input is a JSON list of SidecarSets and `ControllerRevisions`, a zero byte, and a review body.
///
/// No input panics. Each is answered with 200 or 400. A patch applies, and its result needs no further patch.
pub fn check(input: &[u8]) {
    let mut parts = input.splitn(2, |byte| *byte == 0);
    let objects = parts.next().and_then(|text| serde_json::from_slice(text).ok()).unwrap_or_default();
    let snapshot = snapshot(objects);
    let body = parts.next().unwrap_or_default();
    let Some((object, patch)) = patch(body, &snapshot) else { return };

    let mut patched = object;
    json_patch::patch(&mut patched, &patch).expect("a patch applies to the object it was made for");
    let mut review: Value = serde_json::from_slice(body).expect("the review was read before");
    review["request"]["object"] = patched;
    let second = self::patch(review.to_string().as_bytes(), &snapshot);
    assert!(second.is_none(), "a second pass has a patch: {second:?}");
}

fn snapshot(objects: Vec<Value>) -> Snapshot {
    let mut index = Index::new(Options { default_container: true, ..Options::default() });
    for object in objects {
        if object["kind"] == "ControllerRevision" {
            if let Ok(Some(revision)) = Revision::read(object) {
                index.apply_revision(revision);
            }
        } else if let Some(set) = decode::sidecarset(object).ok().and_then(|set| InjectableSet::new(set).ok()) {
            index.apply_set(set);
        }
    }
    index.snapshot()
}

/// Returns the object of the review and its patch, if there is one.
fn patch(body: &[u8], snapshot: &Snapshot) -> Option<(Value, json_patch::Patch)> {
    let reply = mutate_pod::answer(body, &AtomicBool::new(false), snapshot, Timestamp::UNIX_EPOCH, &Metrics::default());
    if reply.status == 400 {
        return None;
    }
    assert_eq!(reply.status, 200);
    let answer: Value = serde_json::from_slice(&reply.body).expect("an answer is JSON");
    assert_eq!(answer["response"]["patch"].is_null(), answer["response"]["patchType"] != json!("JSONPatch"));
    let patch = STANDARD.decode(answer["response"]["patch"].as_str()?).expect("a patch is base64");
    let patch = serde_json::from_slice(&patch).expect("a patch is a JSON Patch");
    // What serde_json rejects (duplicate keys, depth) cannot be checked further.
    let mut review: Value = serde_json::from_slice(body).ok()?;
    Some((review["request"]["object"].take(), patch))
}
