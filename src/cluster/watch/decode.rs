//! Objects out of lists and watch events, with those set aside that cannot be decoded.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::Undecodable;
use crate::api::decode::without_value;
use crate::cluster::events::shorten;

/// More of what is wrong with an object is not kept (bytes).
const LONGEST_PROBLEM: usize = 1024;

/// A page of a list.
#[derive(Debug)]
pub(super) struct Page<K> {
    /// From where to follow; empty if the API server left it out.
    pub resource_version: String,
    /// How to get the next page; empty on the last.
    pub next: String,
    pub objects: Vec<K>,
    pub undecodable: Vec<Undecodable>,
}

/// An object of a watch event.
#[derive(Debug)]
pub(super) struct Seen<K> {
    /// From where to go on.
    pub resource_version: Option<String>,
    pub namespace: String,
    pub name: String,
    /// The object, or what is wrong with it.
    pub object: Result<K, String>,
}

#[derive(Deserialize)]
#[serde(bound = "K: Deserialize<'de>")]
struct WireList<K> {
    #[serde(default)]
    metadata: ListMetadata,
    items: Option<Vec<K>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ListMetadata {
    resource_version: String,
    r#continue: String,
}

/// What every object has.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Head {
    metadata: Metadata,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    namespace: Option<String>,
    name: Option<String>,
    resource_version: Option<String>,
}

/// Reads a page. Only one that cannot be decoded as a whole is read a second time, object by object.
pub(super) fn page<K: DeserializeOwned>(text: &str) -> serde_json::Result<Page<K>> {
    if let Ok(WireList { metadata, items }) = serde_json::from_str::<WireList<K>>(text) {
        return Ok(Page::new(metadata, items.unwrap_or_default()));
    }
    let WireList { metadata, items } = serde_json::from_str::<WireList<&RawValue>>(text)?;
    let mut page = Page::new(metadata, Vec::new());
    for raw in items.unwrap_or_default() {
        let Seen { namespace, name, object, .. } = object(raw);
        match object {
            Ok(object) => page.objects.push(object),
            Err(problem) => page.undecodable.push(Undecodable { namespace, name, problem }),
        }
    }
    Ok(page)
}

impl<K> Page<K> {
    fn new(metadata: ListMetadata, objects: Vec<K>) -> Self {
        let ListMetadata { resource_version, r#continue: next } = metadata;
        Self { resource_version, next, objects, undecodable: Vec::new() }
    }
}

/// Reads an object.
pub(super) fn object<K: DeserializeOwned>(raw: &RawValue) -> Seen<K> {
    let Head { metadata } = serde_json::from_str(raw.get()).unwrap_or_default();
    Seen {
        resource_version: metadata.resource_version,
        namespace: metadata.namespace.unwrap_or_default(),
        name: metadata.name.unwrap_or_default(),
        object: serde_json::from_str(raw.get()).map_err(|error| problem::<K>(raw, &error)),
    }
}

/// The field at fault and what is wrong with it. Names of fields are the object's, and may be of any length.
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
        let seen = object::<BTreeMap<String, BTreeMap<String, String>>>(&raw);
        assert_eq!(seen.name, "a");
        assert!(seen.object.is_err_and(|problem| problem.starts_with("kkk") && problem.len() <= LONGEST_PROBLEM));
    }
}
