//! A MeshService as last seen: its requests, or why it cannot be used.

use super::key::Key;
use super::rival::Rival;
use crate::api::decode::{self, FieldError};
use crate::api::keys;
use crate::api::mesh_service::{MeshGateway, MeshServiceSpec, MeshServiceStatus};
use crate::cluster::{ObjectVersion, Versioned};
use crate::istio::names;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::collections::BTreeMap;

/// The longest value of a label.
const LONGEST_LABEL: usize = 63;

/// The largest spec, in bytes of JSON.
const LARGEST_SPEC: usize = 64 * 1024;

/// The largest product of that and the number of ports: routes and servers are written for each port.
const LARGEST_ROUTES: usize = 1024 * 1024;

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
    /// What happens to its objects when it is deleted.
    pub cascade: Cascade,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// Its present status; empty if it cannot be read.
    pub status: MeshServiceStatus,
    /// The Service and the Gateway that it names.
    pub named: Named,
    /// What it requests, or why it cannot be used: a sentence that names the field.
    pub usable: Result<Usable, String>,
}

/// What happens to the objects of a MeshService that is being deleted, by kubectl's `--cascade`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cascade {
    /// They are deleted after it.
    #[default]
    Background,
    /// They are deleted before it.
    Foreground,
    /// They stay.
    Orphan,
}

/// The Service and the Gateway that a MeshService names. They are known even if its spec is invalid, because its objects stay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// Its Service.
    pub service: Option<Key>,
    /// Its Gateway.
    pub gateway: Option<Key>,
}

/// What a MeshService requests, with its defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct Usable {
    /// Its spec.
    pub spec: MeshServiceSpec,
    /// Its Service.
    pub service: Key,
    /// The Gateway that it names.
    pub gateway: Option<Key>,
    /// Labels of the Pods that the Service is made for, or their error, which only affects the Service.
    pub service_selector: Result<Option<BTreeMap<String, String>>, String>,
}

impl Versioned for ObservedMeshService {
    fn version(&self) -> ObjectVersion<'_> {
        let Self { key, uid, resource_version, .. } = self;
        ObjectVersion { namespace: &key.namespace, name: &key.name, uid, resource_version }
    }
}

/// Never fails, so that a watch continues with any stored object.
impl<'de> Deserialize<'de> for ObservedMeshService {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::read)
    }
}

impl ObservedMeshService {
    /// Reads a MeshService. This never fails: `usable` has the error.
    #[must_use]
    pub fn read(mut object: Value) -> Self {
        let spec = object.get_mut("spec").map(Value::take).unwrap_or_default();
        let (metadata, status) = decode::metadata_and_status(&object);
        let key = Key::of(&metadata);
        let annotations = metadata.annotations.unwrap_or_default();
        Self {
            named: Named::read(&spec, &key),
            usable: Usable::read(spec, &key, &annotations).map_err(|error| error.to_string()),
            key,
            uid: metadata.uid.unwrap_or_default(),
            resource_version: metadata.resource_version.unwrap_or_default(),
            generation: metadata.generation.unwrap_or_default(),
            created: metadata.creation_timestamp.map(|time| time.0),
            deleting: metadata.deletion_timestamp.is_some(),
            cascade: Cascade::of(&metadata.finalizers.unwrap_or_default()),
            annotations,
            status,
        }
    }

    /// Returns whether nothing is written or deleted for it. Only the value `false` means this.
    #[must_use]
    pub fn is_left_alone(&self) -> bool {
        self.annotations.get(keys::MANAGED).is_some_and(|value| value == keys::NOT_MANAGED)
    }

    /// Returns this MeshService as a rival of others that name the same Service or Gateway. `None` if it is no rival.
    /// One with an invalid spec is a rival only for the Service that it serves.
    #[must_use]
    pub fn as_rival(&self) -> Option<Rival<'_>> {
        let Named { service, gateway } = &self.named;
        let serves = service.as_ref().is_some_and(|service| self.status.service == Some(service.to_string()));
        let is_usable = self.usable.is_ok();
        let rival = Rival {
            key: &self.key,
            created: self.created,
            service: service.as_ref().filter(|_| is_usable || serves),
            serves,
            gateway: gateway.as_ref().filter(|_| is_usable),
        };
        (!self.deleting && (rival.service.is_some() || rival.gateway.is_some())).then_some(rival)
    }
}

impl Cascade {
    /// Reads it from the finalizers of the garbage collector.
    fn of(finalizers: &[String]) -> Self {
        let has = |name: &str| finalizers.iter().any(|finalizer| finalizer == name);
        match () {
            () if has("orphan") => Self::Orphan,
            () if has("foregroundDeletion") => Self::Foreground,
            () => Self::Background,
        }
    }
}

impl Named {
    fn read(spec: &Value, own: &Key) -> Self {
        let text = |pointer: &str| spec.pointer(pointer).and_then(Value::as_str);
        let key = |name: &str, namespace: &str| named(own, text(name)?, text(namespace), ["", ""]).ok();
        Self { service: key("/serviceName", "/namespace"), gateway: key("/gateway/name", "/gateway/namespace") }
    }
}

/// Reads a Service or a Gateway from the fields of its name and its namespace. The default is the MeshService's
/// namespace.
fn named(own: &Key, name: &str, namespace: Option<&str>, fields: [&str; 2]) -> Result<Key, FieldError> {
    let namespace = namespace.filter(|namespace| !namespace.is_empty()).unwrap_or(&own.namespace);
    label(fields[0], name)?;
    label(fields[1], namespace)?;
    Ok(Key::new(namespace, name))
}

/// Checks that no object of the spec becomes too large for the API server.
fn of_usable_size(spec: &Value) -> Result<(), FieldError> {
    let size = serde_json::to_vec(spec).map_or(usize::MAX, |text| text.len());
    let ports = spec.get("ports").and_then(Value::as_array).map_or(1, Vec::len).max(1);
    if size > LARGEST_SPEC {
        return Err(FieldError::new("spec", format!("must have at most {LARGEST_SPEC} bytes, and has {size}")));
    }
    if size.saturating_mul(ports) > LARGEST_ROUTES {
        let problem = format!(
            "{ports} ports are too many for a spec of {size} bytes, which is written for each of them: at most {LARGEST_ROUTES} in all"
        );
        return Err(FieldError::new("spec.ports", problem));
    }
    Ok(())
}

impl Usable {
    fn read(spec: Value, own: &Key, annotations: &BTreeMap<String, String>) -> Result<Self, FieldError> {
        if !spec.is_object() {
            return Err(FieldError::new("spec", "must be given: serviceName and ports at least"));
        }
        of_usable_size(&spec)?;
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
        let service =
            named(own, &spec.service_name, spec.namespace.as_deref(), ["spec.serviceName", "spec.namespace"])?;
        let fields = ["spec.gateway.name", "spec.gateway.namespace"];
        let of_gateway = |gateway: &MeshGateway| named(own, &gateway.name, gateway.namespace.as_deref(), fields);
        let gateway = spec.gateway.as_ref().map(of_gateway).transpose()?;
        let selector = annotations.get(keys::SERVICE_SELECTOR).map(|text| selector(text)).transpose();
        let service_selector = selector.map_err(|error| error.to_string());
        Ok(Self { spec, service, gateway, service_selector })
    }
}

/// Checks a name of a Service, a Gateway or a namespace.
fn label(field: &str, name: &str) -> Result<(), FieldError> {
    let problem = "must be a DNS label: at most 63 small letters, digits and '-', with a letter or digit at both ends";
    let holds = names::dns_label(name).is_ok() && !name.bytes().any(|byte| byte.is_ascii_uppercase());
    if holds { Ok(()) } else { Err(FieldError::new(field, problem)) }
}

/// Reads labels as `KEY=VALUE,…`.
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
            let usable = read(&json!({"annotations": {keys::SERVICE_SELECTOR: text}}), &smallest()).usable.unwrap();
            usable
                .service_selector
                .map(|labels| labels.unwrap().into_iter().map(|(key, value)| format!("{key}={value}")).collect())
        };
        assert_eq!(asked("app=web, x.y/tier=").unwrap(), vec!["app=web", "x.y/tier="]);
        for wrong in ["", "app", "app=web,", "=web", "app=a b", "app=a=b"] {
            let problem: Result<Vec<String>, _> = asked(wrong);
            let field = "metadata.annotations[outrigger.dev/service-selector]: ";
            assert!(problem.unwrap_err().starts_with(field), "{wrong}");
        }
    }

    /// Headers are in each route, and each port has two routes: such a spec would use all memory.
    #[test]
    fn a_spec_has_at_most_the_size_of_what_can_be_written() {
        let with = |headers: usize, ports: u16| {
            let set: serde_json::Map<_, _> = (0..headers).map(|number| (format!("x-{number}"), json!("a"))).collect();
            let ports: Vec<_> = (0..ports).map(|number| json!({"port": 1 + number})).collect();
            let spec = json!({"serviceName": "web", "ports": ports, "headers": {"request": {"set": set}}});
            read(&json!({}), &spec).usable.map(|_| ())
        };
        assert_eq!([with(64, 32), with(2000, 32), with(4000, 1)], [Ok(()), Ok(()), Ok(())]);
        assert!(with(130_000, 1).unwrap_err().starts_with("spec: must have at most 65536 bytes, and has "));
        assert!(with(4000, 32).unwrap_err().starts_with("spec.ports: 32 ports are too many for a spec of "));
    }

    /// Otherwise another one would take the existing objects.
    #[test]
    fn what_a_mesh_service_names_is_known_whatever_else_is_wrong() {
        let mut spec = smallest();
        spec["gateway"] = json!({"name": "edge", "namespace": "istio-system"});
        let whole = read(&json!({}), &spec).named;
        let usable = read(&json!({}), &spec).usable.unwrap();
        assert_eq!(whole, Named { service: Some(usable.service), gateway: usable.gateway });
        spec["timeout"] = json!(5);
        spec["ports"] = json!([]);
        assert_eq!(read(&json!({}), &spec).named, whole);
        spec["gateway"] = json!({"name": "-"});
        assert_eq!(read(&json!({}), &spec).named, Named { gateway: None, ..whole });
        assert_eq!(ObservedMeshService::read(json!([])).named, Named::default());
    }

    #[test]
    fn what_cannot_be_used_is_in_the_way_only_where_its_objects_are() {
        let with = |service: &str| {
            let mut object = json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": smallest()});
            object["spec"]["ports"] = json!([]);
            object["status"] = json!({"service": service});
            ObservedMeshService::read(object)
        };
        let served = with("shop/web");
        assert_eq!(
            served.as_rival().map(|rival| (rival.service, rival.serves)),
            Some((Some(&Key::new("shop", "web")), true))
        );
        assert!(with("shop/other").as_rival().is_none());
    }

    /// An earlier operator treated all values the same.
    #[test]
    fn m7_the_value_of_the_annotation_counts_and_not_that_it_is_there() {
        let with = |value: &str| read(&json!({"annotations": {keys::MANAGED: value}}), &smallest()).is_left_alone();
        assert_eq!(["true", "", "yes", "false"].map(with), [false, false, false, true]);
        assert!(!read(&json!({}), &smallest()).is_left_alone());
    }
}
