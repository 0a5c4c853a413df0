//! An Istio Sidecar as last seen: its owner and its spec. Sidecars of others are included, because they may select the
//! same Pods.

use super::generator::{Key, ObservedGenerator};
use crate::api::keys;
use crate::api::sidecar_generator::{API_VERSION, GROUP, KIND};
use crate::cluster::{ObjectVersion, Versioned};
use crate::istio::sidecar::{Sidecar, WorkloadSelector, spec_hash_of, validate_selector};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::ApiResource;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::collections::BTreeMap;

/// A Sidecar as last seen, with only the compared parts of its spec.
#[derive(Clone, Debug, Default)]
pub struct ObservedSidecar {
    /// Its namespace and name.
    pub key: Key,
    /// Its uid.
    pub uid: Box<str>,
    /// Its resourceVersion.
    pub resource_version: String,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// All its owners.
    pub owners: Vec<OwnerReference>,
    /// Whether it has any annotation.
    pub has_annotations: bool,
    /// The hash in its annotation, if it is one.
    pub claimed_hash: Option<String>,
    /// Whether it can be taken over.
    pub adoptable: bool,
    /// The hash of its spec; `None` if the spec has fields that outrigger never writes.
    pub spec_hash: Option<String>,
    /// The Pods that it selects.
    pub selects: Selects,
    /// The number of its hosts.
    pub hosts: usize,
}

/// The Pods of its namespace that a Sidecar selects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Selects {
    /// All.
    #[default]
    All,
    /// Those with these labels.
    Labelled(BTreeMap<String, String>),
    /// None: Istio rejects its selector, which may have any number of labels.
    Nothing,
}

/// The owner of a Sidecar, as seen by the SidecarGenerator of its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// Its own, or one that it can take over.
    Own,
    /// It belongs to a deleted SidecarGenerator of the same name, and will be deleted too.
    OfPredecessor,
    /// Somebody else's: its controller, or `None`.
    Foreign(Option<String>),
}

/// The decoded fields of the object.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Document {
    metadata: ObjectMeta,
    spec: Value,
}

impl Versioned for ObservedSidecar {
    fn version(&self) -> ObjectVersion<'_> {
        let Self { key, uid, resource_version, .. } = self;
        ObjectVersion { namespace: &key.namespace, name: &key.name, uid, resource_version }
    }
}

/// Never fails, so that a watch continues whatever is stored.
impl<'de> Deserialize<'de> for ObservedSidecar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::read)
    }
}

/// Returns the resource of Istio's Sidecars for a client.
#[must_use]
pub fn resource() -> ApiResource {
    ApiResource {
        group: "networking.istio.io".to_owned(),
        version: "v1".to_owned(),
        api_version: "networking.istio.io/v1".to_owned(),
        kind: "Sidecar".to_owned(),
        plural: "sidecars".to_owned(),
    }
}

/// Returns the owner reference of a Sidecar to its SidecarGenerator.
#[must_use]
pub fn owner(generator: &ObservedGenerator) -> OwnerReference {
    OwnerReference {
        api_version: API_VERSION.to_owned(),
        kind: KIND.to_owned(),
        name: generator.key.name.clone(),
        uid: generator.uid.clone(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

impl ObservedSidecar {
    /// Reads a Sidecar. It never fails.
    #[must_use]
    pub fn read(object: Value) -> Self {
        let Document { metadata, spec } = Document::deserialize(object).unwrap_or_default();
        let known = Sidecar::read(&spec).unwrap_or_default();
        let annotation = |key: &str| metadata.annotations.as_ref()?.get(key).map(String::as_str);
        Self {
            claimed_hash: annotation(keys::SIDECAR_SPEC_HASH).filter(|text| is_hash(text)).map(str::to_owned),
            adoptable: annotation(keys::ADOPT) == Some("true"),
            has_annotations: metadata.annotations.is_some(),
            key: Key::of(&metadata),
            uid: metadata.uid.unwrap_or_default().into_boxed_str(),
            resource_version: metadata.resource_version.unwrap_or_default(),
            deleting: metadata.deletion_timestamp.is_some(),
            owners: metadata.owner_references.unwrap_or_default(),
            spec_hash: spec_hash_of(&spec),
            hosts: known.hosts(),
            selects: Selects::of(known.workload_selector),
        }
    }

    /// Returns the labels by which it selects Pods, if it does.
    #[must_use]
    pub fn labels(&self) -> Option<&BTreeMap<String, String>> {
        match &self.selects {
            Selects::Labelled(labels) => Some(labels),
            Selects::All | Selects::Nothing => None,
        }
    }

    /// Returns its owner. A Sidecar without an owner belongs to the generator only if it has a generator's mark or can
    /// be adopted.
    #[must_use]
    pub fn ownership(&self, generator: &ObservedGenerator) -> Ownership {
        let controller = self.owners.iter().find(|owner| owner.controller == Some(true));
        match controller {
            Some(controller) if controller.uid == generator.uid => Ownership::Own,
            Some(controller) if is_of_generator(controller) && controller.name == generator.key.name => {
                Ownership::OfPredecessor
            }
            Some(controller) => Ownership::Foreign(Some(format!("{} {:?}", controller.kind, controller.name))),
            None if self.owners.iter().any(|owner| owner.uid == generator.uid) => Ownership::Own,
            None if self.claimed_hash.is_some() || self.adoptable => Ownership::Own,
            None => Ownership::Foreign(None),
        }
    }

    /// Returns the corrected owner references, if they must change: the generator's own is corrected, all others are
    /// kept.
    #[must_use]
    pub fn owners_to_set(&self, generator: &ObservedGenerator) -> Option<Vec<OwnerReference>> {
        let ours = owner(generator);
        let mut owners = self.owners.clone();
        match owners.iter_mut().find(|owner| owner.uid == ours.uid) {
            Some(present) if *present == ours => return None,
            Some(present) => *present = ours,
            None => owners.push(ours),
        }
        Some(owners)
    }

    /// Whether it is unchanged since a SidecarGenerator wrote it: its spec has the hash in its annotation.
    #[must_use]
    pub fn is_untouched(&self) -> bool {
        self.claimed_hash.is_some() && self.claimed_hash == self.spec_hash
    }
}

impl Selects {
    fn of(selector: Option<WorkloadSelector>) -> Self {
        match selector {
            None => Self::All,
            Some(selector) if !validate_selector(&selector).errors.is_empty() => Self::Nothing,
            Some(WorkloadSelector { labels }) if labels.is_empty() => Self::All,
            Some(WorkloadSelector { labels }) => Self::Labelled(labels),
        }
    }
}

fn is_of_generator(owner: &OwnerReference) -> bool {
    owner.kind == KIND && owner.api_version.split_once('/').is_some_and(|(group, _)| group == GROUP)
}

/// Whether a text is a SHA-256 in lower-case hexadecimal.
fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sidecar_generator::tests::{observed, sidecar};
    use serde_json::json;

    const HASH: &str = "5825caac54c42b277602a8010e4f25405565726cc41f1850c19ae83de5c1aa51";

    fn spec() -> Value {
        json!({"egress": [{"hosts": ["./*", "istio-system/*", "ns1/*"]}]})
    }

    fn with(metadata: &Value) -> ObservedSidecar {
        let mut object = sidecar("g", &spec());
        for (key, value) in metadata.as_object().unwrap() {
            object["metadata"][key] = value.clone();
        }
        ObservedSidecar::read(object)
    }

    fn reference(uid: &str, controller: bool) -> Value {
        json!({"apiVersion": "networking.example.com/v1alpha1", "kind": "SidecarGenerator", "name": "g", "uid": uid,
               "controller": controller, "blockOwnerDeletion": true})
    }

    #[test]
    fn a_sidecar_is_owned_by_its_controller_or_if_it_has_none_by_its_mark() {
        let generator = observed("g", &json!({"url": "http://h"}));
        let marked = json!({keys::SIDECAR_SPEC_HASH: HASH});
        let adoptable = json!({keys::ADOPT: "true"});
        let ours = reference(&generator.uid, true);
        let deployment =
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "d", "uid": "x", "controller": true});
        let foreign = |by: Option<&str>| Ownership::Foreign(by.map(str::to_owned));
        for (metadata, expected) in [
            (json!({"ownerReferences": [ours]}), Ownership::Own),
            (json!({"ownerReferences": [reference(&generator.uid, false)]}), Ownership::Own),
            (json!({"annotations": marked}), Ownership::Own),
            (json!({"annotations": adoptable}), Ownership::Own),
            (json!({"ownerReferences": [reference("older", true)], "annotations": marked}), Ownership::OfPredecessor),
            (json!({"ownerReferences": [deployment], "annotations": marked}), foreign(Some("Deployment \"d\""))),
            (json!({"ownerReferences": [deployment], "annotations": adoptable}), foreign(Some("Deployment \"d\""))),
            (json!({}), foreign(None)),
            (json!({"annotations": {keys::ADOPT: "yes"}}), foreign(None)),
            (json!({"annotations": {keys::SIDECAR_SPEC_HASH: "not a hash"}}), foreign(None)),
        ] {
            assert_eq!(with(&metadata).ownership(&generator), expected, "{metadata}");
        }
    }

    #[test]
    fn our_reference_is_put_right_among_others() {
        let generator = observed("g", &json!({"url": "http://h"}));
        let other = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "y"});
        let set = |owners: Value| {
            let owners = with(&json!({"ownerReferences": owners})).owners_to_set(&generator);
            owners.map(|owners| serde_json::to_value(owners).unwrap())
        };
        let ours = reference(&generator.uid, true);
        assert_eq!(set(json!([other, ours])), None);
        assert_eq!(set(json!([other])), Some(json!([other, ours])));
        assert_eq!(set(json!([reference(&generator.uid, false), other])), Some(json!([ours, other])));
    }

    #[test]
    fn of_the_spec_its_hash_its_selector_and_the_number_of_hosts_are_kept() {
        let seen = with(&json!({"annotations": {keys::SIDECAR_SPEC_HASH: HASH}}));
        assert_eq!((seen.spec_hash.as_deref(), seen.hosts, &seen.selects), (Some(HASH), 3, &Selects::All));
        assert!(seen.is_untouched());
        let changed =
            sidecar("g", &json!({"egress": [{"hosts": ["./*"]}], "workloadSelector": {"labels": {"a": "b"}}}));
        let changed = ObservedSidecar::read(changed);
        assert_eq!(changed.selects, Selects::Labelled(BTreeMap::from([("a".to_owned(), "b".to_owned())])));
        assert!(!changed.is_untouched());
        assert!(ObservedSidecar::read(json!({"spec": {"egress": 5, "new": true}})).spec_hash.is_none());
        assert!(ObservedSidecar::read(json!([])).spec_hash.is_some_and(|hash| hash.starts_with("44136fa3")));
    }

    #[test]
    fn of_a_selector_that_istio_does_not_take_nothing_is_kept() {
        let selecting = |labels: usize| {
            let labels: BTreeMap<String, &str> = (0..labels).map(|number| (number.to_string(), "")).collect();
            ObservedSidecar::read(sidecar("g", &json!({"workloadSelector": {"labels": labels}}))).selects
        };
        assert!(matches!(selecting(256), Selects::Labelled(labels) if labels.len() == 256));
        assert_eq!(selecting(100_000), Selects::Nothing);
        assert_eq!(selecting(0), Selects::All);
    }
}
