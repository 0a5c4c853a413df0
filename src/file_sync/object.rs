//! Pure: the parts of `ConfigMap` and `Secret` that become files.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

/// The kind of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A `ConfigMap`.
    ConfigMap,
    /// A `Secret`.
    Secret,
}

/// The identity of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: Box<str>,
    /// Its name.
    pub name: Box<str>,
}

/// A `ConfigMap` or a `Secret`, as the API server sends it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WireObject {
    /// Its metadata.
    pub metadata: WireMetadata,
    /// Text in a `ConfigMap`, Base64 in a Secret.
    data: Option<BTreeMap<String, String>>,
    /// Base64.
    binary_data: Option<BTreeMap<String, String>>,
}

/// The kept metadata.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WireMetadata {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// When it was created.
    pub creation_timestamp: Option<jiff::Timestamp>,
    /// Its annotations.
    pub annotations: Option<BTreeMap<String, String>>,
}

/// The value of a key that should be Base64 and is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the value of the key {0:?} is not Base64")]
pub struct ValueError(String);

impl Kind {
    /// The plural in API paths and names of watches.
    #[must_use]
    pub const fn plural(self) -> &'static str {
        match self {
            Self::ConfigMap => "configmaps",
            Self::Secret => "secrets",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ConfigMap => "configmap",
            Self::Secret => "secret",
        })
    }
}

impl WireObject {
    /// Returns its identity.
    pub fn key(&self, kind: Kind) -> ObjectKey {
        ObjectKey { kind, namespace: self.metadata.namespace.as_str().into(), name: self.metadata.name.as_str().into() }
    }

    /// Returns its creation time in seconds. Objects without one count as youngest.
    pub fn created(&self) -> i64 {
        self.metadata.creation_timestamp.map_or(i64::MAX, jiff::Timestamp::as_second)
    }

    /// Returns its keys with their values. A key in `data` has precedence over the same key in `binaryData`.
    pub fn values(&self, kind: Kind) -> impl Iterator<Item = (&str, Result<Cow<'_, [u8]>, ValueError>)> {
        let is_text = kind == Kind::ConfigMap;
        let data = self.data.iter().flatten().map(move |(key, value)| {
            let value = if is_text { Ok(Cow::Borrowed(value.as_bytes())) } else { decoded(key, value) };
            (key.as_str(), value)
        });
        let binary = self.binary_data.iter().flatten().filter(move |_| is_text);
        data.chain(binary.map(|(key, value)| (key.as_str(), decoded(key, value))))
    }
}

fn decoded(key: &str, value: &str) -> Result<Cow<'static, [u8]>, ValueError> {
    BASE64_STANDARD.decode(value).map(Cow::Owned).map_err(|_| ValueError(key.to_owned()))
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_text_in_config_maps_and_base64_in_secrets_and_binary_data() {
        let text = r#"{"metadata":{"name":"n","namespace":"s","creationTimestamp":"1970-01-01T00:00:05Z"},
            "data":{"a":"eA=="},"binaryData":{"b":"eA==","c":"!"}}"#;
        let object: WireObject = serde_json::from_str(text).expect("an object");
        let values: Vec<_> = object.values(Kind::ConfigMap).map(|(key, value)| (key, value.ok())).collect();
        assert_eq!(
            values,
            [("a", Some(Cow::from(b"eA==".as_slice()))), ("b", Some(Cow::from(b"x".as_slice()))), ("c", None)]
        );
        let values: Vec<_> = object.values(Kind::Secret).map(|(key, value)| (key, value.ok())).collect();
        assert_eq!(values, [("a", Some(Cow::from(b"x".as_slice())))]);
        assert_eq!((object.created(), object.key(Kind::Secret).to_string()), (5, "secret s/n".to_owned()));
        assert_eq!(WireObject::default().created(), i64::MAX);
    }
}
