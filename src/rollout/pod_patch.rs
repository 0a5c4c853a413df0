//! Pure: what is written to a Pod that is updated in place: images, and the annotations that tell of it as OpenKruise writes them.

use super::counting::CountingRules;
use super::in_pod::{HotChange, ImageChange, InPod};
use super::pod::{ObservedPod, RanBefore, SentImage};
use super::text::Text;
use super::watched_pod::UPGRADABLE;
use crate::api::keys;
use crate::injection::Amount;
use crate::injection::annotations::{Entry, Record};
use jiff::Timestamp;
use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, PatchOperation, ReplaceOperation};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What is written to a Pod, over the version of it that was seen.
#[derive(Clone, Debug, Default)]
pub struct PodPatch {
    /// The patch.
    pub operations: Vec<PatchOperation>,
    /// The images that it gives to containers.
    pub sent: Vec<SentImage>,
    /// Of each container of a hot upgrade that gets an image its name, and that of the other one.
    pub hot: Vec<(Text, Text)>,
}

/// The patch that updates a Pod to the set's present images. What depends on annotations that are not kept is not part of it
/// ([`versions`], [`record_without_image`]).
pub fn update(set: &str, rules: &CountingRules, pod: &ObservedPod, revision: &str, now: Timestamp) -> PodPatch {
    let changes: Vec<ImageChange<'_>> = rules.image_changes(pod).collect();
    let mut patch = images(set, rules, pod, &changes, now);
    let mut working: BTreeMap<&str, &str> = pod.working.iter().map(|(base, working)| (&**base, &**working)).collect();
    for ImageChange { container, hot, .. } in &changes {
        let Some(HotChange { base, other }) = *hot else { continue };
        working.insert(base, container.name);
        patch.hot.push((container.name.clone(), other.clone()));
    }
    if !patch.hot.is_empty() {
        patch.operations.push(annotate(keys::WORKING_HOT_UPGRADE, json!(working).to_string()));
    }
    patch.operations.extend(hash_record(set, rules, pod, revision, now));
    patch
}

/// The annotations by which hot containers know whether they are the newer of the two, and what they take over from. `version` is that
/// of the set.
pub fn versions(hot: &[(Text, Text)], version: &str, annotations: &BTreeMap<String, String>) -> Vec<PatchOperation> {
    let of_pair = |(container, other): &(Text, Text)| {
        let of_other = annotations.get(&keys::version_of(other)).cloned().unwrap_or_else(|| "0".to_owned());
        [
            annotate(&keys::version_alt_of(container), of_other),
            annotate(&keys::version_of(container), version.to_owned()),
            annotate(&keys::version_alt_of(other), version.to_owned()),
        ]
    };
    hot.iter().flat_map(of_pair).collect()
}

/// The patch that ends hot upgrades of a Pod.
pub fn reset(set: &str, rules: &CountingRules, pod: &ObservedPod, now: Timestamp) -> PodPatch {
    let changes: Vec<ImageChange<'_>> = rules.resets(set, pod).collect();
    let mut patch = images(set, rules, pod, &changes, now);
    for ImageChange { container, hot, .. } in &changes {
        let Some(HotChange { other, .. }) = hot else { continue };
        patch.operations.push(annotate(&keys::version_of(container.name), "0".to_owned()));
        patch.operations.push(annotate(&keys::version_alt_of(other), "0".to_owned()));
    }
    patch
}

/// The patch of the subresource `resize` that gives a Pod the set's amounts of CPU and memory; empty where it has them.
pub fn resize(set: &str, rules: &CountingRules, pod: &ObservedPod) -> Vec<PatchOperation> {
    let changes =
        rules.amount_changes(set, pod).map(|(InPod { list, index, .. }, Amount { kind, resource, text, .. })| {
            let path = ["spec", list.field(), &index.to_string(), "resources", kind, resource].map(str::to_owned);
            let (path, value) = (PointerBuf::from_tokens(path), text.as_str().into());
            PatchOperation::Add(AddOperation { path, value })
        });
    changes.collect()
}

/// The record of hashes without images, with the set's present one, where it is another.
pub fn record_without_image(
    set: &str,
    rules: &CountingRules,
    annotations: &BTreeMap<String, String>,
    now: Timestamp,
) -> Option<PatchOperation> {
    let present = annotations.get(keys::HASH_WITHOUT_IMAGE).map(String::as_str);
    let sidecars = json!(rules.sidecar_list()).to_string();
    let entry = Entry { set, hash: rules.hash_without_image(), sidecars: &sidecars, revision: None, time: now };
    let record = Record::parse(present).unwrap_or_default().updated(&[entry], now)?;
    Some(annotate(keys::HASH_WITHOUT_IMAGE, record))
}

/// These annotations, with these values.
pub fn metadata(annotations: &BTreeMap<String, String>) -> Vec<PatchOperation> {
    annotations.iter().map(|(key, value)| annotate(key, value.clone())).collect()
}

/// Images, and the record of what ran before.
fn images(
    set: &str,
    rules: &CountingRules,
    pod: &ObservedPod,
    changes: &[ImageChange<'_>],
    now: Timestamp,
) -> PodPatch {
    let mut written = PodPatch::default();
    for ImageChange { container, image, .. } in changes {
        let path = PointerBuf::from_tokens(["spec", container.list.field(), &container.index.to_string(), "image"]);
        written.operations.push(PatchOperation::Replace(ReplaceOperation { path, value: (*image).into() }));
        written.sent.extend(container.status.map(|status| {
            let (container, image_id) = (container.name.clone(), status.image_id.clone());
            SentImage {
                image: (*image).into(),
                before: RanBefore { container, image_id, restarts: Some(status.restarts) },
            }
        }));
    }
    if !written.sent.is_empty() {
        let record = in_place_record(set, rules, pod, &written.sent, &text(now));
        written.operations.push(annotate(keys::IN_PLACE_STATE, record));
    }
    written
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
) -> Option<PatchOperation> {
    let present = pod.hash_record.as_deref();
    let sidecars = json!(rules.sidecar_list()).to_string();
    let revision = Some(revision).filter(|revision| !revision.is_empty());
    let entry = Entry { set, hash: rules.hash(), sidecars: &sidecars, revision, time };
    Record::parse(present).unwrap_or_default().updated(&[entry], time).map(|record| annotate(keys::HASH, record))
}

/// The record of updates in place: what ran before each. Revision and time stay those of the first, as OpenKruise leaves them.
fn in_place_record(set: &str, rules: &CountingRules, pod: &ObservedPod, images: &[SentImage], now: &str) -> String {
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
    for SentImage { before: RanBefore { container, image_id, restarts }, .. } in images {
        state["lastContainerStatuses"][&**container] = json!({"imageID": &**image_id, "restartCount": restarts});
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
