//! Reads a SidecarSet of either version: converted to v1beta1, typed, and with defaults applied.

use super::conversion::{ConversionError, Version, convert};
use super::defaults;
use super::sidecarset::SidecarSet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use thiserror::Error;

/// Why an object is not a readable SidecarSet.
#[derive(Debug, Error)]
pub enum DecodeError {
    /// It is not a SidecarSet of a known version.
    #[error(transparent)]
    Conversion(#[from] ConversionError),
    /// A field has the wrong type.
    #[error(transparent)]
    Field(#[from] FieldError),
}

/// A field with an unusable value.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{field}: {problem}")]
pub struct FieldError {
    /// Path of the field, such as `spec.containers[0].env[1].name`.
    pub field: String,
    /// The problem.
    pub problem: String,
}

impl FieldError {
    /// Creates an error for a field.
    pub fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }
}

/// Reads metadata and status of an object, regardless of the rest. An unreadable part gets its default.
#[must_use]
pub fn metadata_and_status<S: DeserializeOwned + Default>(object: &Value) -> (ObjectMeta, S) {
    let metadata = object.get("metadata").and_then(|metadata| ObjectMeta::deserialize(metadata).ok());
    let status = object.get("status").and_then(|status| S::deserialize(status).ok());
    (metadata.unwrap_or_default(), status.unwrap_or_default())
}

/// Reads a SidecarSet and applies its defaults.
///
/// # Errors
/// When it is not a SidecarSet of a known version, or when a field has the wrong type.
pub fn sidecarset(object: Value) -> Result<SidecarSet, DecodeError> {
    let mut object = convert(object, Version::V1beta1)?;
    for part in ["metadata", "spec"] {
        match object.get(part) {
            // Without the part there are no fields. Validation reports missing required ones.
            None | Some(Value::Null) => object[part] = Value::Object(Map::new()),
            Some(Value::Object(_)) => {}
            // serde would read a list as the fields in their order.
            Some(_) => return Err(ConversionError::NotAnObject { field: part }.into()),
        }
    }
    drop_nulls_of_set(&mut object);
    let mut set: SidecarSet = typed(object)?;
    defaults::apply(&mut set.spec);
    Ok(set)
}

/// Reads an object of any type, naming the field at fault.
///
/// # Errors
/// When a field has the wrong type.
pub fn typed<T: serde::de::DeserializeOwned>(object: Value) -> Result<T, FieldError> {
    serde_path_to_error::deserialize(object)
        .map_err(|e| FieldError::new(e.path().to_string(), without_value(&e.inner().to_string())))
}

/// Returns the type of a JSON value, for messages.
#[must_use]
pub fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Returns serde's error in YAML terms, without the value, which may be secret and of any length.
#[must_use]
pub fn without_value(message: &str) -> String {
    if let Some(unsupported) = unsupported_value(message) {
        return unsupported;
    }
    let message = &in_words_of_yaml(message);
    let cut = message.find("string \"").and_then(|start| {
        let end = message.rfind("\", expected")?;
        (start + 7 < end).then(|| format!("{}string{}", &message[..start], &message[end + 1..]))
    });
    cut.unwrap_or_else(|| message.to_owned())
}

/// Returns the API server's message for an unsupported enumeration value, from serde's.
fn unsupported_value(message: &str) -> Option<String> {
    let (value, expected) = message.strip_prefix("unknown variant `")?.rsplit_once("`, expected ")?;
    let supported: Vec<String> = expected.split('`').skip(1).step_by(2).map(|name| format!("{name:?}")).collect();
    Some(format!("Unsupported value: {value:?}: supported values: {}", supported.join(", ")))
}

/// Returns serde's error without Rust type names: users write lists, objects and texts.
fn in_words_of_yaml(message: &str) -> String {
    if message.starts_with("data did not match any variant of untagged enum") {
        return "expected a string".to_owned(); // whatever else is in them, the last is any other text
    }
    let (message, place) = match message.rfind(" at line ") {
        Some(place) => message.split_at(place),
        None => (message, ""),
    };
    // The value comes before the expected type and may contain anything.
    let Some((met, expected)) = message.rsplit_once(", expected ") else { return format!("{message}{place}") };
    if !(met.starts_with("invalid type: ") || met.starts_with("invalid value: ") || met.starts_with("invalid length "))
    {
        return format!("{message}{place}"); // it lists the names of the API
    }
    let words: Vec<&str> = expected.split(' ').collect();
    let is_type = |word: &str| word.starts_with(|c: char| c.is_ascii_uppercase()) && !word.contains('`');
    let expected = match words.as_slice() {
        ["a", "sequence"] | ["sequence"] | ["tuple", ..] | ["a", "tuple", ..] => "a list",
        ["a", "map"] | ["map"] | ["struct" | "internally", ..] => "an object",
        ["a", "boolean"] => "true or false",
        ["i8" | "i16" | "i32" | "i64" | "isize" | "u8" | "u16" | "u32" | "u64" | "usize"] => "a whole number",
        ["f32" | "f64"] => "a number",
        ["IntOrString"] => "a whole number or a string",
        ["enum" | "variant" | "string" | "unit", ..]
        | ["map", "with", "a", "single", "key"]
        | ["a", "timestamp", "string"]
        | ["Quantity" | "Time" | "MicroTime"] => "a string",
        [one] if is_type(one) => "an object",
        _ => expected,
    };
    format!("{met}, expected {expected}{place}")
}

/// Container fields that only SidecarSets have. The others belong to the container's body.
const OWN_CONTAINER_FIELDS: [&str; 6] = [
    "podInjectPolicy",
    "upgradeStrategy",
    "shareVolumePolicy",
    "shareVolumeDevicePolicy",
    "transferEnv",
    "resourcesPolicy",
];

/// Removes `null`s as the API server does for fields that are not nullable, because people write a key and leave it empty.
/// Bodies of containers and volumes stay unchanged.
fn drop_nulls_of_set(set: &mut Value) {
    for part in ["metadata", "status"] {
        if let Some(part) = set.get_mut(part) {
            drop_nulls(part);
        }
    }
    let Some(spec) = set.get_mut("spec").and_then(Value::as_object_mut) else { return };
    spec.retain(|_, field| !field.is_null());
    for (key, field) in spec {
        match key.as_str() {
            "volumes" => {}
            "containers" | "initContainers" => {
                let containers = field.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut);
                for container in containers {
                    container.retain(|key, field| !(field.is_null() && OWN_CONTAINER_FIELDS.contains(&key.as_str())));
                    let own = container.iter_mut().filter(|(key, _)| OWN_CONTAINER_FIELDS.contains(&key.as_str()));
                    own.for_each(|(_, field)| drop_nulls(field));
                }
            }
            _ => drop_nulls(field),
        }
    }
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_field_of_wrong_type_is_named() {
        let object = json!({
            "apiVersion": "apps.kruise.io/v1alpha1", "kind": "SidecarSet", "metadata": {"name": "a"},
            "spec": {"containers": [{"name": "c", "transferEnv": [{"envName": 5}]}]}
        });
        let error = sidecarset(object).unwrap_err().to_string();
        assert_eq!(error, "spec.containers[0].transferEnv[0].envName: invalid type: integer `5`, expected a string");
    }

    #[test]
    fn an_error_does_not_repeat_the_text_it_met() {
        let object = json!({
            "apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet", "metadata": {"name": "a"},
            "spec": {"selector": "hunter2, expected \"x\", expected"}
        });
        let error = sidecarset(object).unwrap_err().to_string();
        assert_eq!(error, "spec.selector: invalid type: string, expected an object");
    }

    #[test]
    fn a_value_that_an_enumeration_lacks_is_told_as_the_api_server_does() {
        let object = json!({
            "apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet", "metadata": {"name": "a"},
            "spec": {"injectionStrategy": {"revision": {"policy": "Bad"}}}
        });
        let error = sidecarset(object).unwrap_err().to_string();
        assert_eq!(
            error,
            "spec.injectionStrategy.revision.policy: Unsupported value: \"Bad\": supported values: \"Always\", \"Partial\""
        );
        for (message, told) in [
            ("unknown variant `x`, expected `A`", r#"Unsupported value: "x": supported values: "A""#),
            (
                "unknown variant `x`y`, expected one of `A`, `B`, `C`",
                r#"Unsupported value: "x`y": supported values: "A", "B", "C""#,
            ),
        ] {
            assert_eq!(without_value(message), told);
        }
    }

    /// Each field of the schema gets a value that it cannot have.
    #[test]
    fn no_error_names_a_type_of_rust() {
        use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
            JSONSchemaProps, JSONSchemaPropsOrArray,
        };
        fn objects(schema: &JSONSchemaProps, wrap: &dyn Fn(Value) -> Value, check: &mut dyn FnMut(Value)) {
            for wrong in
                [json!("x"), json!(5), json!(1.5), json!(true), json!([]), json!([[]]), json!({}), json!({"x": []})]
            {
                check(wrap(wrong));
            }
            for (field, schema) in schema.properties.iter().flatten() {
                objects(schema, &|value| wrap(json!({field: value})), check);
            }
            if let Some(JSONSchemaPropsOrArray::Schema(schema)) = &schema.items {
                objects(schema, &|value| wrap(json!([value])), check);
            }
        }
        let crd = super::super::crds::sidecarsets().unwrap();
        let schema = crd.spec.versions[0].schema.as_ref().unwrap().open_api_v3_schema.as_ref().unwrap();
        let mut seen = std::collections::BTreeSet::new();
        let head = json!({"apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet", "metadata": {"name": "a"}});
        objects(schema, &|value| value, &mut |object| {
            let mut whole = head.clone();
            for (field, value) in object.as_object().into_iter().flatten() {
                if ["spec", "status", "metadata"].contains(&field.as_str()) {
                    whole[field] = value.clone();
                }
            }
            if let Err(DecodeError::Field(error)) = sidecarset(whole) {
                seen.insert(
                    error.problem.split_once(", expected ").map_or(error.problem.clone(), |(_, what)| what.to_owned()),
                );
            }
        });
        let known =
            ["a list", "a string", "a whole number", "a whole number or a string", "an object", "true or false"];
        let mut known = known.to_vec();
        known.push("expected a string");
        let odd: Vec<_> = seen
            .iter()
            .filter(|what| {
                !known.contains(&what.as_str())
                    && !what.starts_with("missing field `")
                    && !what.starts_with("Unsupported value: ")
                    && !what.contains("four digit year")
            })
            .collect();
        assert!(odd.is_empty(), "{odd:?}");
        assert!(known.iter().all(|what| seen.contains(*what)), "{seen:?}");
    }

    #[test]
    fn a_key_left_empty_counts_as_absent_outside_bodies() {
        let set = sidecarset(json!({
            "apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet", "metadata": {"name": "a", "labels": null},
            "spec": {
                "selector": {"matchLabels": {"a": "b"}}, "namespaceSelector": null, "customVersion": null,
                "updateStrategy": null, "injectionStrategy": {"paused": null}, "imagePullSecrets": [{"name": null}],
                "volumes": [{"name": "v", "future": null}],
                "containers": [{"name": "c", "image": "x:1", "upgradeStrategy": null, "shareVolumePolicy": {"type": null},
                                "transferEnv": [{"envName": null}], "future": null}]
            }
        }))
        .unwrap();
        assert_eq!(set.spec.containers.unwrap()[0].template["future"], Value::Null);
        assert_eq!(set.spec.volumes.unwrap()[0]["future"], Value::Null);
        assert_eq!(set.spec.image_pull_secrets.unwrap()[0].name, "");
    }
}
