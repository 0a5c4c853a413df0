//! Interprets an object from a file or a cluster.

use crate::api::decode::{self, DecodeError};
use crate::api::unknown_fields;
use crate::documents::Document;
use crate::injection::{InjectableSet, Revision, SetError, StoredSet, Unfit, validate};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use thiserror::Error;

/// An interpreted document.
pub(super) struct Parsed {
    /// Its position, for messages.
    pub place: String,
    pub key: Key,
    /// `None` for other kinds.
    pub read: Result<Option<Read>, ObjectError>,
}

/// An object of a kind that is read here.
#[derive(Clone, Debug)]
pub(super) enum Read {
    Set(Arc<InjectableSet>),
    /// A SidecarSet stored in a cluster that cannot be injected as it is.
    Unfit(Box<Unfit>),
    Namespace(String, BTreeMap<String, String>),
    Revision(Box<Revision>),
}

#[derive(Debug, Error)]
pub(super) enum ObjectError {
    #[error(
        "apiVersion: {api_version:?} of {kind} is not known: use apps.kruise.io/v1beta1 or apps.kruise.io/v1alpha1"
    )]
    UnknownVersion { api_version: String, kind: String },
    #[error("{key}: {error}")]
    Decode { key: Key, error: DecodeError },
    #[error("{key}: {}", causes.join("; "))]
    Invalid { key: Key, causes: Vec<String> },
    #[error("{key}: {}", unknown(.fields, .api_version))]
    UnknownFields { key: Key, api_version: String, fields: Vec<String> },
    #[error(transparent)]
    Set(#[from] SetError),
    #[error("{kind}: metadata.name: required")]
    Unnamed { kind: String },
}

/// The identity of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    kind: String,
    namespace: String,
    name: String,
}

/// The needed parts of a Namespace.
#[derive(Debug, Deserialize)]
struct Namespace {
    #[serde(default)]
    metadata: NamespaceMetadata,
}

#[derive(Debug, Default, Deserialize)]
struct NamespaceMetadata {
    #[serde(default)]
    name: String,
    labels: Option<BTreeMap<String, String>>,
}

impl Parsed {
    pub fn of(Document { position, value }: Document) -> Self {
        let key = Key::of(&value);
        Self { place: position.to_string(), read: Read::new(&key, value), key }
    }
}

impl Read {
    /// Reads a SidecarSet stored in a cluster, by the same rules as the server.
    pub fn stored(set: Value) -> Self {
        match StoredSet::read(set).decoded.and_then(|decoded| decoded.injectable) {
            Ok(set) => Self::Set(set),
            Err(unfit) => Self::Unfit(Box::new(unfit)),
        }
    }

    /// Reads an object; `None` for other kinds.
    fn new(key: &Key, object: Value) -> Result<Option<Self>, ObjectError> {
        let api_version = object.get("apiVersion").and_then(Value::as_str).unwrap_or_default().to_owned();
        let kind = key.kind.as_str();
        if let Some(version) = api_version.strip_prefix("apps.kruise.io/")
            && !["v1alpha1", "v1beta1"].contains(&version)
        {
            return Err(ObjectError::UnknownVersion { api_version, kind: kind.to_owned() });
        }
        let invalid = |error: DecodeError| ObjectError::Decode { key: key.clone(), error };
        let read = match (api_version.as_str(), kind) {
            ("apps.kruise.io/v1alpha1" | "apps.kruise.io/v1beta1", "SidecarSet") => {
                none_unknown(key, &api_version, unknown_fields::of_sidecarset(&object))?;
                let set = decode::sidecarset(object).map_err(invalid)?;
                let causes = validate::validate(&set, None, &validate::World::default());
                if !causes.is_empty() {
                    let causes = causes.iter().map(ToString::to_string).collect();
                    return Err(ObjectError::Invalid { key: key.clone(), causes });
                }
                let advice = validate::advice(&set);
                let mut set = InjectableSet::new(set)?;
                set.warnings.extend(advice);
                Self::Set(Arc::new(set))
            }
            ("v1", "Namespace") => {
                none_unknown(key, &api_version, unknown_fields::of_namespace(&object))?;
                let Namespace { metadata } = decode::typed(object).map_err(|error| invalid(error.into()))?;
                Self::Namespace(metadata.name, metadata.labels.unwrap_or_default())
            }
            ("apps/v1", "ControllerRevision") => {
                match Revision::read(object).map_err(|error| invalid(error.into()))? {
                    Some(revision) => Self::Revision(Box::new(revision)),
                    None => return Ok(None),
                }
            }
            _ => return Ok(None),
        };
        if key.name.is_empty() {
            return Err(ObjectError::Unnamed { kind: kind.to_owned() });
        }
        Ok(Some(read))
    }

    /// Whether both describe the same Namespace in the same way, because many files include theirs.
    pub fn is_same_namespace(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Namespace(name, labels), Self::Namespace(other, others)) if (name, labels) == (other, others))
    }

    pub fn key(&self) -> Key {
        let key = |kind: &str, namespace: &str, name: &str| Key {
            kind: kind.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        match self {
            Self::Set(set) => key("SidecarSet", "", &set.name),
            Self::Unfit(unfit) => key("SidecarSet", "", &unfit.set),
            Self::Namespace(name, _) => key("Namespace", "", name),
            Self::Revision(revision) => key("ControllerRevision", &revision.namespace, &revision.name),
        }
    }
}

/// Rejects unknown fields, as the API server does for kubectl's strict validation.
fn none_unknown(key: &Key, api_version: &str, fields: Vec<String>) -> Result<(), ObjectError> {
    if fields.is_empty() {
        return Ok(());
    }
    Err(ObjectError::UnknownFields { key: key.clone(), api_version: api_version.to_owned(), fields })
}

fn unknown(fields: &[String], api_version: &str) -> String {
    let fields: Vec<String> = fields.iter().map(|field| format!("{field}: unknown field in {api_version}")).collect();
    fields.join("; ")
}

impl Key {
    /// Returns the key of an object of any kind. Cluster-scoped kinds have no namespace, whatever the object says.
    fn of(object: &Value) -> Self {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (kind, name) = (text("/kind"), text("/metadata/name"));
        let namespace = if kind == "ControllerRevision" { text("/metadata/namespace") } else { String::new() };
        Self { kind, namespace, name }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace.as_str() {
            "" => write!(f, "{} {:?}", self.kind, self.name),
            namespace => write!(f, "{} {:?} of namespace {namespace:?}", self.kind, self.name),
        }
    }
}
