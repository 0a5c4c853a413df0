//! The marks of an object that was made for a MeshService: labels, and an ownerReference in the same namespace.

use super::key::Key;
use super::kind::MeshKind;
use super::observed::ObservedMeshService;
use crate::api::keys;
use crate::api::mesh_service::{API_VERSION, KIND};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde_json::Value;

/// The value of the label `app.kubernetes.io/managed-by`.
const OUTRIGGER: &str = "outrigger";

/// The labels of the objects that are made.
pub(super) const LABELS: [&str; 3] = [keys::MANAGED_BY, keys::MESH_SERVICE, keys::MESH_SERVICE_NAMESPACE];

/// Metadata of an object that is made for a MeshService. An owner reference cannot point to another namespace. Objects
/// there have labels, and an annotation that distinguishes them from copies.
#[must_use]
pub fn mark(mesh_service: &ObservedMeshService, object: &Key) -> ObjectMeta {
    let owner = || OwnerReference {
        api_version: API_VERSION.to_owned(),
        kind: KIND.to_owned(),
        name: mesh_service.key.name.clone(),
        uid: mesh_service.uid.clone(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    };
    let Key { namespace, name } = &mesh_service.key;
    let is_own = object.namespace == *namespace;
    let labels = LABELS.into_iter().zip([OUTRIGGER, name, namespace]);
    let annotation = || [(keys::MESH_OBJECT.to_owned(), object.to_string())].into();
    ObjectMeta {
        name: Some(object.name.clone()),
        namespace: Some(object.namespace.clone()),
        labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()),
        annotations: (!is_own).then(annotation),
        owner_references: is_own.then(|| vec![owner()]),
        ..ObjectMeta::default()
    }
}

/// Returns the MeshService that an object was made for: its controller, or else the one of its labels. `None`: another
/// client made it.
#[must_use]
pub fn owner_of(metadata: &ObjectMeta) -> Option<Key> {
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    if let Some(controller) = controller(metadata) {
        let is_ours = controller.kind == KIND && controller.api_version == API_VERSION;
        return is_ours.then(|| Key::new(namespace, &controller.name));
    }
    let label = |key: &str| metadata.labels.as_ref()?.get(key).filter(|value| !value.is_empty());
    let owner = Key::new(label(keys::MESH_SERVICE_NAMESPACE)?, label(keys::MESH_SERVICE)?);
    let named = metadata.annotations.as_ref().and_then(|annotations| annotations.get(keys::MESH_OBJECT));
    let is_original = namespace == owner.namespace || named == Some(&Key::of(metadata).to_string());
    (label(keys::MANAGED_BY)? == OUTRIGGER && is_original).then_some(owner)
}

/// Returns the same for an object of this kind. Labels are copied easily, so they only count if the name is one that is
/// made there.
#[must_use]
pub fn owner_of_made(kind: MeshKind, metadata: &ObjectMeta) -> Option<Key> {
    let (owner, object) = (owner_of(metadata)?, Key::of(metadata));
    if controller(metadata).is_some() {
        return Some(owner);
    }
    let name = if object.namespace == owner.namespace {
        owner.name.clone()
    } else {
        format!("{}.{}", owner.namespace, owner.name)
    };
    let suffix = object.name.strip_prefix(&name);
    let is_made = match kind {
        MeshKind::Service | MeshKind::Gateway => true, // the user names these
        MeshKind::ServiceEntry => suffix.is_some_and(|suffix| suffix.starts_with('-')),
        MeshKind::VirtualService => matches!(suffix, Some("" | "-mesh")),
        MeshKind::DestinationRule | MeshKind::PeerAuthentication | MeshKind::AuthorizationPolicy => suffix == Some(""),
    };
    is_made.then_some(owner)
}

/// Returns whether this ownerReference points to a MeshService.
pub(super) fn is_mesh_service(owner: &Value) -> bool {
    owner["kind"] == KIND && owner["apiVersion"] == API_VERSION
}

/// Returns the controller of an object.
pub(super) fn controller(metadata: &ObjectMeta) -> Option<&OwnerReference> {
    metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn web() -> ObservedMeshService {
        ObservedMeshService::read(json!({"metadata": {"name": "web", "namespace": "shop", "uid": "u"}}))
    }

    #[test]
    fn an_object_has_an_owner_reference_in_the_same_namespace_only() {
        let own = mark(&web(), &Key::new("shop", "web"));
        let owner = &own.owner_references.as_ref().unwrap()[0];
        assert_eq!((owner.kind.as_str(), owner.uid.as_str(), owner.controller), ("MeshService", "u", Some(true)));
        assert_eq!(owner_of(&own), Some(web().key));
        let elsewhere = mark(&web(), &Key::new("istio-system", "edge"));
        assert_eq!(elsewhere.owner_references, None);
        assert_eq!(owner_of(&elsewhere), Some(web().key));
    }

    #[test]
    fn a_label_taken_away_makes_an_own_object_nobody_elses() {
        let mut marked = mark(&web(), &Key::new("shop", "web"));
        for label in [keys::MESH_SERVICE, keys::MANAGED_BY, keys::MESH_SERVICE_NAMESPACE] {
            marked.labels.as_mut().unwrap().remove(label);
            assert_eq!(owner_of_made(MeshKind::VirtualService, &marked), Some(web().key), "{label}");
        }
    }

    #[test]
    fn a_copy_with_the_labels_was_not_made() {
        let made = |kind, namespace: &str, name: &str| {
            let ObjectMeta { labels, annotations, .. } = mark(&web(), &Key::new("staging", "shop.web-mesh"));
            let annotations =
                if namespace == "edge" { mark(&web(), &Key::new("edge", name)).annotations } else { annotations };
            let (namespace, name) = (Some(namespace.to_owned()), Some(name.to_owned()));
            owner_of_made(kind, &ObjectMeta { namespace, name, labels, annotations, ..ObjectMeta::default() }).is_some()
        };
        for (kind, namespace, name, expected) in [
            (MeshKind::VirtualService, "shop", "web-mesh", true),
            (MeshKind::VirtualService, "staging", "web-mesh", false),
            (MeshKind::VirtualService, "staging", "shop.web-mesh", true),
            (MeshKind::VirtualService, "shop", "web-copy", false),
            (MeshKind::DestinationRule, "shop", "web", true),
            (MeshKind::DestinationRule, "shop", "web2", false),
            (MeshKind::ServiceEntry, "shop", "web-example-com", true),
            (MeshKind::AuthorizationPolicy, "staging", "web", false),
            (MeshKind::Gateway, "edge", "public", true),
            (MeshKind::Gateway, "staging", "public", false),
            (MeshKind::VirtualService, "other", "shop.web-mesh", false),
        ] {
            assert_eq!(made(kind, namespace, name), expected, "{kind} {namespace}/{name}");
        }
    }

    #[test]
    fn what_has_not_all_labels_or_another_controller_is_somebody_elses() {
        let marked = mark(&web(), &Key::new("edge", "web"));
        for label in [keys::MANAGED_BY, keys::MESH_SERVICE, keys::MESH_SERVICE_NAMESPACE] {
            let mut less = marked.clone();
            less.labels.as_mut().unwrap().remove(label);
            assert_eq!(owner_of(&less), None, "{label}");
        }
        let mut controlled = mark(&web(), &Key::new("shop", "web"));
        let owner = &mut controlled.owner_references.as_mut().unwrap()[0];
        owner.name = "other".to_owned();
        assert_eq!(owner_of(&controlled), Some(Key::new("shop", "other")));
        controlled.owner_references.as_mut().unwrap()[0].kind = "Deployment".to_owned();
        assert_eq!(owner_of(&controlled), None);
    }
}
