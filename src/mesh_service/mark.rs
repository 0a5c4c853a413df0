//! What marks an object as made for a MeshService: labels, and where it may be, an owner reference.

use super::key::Key;
use super::observed::ObservedMeshService;
use crate::api::keys;
use crate::api::mesh_service::{API_VERSION, KIND};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

/// The value of the label `app.kubernetes.io/managed-by`.
const OUTRIGGER: &str = "outrigger";

/// Metadata of an object that is made for a MeshService. An owner reference leads to no other namespace; objects there have labels alone.
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
    let labels = [
        (keys::MANAGED_BY, OUTRIGGER),
        (keys::MESH_SERVICE, name.as_str()),
        (keys::MESH_SERVICE_NAMESPACE, namespace.as_str()),
    ];
    ObjectMeta {
        name: Some(object.name.clone()),
        namespace: Some(object.namespace.clone()),
        labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
        owner_references: (object.namespace == *namespace).then(|| vec![owner()]),
        ..ObjectMeta::default()
    }
}

/// The MeshService that an object was made for, as its labels say; `None`: it is somebody else's. What something else controls is, too.
#[must_use]
pub fn owner_of(metadata: &ObjectMeta) -> Option<Key> {
    let label = |key: &str| metadata.labels.as_ref()?.get(key).filter(|value| !value.is_empty());
    let owner = Key::new(label(keys::MESH_SERVICE_NAMESPACE)?, label(keys::MESH_SERVICE)?);
    let mut owners = metadata.owner_references.iter().flatten();
    let controller = owners.find(|owner| owner.controller == Some(true));
    let is_controlled_by_other = controller.is_some_and(|controller| {
        controller.kind != KIND || controller.api_version != API_VERSION || controller.name != owner.name
    });
    (label(keys::MANAGED_BY)? == OUTRIGGER && !is_controlled_by_other).then_some(owner)
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
    fn what_has_not_all_labels_or_another_controller_is_somebody_elses() {
        let marked = mark(&web(), &Key::new("shop", "web"));
        for label in [keys::MANAGED_BY, keys::MESH_SERVICE, keys::MESH_SERVICE_NAMESPACE] {
            let mut less = marked.clone();
            less.labels.as_mut().unwrap().remove(label);
            assert_eq!(owner_of(&less), None, "{label}");
        }
        for change in [
            |owner: &mut OwnerReference| owner.kind = "Deployment".to_owned(),
            |owner: &mut OwnerReference| owner.name = "other".to_owned(),
        ] {
            let mut controlled = marked.clone();
            change(&mut controlled.owner_references.as_mut().unwrap()[0]);
            assert_eq!(owner_of(&controlled), None);
        }
    }
}
