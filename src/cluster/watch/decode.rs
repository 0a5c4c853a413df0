//! Decodes objects from lists and watch events, and reports those that cannot be decoded.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::api::decode::without_value;
use crate::cluster::events::shorten;

/// At most this many bytes of a problem are kept.
const LONGEST_PROBLEM: usize = 1024;

/// A page of a list.
#[derive(Debug)]
pub(super) struct Page<'t> {
    /// The version to follow from; empty if the API server left it out.
    pub resource_version: String,
    /// The token of the next page; empty on the last one.
    pub next: String,
    pub objects: Vec<&'t RawValue>,
}

/// The identity of an object.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Identity {
    pub namespace: Option<String>,
    pub name: Option<String>,
    /// The version to continue from.
    pub resource_version: Option<String>,
}

#[derive(Deserialize)]
struct WireList<'t> {
    #[serde(default)]
    metadata: ListMetadata,
    #[serde(borrow)]
    items: Option<Vec<&'t RawValue>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ListMetadata {
    resource_version: String,
    r#continue: String,
}

/// Fills an identity from a part of an object, and stops reading once it is complete.
struct Part<'i> {
    identity: &'i mut Identity,
    is_metadata: bool,
}

/// Reads a page without its objects.
pub(super) fn page(text: &str) -> serde_json::Result<Page<'_>> {
    let WireList { metadata: ListMetadata { resource_version, r#continue: next }, items } = serde_json::from_str(text)?;
    Ok(Page { resource_version, next, objects: items.unwrap_or_default() })
}

/// Reads the identity of an object; empty if it is not an object. An API server writes it before the long parts, so it is found without
/// reading these.
pub(super) fn identity(raw: &RawValue) -> Identity {
    let mut identity = Identity::default();
    // An object that is not read to its end is an error, which does not matter.
    let _unread = Part { identity: &mut identity, is_metadata: false }
        .deserialize(&mut serde_json::Deserializer::from_str(raw.get()));
    identity
}

impl<'de> DeserializeSeed<'de> for Part<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Part<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { identity, is_metadata } = self;
        while let Some(key) = map.next_key::<String>()? {
            match (is_metadata, key.as_str()) {
                (false, "metadata") => return map.next_value_seed(Part { identity, is_metadata: true }),
                (true, "name") => identity.name = map.next_value()?,
                (true, "namespace") => identity.namespace = map.next_value()?,
                (true, "resourceVersion") => identity.resource_version = map.next_value()?,
                _ => _ = map.next_value::<IgnoredAny>()?,
            }
            if let Identity { namespace: Some(_), name: Some(_), resource_version: Some(_) } = identity {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Reads an object.
///
/// # Errors
/// The problem.
pub(in crate::cluster) fn decode<K: DeserializeOwned>(raw: &RawValue) -> Result<K, String> {
    serde_json::from_str(raw.get()).map_err(|error| problem::<K>(raw, &error))
}

/// Returns the field at fault and its problem. Field names are from the object and may have any length.
fn problem<K: DeserializeOwned>(raw: &RawValue, error: &serde_json::Error) -> String {
    let mut deserializer = serde_json::Deserializer::from_str(raw.get());
    let mut problem = match serde_path_to_error::deserialize::<_, K>(&mut deserializer) {
        Err(error) => format!("{}: {}", error.path(), without_value(&error.inner().to_string())),
        Ok(_) => without_value(&error.to_string()),
    };
    shorten(&mut problem, LONGEST_PROBLEM);
    problem
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn the_identity_is_found_wherever_it_is_and_without_reading_the_rest() {
        let of = |text: &str| identity(&RawValue::from_string(text.to_owned()).unwrap());
        let known = |namespace: Option<&str>| Identity {
            namespace: namespace.map(str::to_owned),
            name: Some("a".to_owned()),
            resource_version: Some("7".to_owned()),
        };
        let spec = r#""spec":{"metadata":{"name":"inner"}}"#;
        let namespaced =
            r#""metadata":{"name":"a","labels":{"name":"b"},"namespace":"n","uid":"u","resourceVersion":"7"}"#;
        let of_cluster = r#""metadata":{"resourceVersion":"7","labels":{"namespace":"b"},"name":"a"}"#;
        for rest in [format!("{{{namespaced},{spec}}}"), format!("{{{spec},{namespaced}}}")] {
            assert_eq!(of(&rest), known(Some("n")), "{rest}");
        }
        for rest in [format!("{{{of_cluster},{spec}}}"), format!("{{{spec},{of_cluster}}}")] {
            assert_eq!(of(&rest), known(None), "{rest}");
        }
        for nothing in ["{}", "[]", "7", r#"{"metadata":null}"#, r#"{"metadata":{"name":7}}"#] {
            assert_eq!(of(nothing), Identity::default(), "{nothing}");
        }
    }

    #[test]
    fn what_is_wrong_with_an_object_is_told_at_bounded_length() {
        let key = "k".repeat(100_000);
        let raw = RawValue::from_string(format!(r#"{{"metadata":{{"name":"a"}},"{key}":true}}"#)).unwrap();
        assert_eq!(identity(&raw).name.as_deref(), Some("a"));
        let decoded = decode::<BTreeMap<String, BTreeMap<String, String>>>(&raw);
        assert!(decoded.is_err_and(|problem| problem.starts_with("kkk") && problem.len() <= LONGEST_PROBLEM));
    }
}
