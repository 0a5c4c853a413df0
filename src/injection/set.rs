//! A SidecarSet made ready for injection: selectors parsed, containers and volumes written out as text, hashes computed.

use super::container::InjectableContainer;
use super::hash::{FieldError, Hashes, hashes, write_text};
use super::pod_security::{self, Finding};
use super::selector::Selector;
use crate::api::keys;
use crate::api::sidecarset::{SidecarContainer, SidecarSet, SidecarSetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
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
    /// Selects the Pods that an update is for; all of them when absent or empty.
    pub update_selector: Option<Selector>,
    /// Whether injection into new Pods is paused.
    pub paused: bool,
    /// Hashes of the containers.
    pub hashes: Hashes,
    /// What the set's author should know.
    pub warnings: Vec<String>,
    /// The set whose place this one takes where both match: it is that set's canary.
    pub canary_of: Option<String>,
    /// The spec with its defaults.
    pub spec: SidecarSetSpec,
    /// `status.latestRevision`.
    pub(super) latest_revision: Option<String>,
    pub(super) init_containers: Vec<InjectableContainer>,
    pub(super) containers: Vec<InjectableContainer>,
    pub(super) volumes: Vec<InjectableVolume>,
    pub(super) pull_secrets: Vec<String>,
    /// Names of containers and native sidecars as JSON text, sorted.
    pub(super) sidecars: String,
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
        let parse = |selector: &Option<LabelSelector>, field| {
            selector.as_ref().map(|selector| Selector::parse(selector, field)).transpose()
        };
        let namespace_selector = parse(&spec.namespace_selector, "spec.namespaceSelector")?;
        let update_selector = parse(&spec.update_strategy.selector, "spec.updateStrategy.selector")?;
        let hashes = hashes(&spec)?;
        let mut names = BTreeSet::new();
        let init_containers = containers(
            spec.init_containers.as_deref(),
            "spec.initContainers",
            SidecarContainer::restarts_always,
            &mut names,
        )?;
        let containers = containers(spec.containers.as_deref(), "spec.containers", |_| true, &mut names)?;
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
            update_selector,
            paused: spec.injection_strategy.paused,
            warnings: differing_hashes(&annotations, &hashes),
            hashes,
            canary_of: canary_of(&annotations),
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

/// The set that this one is a canary of, by the annotations that OpenKruise reads.
fn canary_of(annotations: &BTreeMap<String, String>) -> Option<String> {
    let is_canary = annotations.get(keys::CANARY).is_some_and(|value| value == "true");
    annotations.get(keys::CANARY_BASE).filter(|base| is_canary && !base.is_empty()).cloned()
}

/// Hash annotations of the object that are not what its content hashes to.
fn differing_hashes(annotations: &BTreeMap<String, String>, hashes: &Hashes) -> Vec<String> {
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
    may_be_hot: impl Fn(&SidecarContainer) -> bool,
    names: &mut BTreeSet<String>,
) -> Result<Vec<InjectableContainer>, FieldError> {
    let mut injectable = Vec::new();
    for (index, container) in containers.unwrap_or_default().iter().enumerate() {
        if container.name().is_empty() {
            return Err(field_error(&format!("{field}[{index}].name"), "required"));
        }
        for container in InjectableContainer::of(container, may_be_hot(container)) {
            if !names.insert(container.name.clone()) {
                let problem = format!("another container of this set is named {:?}", container.name);
                return Err(field_error(&format!("{field}[{index}].name"), &problem));
            }
            injectable.push(container);
        }
    }
    Ok(injectable)
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
    use crate::injection::sharing::Additions;

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
        let json: Value = serde_json::from_str(&container.json(&Additions::default())).unwrap();
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
