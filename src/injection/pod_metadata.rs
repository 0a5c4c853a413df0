//! Annotations that SidecarSets put on a Pod: `patchPodMetadata` with its three policies.

use super::content::Content;
use super::go_json::write_text;
use crate::api::keys;
use crate::api::pod::PodView;
use crate::api::sidecarset::{PatchPodMetadata, PatchPolicy};
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use thiserror::Error;

const OWN_ANNOTATIONS: [&str; 6] = [
    keys::HASH,
    keys::HASH_WITHOUT_IMAGE,
    keys::HASH_OF_REST,
    keys::IN_PLACE_STATE,
    keys::INJECTED_LIST,
    keys::WORKING_HOT_UPGRADE,
];
/// Prefixes of the annotations of hot containers.
const OWN_PREFIXES: [&str; 2] = ["version.sidecarset.kruise.io/", "versionalt.sidecarset.kruise.io/"];
/// The maximum depth of merged objects. Deeper ones are refused.
const MAX_DEPTH: usize = 64;
/// The maximum length of a value that is merged into, in bytes. The API server has the same limit for all annotations
/// together.
const MAX_LENGTH: usize = 256 * 1024;

/// Why a text cannot be merged as JSON.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(super) enum MergeError {
    #[error("the Pod's value is not a JSON object to merge into: correct or remove it")]
    Existing,
    #[error("the set's value is not a JSON object to merge")]
    Patch,
    #[error("the Pod's value is longer than {MAX_LENGTH} bytes, the limit of all annotations together: shorten it")]
    Length,
    #[error("objects are nested more than {MAX_DEPTH} deep")]
    Depth,
}

fn is_own(key: &str) -> bool {
    OWN_ANNOTATIONS.contains(&key) || OWN_PREFIXES.iter().any(|prefix| key.starts_with(prefix))
}

/// A Pod's annotations together with those that patches set. Sets cannot patch annotations that injection writes
/// itself.
pub(super) struct Annotations<'p, 's> {
    present: Present<'p>,
    values: BTreeMap<&'s str, String>,
}

/// The annotations that a Pod has.
enum Present<'p> {
    /// A Pod that is being created.
    Pod(&'p PodView<'p>),
    /// A running Pod.
    Map(&'p BTreeMap<String, String>),
}

impl Present<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match self {
            Self::Pod(pod) => pod.annotation(key),
            Self::Map(annotations) => annotations.get(key).map(String::as_str),
        }
    }
}

impl Content {
    /// Whether the result of its patches depends on the annotations that the Pod already has.
    #[must_use]
    pub fn patches_look_at_annotations(&self) -> bool {
        self.metadata_patches.iter().any(|patch| patch.patch_policy != Some(PatchPolicy::Overwrite))
    }

    /// Returns the annotations that its patches would change.
    ///
    /// # Errors
    /// When an annotation cannot be merged: a sentence that names it.
    pub fn patched_annotations(&self, present: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, String> {
        let mut annotations = Annotations { present: Present::Map(present), values: BTreeMap::new() };
        for patch in &self.metadata_patches {
            annotations
                .apply(patch)
                .map_err(|(key, error)| format!("spec.patchPodMetadata annotation {key:?}: {error}"))?;
        }
        let changes = annotations.changes().into_iter();
        Ok(changes.map(|(key, value)| (key.to_owned(), value)).collect())
    }
}

impl<'p, 's> Annotations<'p, 's> {
    /// Reads the annotations of the Pod.
    pub fn of(pod: &'p PodView<'p>) -> Self {
        Self { present: Present::Pod(pod), values: BTreeMap::new() }
    }

    /// Applies one patch on top of the earlier ones.
    ///
    /// # Errors
    /// When an annotation cannot be merged: its name and the reason.
    pub fn apply(&mut self, patch: &'s PatchPodMetadata) -> Result<(), (&'s str, MergeError)> {
        let annotations = patch.annotations.iter().flatten();
        for (key, value) in annotations.filter(|(key, _)| !is_own(key)) {
            let present = self.values.get(key.as_str()).map(String::as_str).or_else(|| self.present.get(key));
            let result = match (&patch.patch_policy, present) {
                // OpenKruise ignores patches with an unknown policy.
                (Some(PatchPolicy::Other(_)), _) | (Some(PatchPolicy::Retain) | None, Some(_)) => None,
                (Some(PatchPolicy::Overwrite), _) | (_, None) | (Some(PatchPolicy::MergePatchJson), Some("")) => {
                    Some(value.clone())
                }
                (Some(PatchPolicy::MergePatchJson), Some(present)) => {
                    merge_text(present, value).map_err(|error| (key.as_str(), error))?
                }
            };
            if let Some(result) = result {
                self.values.insert(key, result);
            }
        }
        Ok(())
    }

    /// Returns the annotations that differ from the Pod's.
    pub fn changes(mut self) -> BTreeMap<&'s str, String> {
        let Self { present, values } = &mut self;
        values.retain(|key, value| present.get(key) != Some(value));
        self.values
    }
}

/// Merges as in RFC 7386. Returns `None` if only the spelling changes. A text that equals the patch, because it was stored
/// when there was nothing to merge into, is not merged with it again.
fn merge_text(existing: &str, patch: &str) -> Result<Option<String>, MergeError> {
    if existing == patch {
        return Ok(None);
    }
    if existing.len() > MAX_LENGTH {
        return Err(MergeError::Length);
    }
    let blank = existing.trim().is_empty();
    let target: &RawValue =
        serde_json::from_str(if blank { "{}" } else { existing }).map_err(|_| MergeError::Existing)?;
    if target.get() == "null" {
        return Err(MergeError::Existing);
    }
    let patch: &RawValue = serde_json::from_str(patch).map_err(|_| MergeError::Patch)?;
    let patch = members(patch).ok_or(MergeError::Patch)?;
    let mut merged = String::new();
    merge(&mut merged, members(target), patch, MAX_DEPTH)?;
    let same = |a: &str, b: &str| {
        let (a, b) = (serde_json::from_str::<Value>(a), serde_json::from_str::<Value>(b));
        a.ok().zip(b.ok()).is_some_and(|(a, b)| a == b)
    };
    Ok((!same(existing, &merged)).then_some(merged))
}

/// The members of an object, sorted; `None` for anything else.
fn members(value: &RawValue) -> Option<BTreeMap<String, &RawValue>> {
    serde_json::from_str(value.get()).ok()
}

/// Writes `target` with the patch applied: compact, keys sorted, numbers as written. A target that is not an object
/// counts as an empty one.
fn merge(
    json: &mut String,
    target: Option<BTreeMap<String, &RawValue>>,
    patch: BTreeMap<String, &RawValue>,
    depth: usize,
) -> Result<(), MergeError> {
    let depth = depth.checked_sub(1).ok_or(MergeError::Depth)?;
    let mut result: BTreeMap<String, (Option<&RawValue>, Option<&RawValue>)> =
        target.into_iter().flatten().map(|(key, value)| (key, (Some(value), None))).collect();
    for (key, value) in patch {
        if value.get() == "null" {
            result.remove(&key);
        } else {
            result.entry(key).or_default().1 = Some(value);
        }
    }
    json.push('{');
    for (index, (key, (target, patch))) in result.into_iter().enumerate() {
        if index > 0 {
            json.push(',');
        }
        write_text(json, &key);
        json.push(':');
        match (target, patch) {
            (_, Some(patch)) => match members(patch) {
                Some(patch) => merge(json, target.and_then(members), patch, depth)?,
                None => write_compact(json, patch.get()),
            },
            (Some(target), None) => write_compact(json, target.get()),
            (None, None) => json.push_str("null"),
        }
    }
    json.push('}');
    Ok(())
}

/// Copies JSON without white space, with `<`, `>` and `&` in texts escaped as Go escapes them.
fn write_compact(json: &mut String, text: &str) {
    let (mut in_string, mut escaped) = (false, false);
    for c in text.chars() {
        match c {
            ' ' | '\n' | '\r' | '\t' if !in_string => continue,
            '<' => json.push_str("\\u003c"),
            '>' => json.push_str("\\u003e"),
            '&' => json.push_str("\\u0026"),
            '\u{2028}' => json.push_str("\\u2028"),
            '\u{2029}' => json.push_str("\\u2029"),
            _ => json.push(c),
        }
        match c {
            _ if escaped => escaped = false,
            '\\' if in_string => escaped = true,
            '"' => in_string = !in_string,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn patch(policy: PatchPolicy, value: &str) -> PatchPodMetadata {
        let annotations = BTreeMap::from([("k".to_owned(), value.to_owned())]);
        PatchPodMetadata { annotations: Some(annotations), patch_policy: Some(policy) }
    }

    fn result(patches: &[PatchPodMetadata], existing: Option<&str>) -> Result<Option<String>, MergeError> {
        let pod = json!({"metadata": {"annotations": existing.map(|value| json!({"k": value}))}}).to_string();
        let pod: PodView<'_> = serde_json::from_str(&pod).unwrap();
        let mut annotations = Annotations::of(&pod);
        for patch in patches {
            annotations.apply(patch).map_err(|(_, error)| error)?;
        }
        Ok(annotations.changes().remove("k"))
    }

    fn changes(policy: PatchPolicy, value: &str, existing: Option<&str>) -> Option<String> {
        result(&[patch(policy, value)], existing).unwrap()
    }

    #[test]
    fn retain_sets_only_what_is_absent_and_overwrite_always() {
        assert_eq!(changes(PatchPolicy::Other("Merge".to_owned()), "new", None), None);
        assert_eq!(changes(PatchPolicy::Retain, "new", None).as_deref(), Some("new"));
        assert_eq!(changes(PatchPolicy::Retain, "new", Some("")), None);
        assert_eq!(changes(PatchPolicy::Overwrite, "new", Some("old")).as_deref(), Some("new"));
        assert_eq!(changes(PatchPolicy::Overwrite, "new", Some("new")), None);
    }

    #[test]
    fn json_is_merged_with_sorted_keys_and_numbers_as_written() {
        let merge = |existing, value| changes(PatchPolicy::MergePatchJson, value, Some(existing)).unwrap();
        assert_eq!(merge(r#"{"log-agent":1}"#, r#"{"envoy": 2}"#), r#"{"envoy":2,"log-agent":1}"#);
        assert_eq!(
            merge(r#"{"z":1.10,"y":12345678901234567890}"#, r#"{"a":1e3}"#),
            r#"{"a":1e3,"y":12345678901234567890,"z":1.10}"#
        );
        assert_eq!(
            merge(r#"{"a":{"x":1,"y":2}}"#, r#"{"a":{"x":null,"z":"<&>"}}"#),
            r#"{"a":{"y":2,"z":"\u003c\u0026\u003e"}}"#
        );
        assert_eq!(merge("[1]", r#"{"a":{"b":null},"c":1}"#), r#"{"a":{},"c":1}"#);
        assert_eq!(merge("5", r#"{"a":1}"#), r#"{"a":1}"#);
        assert_eq!(merge(" ", r#"{"a": 1}"#), r#"{"a":1}"#);
    }

    #[test]
    fn a_patch_without_anything_to_merge_into_is_stored_as_written_and_stays_so() {
        let text = r#"{ "a": null, "b": "<" }"#;
        assert_eq!(changes(PatchPolicy::MergePatchJson, text, None).as_deref(), Some(text));
        assert_eq!(changes(PatchPolicy::MergePatchJson, text, Some("")).as_deref(), Some(text));
        assert_eq!(changes(PatchPolicy::MergePatchJson, text, Some(text)), None);
    }

    #[test]
    fn merging_twice_changes_nothing_more() {
        let patches = [
            patch(PatchPolicy::MergePatchJson, r#"{"a":1}"#),
            patch(PatchPolicy::MergePatchJson, r#"{"a":2,"b":null}"#),
        ];
        let once = result(&patches, Some(r#"{"b":1,"c":3}"#)).unwrap().unwrap();
        assert_eq!(once, r#"{"a":2,"c":3}"#);
        assert_eq!(result(&patches, Some(&once)).unwrap(), None);
    }

    #[test]
    fn what_is_no_json_object_is_an_error() {
        assert_eq!(result(&[patch(PatchPolicy::MergePatchJson, "{}")], Some("x")), Err(MergeError::Existing));
        assert_eq!(result(&[patch(PatchPolicy::MergePatchJson, "{\"a\":1}")], Some("null")), Err(MergeError::Existing));
        assert_eq!(result(&[patch(PatchPolicy::MergePatchJson, "[1]")], Some("{}")), Err(MergeError::Patch));
        let deep = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        assert_eq!(result(&[patch(PatchPolicy::MergePatchJson, &deep(100))], Some("{}")), Err(MergeError::Depth));
        let long = format!("{}{{}}", " ".repeat(MAX_LENGTH));
        assert_eq!(result(&[patch(PatchPolicy::MergePatchJson, "{\"a\":1}")], Some(&long)), Err(MergeError::Length));
    }
}
