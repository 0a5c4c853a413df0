//! Fields of an object that the API server does not know. With strict validation, kubectl's default, it rejects them; otherwise it
//! drops them. A misspelt selector that is dropped selects everything.

use super::crds;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// The schema of each version of SidecarSet.
static SIDECARSETS: LazyLock<BTreeMap<String, JSONSchemaProps>> = LazyLock::new(|| {
    let versions = crds::sidecarsets().map(|crd| crd.spec.versions).unwrap_or_default();
    versions.into_iter().filter_map(|version| Some((version.name, version.schema?.open_api_v3_schema?))).collect()
});

/// Returns the paths of a SidecarSet's fields that its version does not have.
#[must_use]
pub fn of_sidecarset(object: &Value) -> Vec<String> {
    let version = object["apiVersion"].as_str().and_then(|version| version.rsplit_once('/'));
    let Some(schema) = version.and_then(|(_, version)| SIDECARSETS.get(version)) else { return Vec::new() };
    let mut unknown = Vec::new();
    if let Some(metadata) = object.get("metadata") {
        vanishing::<ObjectMeta>(metadata, "metadata", &mut unknown);
    }
    for (field, value) in object.as_object().into_iter().flatten() {
        if !["apiVersion", "kind", "metadata"].contains(&field.as_str()) {
            of_field(schema, field, value, "", &mut unknown);
        }
    }
    unknown
}

/// Returns the paths of unknown fields of a Namespace.
#[must_use]
pub fn of_namespace(object: &Value) -> Vec<String> {
    let mut unknown = Vec::new();
    vanishing::<Namespace>(object, "", &mut unknown);
    unknown
}

fn of_value(schema: &JSONSchemaProps, value: &Value, path: &str, unknown: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                of_field(schema, field, value, path, unknown);
            }
        }
        Value::Array(items) => {
            let Some(JSONSchemaPropsOrArray::Schema(schema)) = &schema.items else { return };
            for (index, item) in items.iter().enumerate() {
                of_value(schema, item, &format!("{path}[{index}]"), unknown);
            }
        }
        _ => {}
    }
}

fn of_field(schema: &JSONSchemaProps, field: &str, value: &Value, path: &str, unknown: &mut Vec<String>) {
    let path = below(path, field);
    if let Some(schema) = schema.properties.as_ref().and_then(|properties| properties.get(field)) {
        return of_value(schema, value, &path, unknown);
    }
    match &schema.additional_properties {
        Some(JSONSchemaPropsOrBool::Schema(schema)) => of_value(schema, value, &path, unknown),
        Some(JSONSchemaPropsOrBool::Bool(true)) => {}
        _ if schema.x_kubernetes_preserve_unknown_fields == Some(true) => {}
        _ => unknown.push(path),
    }
}

/// Returns the fields that are lost by reading and writing this type. Unreadable objects have none here; they are
/// reported elsewhere.
fn vanishing<T: DeserializeOwned + Serialize>(value: &Value, path: &str, unknown: &mut Vec<String>) {
    let known = T::deserialize(value).ok().and_then(|typed| serde_json::to_value(typed).ok());
    if let Some(known) = known {
        lost(value, &known, path, unknown);
    }
}

fn lost(value: &Value, known: &Value, path: &str, unknown: &mut Vec<String>) {
    match (value, known) {
        (Value::Object(value), Value::Object(known)) => {
            for (field, value) in value.iter().filter(|(_, value)| !value.is_null()) {
                let path = below(path, field);
                match known.get(field) {
                    Some(known) => lost(value, known, &path, unknown),
                    None => unknown.push(path),
                }
            }
        }
        (Value::Array(values), Value::Array(known)) => {
            for (index, (value, known)) in values.iter().zip(known).enumerate() {
                lost(value, known, &format!("{path}[{index}]"), unknown);
            }
        }
        _ => {}
    }
}

fn below(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set(version: &str, spec: &Value) -> Value {
        json!({"apiVersion": format!("apps.kruise.io/{version}"), "kind": "SidecarSet", "metadata": {"name": "s"}, "spec": spec})
    }

    #[test]
    fn each_version_has_its_own_fields() {
        let spec = json!({"namespace": "a", "customVersion": "v1", "nameSpaceSelector": {}});
        assert_eq!(of_sidecarset(&set("v1beta1", &spec)), ["spec.namespace", "spec.nameSpaceSelector"]);
        assert_eq!(of_sidecarset(&set("v1alpha1", &spec)), ["spec.customVersion", "spec.nameSpaceSelector"]);
    }

    #[test]
    fn fields_are_looked_at_in_every_depth_but_not_in_what_is_kept_as_it_is() {
        let spec = json!({
            "selector": {"matchLabels": {"any": "b"}, "matchExpression": [], "matchExpressions": [{"key": "a", "op": "In"}]},
            "updateStrategy": {"partion": 1, "priorityStrategy": {"weightPriority": [{"wait": 3}]}},
            "volumes": [{"name": "v", "future": {"x": 1}}],
            "containers": [{"name": "c", "livenesProbe": {}, "upgradeStrategy": {"type": "HotUpgrade"},
                            "transferEnv": [{"envname": "A"}], "resourcesPolicy": {"resourcesExpr": {"limit": {}}}}]
        });
        let mut object = set("v1beta1", &spec);
        object["metadata"] = json!({"name": "s", "label": {"a": "b"}, "labels": {"c": "d"}, "annotations": null,
                                    "creationTimestamp": null, "ownerReferences": [{"name": "o", "uuid": "u"}]});
        object["speck"] = json!({});
        let mut expected = [
            "metadata.label",
            "metadata.ownerReferences[0].uuid",
            "spec.selector.matchExpression",
            "spec.selector.matchExpressions[0].op",
            "spec.updateStrategy.partion",
            "spec.updateStrategy.priorityStrategy.weightPriority[0].wait",
            "spec.containers[0].upgradeStrategy.type",
            "spec.containers[0].transferEnv[0].envname",
            "spec.containers[0].resourcesPolicy.resourcesExpr.limit",
            "speck",
        ];
        let mut found = of_sidecarset(&object);
        expected.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_namespace_has_labels_and_not_a_label() {
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n", "label": {"a": "b"}},
                            "spec": {"finalizers": []}, "status": {}});
        assert_eq!(of_namespace(&object), ["metadata.label"]);
    }
}
