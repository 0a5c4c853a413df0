//! Decodes objects from lists and watch events, and reports those that cannot be decoded.

use serde::Deserialize;
use serde::de::DeserializeOwned;
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
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
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

/// The fields that every object has.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Head {
    metadata: Identity,
}

/// Reads a page without its objects.
pub(super) fn page(text: &str) -> serde_json::Result<Page<'_>> {
    let WireList { metadata: ListMetadata { resource_version, r#continue: next }, items } = serde_json::from_str(text)?;
    Ok(Page { resource_version, next, objects: items.unwrap_or_default() })
}

/// Reads the identity of an object; empty if it is not an object.
pub(super) fn identity(raw: &RawValue) -> Identity {
    serde_json::from_str::<Head>(raw.get()).unwrap_or_default().metadata
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
    fn what_is_wrong_with_an_object_is_told_at_bounded_length() {
        let key = "k".repeat(100_000);
        let raw = RawValue::from_string(format!(r#"{{"metadata":{{"name":"a"}},"{key}":true}}"#)).unwrap();
        assert_eq!(identity(&raw).name.as_deref(), Some("a"));
        let decoded = decode::<BTreeMap<String, BTreeMap<String, String>>>(&raw);
        assert!(decoded.is_err_and(|problem| problem.starts_with("kkk") && problem.len() <= LONGEST_PROBLEM));
    }
}
