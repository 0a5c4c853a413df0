//! What the validation of a SidecarSet must know besides the object.

use super::whitelist::{Whitelist, WhitelistError};
use crate::api::keys;
use crate::api::sidecarset::{SidecarContainer, SidecarSet, SidecarSetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// What validation must know besides the object. By default: other sets and revisions are not known, and without a whitelist
/// everything is allowed that one decides.
#[derive(Clone, Copy, Debug)]
pub struct World<'a> {
    /// All SidecarSets, with their defaults; the one under validation may be among them and is skipped. `None` where they are not
    /// known: then neither conflicts nor the base of a canary are looked up.
    pub others: Option<&'a [&'a SidecarSet]>,
    /// Which annotations may be put on Pods: the `ConfigMap` [`super::WHITELIST_CONFIG_MAP`], if it has the key [`super::WHITELIST_KEY`].
    pub whitelist: Option<&'a Result<Whitelist, WhitelistError>>,
    /// Whether sets without a rule in the whitelist may put any annotation on Pods: OpenKruise's feature gate
    /// `SidecarSetPatchPodMetadataDefaultsAllowed`.
    pub patch_without_whitelist: bool,
    /// The set's `ControllerRevisions`; `None` where they are not known: then a choice of revision is not looked up.
    pub revisions: Option<&'a [KnownRevision<'a>]>,
}

impl Default for World<'_> {
    fn default() -> Self {
        Self { others: None, whitelist: None, patch_without_whitelist: true, revisions: None }
    }
}

/// What of a set the validation of others looks at, and which version of which object it is of: a cluster's sets are kept by it, and whole they
/// would take many times as much memory.
#[must_use]
pub fn as_other(set: &SidecarSet) -> SidecarSet {
    let SidecarSet { metadata, spec, .. } = set;
    let canary = |(key, _): &(&String, &String)| [keys::CANARY, keys::CANARY_BASE].contains(&key.as_str());
    let annotations = metadata.annotations.iter().flatten().filter(canary);
    let containers = |list: &Option<Vec<SidecarContainer>>| {
        list.as_ref().map(|list| list.iter().map(container_as_other).collect::<Vec<_>>())
    };
    SidecarSet {
        metadata: ObjectMeta {
            name: metadata.name.clone(),
            uid: metadata.uid.clone(),
            generation: metadata.generation,
            resource_version: metadata.resource_version.clone(),
            annotations: Some(annotations.map(|(key, value)| (key.clone(), value.clone())).collect()),
            ..ObjectMeta::default()
        },
        spec: SidecarSetSpec {
            selector: spec.selector.clone(),
            namespace_selector: spec.namespace_selector.clone(),
            init_containers: containers(&spec.init_containers),
            containers: containers(&spec.containers),
            volumes: spec.volumes.clone(),
            patch_pod_metadata: spec.patch_pod_metadata.clone(),
            ..SidecarSetSpec::default()
        },
        status: None,
    }
}

/// Its names in Pods.
fn container_as_other(container: &SidecarContainer) -> SidecarContainer {
    let field = |name: &str| container.template.get_key_value(name).map(|(name, value)| (name.clone(), value.clone()));
    let template = ["name", "restartPolicy"].into_iter().filter_map(field).collect();
    SidecarContainer { upgrade_strategy: container.upgrade_strategy.clone(), template, ..SidecarContainer::default() }
}

/// A `ControllerRevision` of the set under validation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownRevision<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its label `apps.kruise.io/sidecarset-custom-version`.
    pub custom_version: Option<&'a str>,
}
