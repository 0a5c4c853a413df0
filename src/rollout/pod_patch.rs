//! Pure: the patch of an in-place update: images, and the annotations that record it in OpenKruise's format.

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

/// A patch of a Pod, for the version that was seen.
#[derive(Clone, Debug, Default)]
pub struct PodPatch {
    /// The patch.
    pub operations: Vec<PatchOperation>,
    /// The images that it sets.
    pub sent: Vec<SentImage>,
    /// For each hot container that gets an image, its name and that of the other twin.
    pub hot: Vec<(Text, Text)>,
}

/// Returns the patch that updates a Pod to the set's current images. Parts that depend on annotations that are not kept are
/// added later ([`versions`], [`record_without_image`]).
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

/// Returns the annotations that tell hot containers which twin is newer and which version it replaces. `version` is the set's.
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

/// Returns the patch that ends a Pod's hot upgrades.
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

/// Returns the patch of the subresource `resize` that gives a Pod the set's amounts of CPU and memory; empty if it has
/// them.
pub fn resize(set: &str, rules: &CountingRules, pod: &ObservedPod) -> Vec<PatchOperation> {
    let changes =
        rules.amount_changes(set, pod).map(|(InPod { list, index, .. }, Amount { kind, resource, text, .. })| {
            let path = ["spec", list.field(), &index.to_string(), "resources", kind, resource].map(str::to_owned);
            let (path, value) = (PointerBuf::from_tokens(path), text.as_str().into());
            PatchOperation::Add(AddOperation { path, value })
        });
    changes.collect()
}

/// Returns the record of hashes without images, with the set's current one, if that differs.
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

/// Returns the operations that set these annotations.
pub fn metadata(annotations: &BTreeMap<String, String>) -> Vec<PatchOperation> {
    annotations.iter().map(|(key, value)| annotate(key, value.clone())).collect()
}

/// Sets images, and records what ran before.
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

/// Formats a Kubernetes time.
fn text(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Returns the record of hashes with the set's current one.
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

/// Returns the record of in-place updates, with what ran before each. Revision and time stay those of the first update,
/// as in OpenKruise.
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

/// Returns the Pod's condition about in-place updates, with its new value for the set. Sets that no longer exist are removed.
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
