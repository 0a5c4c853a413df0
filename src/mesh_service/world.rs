//! What is around a MeshService: its Service, its Gateway, the namespaces that let it in, and others that name the same.

use super::key::Key;
use super::kind::MeshKinds;
use super::mark;
use super::rival::Rival;
use crate::api::keys;
use crate::istio::node::Node;
use crate::istio::read::{Gateway, Server};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What is around a MeshService.
#[derive(Clone, Copy, Debug)]
pub struct World<'a> {
    /// Which namespaces let others in.
    pub consents: &'a Consents,
    /// The Service that it names, if there is one.
    pub service: Option<&'a ObservedService>,
    /// The Gateway that it names, if there is one.
    pub gateway: Option<&'a ObservedGateway>,
    /// Other MeshServices; those that name neither its Service nor its Gateway do not matter. It may be among them.
    pub rivals: &'a [Rival<'a>],
    /// Kinds that are made.
    pub kinds: &'a MeshKinds,
    /// Istio's root namespace, whose policies are for the whole mesh.
    pub root_namespace: &'a str,
    /// The domain of Services.
    pub domain: &'a str,
}

/// Which namespaces let MeshServices of others in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Consents(BTreeMap<String, BTreeSet<String>>);

/// A Service as last seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedService {
    /// Its namespace and name.
    pub key: Key,
    /// The MeshService that it was made for.
    pub owner: Option<Key>,
    /// Labels of its Pods; empty: it selects none.
    pub selector: BTreeMap<String, String>,
    /// Whether its annotation says that nothing is to be written or deleted for it.
    pub is_left_alone: bool,
}

/// A Gateway as last seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ObservedGateway {
    /// Its namespace and name.
    pub key: Key,
    /// The MeshService that it was made for.
    pub owner: Option<Key>,
    pub(super) servers: Vec<Server>,
}

/// What is read of an object.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Document {
    metadata: ObjectMeta,
    spec: Value,
}

impl Consents {
    /// Notes what a Namespace's annotation [`keys::ALLOW_MESH_FROM`] says; returns whether that is news.
    pub fn set(&mut self, namespace: &str, annotation: Option<&str>) -> bool {
        let from = annotation.unwrap_or_default().split(',').map(str::trim).filter(|name| !name.is_empty());
        let from: BTreeSet<String> = from.map(str::to_owned).collect();
        if from.is_empty() {
            return self.0.remove(namespace).is_some();
        }
        self.0.insert(namespace.to_owned(), from.clone()).is_none_or(|before| before != from)
    }

    /// All namespaces in which MeshServices of one may have objects.
    #[must_use]
    pub fn places(&self, from: &str) -> BTreeSet<String> {
        let allowing =
            self.0.iter().filter(|(_, allowed)| allowed.contains(from)).map(|(namespace, _)| namespace.as_str());
        allowing.chain([from]).map(str::to_owned).collect()
    }

    /// Whether a MeshService of the namespace `from` may have objects in a namespace: in its own, and where it is let in.
    #[must_use]
    pub fn allow(&self, namespace: &str, from: &str) -> bool {
        namespace == from || self.0.get(namespace).is_some_and(|allowed| allowed.contains(from))
    }
}

/// Never fails, so that a watch goes on whatever is stored.
impl<'de> Deserialize<'de> for ObservedService {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::read)
    }
}

impl ObservedService {
    /// Reads a Service. Nothing in it makes this fail.
    #[must_use]
    pub fn read(object: Value) -> Self {
        let Document { metadata, spec } = Document::deserialize(object).unwrap_or_default();
        let annotation = |key: &str| metadata.annotations.as_ref()?.get(key).map(String::as_str);
        Self {
            key: Key::of(&metadata),
            owner: mark::owner_of(&metadata),
            selector: Node::new(&spec, "spec").labels("selector"),
            is_left_alone: annotation(keys::MANAGED) == Some(keys::NOT_MANAGED),
        }
    }
}

/// Never fails, so that a watch goes on whatever is stored.
impl<'de> Deserialize<'de> for ObservedGateway {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::read)
    }
}

impl ObservedGateway {
    /// Reads a Gateway. Nothing in it makes this fail.
    #[must_use]
    pub fn read(object: Value) -> Self {
        let Document { metadata, spec } = Document::deserialize(object).unwrap_or_default();
        let key = Key::of(&metadata);
        let gateway = Gateway::read(&Node::new(&spec, "spec"), &key.namespace);
        Self { owner: mark::owner_of(&metadata), servers: gateway.servers, key }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_lets_in_whom_its_annotation_names() {
        let mut consents = Consents::default();
        assert!(consents.set("istio-system", Some("shop, web ,")));
        assert!(!consents.set("istio-system", Some("web,shop")));
        let allowed =
            |consents: &Consents| ["shop", "web", "other", ""].map(|from| consents.allow("istio-system", from));
        assert_eq!(allowed(&consents), [true, true, false, false]);
        assert_eq!(consents.places("web"), BTreeSet::from(["istio-system", "web"].map(str::to_owned)));
        assert!(consents.allow("shop", "shop") && !consents.allow("shop", "istio-system"));
        assert!(consents.set("istio-system", None) && !consents.set("istio-system", Some(" ")));
        assert_eq!(allowed(&consents), [false; 4]);
    }
}
