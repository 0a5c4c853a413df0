//! A SidecarSet made ready for injection: selectors parsed, containers and volumes written out as text, hashes computed.

use super::hash::{FieldError, Hashes, hashes, write_text};
use super::pod_security::{self, Finding};
use super::selector::Selector;
use crate::api::keys;
use crate::api::sidecarset::{PodInjectPolicy, SharePolicy, SidecarContainer, SidecarSet, SidecarSetSpec, UpgradeType};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use thiserror::Error;

/// A SidecarSet that cannot be injected as it is.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("SidecarSet {set:?}: {error}")]
pub struct SetError {
    /// Name of the set.
    pub set: String,
    /// The field at fault.
    pub error: FieldError,
}

/// A SidecarSet ready for injection.
#[derive(Debug)]
pub struct InjectableSet {
    /// Name of the set.
    pub name: String,
    /// Selects Pods.
    pub selector: Selector,
    /// Selects namespaces; all of them when absent or empty.
    pub namespace_selector: Option<Selector>,
    /// Whether injection into new Pods is paused.
    pub paused: bool,
    /// Hashes of the containers.
    pub hashes: Hashes,
    /// What the set's author should know.
    pub warnings: Vec<String>,
    /// The spec with its defaults, to compare with revisions.
    pub(super) spec: SidecarSetSpec,
    /// `status.latestRevision`.
    pub(super) latest_revision: Option<String>,
    pub(super) init_containers: Vec<InjectableContainer>,
    pub(super) containers: Vec<InjectableContainer>,
    pub(super) volumes: Vec<InjectableVolume>,
    pub(super) pull_secrets: Vec<String>,
    /// Names of containers and native sidecars as JSON text, sorted.
    pub(super) sidecars: String,
}

/// A container ready for injection.
#[derive(Debug)]
pub(super) struct InjectableContainer {
    pub name: String,
    /// In front of the Pod's own containers, or behind them.
    pub before: bool,
    /// The container as JSON text.
    pub json: String,
    /// Names of the volumes it mounts, in order, each once.
    pub volumes: Vec<String>,
    pub pod_security: Vec<Finding>,
}

/// A volume ready for injection.
#[derive(Debug)]
pub(super) struct InjectableVolume {
    pub name: String,
    /// The volume as JSON text.
    pub json: String,
    /// The same, to compare with a Pod's volume of that name.
    pub value: Value,
    pub pod_security: Vec<Finding>,
}

impl InjectableSet {
    /// Makes a set ready; its defaults must have been applied ([`crate::api::decode::sidecarset`]).
    ///
    /// # Errors
    /// When the set has no name or selector, a selector cannot be parsed, containers or volumes have no names or share one, a
    /// container's field has a type it cannot have, or the set asks for something this version cannot do.
    pub fn new(set: SidecarSet) -> Result<Self, SetError> {
        let name = set.metadata.name.clone().unwrap_or_default();
        Self::build(&name, set).map_err(|error| SetError { set: name, error })
    }

    /// Whether one of the set's containers or init containers has this name.
    #[must_use]
    pub fn injects(&self, container: &str) -> bool {
        self.init_containers.iter().chain(&self.containers).any(|c| c.name == container)
    }

    fn build(name: &str, set: SidecarSet) -> Result<Self, FieldError> {
        let spec = set.spec;
        if name.is_empty() {
            return Err(field_error("metadata.name", "required"));
        }
        let selector = spec.selector.as_ref().ok_or_else(|| field_error("spec.selector", "required"))?;
        let selector = Selector::parse(selector, "spec.selector")?;
        if selector.requirements().is_empty() {
            return Err(field_error("spec.selector", "must not be empty: name at least one label"));
        }
        let namespace_selector = match &spec.namespace_selector {
            None => None,
            Some(selector) => Some(Selector::parse(selector, "spec.namespaceSelector")?),
        };
        refuse_unsupported(&spec)?;

        let hashes = hashes(&spec)?;
        let mut names = BTreeSet::new();
        let init_containers = containers(spec.init_containers.as_deref(), "spec.initContainers", &mut names)?;
        let containers = containers(spec.containers.as_deref(), "spec.containers", &mut names)?;
        if init_containers.is_empty() && containers.is_empty() {
            return Err(field_error("spec.containers", "a set needs at least one container or init container"));
        }
        let native = spec.init_containers.iter().flatten().filter(|container| container.restarts_always());
        let sidecars: BTreeSet<_> =
            spec.containers.iter().flatten().chain(native).map(SidecarContainer::name).collect();
        let mut volumes: Vec<InjectableVolume> = Vec::new();
        for (index, volume) in spec.volumes.iter().flatten().enumerate() {
            let field = format!("spec.volumes[{index}].name");
            let name = volume.get("name").and_then(Value::as_str).unwrap_or_default();
            if name.is_empty() {
                return Err(field_error(&field, "required"));
            }
            if volumes.iter().any(|v| v.name == name) {
                return Err(field_error(&field, &format!("another volume of this set is named {name:?}")));
            }
            let value = Value::Object(volume.clone());
            volumes.push(InjectableVolume {
                name: name.to_owned(),
                json: value.to_string(),
                pod_security: pod_security::of_volume(volume),
                value,
            });
        }
        let annotations = set.metadata.annotations.unwrap_or_default();
        let status = set.status.unwrap_or_default();
        Ok(Self {
            name: name.to_owned(),
            selector,
            namespace_selector,
            paused: spec.injection_strategy.paused,
            warnings: differing_hashes(&annotations, &hashes),
            hashes,
            latest_revision: Some(status.latest_revision).filter(|revision| !revision.is_empty()),
            init_containers,
            containers,
            volumes,
            pull_secrets: spec
                .image_pull_secrets
                .iter()
                .flatten()
                .map(|secret| secret.name.clone())
                .filter(|name| !name.is_empty())
                .collect(),
            sidecars: json!(sidecars).to_string(),
            spec,
        })
    }
}

fn field_error(field: &str, problem: &str) -> FieldError {
    FieldError { field: field.to_owned(), problem: problem.to_owned() }
}

/// A set that asks for more than this version does must not be injected half.
fn refuse_unsupported(spec: &SidecarSetSpec) -> Result<(), FieldError> {
    let refuse = |field: String| Err(field_error(&field, "not supported by this version of outrigger"));
    for (list, containers) in [("initContainers", &spec.init_containers), ("containers", &spec.containers)] {
        for (index, container) in containers.iter().flatten().enumerate() {
            let field = |name: &str| format!("spec.{list}[{index}].{name}");
            if container.share_volume_policy.enabled() {
                return refuse(field("shareVolumePolicy"));
            }
            if container.share_volume_device_policy.as_ref().is_some_and(SharePolicy::enabled) {
                return refuse(field("shareVolumeDevicePolicy"));
            }
            if container.transfer_env.as_ref().is_some_and(|sources| !sources.is_empty()) {
                return refuse(field("transferEnv"));
            }
            if container.resources_policy.is_some() {
                return refuse(field("resourcesPolicy"));
            }
            if container.upgrade_strategy.upgrade_type == Some(UpgradeType::HotUpgrade) {
                return refuse(field("upgradeStrategy.upgradeType"));
            }
        }
    }
    if spec.patch_pod_metadata.as_ref().is_some_and(|patches| !patches.is_empty()) {
        return refuse("spec.patchPodMetadata".to_owned());
    }
    if spec.injection_strategy.revision.is_some() {
        return refuse("spec.injectionStrategy.revision".to_owned());
    }
    Ok(())
}

/// Hash annotations of the object that are not what its content hashes to.
fn differing_hashes(annotations: &std::collections::BTreeMap<String, String>, hashes: &Hashes) -> Vec<String> {
    [(keys::HASH, &hashes.hash), (keys::HASH_WITHOUT_IMAGE, &hashes.without_image)]
        .into_iter()
        .filter_map(|(key, hash)| {
            let written = annotations.get(key)?;
            (written != hash).then(|| {
                format!(
                    "metadata.annotations[{key}]: is {written:?}, but the containers hash to {hash:?}, which is used"
                )
            })
        })
        .collect()
}

fn containers(
    containers: Option<&[SidecarContainer]>,
    field: &str,
    names: &mut BTreeSet<String>,
) -> Result<Vec<InjectableContainer>, FieldError> {
    let mut injectable = Vec::new();
    for (index, container) in containers.unwrap_or_default().iter().enumerate() {
        let field = format!("{field}[{index}].name");
        if container.name().is_empty() {
            return Err(field_error(&field, "required"));
        }
        if !names.insert(container.name().to_owned()) {
            return Err(field_error(&field, &format!("another container of this set is named {:?}", container.name())));
        }
        injectable.push(InjectableContainer {
            name: container.name().to_owned(),
            before: container.pod_inject_policy == Some(PodInjectPolicy::Before),
            json: container_json(&container.template),
            volumes: mounted_volumes(&container.template),
            pod_security: pod_security::of_container(&container.template),
        });
    }
    Ok(injectable)
}

/// The container as text, marked as injected.
fn container_json(template: &Map<String, Value>) -> String {
    let mark = json!({"name": keys::IS_INJECTED, "value": "true"});
    let mut template = template.clone();
    match template.get_mut("env").and_then(Value::as_array_mut) {
        Some(env) if env.contains(&mark) => {}
        Some(env) => env.push(mark),
        None => {
            template.insert("env".to_owned(), json!([mark]));
        }
    }
    Value::Object(template).to_string()
}

fn mounted_volumes(template: &Map<String, Value>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for mount in ["volumeMounts", "volumeDevices"].iter().filter_map(|list| template.get(*list)?.as_array()).flatten() {
        if let Some(name) = mount.get("name").and_then(Value::as_str)
            && !names.iter().any(|n| n == name)
        {
            names.push(name.to_owned());
        }
    }
    names
}

/// `{"name":…}` as JSON text.
pub(super) fn named_json(name: &str) -> String {
    let mut json = String::from("{\"name\":");
    write_text(&mut json, name);
    json.push('}');
    json
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::decode;

    fn set(spec: &Value) -> Result<InjectableSet, SetError> {
        let object = json!({"apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet", "metadata": {"name": "s"}, "spec": spec});
        InjectableSet::new(decode::sidecarset(object).unwrap())
    }

    fn rejects(spec: &Value, message: &str) {
        let error = set(spec).unwrap_err().to_string();
        assert_eq!(error, format!("SidecarSet \"s\": {message}"));
    }

    #[test]
    fn a_set_without_a_usable_selector_is_rejected() {
        let containers = json!([{"name": "c", "image": "x:1"}]);
        rejects(&json!({"containers": containers}), "spec.selector: required");
        rejects(
            &json!({"selector": {}, "containers": containers}),
            "spec.selector: must not be empty: name at least one label",
        );
    }

    #[test]
    fn names_are_required_and_unique_over_both_lists() {
        let selector = json!({"matchLabels": {"a": "b"}});
        rejects(&json!({"selector": selector, "containers": [{"image": "x"}]}), "spec.containers[0].name: required");
        rejects(
            &json!({"selector": selector, "initContainers": [{"name": "c"}], "containers": [{"name": "c"}]}),
            "spec.containers[0].name: another container of this set is named \"c\"",
        );
        rejects(
            &json!({"selector": selector, "containers": [{"name": "c"}], "volumes": [{"name": "v"}, {"name": "v"}]}),
            "spec.volumes[1].name: another volume of this set is named \"v\"",
        );
        rejects(
            &json!({"selector": selector}),
            "spec.containers: a set needs at least one container or init container",
        );
    }

    #[test]
    fn an_injected_container_keeps_unknown_fields_and_is_marked() {
        let set = set(&json!({
            "selector": {"matchLabels": {"a": "b"}},
            "containers": [{"name": "c", "image": "x:1", "future": {"n": 1}, "podInjectPolicy": "AfterAppContainer",
                            "volumeMounts": [{"name": "v", "mountPath": "/v"}, {"name": "v", "mountPath": "/w"}]}]
        }))
        .unwrap();
        let container = &set.containers[0];
        let json: Value = serde_json::from_str(&container.json).unwrap();
        assert_eq!(json["future"], json!({"n": 1}));
        assert_eq!(json["env"], json!([{"name": "IS_INJECTED", "value": "true"}]));
        assert_eq!(json.get("podInjectPolicy"), None);
        assert_eq!(json.get("upgradeStrategy"), None);
        assert!(!container.before);
        assert_eq!(container.volumes, ["v"]);
    }

    #[test]
    fn a_differing_hash_annotation_is_a_warning() {
        let object = json!({
            "apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet",
            "metadata": {"name": "s", "annotations": {"kruise.io/sidecarset-hash": "old"}},
            "spec": {"selector": {"matchLabels": {"a": "b"}}, "containers": [{"name": "c", "image": "x:1"}]}
        });
        let set = InjectableSet::new(decode::sidecarset(object).unwrap()).unwrap();
        assert_eq!(set.warnings.len(), 1);
        assert!(
            set.warnings[0].starts_with("metadata.annotations[kruise.io/sidecarset-hash]: is \"old\""),
            "{:?}",
            set.warnings
        );
    }
}
