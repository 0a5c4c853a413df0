//! Conversion of SidecarSets between v1alpha1 and v1beta1. It works on JSON, so that every field survives.
//!
//! The API server converts whole objects, and for server-side apply also *parts* of them: the fields that one manager owns, or the
//! object without them. It drops fields that are missing after conversion. So no extra field can remember anything, and each part
//! must be converted by itself. Every field of one version maps to exactly one place in the other:
//!
//! * v1alpha1's `spec.namespace` and `spec.namespaceSelector` are one `spec.namespaceSelector` in v1beta1; see
//!   `namespaces`.
//! * v1beta1's `spec.customVersion` is a label in v1alpha1. The label of that name in v1beta1, where it has no meaning, has
//!   another name in v1alpha1. Text that is not a label value has no effect and no place in v1alpha1.

mod namespaces;
#[cfg(test)]
mod server_side_apply;
mod text;

use super::keys::{CUSTOM_VERSION, CUSTOM_VERSION_LABEL_OF_V1BETA1};
use super::sidecarset::{GROUP, KIND};
use namespaces::Namespaces;
use serde_json::{Map, Value};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

pub use text::{TextError, convert_text};

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
    /// Not a known version of SidecarSet.
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
    /// A part of the object is too long or too deep.
    #[error("{field}: cannot be read: it is too long, or too deep")]
    Unreadable {
        /// Path of the part.
        field: &'static str,
    },
}

/// The fields that the versions spell differently, in either version.
#[derive(Debug, Default)]
struct Differing {
    /// v1alpha1's `spec.namespace`.
    namespace: Option<Value>,
    /// `spec.namespaceSelector`.
    selector: Option<Value>,
    /// v1beta1's `spec.customVersion`.
    custom_version: Option<Value>,
    /// The label [`CUSTOM_VERSION`].
    label: Option<Value>,
    /// v1alpha1's label [`CUSTOM_VERSION_LABEL_OF_V1BETA1`].
    label_of_v1beta1: Option<Value>,
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

impl Differing {
    /// Converts from the other version to this one.
    fn to(self, version: Version) -> Self {
        match version {
            Version::V1beta1 => Self {
                namespace: None,
                selector: Namespaces { namespace: self.namespace, selector: self.selector }.into_v1beta1(),
                custom_version: self.label.or(self.custom_version).filter(Value::is_string),
                label: self.label_of_v1beta1,
                label_of_v1beta1: None,
            },
            Version::V1alpha1 => {
                let Namespaces { namespace, selector } = Namespaces::of_v1beta1(self.selector);
                let label = self.custom_version.filter(|version| version.as_str().is_some_and(is_label_value));
                Self { namespace, selector, custom_version: None, label, label_of_v1beta1: self.label }
            }
        }
    }
}

/// Converts a SidecarSet to another version.
///
/// # Errors
/// When the object is not a SidecarSet of a known version, or when `metadata`, its labels or `spec` are not objects.
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
    let mut metadata = take_object(root, "metadata", "metadata")?.unwrap_or_default();
    let had_labels = metadata.contains_key("labels");
    let mut labels = take_object(&mut metadata, "labels", "metadata.labels")?.unwrap_or_default();
    let had_no_labels = labels.is_empty();
    let spec = take_object(root, "spec", "spec")?;
    let had_spec = spec.is_some();
    let mut spec = spec.unwrap_or_default();

    let differing = Differing {
        namespace: spec.shift_remove("namespace"),
        selector: spec.shift_remove("namespaceSelector"),
        custom_version: spec.shift_remove("customVersion"),
        label: labels.shift_remove(CUSTOM_VERSION),
        label_of_v1beta1: labels.shift_remove(CUSTOM_VERSION_LABEL_OF_V1BETA1),
    }
    .to(to);
    let put = |map: &mut Map<String, Value>, key: &str, value: Option<Value>| {
        value.map(|value| map.insert(key.to_owned(), value));
    };
    put(&mut spec, "namespace", differing.namespace);
    put(&mut spec, "namespaceSelector", differing.selector);
    put(&mut spec, "customVersion", differing.custom_version);
    put(&mut labels, CUSTOM_VERSION, differing.label);
    put(&mut labels, CUSTOM_VERSION_LABEL_OF_V1BETA1, differing.label_of_v1beta1);

    if !labels.is_empty() || had_labels && had_no_labels {
        metadata.insert("labels".to_owned(), Value::Object(labels));
    }
    root.insert("apiVersion".to_owned(), Value::String(to.to_string()));
    root.insert("metadata".to_owned(), Value::Object(metadata));
    if had_spec || !spec.is_empty() {
        root.insert("spec".to_owned(), Value::Object(spec));
    }
    Ok(object)
}

/// Takes a field out; `None` if it is absent or `null`.
fn take_object(
    map: &mut Map<String, Value>,
    key: &str,
    field: &'static str,
) -> Result<Option<Map<String, Value>>, ConversionError> {
    match map.shift_remove(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(map)) => Ok(Some(map)),
        Some(_) => Err(ConversionError::NotAnObject { field }),
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
    use serde_json::json;

    fn set(version: &str, metadata: &Value, spec: &Value) -> Value {
        json!({"apiVersion": format!("apps.kruise.io/{version}"), "kind": "SidecarSet", "metadata": metadata, "spec": spec})
    }

    /// Converts the object as a value and as text. The results must be equal.
    #[track_caller]
    fn converted(object: &Value, to: Version) -> Value {
        let value = convert(object.clone(), to).unwrap();
        let mut text = Vec::new();
        assert_eq!(convert_text(&object.to_string(), to, &mut text), Ok(None));
        assert_eq!(serde_json::from_slice::<Value>(&text).unwrap(), value);
        value
    }

    #[test]
    fn there_and_back_again_nothing_is_lost() {
        let selector = json!({"matchLabels": {"team": "b"}});
        for (metadata, spec) in [
            (json!({"name": "a", "labels": {}}), json!({})),
            (json!({"name": "a"}), json!({"namespace": "shop", "future": {"x": 1.5}})),
            (json!({"name": "a"}), json!({"namespace": "shop", "namespaceSelector": selector})),
            (json!({"name": "a"}), json!({"namespaceSelector": selector})),
            (json!({"name": "a", "annotations": {"x": "y"}, "labels": {"x": "y"}}), json!({"namespace": "shop"})),
            (json!({"labels": {CUSTOM_VERSION: "v7", CUSTOM_VERSION_LABEL_OF_V1BETA1: "v6"}}), json!({})),
        ] {
            let old = set("v1alpha1", &metadata, &spec);
            let stored = converted(&old, Version::V1beta1);
            assert_eq!(converted(&stored, Version::V1alpha1), old);
            assert_eq!(converted(&converted(&stored, Version::V1alpha1), Version::V1beta1), stored);
        }
    }

    #[test]
    fn what_was_stored_with_an_annotation_for_the_namespace_is_read_without_it() {
        let selector = json!({"matchLabels": {"kubernetes.io/metadata.name": "shop"}});
        let annotated = json!({"annotations": {"outrigger.dev/v1alpha1-namespace": "shop"}});
        for metadata in [annotated, json!({})] {
            let stored = set("v1beta1", &metadata, &json!({"namespaceSelector": selector}));
            let read = converted(&stored, Version::V1alpha1);
            assert_eq!(read, set("v1alpha1", &metadata, &json!({"namespace": "shop", "namespaceSelector": selector})));
            assert_eq!(converted(&read, Version::V1beta1), stored);
        }
    }

    #[test]
    fn an_object_without_metadata_gets_empty_metadata_and_no_spec() {
        let bare = json!({"apiVersion": "apps.kruise.io/v1alpha1", "kind": "SidecarSet"});
        let stored = converted(&bare, Version::V1beta1);
        assert_eq!(stored, json!({"apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet", "metadata": {}}));
        for null in ["metadata", "spec"] {
            let mut object = bare.clone();
            object[null] = Value::Null;
            assert_eq!(converted(&object, Version::V1beta1), stored);
        }
    }

    #[test]
    fn custom_version_is_a_label_in_v1alpha1() {
        let new = set("v1beta1", &json!({"name": "a"}), &json!({"customVersion": "v7"}));
        let old = set("v1alpha1", &json!({"name": "a", "labels": {CUSTOM_VERSION: "v7"}}), &json!({}));
        assert_eq!(converted(&new, Version::V1alpha1), old);
        assert_eq!(converted(&old, Version::V1beta1), new);
        // A part may have only the label or only the field.
        let part = json!({"apiVersion": "apps.kruise.io/v1alpha1", "kind": "SidecarSet", "metadata": {"labels": {CUSTOM_VERSION: "v7"}}});
        let new = converted(&part, Version::V1beta1);
        assert_eq!((&new["metadata"], &new["spec"]), (&json!({}), &json!({"customVersion": "v7"})));
    }

    #[test]
    fn the_label_means_nothing_in_v1beta1_and_stays_what_it_is() {
        for spec in [json!({}), json!({"customVersion": "v7"})] {
            let new = set("v1beta1", &json!({"labels": {CUSTOM_VERSION: "old", "x": "y"}}), &spec);
            let old = converted(&new, Version::V1alpha1);
            assert_eq!(old["metadata"]["labels"].get(CUSTOM_VERSION), spec.get("customVersion"));
            assert_eq!(converted(&old, Version::V1beta1), new);
        }
    }

    #[test]
    fn v1alpha1_has_no_place_for_a_custom_version_that_is_no_label_value() {
        for version in [json!("not a label!"), json!("x".repeat(300_000)), json!(7)] {
            let new = set("v1beta1", &json!({"name": "a"}), &json!({"customVersion": version}));
            assert_eq!(converted(&new, Version::V1alpha1), set("v1alpha1", &json!({"name": "a"}), &json!({})));
        }
    }

    #[test]
    fn the_status_and_its_conditions_survive() {
        let mut new = set("v1beta1", &json!({"name": "a"}), &json!({}));
        let condition = json!({"type": "Ready", "status": "True", "reason": "Current", "message": "", "observedGeneration": 1,
                               "lastTransitionTime": "2026-01-02T03:04:05Z"});
        new["status"] = json!({"matchedPods": 1, "collisionCount": 0, "conditions": [condition]});
        let old = converted(&new, Version::V1alpha1);
        assert_eq!(old["status"], new["status"]);
        assert_eq!(converted(&old, Version::V1beta1), new);
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
