//! The objects around a MeshService: its Service, its Gateway, the namespaces that allow it, and others that name the
//! same.

use super::key::Key;
use super::kind::{MeshKind, MeshKinds};
use super::mark;
use super::mend::ServicePort;
use super::repair::{Act, Consent};
use super::rival::Rival;
use crate::api::keys;
use crate::istio::node::Node;
use crate::istio::read::{Gateway, Server};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::collections::BTreeMap;

/// The objects around a MeshService.
#[derive(Clone, Copy, Debug)]
pub struct World<'a> {
    /// The namespaces that allow others.
    pub consents: &'a Consents,
    /// The Service that it names, if there is one.
    pub service: Option<&'a ObservedService>,
    /// The Gateway that it names, if there is one.
    pub gateway: Option<&'a ObservedGateway>,
    /// Other MeshServices; those that name neither its Service nor its Gateway do not matter. It may be among them.
    pub rivals: &'a [Rival<'a>],
    /// Kinds that are made.
    pub kinds: &'a MeshKinds,
    /// Istio's root namespace, whose policies apply to the whole mesh.
    pub root_namespace: &'a str,
    /// The domain of Services.
    pub domain: &'a str,
}

/// The namespaces that allow MeshServices of others, and which kinds of objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Consents(BTreeMap<String, BTreeMap<String, MeshKinds>>);

/// The namespaces in which MeshServices of one namespace may have objects, and of which kinds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places(BTreeMap<String, MeshKinds>);

/// A Service as last seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedService {
    /// Its namespace and name.
    pub key: Key,
    /// The MeshService that it was made for.
    pub owner: Option<Key>,
    /// Labels of its Pods; empty: it selects none.
    pub selector: BTreeMap<String, String>,
    /// Whether its annotation forbids writes and deletes for it.
    pub is_left_alone: bool,
    pub(super) ports: Vec<ServicePort>,
    /// Whether it is an alias of a host, and has no Pods.
    pub(super) is_external: bool,
    /// Its controller, as `Kind/name`.
    pub(super) controller: Option<String>,
    /// The changes that it allows.
    pub(super) consent: Consent,
    pub(super) unknown_repairs: Vec<String>,
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

/// The fields of an object that are read.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Document {
    metadata: ObjectMeta,
    spec: Value,
}

impl Consents {
    /// Records the annotation [`keys::ALLOW_MESH_FROM`] of a Namespace; returns whether it has changed.
    pub fn set(&mut self, namespace: &str, annotation: Option<&str>) -> bool {
        let mut from: BTreeMap<String, MeshKinds> = BTreeMap::new();
        for (name, kinds) in annotation.unwrap_or_default().split(',').filter_map(entry) {
            let known = from.get(&name).into_iter().flat_map(MeshKinds::iter);
            let kinds = known.chain(kinds.iter()).collect();
            from.insert(name, kinds);
        }
        if from.is_empty() {
            return self.0.remove(namespace).is_some();
        }
        self.0.insert(namespace.to_owned(), from.clone()).is_none_or(|before| before != from)
    }

    /// Returns all namespaces in which MeshServices of `from` may have objects.
    #[must_use]
    pub fn places(&self, from: &str) -> Places {
        let allowing =
            self.0.iter().filter_map(|(namespace, allowed)| Some((namespace.clone(), allowed.get(from)?.clone())));
        Places(allowing.chain([(from.to_owned(), MeshKinds::default())]).collect())
    }

    /// Returns whether a MeshService of the namespace `from` may have objects in a namespace: in its own, and where it
    /// is allowed.
    #[must_use]
    pub fn allow(&self, namespace: &str, from: &str) -> bool {
        namespace == from || self.0.get(namespace).is_some_and(|allowed| allowed.contains_key(from))
    }

    /// Returns whether it may have objects of a kind there.
    #[must_use]
    pub fn allow_kind(&self, namespace: &str, from: &str, kind: MeshKind) -> bool {
        let allowed = || self.0.get(namespace)?.get(from);
        namespace == from || allowed().is_some_and(|kinds| kinds.contains(kind))
    }
}

/// Reads `NAMESPACE` or `NAMESPACE:KIND+KIND`. A word that is not a kind allows nothing.
fn entry(text: &str) -> Option<(String, MeshKinds)> {
    let (name, kinds) = match text.trim().split_once(':') {
        None => (text.trim(), MeshKinds::default()),
        Some((name, kinds)) => (name.trim(), kinds.split('+').filter_map(|kind| kind.trim().parse().ok()).collect()),
    };
    (!name.is_empty() && kinds.iter().next().is_some()).then(|| (name.to_owned(), kinds))
}

impl Places {
    /// Returns whether an object of a kind is allowed in a namespace.
    #[must_use]
    pub fn contain(&self, namespace: &str, kind: MeshKind) -> bool {
        self.0.get(namespace).is_some_and(|kinds| kinds.contains(kind))
    }
}

#[cfg(test)]
impl<S: Into<String>> FromIterator<S> for Places {
    fn from_iter<I: IntoIterator<Item = S>>(namespaces: I) -> Self {
        Self(namespaces.into_iter().map(|namespace| (namespace.into(), MeshKinds::default())).collect())
    }
}

/// Never fails, so that a watch continues with any stored object.
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
        let (consent, unknown_repairs) = Consent::read(annotation(keys::MESH_REPAIR), &Act::OF_SERVICES);
        let controller = mark::controller(&metadata).map(|owner| format!("{}/{}", owner.kind, owner.name));
        Self {
            key: Key::of(&metadata),
            owner: mark::owner_of(&metadata),
            selector: Node::new(&spec, "spec").labels("selector"),
            is_left_alone: annotation(keys::MANAGED) == Some(keys::NOT_MANAGED),
            ports: ServicePort::all(&spec),
            is_external: spec["type"] == "ExternalName",
            controller,
            consent,
            unknown_repairs,
        }
    }
}

/// Never fails, so that a watch continues with any stored object.
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
        assert_eq!(consents.places("web"), Places::from_iter(["istio-system", "web"]));
        assert!(consents.allow("shop", "shop") && !consents.allow("shop", "istio-system"));
        assert!(consents.set("istio-system", None) && !consents.set("istio-system", Some(" ")));
        assert_eq!(allowed(&consents), [false; 4]);
    }

    #[test]
    fn a_namespace_may_let_in_some_kinds_alone() {
        let mut consents = Consents::default();
        for (annotation, gateway, routes, policy) in [
            ("shop", true, true, true),
            ("shop:Gateway", true, false, false),
            ("other, shop: gateway + VirtualService", true, true, false),
            ("shop:Gateway,shop:VirtualService", true, true, false),
            ("shop:Gateway+Nothing", true, false, false),
            ("shop:Nothing", false, false, false),
            ("shop:", false, false, false),
            (":Gateway", false, false, false),
        ] {
            consents.set("edge", Some(annotation));
            let kinds = [MeshKind::Gateway, MeshKind::VirtualService, MeshKind::AuthorizationPolicy];
            let expected = [gateway, routes, policy];
            assert_eq!(kinds.map(|kind| consents.allow_kind("edge", "shop", kind)), expected, "{annotation}");
            assert_eq!(kinds.map(|kind| consents.places("shop").contain("edge", kind)), expected, "{annotation}");
            assert_eq!(consents.allow("edge", "shop"), expected.contains(&true), "{annotation}");
            assert!(consents.allow_kind("shop", "shop", MeshKind::AuthorizationPolicy));
        }
    }
}
