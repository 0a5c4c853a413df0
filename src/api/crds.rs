//! The CustomResourceDefinitions, as `outrigger crds` prints them. They carry no `spec.conversion`: the running server owns it.

use super::sidecarset::SidecarSet;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{CustomResourceDefinition, JSONSchemaProps};
use kube::CustomResourceExt;
use kube::core::crd::{MergeError, merge_crds};

/// All CustomResourceDefinitions, sorted by name.
///
/// # Errors
/// When the versions of one resource contradict each other.
pub fn all() -> Result<Vec<CustomResourceDefinition>, MergeError> {
    Ok(vec![sidecarsets()?])
}

fn sidecarsets() -> Result<CustomResourceDefinition, MergeError> {
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
                    description: Some("The only namespace to inject. Wins over `namespaceSelector`.".to_owned()),
                    ..JSONSchemaProps::default()
                },
            );
        }
    }
    merge_crds(vec![current, older], "v1beta1")
}

fn spec_of(schema: &mut JSONSchemaProps) -> Option<&mut std::collections::BTreeMap<String, JSONSchemaProps>> {
    schema.properties.as_mut()?.get_mut("spec")?.properties.as_mut()
}
