//! Pure: placeholder Services. If a developer has no copy of a Service, a placeholder of the same name refers to the Service itself,
//! so that Pods there can call it by its short name.
//!
//! They are applied with Helm 4's field manager, so a chart that is installed over one takes its fields over without a conflict. A
//! `spec.selector` in one means that a developer's manifest without `type` was applied over it. Our fields are then removed, and the
//! rest is the developer's Service ([`handed_over`]).

use super::configuration::Configuration;
use super::key::Key;
use super::mark::{HELM, PLACEHOLDER, RELEASE, SOURCE};
use super::service::{ObservedService, ServiceKind};
use crate::api::keys;
use crate::istio::virtual_service::fqdn;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry};
use kube::api::{ApiResource, DynamicObject, ObjectMeta};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The field manager of placeholders: Helm's.
pub const MANAGER: &str = "helm";

/// Whether a Service is a placeholder for the Service of its name in this namespace, by its mark and its type.
#[must_use]
pub fn is_placeholder_for(service: &ObservedService, default_namespace: &str) -> bool {
    let (Some(mark), ServiceKind::ExternalName(target)) = (&service.mark, &service.kind) else { return false };
    let source = if mark.source.is_empty() { target } else { &mark.source };
    *source == fqdn(&service.key.name, default_namespace)
}

/// Whether a Service is a placeholder, of outrigger or another operator.
#[must_use]
pub fn is_placeholder(service: &ObservedService) -> bool {
    service.mark.is_some() && matches!(service.kind, ServiceKind::ExternalName(_))
}

/// Whether a placeholder refers to the Service in its mark.
#[must_use]
pub fn is_untouched(service: &ObservedService, default_namespace: &str) -> bool {
    let target = fqdn(&service.key.name, default_namespace);
    !service.has_selector && service.kind == ServiceKind::ExternalName(target)
}

/// Whether a placeholder has everything that outrigger writes.
#[must_use]
pub fn is_complete(service: &ObservedService, default_namespace: &str) -> bool {
    is_untouched(service, default_namespace)
        && service
            .mark
            .as_ref()
            .is_some_and(|mark| mark.is_complete && mark.source == fqdn(&service.key.name, default_namespace))
}

/// Returns the placeholder in this namespace, for this state of it.
#[must_use]
pub fn object(configuration: &Configuration, key: &Key, resource_version: &str) -> DynamicObject {
    let source = fqdn(&key.name, &configuration.default_namespace);
    let annotations = [(PLACEHOLDER, "true"), (SOURCE, &source), (RELEASE[0], &key.name), (RELEASE[1], &key.namespace)];
    let texts = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let mut object = DynamicObject::new(&key.name, &resource()).within(&key.namespace);
    object.metadata.resource_version = Some(resource_version.to_owned());
    object.metadata.labels = Some(texts(&[(keys::MANAGED_BY, HELM)]));
    object.metadata.annotations = Some(texts(&annotations));
    object.data(json!({"spec": {"type": "ExternalName", "externalName": source}}))
}

/// Returns the object to apply so that only a developer's fields remain: only the name.
#[must_use]
pub fn handed_over(object: &DynamicObject) -> DynamicObject {
    let ObjectMeta { name, namespace, uid, resource_version, .. } = object.metadata.clone();
    let metadata = ObjectMeta { name, namespace, uid, resource_version, ..ObjectMeta::default() };
    DynamicObject { metadata, ..DynamicObject::new("", &resource()) }
}

/// Returns the field managers that must be set first, if they differ: everything that made the Service a placeholder must belong
/// to [`MANAGER`] alone, or it would stay. vs-operator wrote without server-side apply, under another name.
#[must_use]
pub fn managers_to_set(object: &DynamicObject) -> Option<Vec<ManagedFieldsEntry>> {
    let is_ours = |entry: &ManagedFieldsEntry| {
        entry.manager.as_deref() == Some(MANAGER) && entry.operation.as_deref() == Some("Apply")
    };
    let made_it = |entry: &ManagedFieldsEntry| {
        let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
        fields.is_some_and(|fields| fields.pointer("/f:spec/f:externalName").is_some())
    };
    let entries = object.metadata.managed_fields.clone().unwrap_or_default();
    let (made, mut others): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| made_it(entry) || is_ours(entry));
    if made.iter().all(is_ours) {
        return None;
    }
    let mut fields = Value::Null;
    let mut time = None;
    for entry in made {
        merge(&mut fields, entry.fields_v1.map(|fields| fields.0).unwrap_or_default());
        time = time.max(entry.time);
    }
    others.push(ManagedFieldsEntry {
        manager: Some(MANAGER.to_owned()),
        operation: Some("Apply".to_owned()),
        api_version: Some("v1".to_owned()),
        fields_type: Some("FieldsV1".to_owned()),
        fields_v1: Some(FieldsV1(fields)),
        time,
        subresource: None,
    });
    Some(others)
}

/// Services, for a client.
#[must_use]
pub fn resource() -> ApiResource {
    ApiResource::erase::<Service>(&())
}

/// Merges one set of fields into another.
fn merge(into: &mut Value, fields: Value) {
    match (into, fields) {
        (Value::Object(into), Value::Object(fields)) => {
            for (key, value) in fields {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, fields) => *into = fields,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev_routing::tests::configuration;

    fn seen(edit: impl FnOnce(&mut Value)) -> ObservedService {
        let object = object(&configuration("developerNamespaces: [dev]"), &Key::new("dev", "app"), "1");
        let mut object = serde_json::to_value(object).unwrap();
        edit(&mut object);
        ObservedService::read(object)
    }

    #[test]
    fn what_is_written_is_known_by_mark_and_type_and_namespace() {
        let whole = seen(|_| {});
        assert!(is_placeholder_for(&whole, "default") && is_complete(&whole, "default"));
        assert!(!is_placeholder_for(&whole, "prod"), "of another operator");
        assert!(!is_placeholder_for(&seen(|object| object["spec"] = json!({"type": "ClusterIP"})), "default"));
        assert!(!is_placeholder_for(
            &seen(|object| object["metadata"]["annotations"][PLACEHOLDER] = json!("no")),
            "default"
        ));
        let turned = seen(|object| object["spec"]["externalName"] = json!("other.x.svc.cluster.local"));
        assert!(is_placeholder_for(&turned, "default") && !is_untouched(&turned, "default"));
        let selecting = seen(|object| object["spec"]["selector"] = json!({"app": "x"}));
        assert!(is_placeholder_for(&selecting, "default") && !is_untouched(&selecting, "default"));
        let bare = seen(|object| object["metadata"]["labels"] = json!({}));
        assert!(is_untouched(&bare, "default") && !is_complete(&bare, "default"));
    }

    #[test]
    fn all_that_made_it_a_placeholder_becomes_one_manager_s() {
        let entry = |manager: &str, operation: &str, fields: Value| json!({"manager": manager, "operation": operation, "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": fields});
        let object = |entries: Value| -> DynamicObject {
            serde_json::from_value(
                json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a", "managedFields": entries}}),
            )
            .unwrap()
        };
        let made = json!({"f:metadata": {"f:labels": {"f:x": {}}}, "f:spec": {"f:externalName": {}, "f:type": {}}});
        let developer = entry("kubectl", "Update", json!({"f:spec": {"f:selector": {}}}));
        assert_eq!(managers_to_set(&object(json!([entry("helm", "Apply", made.clone()), developer]))), None);
        let annotated = entry("helm", "Apply", json!({"f:metadata": {"f:annotations": {"f:y": {}}}}));
        let set = managers_to_set(&object(json!([entry("manager", "Update", made), developer, annotated]))).unwrap();
        let set = serde_json::to_value(set).unwrap();
        assert_eq!(set[0], developer);
        assert_eq!(
            set[1],
            entry(
                "helm",
                "Apply",
                json!({
                    "f:metadata": {"f:labels": {"f:x": {}}, "f:annotations": {"f:y": {}}},
                    "f:spec": {"f:externalName": {}, "f:type": {}},
                })
            )
        );
    }
}
