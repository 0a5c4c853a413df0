//! A MeshService as last seen: what it asks for, or why it cannot be used.

use super::key::Key;
use super::rival::Rival;
use crate::api::decode::{self, FieldError};
use crate::api::keys;
use crate::api::mesh_service::{MeshServiceSpec, MeshServiceStatus};
use crate::cluster::{ObjectVersion, Versioned};
use crate::istio::names;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::collections::BTreeMap;

/// The longest value of a label.
const LONGEST_LABEL: usize = 63;

/// A MeshService as last seen.
#[derive(Clone, Debug)]
pub struct ObservedMeshService {
    /// Its namespace and name.
    pub key: Key,
    /// Its uid.
    pub uid: String,
    /// Its resourceVersion.
    pub resource_version: String,
    /// Its generation: rises with each change of the spec.
    pub generation: i64,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// Its present status; empty where it cannot be read.
    pub status: MeshServiceStatus,
    /// What is to be made, or why nothing can: a sentence that names the field.
    pub usable: Result<Usable, String>,
}

/// What a MeshService asks for, with its defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct Usable {
    /// Its spec.
    pub spec: MeshServiceSpec,
    /// Its Service.
    pub service: Key,
    /// The Gateway that it names.
    pub gateway: Option<Key>,
    /// Labels of the Pods for which the Service is to be made.
    pub service_selector: Option<BTreeMap<String, String>>,
}

impl Versioned for ObservedMeshService {
    fn version(&self) -> ObjectVersion<'_> {
        let Self { key, uid, resource_version, .. } = self;
        ObjectVersion { namespace: &key.namespace, name: &key.name, uid, resource_version }
    }
}

/// Never fails, so that a watch goes on whatever is stored.
impl<'de> Deserialize<'de> for ObservedMeshService {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::read)
    }
}

impl ObservedMeshService {
    /// Reads a MeshService. Nothing in it makes this fail: what cannot be used is told in `usable`.
    #[must_use]
    pub fn read(mut object: Value) -> Self {
        let spec = object.get_mut("spec").map(Value::take).unwrap_or_default();
        let (metadata, status) = decode::metadata_and_status(&object);
        let key = Key::of(&metadata);
        let annotations = metadata.annotations.unwrap_or_default();
        Self {
            usable: Usable::read(spec, &key, &annotations).map_err(|error| error.to_string()),
            key,
            uid: metadata.uid.unwrap_or_default(),
            resource_version: metadata.resource_version.unwrap_or_default(),
            generation: metadata.generation.unwrap_or_default(),
            created: metadata.creation_timestamp.map(|time| time.0),
            deleting: metadata.deletion_timestamp.is_some(),
            annotations,
            status,
        }
    }

    /// Whether nothing is to be written or deleted for it. Only the value `false` means so; any other, like no annotation, does not.
    #[must_use]
    pub fn is_left_alone(&self) -> bool {
        self.annotations.get(keys::MANAGED).is_some_and(|value| value == keys::NOT_MANAGED)
    }

    /// It as others see it that may name the same Service or Gateway; `None`: it names none.
    #[must_use]
    pub fn as_rival(&self) -> Option<Rival<'_>> {
        let Usable { service, gateway, .. } = self.usable.as_ref().ok().filter(|_| !self.deleting)?;
        Some(Rival { key: &self.key, created: self.created, service, gateway: gateway.as_ref() })
    }
}

impl Usable {
    fn read(spec: Value, own: &Key, annotations: &BTreeMap<String, String>) -> Result<Self, FieldError> {
        if !spec.is_object() {
            return Err(FieldError::new("spec", "must be given: serviceName and ports at least"));
        }
        let spec: MeshServiceSpec = decode::typed(spec).map_err(|FieldError { field, problem }| {
            let field = if field == "." { "spec".to_owned() } else { format!("spec.{field}") };
            FieldError::new(field, problem)
        })?;
        if own.name.len() > LONGEST_LABEL {
            let problem = "must be at most 63 characters: it is a label of the objects that are made";
            return Err(FieldError::new("metadata.name", problem));
        }
        if spec.ports.is_empty() {
            return Err(FieldError::new("spec.ports", "must have at least one port"));
        }
        let namespace = |named: &Option<String>| match named.as_deref() {
            None | Some("") => own.namespace.clone(),
            Some(named) => named.to_owned(),
        };
        let service = Key::new(namespace(&spec.namespace), &spec.service_name);
        let gateway = spec.gateway.as_ref().map(|gateway| Key::new(namespace(&gateway.namespace), &gateway.name));
        label("spec.serviceName", &service.name)?;
        label("spec.namespace", &service.namespace)?;
        if let Some(gateway) = &gateway {
            label("spec.gateway.name", &gateway.name)?;
            label("spec.gateway.namespace", &gateway.namespace)?;
        }
        let service_selector = annotations.get(keys::SERVICE_SELECTOR).map(|text| selector(text)).transpose()?;
        Ok(Self { spec, service, gateway, service_selector })
    }
}

/// A name of a Service, a Gateway or a namespace.
fn label(field: &str, name: &str) -> Result<(), FieldError> {
    let problem = "must be a DNS label: at most 63 small letters, digits and '-', with a letter or digit at both ends";
    let holds = names::dns_label(name).is_ok() && !name.bytes().any(|byte| byte.is_ascii_uppercase());
    if holds { Ok(()) } else { Err(FieldError::new(field, problem)) }
}

/// Labels as `KEY=VALUE,…`.
fn selector(text: &str) -> Result<BTreeMap<String, String>, FieldError> {
    let field = format!("metadata.annotations[{}]", keys::SERVICE_SELECTOR);
    let label = |entry: &str| {
        let (key, value) = entry.split_once('=')?;
        let (key, value) = (key.trim(), value.trim());
        let holds = names::label_key(key).is_ok() && names::label_value(value).is_ok();
        holds.then(|| (key.to_owned(), value.to_owned()))
    };
    let labels: Option<BTreeMap<_, _>> = text.split(',').map(label).collect();
    labels.ok_or_else(|| FieldError::new(field, "must be labels, such as app=web,tier=front"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(metadata: &Value, spec: &Value) -> ObservedMeshService {
        let mut object = json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": spec});
        object["metadata"].as_object_mut().unwrap().extend(metadata.as_object().unwrap().clone());
        ObservedMeshService::read(object)
    }

    fn smallest() -> Value {
        json!({"serviceName": "web", "ports": [{"port": 80}]})
    }

    #[test]
    fn namespaces_default_to_the_objects_own() {
        let usable = read(&json!({}), &smallest()).usable.unwrap();
        assert_eq!((usable.service, usable.gateway), (Key::new("shop", "web"), None));
        let mut spec = smallest();
        spec["namespace"] = json!("other");
        spec["gateway"] = json!({"name": "edge"});
        let usable = read(&json!({}), &spec).usable.unwrap();
        assert_eq!((usable.service, usable.gateway), (Key::new("other", "web"), Some(Key::new("shop", "edge"))));
    }

    #[test]
    fn what_cannot_be_used_is_told_by_its_field_and_nothing_fails() {
        let mut spec = smallest();
        for (field, value, named) in [
            ("serviceName", json!("a.b"), "spec.serviceName"),
            ("serviceName", json!("Web"), "spec.serviceName"),
            ("serviceName", json!(5), "spec.serviceName"),
            ("namespace", json!("x/y"), "spec.namespace"),
            ("ports", json!([]), "spec.ports"),
            ("ports", json!([{"port": "http"}]), "spec.ports[0].port"),
            ("gateway", json!({"name": "-"}), "spec.gateway.name"),
            ("gateway", json!({"name": "a", "namespace": "B"}), "spec.gateway.namespace"),
            ("trafficPolicy", json!("x"), "spec.trafficPolicy"),
        ] {
            let before = std::mem::replace(&mut spec[field], value);
            let problem = read(&json!({}), &spec).usable.unwrap_err();
            assert!(problem.starts_with(&format!("{named}: ")), "{problem}");
            spec[field] = before;
            if spec[field].is_null() {
                spec.as_object_mut().unwrap().shift_remove(field);
            }
        }
        assert!(read(&json!({}), &spec).usable.is_ok());
        let without_service = read(&json!({}), &json!({"ports": []})).usable.unwrap_err();
        assert_eq!(without_service, "spec: missing field `serviceName`");
        assert!(read(&json!({}), &json!(null)).usable.unwrap_err().starts_with("spec: "));
        assert!(ObservedMeshService::read(json!([])).usable.is_err());
    }

    #[test]
    fn a_name_that_is_no_label_is_told() {
        let named = |name: String| read(&json!({"name": name}), &smallest()).usable;
        assert!(named("a".repeat(63)).is_ok());
        assert!(named("a".repeat(64)).unwrap_err().starts_with("metadata.name: must be at most 63 characters"));
    }

    #[test]
    fn a_service_is_asked_for_by_the_labels_of_its_pods() {
        let asked = |text: &str| {
            read(&json!({"annotations": {keys::SERVICE_SELECTOR: text}}), &smallest()).usable.map(|usable| {
                usable.service_selector.unwrap().into_iter().map(|(key, value)| format!("{key}={value}")).collect()
            })
        };
        assert_eq!(asked("app=web, x.y/tier=").unwrap(), vec!["app=web", "x.y/tier="]);
        for wrong in ["", "app", "app=web,", "=web", "app=a b", "app=a=b"] {
            let problem: Result<Vec<String>, _> = asked(wrong);
            let field = "metadata.annotations[outrigger.dev/service-selector]: ";
            assert!(problem.unwrap_err().starts_with(field), "{wrong}");
        }
    }

    /// For the seed's operator any value meant the same.
    #[test]
    fn m7_the_value_of_the_annotation_counts_and_not_that_it_is_there() {
        let with = |value: &str| read(&json!({"annotations": {keys::MANAGED: value}}), &smallest()).is_left_alone();
        assert_eq!(["true", "", "yes", "false"].map(with), [false, false, false, true]);
        assert!(!read(&json!({}), &smallest()).is_left_alone());
    }
}
