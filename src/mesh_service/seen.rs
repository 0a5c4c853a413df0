//! Pure: an object of the mesh as last seen: its owner, the fields that matter, and its form for the checks.

use super::key::Key;
use super::kind::MeshKind;
use super::mark;
use super::watched::{ObjectKey, Watched};
use super::world::{ObservedGateway, ObservedService};
use crate::api::keys;
use crate::cluster::{ObjectVersion, Versioned};
use crate::istio::node::Node;
use crate::mesh_integrity::Object;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// An object of the mesh as last seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// Its key.
    pub key: ObjectKey,
    /// Its uid.
    pub uid: Box<str>,
    /// Its resourceVersion.
    pub resource_version: String,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// The MeshService that it was made for.
    pub owner: Option<Key>,
    /// For an object that was not made for one: which MeshServices may have it.
    pub giving: Giving,
    /// The part that a plan uses.
    pub matters: Matters,
    /// For an object that was made for a MeshService: `metadata` and `spec`.
    pub content: Option<Box<Value>>,
    /// The form for the checks.
    pub judged: Option<Arc<Object>>,
}

/// Who may have an object that was not made for a MeshService.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Giving {
    /// Any MeshService that requests it.
    #[default]
    Asked,
    /// Any MeshService that plans an object of its name: its annotation says so.
    Given,
    /// No MeshService: this controls it.
    Controlled(String),
}

/// The part of an object that a plan uses.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Matters {
    /// Only its existence.
    #[default]
    Nothing,
    /// Of a Service.
    Service(Box<ObservedService>),
    /// Of a Gateway.
    Gateway(Box<ObservedGateway>),
    /// Of a WorkloadEntry: its labels.
    Workload(BTreeMap<String, String>),
    /// Of a Namespace: whom it allows.
    Allows(Option<String>),
}

impl Versioned for Seen {
    fn version(&self) -> ObjectVersion<'_> {
        let Self { key, uid, resource_version, .. } = self;
        ObjectVersion { namespace: &key.key.namespace, name: &key.key.name, uid, resource_version }
    }
}

impl Seen {
    /// Reads an object of this kind. Nothing in it makes this fail.
    #[must_use]
    pub fn read(kind: Watched, mut object: Value) -> Self {
        let metadata = object.get("metadata").map(ObjectMeta::deserialize).and_then(Result::ok).unwrap_or_default();
        // Lists omit them.
        if let Some(fields) = object.as_object_mut() {
            let resource = kind.resource();
            fields.insert("apiVersion".to_owned(), resource.api_version.into());
            fields.insert("kind".to_owned(), resource.kind.into());
        }
        let judged = kind.judged().and_then(|_| Object::read(&object, "")).map(Arc::new);
        let owner = if let Watched::Made(kind) = kind { mark::owner_of_made(kind, &metadata) } else { None };
        let content = owner.is_some().then(|| Box::new(content(&metadata, object.get("spec"))));
        Self {
            key: ObjectKey { kind, key: Key::of(&metadata) },
            giving: Giving::of(&metadata),
            matters: match kind {
                Watched::Namespace => Matters::Allows(allows(&metadata)),
                Watched::Made(MeshKind::Service) => Matters::Service(Box::new(ObservedService::read(object))),
                Watched::Made(MeshKind::Gateway) => Matters::Gateway(Box::new(ObservedGateway::read(object))),
                Watched::WorkloadEntry => Matters::Workload(Node::root(&object, "spec").labels("labels")),
                _ => Matters::Nothing,
            },
            uid: metadata.uid.unwrap_or_default().into_boxed_str(),
            resource_version: metadata.resource_version.unwrap_or_default(),
            deleting: metadata.deletion_timestamp.is_some(),
            owner,
            content,
            judged,
        }
    }

    /// Returns whether nothing that matters has changed.
    #[must_use]
    pub fn is_same_as(&self, other: &Self) -> bool {
        let Self { key, uid, resource_version: _, deleting, owner, giving, matters, content, judged } = self;
        (key, uid, deleting, owner) == (&other.key, &other.uid, &other.deleting, &other.owner)
            && (giving, matters) == (&other.giving, &other.matters)
            && (content, judged) == (&other.content, &other.judged)
    }

    /// Returns whether an object that was made for a MeshService has an ownerReference.
    #[must_use]
    pub fn has_owner_reference(&self) -> bool {
        let owners = self.content.as_ref().and_then(|content| content["metadata"]["ownerReferences"].as_array());
        owners.is_some_and(|owners| !owners.is_empty())
    }

    /// Returns whether it had another owner before.
    #[must_use]
    pub fn is_adopted(&self) -> bool {
        self.annotation(keys::MESH_ADOPTED).is_some()
    }

    /// Returns an annotation of an object that was made for a MeshService.
    #[must_use]
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.content.as_ref()?.get("metadata")?.get("annotations")?.get(key)?.as_str()
    }
}

impl Giving {
    fn of(metadata: &ObjectMeta) -> Self {
        let mut owners = metadata.owner_references.iter().flatten();
        if let Some(controller) = owners.find(|owner| owner.controller == Some(true)) {
            return Self::Controlled(format!("{}/{}", controller.kind, controller.name));
        }
        let given = metadata.annotations.as_ref().and_then(|annotations| annotations.get(keys::ADOPT));
        if given.is_some_and(|value| value == "true") { Self::Given } else { Self::Asked }
    }
}

/// Returns the namespaces that a Namespace allows, by its annotation or label.
fn allows(metadata: &ObjectMeta) -> Option<String> {
    let of = |texts: &Option<BTreeMap<String, String>>| texts.as_ref()?.get(keys::ALLOW_MESH_FROM).cloned();
    of(&metadata.annotations).or_else(|| of(&metadata.labels))
}

fn content(metadata: &ObjectMeta, spec: Option<&Value>) -> Value {
    let ObjectMeta { labels, annotations, owner_references, .. } = metadata;
    json!({
        "metadata": {"labels": labels, "annotations": annotations, "ownerReferences": owner_references},
        "spec": spec,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: MeshKind, metadata: &Value) -> Seen {
        let mut object = json!({"metadata": {"name": "a", "namespace": "b"}, "spec": {"hosts": ["x"]}});
        object["metadata"].as_object_mut().unwrap().extend(metadata.as_object().unwrap().clone());
        Seen::read(Watched::Made(kind), object)
    }

    #[test]
    fn content_is_kept_of_what_is_ours_alone() {
        let ours = json!({"labels": {
            keys::MANAGED_BY: "outrigger", keys::MESH_SERVICE: "a", keys::MESH_SERVICE_NAMESPACE: "b",
        }});
        let routes = read(MeshKind::VirtualService, &ours);
        assert_eq!(routes.owner, Some(Key::new("b", "a")));
        assert_eq!(routes.content.unwrap()["spec"], json!({"hosts": ["x"]}));
        let foreign = read(MeshKind::VirtualService, &json!({}));
        assert!(foreign.content.is_none() && foreign.judged.is_some());
    }

    #[test]
    fn an_object_is_read_whatever_is_in_it() {
        for kind in Watched::all() {
            let read = Seen::read(kind, json!({"metadata": 5, "spec": []}));
            assert_eq!(read.key.key, Key::default());
            assert_eq!(Seen::read(kind, json!([])).owner, None);
        }
    }

    #[test]
    fn another_version_alone_is_no_change() {
        let one = read(MeshKind::Service, &json!({"resourceVersion": "1"}));
        assert!(one.is_same_as(&read(MeshKind::Service, &json!({"resourceVersion": "2"}))));
        assert!(!one.is_same_as(&read(MeshKind::Service, &json!({"annotations": {keys::ADOPT: "true"}}))));
    }

    #[test]
    fn an_object_is_given_by_its_annotation_unless_something_controls_it() {
        let (yes, no) = (json!({keys::ADOPT: "true"}), json!({keys::ADOPT: "yes"}));
        let controlled = json!([{"apiVersion": "v1", "kind": "Service", "name": "x", "uid": "u", "controller": true}]);
        for (metadata, expected) in [
            (json!({"annotations": yes}), Giving::Given),
            (json!({"annotations": no}), Giving::Asked),
            (json!({}), Giving::Asked),
            (json!({"annotations": yes, "ownerReferences": controlled}), Giving::Controlled("Service/x".to_owned())),
        ] {
            assert_eq!(read(MeshKind::VirtualService, &metadata).giving, expected, "{metadata}");
        }
    }

    #[test]
    fn a_namespace_lets_in_by_annotation_or_label() {
        let read = |metadata: Value| Seen::read(Watched::Namespace, json!({"metadata": metadata})).matters;
        assert_eq!(read(json!({"name": "a"})), Matters::Allows(None));
        for texts in ["labels", "annotations"] {
            let allows = read(json!({"name": "a", texts: {keys::ALLOW_MESH_FROM: "shop"}}));
            assert_eq!(allows, Matters::Allows(Some("shop".to_owned())));
        }
    }
}
