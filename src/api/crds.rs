//! The CustomResourceDefinitions that `outrigger crds` prints. They have no `spec.conversion`: the running server owns
//! it.

use super::mesh_service::MeshService;
use super::sidecar_generator::SidecarGenerator;
use super::sidecarset::SidecarSet;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use kube::CustomResourceExt;
use kube::core::crd::{MergeError, merge_crds};
use std::collections::BTreeMap;

/// Returns all CustomResourceDefinitions, sorted by name.
///
/// # Errors
/// When the versions of one resource contradict each other.
pub fn all() -> Result<Vec<CustomResourceDefinition>, MergeError> {
    Ok(vec![meshservices(), sidecargenerators(), sidecarsets()?])
}

/// The CRD of MeshServices.
#[must_use]
pub fn meshservices() -> CustomResourceDefinition {
    of_our_own(MeshService::crd())
}

/// The CRD of SidecarGenerators.
#[must_use]
pub fn sidecargenerators() -> CustomResourceDefinition {
    of_our_own(SidecarGenerator::crd())
}

fn of_our_own(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    let schemas =
        crd.spec.versions.iter_mut().filter_map(|version| version.schema.as_mut()?.open_api_v3_schema.as_mut());
    for schema in schemas {
        everywhere(schema, not_null);
        schema.required = None; // one without a spec is told what is missing
    }
    crd
}

/// The CRD of SidecarSets, equal to OpenKruise's.
///
/// # Errors
/// When its versions contradict each other.
pub fn sidecarsets() -> Result<CustomResourceDefinition, MergeError> {
    let current = SidecarSet::crd();
    let mut older = current.clone();
    for version in &mut older.spec.versions {
        "v1alpha1".clone_into(&mut version.name);
        if let Some(spec) = version.schema.as_mut().and_then(|s| s.open_api_v3_schema.as_mut()).and_then(spec_of) {
            spec.remove("customVersion");
            spec.insert(
                "namespace".to_owned(),
                JSONSchemaProps {
                    type_: Some("string".to_owned()),
                    description: Some(
                        "The only namespace to inject. `namespaceSelector`, if there is one, must match it too."
                            .to_owned(),
                    ),
                    ..JSONSchemaProps::default()
                },
            );
        }
    }
    let mut merged = merge_crds(vec![current, older], "v1beta1")?;
    for version in &mut merged.spec.versions {
        if let Some(schema) = version.schema.as_mut().and_then(|s| s.open_api_v3_schema.as_mut()) {
            everywhere(schema, as_openkruise);
            let status = schema.properties.as_mut().and_then(|properties| properties.get_mut("status"));
            if let Some(status) = status {
                status.required = Some(["matchedPods", "readyPods", "updatedPods"].map(str::to_owned).to_vec());
            }
        }
    }
    Ok(merged)
}

/// Removes what the derived schema has beyond OpenKruise's: fields that may be `null` (OpenKruise prunes them), and defaults
/// for objects and counters. Adds what it lacks: that a label selector has one owner.
fn as_openkruise(schema: &mut JSONSchemaProps) {
    not_null(schema);
    schema.default = schema.default.take().filter(|default| default.0.is_string());
    let has = |field: &str| schema.properties.as_ref().is_some_and(|fields| fields.contains_key(field));
    if has("matchLabels") && has("matchExpressions") {
        schema.x_kubernetes_map_type = Some("atomic".to_owned());
    }
}

/// Removes that optional fields may be `null`, which the derived schema allows.
fn not_null(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
}

/// Changes a schema and those of all fields and items in it.
fn everywhere(schema: &mut JSONSchemaProps, change: fn(&mut JSONSchemaProps)) {
    change(schema);
    schema.properties.iter_mut().flat_map(BTreeMap::values_mut).for_each(|field| everywhere(field, change));
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(item)) => everywhere(item, change),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => items.iter_mut().for_each(|item| everywhere(item, change)),
        None => {}
    }
}

fn spec_of(schema: &mut JSONSchemaProps) -> Option<&mut BTreeMap<String, JSONSchemaProps>> {
    schema.properties.as_mut()?.get_mut("spec")?.properties.as_mut()
}
