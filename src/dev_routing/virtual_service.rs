//! Pure: an Istio VirtualService as last seen: its owner, and the hosts it applies to. VirtualServices of others are
//! included, because Istio uses one for each host.

use super::key::Key;
use crate::cluster::{ObjectVersion, Versioned};
use crate::istio::virtual_service::{GROUP, exports_to, fqdn, is_for_mesh, resolve};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::ApiResource;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::collections::BTreeMap;

/// Label and value of outrigger's VirtualServices, as in vs-operator.
pub const LABEL: &str = "managed-by";
/// See [`LABEL`].
pub const LABEL_VALUE: &str = "virtualservice-operator";

/// On a VirtualService in another namespace than its Service, which cannot own it: the Service, as `NAMESPACE/NAME`.
pub const SERVICE: &str = "outrigger.dev/service";

/// A VirtualService as last seen. For those of others, only the fields needed to avoid conflicts are kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ObservedVirtualService {
    /// Its namespace and name.
    pub key: Key,
    /// Its uid.
    pub uid: Box<str>,
    /// Its resourceVersion.
    pub resource_version: String,
    /// Its creation time.
    pub created: Option<Timestamp>,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Kept only with our label.
    pub managed: Option<Box<Managed>>,
    /// Full names to which it applies in the mesh.
    pub mesh_hosts: Vec<String>,
    /// Namespaces that can see it.
    pub export_to: Vec<String>,
}

/// A VirtualService with our label.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Managed {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// Its owners.
    pub owners: Vec<OwnerReference>,
    /// Its spec.
    pub spec: Value,
}

/// The decoded fields of the object.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Document {
    metadata: ObjectMeta,
    spec: Value,
}

impl Versioned for ObservedVirtualService {
    fn version(&self) -> ObjectVersion<'_> {
        let Self { key, uid, resource_version, .. } = self;
        ObjectVersion { namespace: &key.namespace, name: &key.name, uid, resource_version }
    }
}

/// Never fails, so that a watch continues whatever is stored.
impl<'de> Deserialize<'de> for ObservedVirtualService {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::read)
    }
}

/// Istio's VirtualServices of this version, for a client.
#[must_use]
pub fn resource(version: &str) -> ApiResource {
    ApiResource {
        group: GROUP.to_owned(),
        version: version.to_owned(),
        api_version: format!("{GROUP}/{version}"),
        kind: "VirtualService".to_owned(),
        plural: "virtualservices".to_owned(),
    }
}

impl ObservedVirtualService {
    /// Reads a VirtualService. It never fails.
    #[must_use]
    pub fn read(object: Value) -> Self {
        let Document { metadata, spec } = Document::deserialize(object).unwrap_or_default();
        let namespace = metadata.namespace.unwrap_or_default();
        let labels = metadata.labels.unwrap_or_default();
        let texts = |field: &str| -> Vec<&str> {
            spec.get(field).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
        };
        let mesh_hosts = if is_for_mesh(&texts("gateways")) { texts("hosts") } else { Vec::new() };
        Self {
            mesh_hosts: mesh_hosts.into_iter().map(|host| resolve(host, &namespace)).collect(),
            export_to: texts("exportTo").into_iter().map(str::to_owned).collect(),
            key: Key::new(namespace, metadata.name.unwrap_or_default()),
            uid: metadata.uid.unwrap_or_default().into_boxed_str(),
            resource_version: metadata.resource_version.unwrap_or_default(),
            created: metadata.creation_timestamp.map(|time| time.0),
            deleting: metadata.deletion_timestamp.is_some(),
            managed: (labels.get(LABEL).map(String::as_str) == Some(LABEL_VALUE)).then(|| {
                Box::new(Managed {
                    labels,
                    annotations: metadata.annotations.unwrap_or_default(),
                    owners: metadata.owner_references.unwrap_or_default(),
                    spec,
                })
            }),
        }
    }

    /// Returns the Service whose requests it routes, if it is ours: its owner, or in another namespace the Service in
    /// its annotation.
    #[must_use]
    pub fn service(&self) -> Option<Key> {
        let managed = self.managed.as_ref()?;
        match managed.owners.iter().find(|owner| owner.controller == Some(true)) {
            Some(owner) if owner.kind == "Service" && owner.api_version == "v1" => {
                Some(Key::new(&self.key.namespace, &owner.name))
            }
            Some(_) => None,
            None => {
                let (namespace, name) = managed.annotations.get(SERVICE)?.split_once('/')?;
                Some(Key::new(namespace, name))
            }
        }
    }

    /// Whether it has our label and no owner, so that the Service of its name may take it.
    #[must_use]
    pub fn may_be_taken(&self) -> bool {
        let controller = |managed: &Managed| managed.owners.iter().any(|owner| owner.controller == Some(true));
        self.managed.as_deref().is_some_and(|managed| self.service().is_none() && !controller(managed))
    }

    /// Whether Istio prefers it to another one for the same host: the older by the second, else the one with the lesser
    /// name.
    #[must_use]
    pub fn is_followed_rather_than(&self, other: &Self) -> bool {
        let order =
            |one: &Self| (one.created.map(Timestamp::as_second), one.key.name.clone(), one.key.namespace.clone());
        order(self) < order(other)
    }

    /// Whether it looks like one of ours for this Service: it applies to its host, or routes there.
    #[must_use]
    pub fn has_shape_for(&self, service: &Key) -> bool {
        let Some(managed) = &self.managed else { return false };
        let name = fqdn(&service.name, &service.namespace);
        let routes = managed.spec.get("http").and_then(Value::as_array).into_iter().flatten();
        let mut destinations = routes
            .filter_map(|route| route.get("route")?.as_array())
            .flatten()
            .filter_map(|to| to.pointer("/destination/host")?.as_str());
        self.mesh_hosts.contains(&name) || destinations.any(|host| resolve(host, &self.key.namespace) == name)
    }

    /// Whether proxies in this namespace can see it.
    #[must_use]
    pub fn is_seen_in(&self, namespace: &str) -> bool {
        exports_to(&self.export_to, &self.key.namespace, namespace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn seen(metadata: &Value, spec: &Value) -> ObservedVirtualService {
        let mut object = json!({"metadata": {"name": "v", "namespace": "ns"}, "spec": spec});
        object["metadata"].as_object_mut().unwrap().extend(metadata.as_object().unwrap().clone());
        ObservedVirtualService::read(object)
    }

    #[test]
    fn whose_it_is_says_its_label_with_its_owner_or_annotation() {
        let label = json!({LABEL: LABEL_VALUE});
        let owner =
            |kind: &str| json!([{"apiVersion": "v1", "kind": kind, "name": "app", "uid": "u", "controller": true}]);
        let annotation = json!({SERVICE: "prod/app"});
        for (metadata, service, may_be_taken) in [
            (json!({"labels": label, "ownerReferences": owner("Service")}), Some(Key::new("ns", "app")), false),
            (json!({"labels": label, "annotations": annotation}), Some(Key::new("prod", "app")), false),
            (json!({"labels": label}), None, true),
            (json!({"labels": label, "ownerReferences": owner("Rollout")}), None, false),
            (json!({"ownerReferences": owner("Service")}), None, false),
            (json!({"labels": {LABEL: "me"}, "annotations": annotation}), None, false),
        ] {
            let seen = seen(&metadata, &json!({}));
            assert_eq!((seen.service(), seen.may_be_taken()), (service, may_be_taken), "{metadata}");
        }
    }

    /// As in `configCompareByCreationTime` of Istio 1.32.
    #[test]
    fn of_two_for_a_host_the_older_is_followed() {
        let of = |name: &str, created: &str| seen(&json!({"name": name, "creationTimestamp": created}), &json!({}));
        let (old, young) = (of("z", "2026-11-29T10:00:00Z"), of("a", "2026-11-29T10:00:01Z"));
        assert!(old.is_followed_rather_than(&young) && !young.is_followed_rather_than(&old));
        let same = of("b", "2026-11-29T10:00:01Z");
        assert!(young.is_followed_rather_than(&same) && !same.is_followed_rather_than(&young));
    }

    #[test]
    fn hosts_count_in_the_mesh_and_by_their_whole_names() {
        let hosts = json!(["a", "b.ns", "c.x.svc.cluster.local"]);
        let whole = ["a.ns.svc.cluster.local", "b.ns", "c.x.svc.cluster.local"];
        assert_eq!(seen(&json!({}), &json!({"hosts": hosts})).mesh_hosts, whole);
        assert_eq!(seen(&json!({}), &json!({"hosts": hosts, "gateways": ["g", "mesh"]})).mesh_hosts, whole);
        assert_eq!(seen(&json!({}), &json!({"hosts": hosts, "gateways": ["g"]})).mesh_hosts, [""; 0]);
        assert_eq!(ObservedVirtualService::read(json!([])), ObservedVirtualService::default());
    }

    #[test]
    fn one_has_our_shape_when_it_is_for_the_service_or_leads_there() {
        let (label, service) = (json!({"labels": {LABEL: LABEL_VALUE}}), Key::new("ns", "app"));
        let to = |host: &str| json!({"hosts": ["x"], "http": [{"route": [{"destination": {"host": host}}]}]});
        assert!(seen(&label, &json!({"hosts": ["app"]})).has_shape_for(&service));
        assert!(seen(&label, &to("app.ns.svc.cluster.local")).has_shape_for(&service));
        assert!(!seen(&label, &to("other")).has_shape_for(&service));
        assert!(!seen(&label, &json!({"http": 5})).has_shape_for(&service));
        assert!(!seen(&json!({}), &json!({"hosts": ["app"]})).has_shape_for(&service));
    }
}
