//! Pure: what is written to a Pod that is updated in place: images, and the annotations that tell of it as OpenKruise writes them.

use super::counting::{CountingRules, HotChange, ImageChange};
use super::pod::ObservedPod;
use super::text::Text;
use super::watched_pod::UPGRADABLE;
use crate::api::keys;
use crate::injection::annotations::{Entry, Record};
use jiff::Timestamp;
use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, CopyOperation, PatchOperation, ReplaceOperation, TestOperation};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The containers of a Pod that are changed, with the images that run until then.
pub type ImageIds = Vec<(Text, Text)>;

/// The patch that updates a Pod to the set's present images, and what ran before. `version` is that of the set.
pub fn update(
    set: &str,
    version: &str,
    rules: &CountingRules,
    pod: &ObservedPod,
    revision: &str,
    now: Timestamp,
) -> (Vec<PatchOperation>, ImageIds) {
    let changes: Vec<ImageChange<'_>> = rules.image_changes(pod).collect();
    let (mut operations, before) = images(set, rules, pod, &changes, now);
    for ImageChange { container, hot, .. } in &changes {
        let Some(HotChange { other, .. }) = hot else { continue };
        // A container knows by the first of them whether it is the newer of the two, and by the second what it takes over from.
        let (path, from) = (annotation(&keys::version_alt_of(container.name)), annotation(&keys::version_of(other)));
        operations.push(PatchOperation::Copy(CopyOperation { from, path }));
        operations.push(annotate(&keys::version_of(container.name), version.to_owned()));
        operations.push(annotate(&keys::version_alt_of(other), version.to_owned()));
    }
    let mut working: BTreeMap<&str, &str> = pod.working.iter().map(|(base, working)| (&**base, &**working)).collect();
    let hot = changes.iter().filter_map(|change| Some((change.hot?.base, &**change.container.name)));
    let hot: Vec<_> = hot.collect();
    if !hot.is_empty() {
        working.extend(hot);
        operations.push(annotate(keys::WORKING_HOT_UPGRADE, json!(working).to_string()));
    }
    operations.extend(hash_record(set, rules, pod, revision, now));
    (operations, before)
}

/// The patch that ends hot upgrades of a Pod, and what ran before.
pub fn reset(set: &str, rules: &CountingRules, pod: &ObservedPod, now: Timestamp) -> (Vec<PatchOperation>, ImageIds) {
    let changes: Vec<ImageChange<'_>> = rules.resets(set, pod).collect();
    let (mut operations, before) = images(set, rules, pod, &changes, now);
    for ImageChange { container, hot, .. } in &changes {
        let Some(HotChange { other, .. }) = hot else { continue };
        operations.push(annotate(&keys::version_of(container.name), "0".to_owned()));
        operations.push(annotate(&keys::version_alt_of(other), "0".to_owned()));
    }
    (operations, before)
}

/// Images, and the record of what ran before.
fn images(
    set: &str,
    rules: &CountingRules,
    pod: &ObservedPod,
    changes: &[ImageChange<'_>],
    now: Timestamp,
) -> (Vec<PatchOperation>, ImageIds) {
    let mut operations = Vec::new();
    for ImageChange { container, image, .. } in changes {
        let path = PointerBuf::from_tokens(["spec", container.list, &container.index.to_string(), "image"]);
        operations.push(test(path.clone(), (**container.image).into()));
        operations.push(PatchOperation::Replace(ReplaceOperation { path, value: (*image).into() }));
    }
    let ran =
        |change: &ImageChange<'_>| Some((change.container.name.clone(), change.container.status?.image_id.clone()));
    let before: ImageIds = changes.iter().filter_map(ran).collect();
    if !before.is_empty() {
        operations.push(annotate(keys::IN_PLACE_STATE, in_place_record(set, rules, pod, &before, &text(now))));
    }
    (operations, before)
}

/// A time as Kubernetes writes it.
fn text(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The record of hashes, with the set's present one.
fn hash_record(
    set: &str,
    rules: &CountingRules,
    pod: &ObservedPod,
    revision: &str,
    time: Timestamp,
) -> Vec<PatchOperation> {
    let present = pod.hash_record.as_deref();
    let sidecars = json!(rules.sidecar_list()).to_string();
    let revision = Some(revision).filter(|revision| !revision.is_empty());
    let entry = Entry { set, hash: rules.hash(), sidecars: &sidecars, revision, time };
    let Some(record) = Record::parse(present).unwrap_or_default().updated(&[entry], time) else { return Vec::new() };
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
        condition["lastTransitionTime"] = text(now).into();
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
