//! Pure: what is written to a Pod that is updated in place: images, and the annotations that tell of it as OpenKruise writes them.

use super::counting::{CountingRules, ImageChange};
use super::pod::ObservedPod;
use super::text::Text;
use super::watched_pod::UPGRADABLE;
use crate::api::keys;
use crate::injection::annotations::{Entry, Record};
use jiff::Timestamp;
use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, PatchOperation, ReplaceOperation, TestOperation};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The containers of a Pod that are changed, with the images that run until then.
pub type ImageIds = Vec<(Text, Text)>;

/// The patch that updates a Pod to the set's present images, and what ran before; `None` where that takes more than images.
pub fn update(
    set: &str,
    rules: &CountingRules,
    pod: &ObservedPod,
    revision: &str,
    now: Timestamp,
) -> Option<(Vec<PatchOperation>, ImageIds)> {
    let changes: Vec<ImageChange<'_>> = rules.image_changes(pod).collect();
    if changes.iter().any(|change| change.sidecar.hot.is_some()) {
        return None;
    }
    let mut operations = Vec::new();
    for ImageChange { container, sidecar } in &changes {
        let path = PointerBuf::from_tokens(["spec", container.list, &container.index.to_string(), "image"]);
        operations.push(test(path.clone(), (**container.image).into()));
        operations.push(PatchOperation::Replace(ReplaceOperation { path, value: sidecar.image.clone().into() }));
    }
    let before: ImageIds = changes
        .iter()
        .filter_map(|change| Some((change.container.name.clone(), change.container.status?.image_id.clone())))
        .collect();
    let now = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    operations.extend(hash_record(set, rules, pod, revision, &now));
    if !before.is_empty() {
        operations.push(annotate(keys::IN_PLACE_STATE, in_place_record(set, rules, pod, &before, &now)));
    }
    Some((operations, before))
}

/// The record of hashes, with the set's present one.
fn hash_record(set: &str, rules: &CountingRules, pod: &ObservedPod, revision: &str, now: &str) -> Vec<PatchOperation> {
    let present = pod.hash_record.as_deref();
    let sidecars = json!(rules.sidecar_list()).to_string();
    let revision = Some(revision).filter(|revision| !revision.is_empty());
    let entry = Entry { set, hash: rules.hash(), sidecars: &sidecars, revision };
    let Some(record) = Record::parse(present).unwrap_or_default().updated(&[entry], now) else { return Vec::new() };
    let seen = present.map(|present| test(annotation(keys::HASH), present.into()));
    seen.into_iter().chain([annotate(keys::HASH, record)]).collect()
}

/// The record of updates in place: what ran before each. Revision and time stay those of the first, as OpenKruise leaves them.
fn in_place_record(set: &str, rules: &CountingRules, pod: &ObservedPod, before: &ImageIds, now: &str) -> String {
    let mut record: Map<String, Value> =
        pod.in_place_record.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let state = record.entry(set).or_insert(Value::Null);
    if !state.is_object() {
        *state = json!({});
    }
    for (field, value) in [("revision", rules.hash()), ("updateTimestamp", now)] {
        if !state[field].is_string() {
            state[field] = value.into();
        }
    }
    if !state["lastContainerStatuses"].is_object() {
        state["lastContainerStatuses"] = json!({});
    }
    for (container, image_id) in before {
        state["lastContainerStatuses"][&**container] = json!({"imageID": &**image_id});
    }
    Value::Object(record).to_string()
}

/// The condition of a Pod that says which sets can update it in place, once it says this of the set. Sets that are no more are left
/// out.
pub fn condition(
    set: &str,
    pod: &ObservedPod,
    upgradable: bool,
    is_known: impl Fn(&str) -> bool,
    now: Timestamp,
) -> Value {
    let told = pod.upgradable.as_deref().and_then(|text| serde_json::from_str::<BTreeMap<String, bool>>(text).ok());
    let mut sets = told.clone().unwrap_or_default();
    sets.retain(|name, _| is_known(name));
    sets.insert(set.to_owned(), upgradable);
    let all = |sets: &BTreeMap<String, bool>| sets.values().all(|upgradable| *upgradable);
    let (status, reason) =
        if all(&sets) { ("True", "AllSidecarsetUpgradable") } else { ("False", "UpdateImmutableField") };
    let mut condition =
        json!({"type": UPGRADABLE, "status": status, "reason": reason, "message": json!(sets).to_string()});
    if told.is_none_or(|told| all(&told) != all(&sets)) {
        condition["lastTransitionTime"] = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into();
    }
    condition
}

fn annotation(key: &str) -> PointerBuf {
    PointerBuf::from_tokens(["metadata", "annotations", key])
}

fn annotate(key: &str, value: String) -> PatchOperation {
    PatchOperation::Add(AddOperation { path: annotation(key), value: value.into() })
}

fn test(path: PointerBuf, value: Value) -> PatchOperation {
    PatchOperation::Test(TestOperation { path, value })
}
