//! Conversion of SidecarSets between v1alpha1 and v1beta1, on JSON, so that every field survives.
//!
//! The versions differ in two places. v1alpha1 has `spec.namespace`, which v1beta1 writes as a `namespaceSelector`; an
//! annotation remembers it and it is restored only while selector and annotation agree. v1beta1 has `spec.customVersion`, which
//! v1alpha1 keeps as a label; text that is no label value travels in an annotation instead, so that reading a list as v1alpha1
//! never fails because of one object.

use super::keys::{
    CUSTOM_VERSION, INVALID_CUSTOM_VERSION, NAMESPACE_NAME, V1ALPHA1_NAMESPACE, V1ALPHA1_NAMESPACE_SELECTOR,
};
use super::sidecarset::{GROUP, KIND};
use serde_json::{Map, Value, json};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// A version of the SidecarSet API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// `apps.kruise.io/v1alpha1`
    V1alpha1,
    /// `apps.kruise.io/v1beta1`, the storage version.
    V1beta1,
}

/// Why an object cannot be converted.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ConversionError {
    /// No version of SidecarSet that is known here.
    #[error("apiVersion: {0:?} is not a version of SidecarSet: use apps.kruise.io/v1beta1 or apps.kruise.io/v1alpha1")]
    UnknownVersion(String),
    /// Another kind.
    #[error("kind: expected SidecarSet, found {0:?}")]
    NotASidecarSet(String),
    /// A part of the object has the wrong type.
    #[error("{field}: expected an object")]
    NotAnObject {
        /// Path of the part.
        field: &'static str,
    },
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1alpha1 => "apps.kruise.io/v1alpha1",
            Self::V1beta1 => "apps.kruise.io/v1beta1",
        })
    }
}

impl FromStr for Version {
    type Err = ConversionError;

    fn from_str(api_version: &str) -> Result<Self, ConversionError> {
        match api_version.strip_prefix(GROUP).and_then(|rest| rest.strip_prefix('/')) {
            Some("v1alpha1") => Ok(Self::V1alpha1),
            Some("v1beta1") => Ok(Self::V1beta1),
            _ => Err(ConversionError::UnknownVersion(api_version.to_owned())),
        }
    }
}

/// Brings a SidecarSet to another version.
///
/// # Errors
/// When the object is no SidecarSet of a known version, or `metadata` or `spec` is no object.
pub fn convert(mut object: Value, to: Version) -> Result<Value, ConversionError> {
    let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (kind, from) = (text("kind"), text("apiVersion").parse::<Version>()?);
    if kind != KIND {
        return Err(ConversionError::NotASidecarSet(kind));
    }
    if from == to {
        return Ok(object);
    }
    let root = object.as_object_mut().ok_or(ConversionError::NotAnObject { field: "object" })?;
    let mut metadata = take_object(root, "metadata")?;
    let mut spec = take_object(root, "spec")?;
    match to {
        Version::V1beta1 => to_v1beta1(&mut metadata, &mut spec),
        Version::V1alpha1 => to_v1alpha1(&mut metadata, &mut spec),
    }
    root.insert("apiVersion".to_owned(), Value::String(to.to_string()));
    for (field, map) in [("metadata", metadata), ("spec", spec)] {
        if root.contains_key(field) || !map.is_empty() {
            root.insert(field.to_owned(), Value::Object(map));
        }
    }
    Ok(object)
}

fn to_v1beta1(metadata: &mut Map<String, Value>, spec: &mut Map<String, Value>) {
    let from_annotation = remove_entry(metadata, "annotations", INVALID_CUSTOM_VERSION);
    let from_label = remove_entry(metadata, "labels", CUSTOM_VERSION);
    if let Some(version) = from_label.or(from_annotation).filter(|version| !version.is_empty()) {
        spec.insert("customVersion".to_owned(), Value::String(version));
    }
    if let Some(Value::String(namespace)) = spec.shift_remove("namespace")
        && !namespace.is_empty()
    {
        // In v1alpha1 the namespace wins; the selector beside it has no effect, but is the user's.
        if let Some(selector) = spec.insert("namespaceSelector".to_owned(), selector_of(&namespace)) {
            set_entry(metadata, "annotations", V1ALPHA1_NAMESPACE_SELECTOR, selector.to_string());
        }
        set_entry(metadata, "annotations", V1ALPHA1_NAMESPACE, namespace);
    }
}

fn to_v1alpha1(metadata: &mut Map<String, Value>, spec: &mut Map<String, Value>) {
    if let Some(Value::String(version)) = spec.shift_remove("customVersion")
        && !version.is_empty()
    {
        if is_label_value(&version) {
            set_entry(metadata, "labels", CUSTOM_VERSION, version);
        } else {
            set_entry(metadata, "annotations", INVALID_CUSTOM_VERSION, version);
        }
    }
    let beside = remove_entry(metadata, "annotations", V1ALPHA1_NAMESPACE_SELECTOR);
    if let Some(namespace) = remove_entry(metadata, "annotations", V1ALPHA1_NAMESPACE)
        && spec.get("namespaceSelector") == Some(&selector_of(&namespace))
    {
        spec.shift_remove("namespaceSelector");
        if let Some(selector) = beside.and_then(|text| serde_json::from_str(&text).ok()) {
            spec.insert("namespaceSelector".to_owned(), selector);
        }
        spec.insert("namespace".to_owned(), Value::String(namespace));
    }
}

/// The selector that stands for one namespace.
fn selector_of(namespace: &str) -> Value {
    json!({"matchLabels": {NAMESPACE_NAME: namespace}})
}

fn take_object(root: &mut Map<String, Value>, field: &'static str) -> Result<Map<String, Value>, ConversionError> {
    match root.get_mut(field).map(Value::take) {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(map)) => Ok(map),
        Some(_) => Err(ConversionError::NotAnObject { field }),
    }
}

fn remove_entry(metadata: &mut Map<String, Value>, map: &str, key: &str) -> Option<String> {
    let entries = metadata.get_mut(map)?.as_object_mut()?;
    let value = entries.shift_remove(key)?;
    if entries.is_empty() {
        metadata.shift_remove(map);
    }
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}

fn set_entry(metadata: &mut Map<String, Value>, map: &str, key: &str, value: String) {
    let entries = metadata.entry(map).or_insert(Value::Null);
    if !entries.is_object() {
        *entries = Value::Object(Map::new());
    }
    if let Some(entries) = entries.as_object_mut() {
        entries.insert(key.to_owned(), Value::String(value));
    }
}

/// Kubernetes' rule for label values: up to 63 characters of `[A-Za-z0-9._-]`, alphanumeric at both ends.
#[must_use]
pub fn is_label_value(text: &str) -> bool {
    let alphanumeric_at = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(b))
        && alphanumeric_at(bytes.first())
        && alphanumeric_at(bytes.last())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(version: &str, metadata: &Value, spec: &Value) -> Value {
        json!({"apiVersion": format!("apps.kruise.io/{version}"), "kind": "SidecarSet", "metadata": metadata, "spec": spec})
    }

    #[test]
    fn namespace_becomes_a_selector_and_comes_back() {
        let old = set("v1alpha1", &json!({"name": "a"}), &json!({"namespace": "shop", "future": {"x": 1.5}}));
        let stored = convert(old.clone(), Version::V1beta1).unwrap();
        assert_eq!(
            stored,
            set(
                "v1beta1",
                &json!({"name": "a", "annotations": {"outrigger.dev/v1alpha1-namespace": "shop"}}),
                &json!({"future": {"x": 1.5}, "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "shop"}}}),
            )
        );
        assert_eq!(convert(stored, Version::V1alpha1).unwrap(), old);
    }

    #[test]
    fn there_and_back_again_nothing_is_lost() {
        let selector = json!({"matchLabels": {"team": "b"}});
        for (metadata, spec) in [
            (json!({"name": "a", "labels": {}}), json!({})),
            (json!({"name": "a"}), json!({"namespace": "shop", "namespaceSelector": selector})),
            (json!({"name": "a"}), json!({"namespaceSelector": selector})),
            (json!({"name": "a", "annotations": {"x": "y"}, "labels": {"x": "y"}}), json!({"namespace": "shop"})),
        ] {
            let old = set("v1alpha1", &metadata, &spec);
            let stored = convert(old.clone(), Version::V1beta1).unwrap();
            assert_eq!(convert(stored.clone(), Version::V1alpha1).unwrap(), old);
            let read = convert(stored.clone(), Version::V1alpha1).unwrap();
            assert_eq!(convert(read, Version::V1beta1).unwrap(), stored);
        }
        let bare = json!({"apiVersion": "apps.kruise.io/v1alpha1", "kind": "SidecarSet"});
        let stored = convert(bare.clone(), Version::V1beta1).unwrap();
        assert_eq!(convert(stored, Version::V1alpha1).unwrap(), bare);
    }

    #[test]
    fn namespace_stays_a_selector_once_the_selector_was_edited() {
        let stored = set(
            "v1beta1",
            &json!({"name": "a", "annotations": {"outrigger.dev/v1alpha1-namespace": "shop"}}),
            &json!({"namespaceSelector": {"matchLabels": {"team": "b"}}}),
        );
        let read = convert(stored, Version::V1alpha1).unwrap();
        assert_eq!(
            read,
            set("v1alpha1", &json!({"name": "a"}), &json!({"namespaceSelector": {"matchLabels": {"team": "b"}}}))
        );
    }

    #[test]
    fn custom_version_is_a_label_in_v1alpha1() {
        let new = set("v1beta1", &json!({"name": "a"}), &json!({"customVersion": "v7"}));
        let old = convert(new.clone(), Version::V1alpha1).unwrap();
        assert_eq!(old["metadata"]["labels"][CUSTOM_VERSION], "v7");
        assert_eq!(convert(old, Version::V1beta1).unwrap(), new);
    }

    #[test]
    fn the_status_and_its_conditions_survive() {
        let mut new = set("v1beta1", &json!({"name": "a"}), &json!({}));
        let condition = json!({"type": "Ready", "status": "True", "reason": "Current", "message": "", "observedGeneration": 1,
                               "lastTransitionTime": "2026-01-02T03:04:05Z"});
        new["status"] = json!({"matchedPods": 1, "collisionCount": 0, "conditions": [condition]});
        let old = convert(new.clone(), Version::V1alpha1).unwrap();
        assert_eq!(old["status"], new["status"]);
        assert_eq!(convert(old, Version::V1beta1).unwrap(), new);
    }

    #[test]
    fn custom_version_that_is_no_label_value_survives() {
        let new = set("v1beta1", &json!({"name": "a"}), &json!({"customVersion": "not a label!"}));
        let old = convert(new.clone(), Version::V1alpha1).unwrap();
        assert_eq!(old["metadata"].get("labels"), None);
        assert_eq!(convert(old, Version::V1beta1).unwrap(), new);
    }

    #[test]
    fn what_is_no_sidecarset_of_a_known_version_is_an_error() {
        let other = json!({"apiVersion": "apps.kruise.io/v2", "kind": "SidecarSet"});
        assert_eq!(
            convert(other, Version::V1beta1),
            Err(ConversionError::UnknownVersion("apps.kruise.io/v2".to_owned()))
        );
        let other = json!({"apiVersion": "apps.kruise.io/v1beta1", "kind": "CloneSet"});
        assert_eq!(convert(other, Version::V1alpha1), Err(ConversionError::NotASidecarSet("CloneSet".to_owned())));
        let wrong = json!({"apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet", "spec": []});
        assert_eq!(convert(wrong, Version::V1alpha1), Err(ConversionError::NotAnObject { field: "spec" }));
    }
}
