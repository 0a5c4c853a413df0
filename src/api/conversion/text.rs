//! Conversion of a SidecarSet's JSON text, for whole lists. Fields that both versions write alike are copied unchanged, at any
//! depth.
//!
//! Only a few fields are parsed, so this needs little more memory than its output. It fails for no SidecarSet, because one stored
//! object must not make all of them unreadable. Fields that cannot be converted exactly are converted so that the set selects
//! less rather than more.

use super::namespaces::nothing;
use super::{ConversionError, Differing, Version};
use crate::api::borrowed::Str;
use crate::api::keys::{CUSTOM_VERSION, CUSTOM_VERSION_LABEL_OF_V1BETA1};
use crate::api::sidecarset::KIND;
use serde::Deserializer;
use serde::de::{MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use std::fmt;
use thiserror::Error;

/// The maximum length of a selector that is read. A selector with 5,000 names of Namespaces is shorter.
const LONGEST_SELECTOR: usize = 256 * 1024;
const LONGEST_NAME: usize = 256;

/// Why a text cannot be converted.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TextError {
    /// The object is of another kind.
    #[error(transparent)]
    Foreign(ConversionError),
    /// The text is not an object.
    #[error("{0}")]
    Json(String),
}

impl From<serde_json::Error> for TextError {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error.to_string())
    }
}

/// The parts of an object that the versions write differently. A part that is not an object counts as absent and is reported.
#[derive(Default)]
struct Parts<'a> {
    metadata: Option<&'a str>,
    labels: Option<&'a str>,
    spec: Option<&'a str>,
    unfaithful: Option<ConversionError>,
}

/// Writes a SidecarSet in another version, and reports fields that cannot be converted exactly. The output always has `metadata`.
///
/// # Errors
/// When the text is not a JSON object, or is an object of another kind.
pub fn convert_text(object: &str, to: Version, converted: &mut Vec<u8>) -> Result<Option<ConversionError>, TextError> {
    let [api_version, kind, metadata, spec] = members(object, ["apiVersion", "kind", "metadata", "spec"])?;
    let kind = name_in(kind);
    if kind != KIND {
        return Err(TextError::Foreign(ConversionError::NotASidecarSet(kind)));
    }
    let mut parts = Parts::default();
    let from = name_in(api_version).parse().unwrap_or_else(|unknown| {
        parts.unfaithful = Some(unknown);
        // Fields that exist in both versions are still copied.
        if to == Version::V1beta1 { Version::V1alpha1 } else { Version::V1beta1 }
    });
    if from == to {
        converted.extend_from_slice(object.as_bytes());
        return Ok(None);
    }
    parts.metadata = parts.object(metadata, "metadata");
    let [labels] = members(parts.metadata.unwrap_or("{}"), ["labels"])?;
    parts.labels = parts.object(labels, "metadata.labels");
    parts.spec = parts.object(spec, "spec");
    let written = parts.convert(to)?;

    let mut root = Members::begin(converted);
    root.add("apiVersion", Some(&serde_json::to_vec(&to.to_string())?))?;
    let keeps_spec = parts.spec.is_none() && written.spec.is_none() && spec.is_some_and(|spec| spec.get() != "null");
    root.copy(object, |key| key == "apiVersion" || key == "metadata" || key == "spec" && !keeps_spec)?;
    root.add("metadata", Some(&written.metadata))?;
    root.add("spec", written.spec.as_deref())?;
    root.end();
    Ok(parts.unfaithful)
}

/// The parts as JSON.
struct Written {
    metadata: Vec<u8>,
    spec: Option<Vec<u8>>,
}

impl<'a> Parts<'a> {
    fn object(&mut self, part: Option<&'a RawValue>, field: &'static str) -> Option<&'a str> {
        let text = part.map(RawValue::get).filter(|text| *text != "null")?;
        if !text.starts_with('{') {
            self.unfaithful.get_or_insert(ConversionError::NotAnObject { field });
            return None;
        }
        Some(text)
    }

    fn convert(&mut self, to: Version) -> Result<Written, serde_json::Error> {
        let [label, label_of_v1beta1] =
            members(self.labels.unwrap_or("{}"), [CUSTOM_VERSION, CUSTOM_VERSION_LABEL_OF_V1BETA1])?;
        let [namespace, selector, custom_version] =
            members(self.spec.unwrap_or("{}"), ["namespace", "namespaceSelector", "customVersion"])?;
        let text = |value: Option<&RawValue>| value.and_then(string).map(Value::String);
        let before = Differing {
            namespace: namespace.and_then(read_namespace),
            selector: selector.and_then(read_selector),
            custom_version: text(custom_version),
            label: text(label),
            label_of_v1beta1: text(label_of_v1beta1),
        };
        let is_unread = before.selector.is_none() && selector.is_some_and(|selector| selector.get() != "null");
        let mut after = before.to(to);
        if is_unread {
            self.unfaithful.get_or_insert(ConversionError::Unreadable { field: "spec.namespaceSelector" });
            after.selector = after.selector.map(|_| nothing());
        }

        let json = |value: &Option<Value>| value.as_ref().map(serde_json::to_vec).transpose();
        let mut labels = room_for(self.labels);
        let mut members = Members::begin(&mut labels);
        let taken = |key: &str, own: &str, before: Option<&RawValue>, after: &Option<Value>| {
            key == own && (after.is_some() || before.is_some_and(|value| string(value).is_some()))
        };
        members.copy(self.labels.unwrap_or("{}"), |key| {
            taken(key, CUSTOM_VERSION, label, &after.label)
                || taken(key, CUSTOM_VERSION_LABEL_OF_V1BETA1, label_of_v1beta1, &after.label_of_v1beta1)
        })?;
        members.add(CUSTOM_VERSION, json(&after.label)?.as_deref())?;
        members.add(CUSTOM_VERSION_LABEL_OF_V1BETA1, json(&after.label_of_v1beta1)?.as_deref())?;
        let had_no_labels = self.labels.is_some() && label.is_none() && label_of_v1beta1.is_none();
        let labels = (!members.end() || had_no_labels).then_some(labels);

        let mut metadata = room_for(self.metadata);
        let mut members = Members::begin(&mut metadata);
        let keeps_labels = self.labels.is_none() && labels.is_none() && self.unfaithful.is_some();
        members.copy(self.metadata.unwrap_or("{}"), |key| key == "labels" && !keeps_labels)?;
        members.add("labels", labels.as_deref())?;
        members.end();

        let mut spec = room_for(self.spec);
        let mut members = Members::begin(&mut spec);
        let keeps_selector = is_unread && after.selector.is_none();
        members.copy(self.spec.unwrap_or("{}"), |key| {
            key == "namespace" || key == "namespaceSelector" && !keeps_selector || key == "customVersion"
        })?;
        members.add("namespace", json(&after.namespace)?.as_deref())?;
        members.add("namespaceSelector", json(&after.selector)?.as_deref())?;
        members.add("customVersion", json(&after.custom_version)?.as_deref())?;
        let spec = (!members.end() || self.spec.is_some()).then_some(spec);
        Ok(Written { metadata, spec })
    }
}

/// Space for a part, and for most additions to it.
fn room_for(part: Option<&str>) -> Vec<u8> {
    part.map_or_else(Vec::new, |text| Vec::with_capacity(text.len() + 512))
}

/// The name of a kind or version. Messages contain it, so a text that is too long does not count as one.
fn name_in(value: Option<&RawValue>) -> String {
    value.filter(|value| value.get().len() <= LONGEST_NAME).and_then(string).unwrap_or_default()
}

/// The text of a JSON string.
fn string(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

/// The value of a field that is not text is not needed.
fn read_namespace(namespace: &RawValue) -> Option<Value> {
    let text = namespace.get();
    (text != "null").then(|| string(namespace).map_or(Value::Bool(true), Value::String))
}

/// Returns `None` for a value that is too long or too deep to be a selector.
fn read_selector(selector: &RawValue) -> Option<Value> {
    let text = selector.get();
    let read: Option<Value> = if text.len() <= LONGEST_SELECTOR { serde_json::from_str(text).ok() } else { None };
    read.filter(|value| !value.is_null())
}

/// Returns these members of a JSON object. Of duplicate members, the last one wins.
fn members<'a, const N: usize>(
    object: &'a str,
    keys: [&str; N],
) -> Result<[Option<&'a RawValue>; N], serde_json::Error> {
    let mut found = [None; N];
    for_each_member(object, |key, value| {
        if let Some(index) = keys.iter().position(|wanted| *wanted == key) {
            found[index] = Some(value);
        }
        Ok(())
    })?;
    Ok(found)
}

/// Iterates over a JSON object without keeping any of it.
fn for_each_member<'a>(
    object: &'a str,
    each: impl FnMut(&str, &'a RawValue) -> Result<(), serde_json::Error>,
) -> Result<(), serde_json::Error> {
    struct Each<F>(F);

    impl<'de, F: FnMut(&str, &'de RawValue) -> Result<(), serde_json::Error>> Visitor<'de> for Each<F> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
            while let Some(key) = map.next_key::<Str<'de>>()? {
                (self.0)(&key, map.next_value()?).map_err(serde::de::Error::custom)?;
            }
            Ok(())
        }
    }

    serde_json::Deserializer::from_str(object).deserialize_map(Each(each))
}

/// A JSON object under construction.
struct Members<'o> {
    out: &'o mut Vec<u8>,
    is_empty: bool,
}

impl<'o> Members<'o> {
    fn begin(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, is_empty: true }
    }

    /// Adds a member if it has a value.
    fn add(&mut self, key: &str, value: Option<&[u8]>) -> Result<(), serde_json::Error> {
        let Some(value) = value else { return Ok(()) };
        if !self.is_empty {
            self.out.push(b',');
        }
        self.is_empty = false;
        serde_json::to_writer(&mut *self.out, key)?;
        self.out.push(b':');
        self.out.extend_from_slice(value);
        Ok(())
    }

    /// Copies the members of another object, with exceptions.
    fn copy(&mut self, object: &str, mut except: impl FnMut(&str) -> bool) -> Result<(), serde_json::Error> {
        for_each_member(
            object,
            |key, value| {
                if except(key) { Ok(()) } else { self.add(key, Some(value.get().as_bytes())) }
            },
        )
    }

    /// Ends the object. Returns whether it is empty.
    fn end(self) -> bool {
        self.out.push(b'}');
        self.is_empty
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn converts(object: &str, to: Version, unfaithful: Option<ConversionError>) -> Value {
        let mut text = Vec::new();
        assert_eq!(convert_text(object, to, &mut text), Ok(unfaithful));
        let converted: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(converted["apiVersion"], to.to_string());
        assert!(converted["metadata"].is_object(), "{converted}");
        converted
    }

    fn of_a_namespace(version: &str, selector: &str) -> String {
        format!(
            r#"{{"apiVersion":"apps.kruise.io/{version}","kind":"SidecarSet","metadata":{{"name":"a"}},
                 "spec":{{"namespace":"shop","namespaceSelector":{selector}}}}}"#
        )
    }

    #[test]
    fn a_namespace_beside_what_cannot_be_read_as_a_selector_reaches_nothing() {
        let deep = format!("{{\"matchLabels\":{}1{}}}", "[".repeat(500), "]".repeat(500));
        let long = format!("{{\"matchLabels\":{{\"a\":\"{}\"}}}}", "b".repeat(LONGEST_SELECTOR));
        let unreadable = Some(ConversionError::Unreadable { field: "spec.namespaceSelector" });
        for selector in [deep, long] {
            let converted = converts(&of_a_namespace("v1alpha1", &selector), Version::V1beta1, unreadable.clone());
            assert_eq!(converted["spec"], json!({"namespaceSelector": nothing()}));
        }
        let long = "b".repeat(LONGEST_SELECTOR);
        let alone = format!(
            r#"{{"apiVersion":"apps.kruise.io/v1alpha1","kind":"SidecarSet","spec":{{"namespaceSelector":"{long}"}}}}"#
        );
        let converted = converts(&alone, Version::V1beta1, unreadable);
        assert_eq!(converted["spec"]["namespaceSelector"].as_str().map(str::len), Some(LONGEST_SELECTOR));
    }

    #[test]
    fn a_namespace_survives_whatever_else_the_object_holds() {
        let only = |name: &str| {
            let selector = super::super::namespaces::Namespaces { namespace: Some(json!(name)), selector: None };
            json!({"namespaceSelector": selector.into_v1beta1().unwrap()})
        };
        let unknown = Some(ConversionError::UnknownVersion("apps.kruise.io/v2".to_owned()));
        assert_eq!(converts(&of_a_namespace("v2", "null"), Version::V1beta1, unknown)["spec"], only("shop"));
        for (metadata, field) in [("[]", "metadata"), (r#"{"labels":"x"}"#, "metadata.labels")] {
            let object = of_a_namespace("v1alpha1", "null").replace(r#"{"name":"a"}"#, metadata);
            let converted = converts(&object, Version::V1beta1, Some(ConversionError::NotAnObject { field }));
            assert_eq!(converted["spec"], only("shop"));
        }
        let escaped = of_a_namespace("v1alpha1", "null").replace("\"namespace\"", r#""n\u0061mespace""#);
        assert_eq!(converts(&escaped, Version::V1beta1, None)["spec"], only("shop"));
    }

    #[test]
    fn what_both_versions_spell_alike_is_copied_at_any_depth() {
        let deep = format!("{}1.10{}", "[".repeat(500), "]".repeat(500));
        let object = format!(
            r#"{{ "status" : {{"a":1e2}}, "spec":{{"containers":{deep},"namespace":"shop"}}, "kind":"SidecarSet","apiVersion":"apps.kruise.io/v1alpha1"}}"#
        );
        let mut text = Vec::new();
        assert_eq!(convert_text(&object, Version::V1beta1, &mut text), Ok(None));
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains(&format!(r#""spec":{{"containers":{deep},"namespaceSelector":"#)), "{text}");
        assert!(text.contains(r#""status":{"a":1e2}"#), "{text}");
    }

    #[test]
    fn a_spec_or_metadata_of_a_wrong_type_fails_nothing() {
        for (part, field) in [("spec", "spec"), ("metadata", "metadata")] {
            let object = format!(r#"{{"apiVersion":"apps.kruise.io/v1beta1","kind":"SidecarSet","{part}":[1]}}"#);
            let error = Some(ConversionError::NotAnObject { field });
            let converted = converts(&object, Version::V1alpha1, error);
            assert_eq!(converted.get("spec"), (part == "spec").then(|| json!([1])).as_ref());
        }
    }

    #[test]
    fn what_is_no_sidecarset_is_an_error() {
        let mut text = Vec::new();
        let other = r#"{"apiVersion":"apps.kruise.io/v1beta1","kind":"CloneSet"}"#;
        let foreign = TextError::Foreign(ConversionError::NotASidecarSet("CloneSet".to_owned()));
        assert_eq!(convert_text(other, Version::V1alpha1, &mut text), Err(foreign));
        for no_object in ["5", "[]", "\"SidecarSet\""] {
            assert!(matches!(convert_text(no_object, Version::V1alpha1, &mut text), Err(TextError::Json(_))));
        }
        assert_eq!(text, b"");
    }
}
