//! A SidecarSet prepared for injection: the Pods it selects, and what they get.

use super::content::Content;
use super::hash::Hashes;
use super::selector::Selector;
use super::verify::{FixedContainers, Verification};
use crate::api::decode::FieldError;
use crate::api::keys;
use crate::api::sidecarset::{InjectRevision, SidecarSet};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::collections::BTreeMap;
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
#[expect(clippy::struct_excessive_bools, reason = "they are independent")]
pub struct InjectableSet {
    /// Name of the set.
    pub name: String,
    /// When it was created, if that is known.
    pub(super) created: Option<Timestamp>,
    /// Selects Pods.
    pub selector: Selector,
    /// Selects namespaces; all of them if absent or empty.
    pub namespace_selector: Option<Selector>,
    /// Selects the Pods to update; all of them if absent or empty.
    pub update_selector: Option<Selector>,
    /// Whether injection into new Pods is paused.
    pub paused: bool,
    /// Warnings for the set's author.
    pub warnings: Vec<String>,
    /// The set that this one replaces in Pods that both match. This set is its canary.
    pub canary_of: Option<String>,
    /// What happens to containers that only claim to be the set's.
    pub verification: Verification,
    /// Whether a Pod's own resources grow by the requests of the set's containers.
    pub grows_pod: bool,
    /// Whether changed amounts of CPU and memory are applied to running Pods.
    pub resizes: bool,
    /// Whether its containers that end with a Job are native sidecars in Pods that run to completion.
    pub has_job_sidecars: bool,
    /// What it injects.
    pub content: Content,
    /// `status.latestRevision`.
    pub(super) latest_revision: Option<String>,
    /// The version to inject, if it is not the current one.
    pub(super) revision: Option<InjectRevision>,
    /// Whether updates are paused.
    pub(super) update_paused: bool,
    /// The Pods that updates leave out.
    pub(super) partition: Option<IntOrString>,
}

/// Whether the hashes in a set's annotations count.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Annotations {
    Count,
    Ignored,
}

/// Which Pods a set is for.
pub(super) struct Selectors {
    pods: Selector,
    namespaces: Option<Selector>,
    updates: Option<Selector>,
}

impl InjectableSet {
    /// Prepares a set written by a user. Defaults must have been applied ([`crate::api::decode::sidecarset`]). The hashes are
    /// computed from its containers; its annotations do not count.
    ///
    /// # Errors
    /// When the set has no name or selector, when a selector cannot be parsed, or when its content cannot be injected
    /// ([`Content::new`]).
    pub fn new(set: SidecarSet) -> Result<Self, SetError> {
        let wrong = |error| SetError { set: name_of(&set).to_owned(), error };
        let selectors = Selectors::of(&set).map_err(wrong)?;
        let content = Content::new(&set.spec).map_err(wrong)?;
        Ok(Self::of_content(set, selectors, content, Annotations::Ignored))
    }

    /// Returns what Pods must have to be up to date with the set. Other versions are not known yet.
    #[must_use]
    pub fn fixed_containers(&self) -> FixedContainers {
        FixedContainers::of(self.content.sidecars(), &self.content.images)
    }

    /// Creates a set from these selectors and this content.
    pub(super) fn of_content(
        set: SidecarSet,
        selectors: Selectors,
        content: Content,
        hash_annotations: Annotations,
    ) -> Self {
        let SidecarSet { metadata, spec, status } = set;
        let name = metadata.name.unwrap_or_default();
        let annotations = metadata.annotations.unwrap_or_default();
        let recorded = recorded_hashes(&annotations).filter(|_| hash_annotations == Annotations::Count);
        let warnings = differing_hashes(&annotations, &content.hashes, recorded.is_some());
        let content = Content { hashes: recorded.unwrap_or(content.hashes), ..content };
        let status = status.unwrap_or_default();
        Self {
            created: metadata.creation_timestamp.map(|Time(created)| created),
            selector: selectors.pods,
            namespace_selector: selectors.namespaces,
            update_selector: selectors.updates,
            paused: spec.injection_strategy.paused,
            warnings,
            verification: Verification::of(&annotations),
            resizes: annotations.get(keys::RESIZE).is_some_and(|value| value == keys::IN_PLACE),
            grows_pod: annotations.get(keys::POD_LEVEL_RESOURCES).is_some_and(|value| value == keys::GROW),
            has_job_sidecars: annotations.get(keys::JOB_SIDECARS).is_some_and(|value| value == keys::NATIVE),
            canary_of: canary_of(&annotations).filter(|base| *base != name),
            name,
            content,
            latest_revision: Some(status.latest_revision).filter(|revision| !revision.is_empty()),
            revision: spec.injection_strategy.revision,
            update_paused: spec.update_strategy.paused,
            partition: spec.update_strategy.partition,
        }
    }
}

impl Selectors {
    /// Reads the selectors of a set, which must also have a name.
    pub fn of(set: &SidecarSet) -> Result<Self, FieldError> {
        let spec = &set.spec;
        if name_of(set).is_empty() {
            return Err(FieldError::new("metadata.name", "required"));
        }
        let pods = spec.selector.as_ref().ok_or_else(|| FieldError::new("spec.selector", "required"))?;
        let pods = Selector::parse(pods, "spec.selector")?;
        if pods.requirements().is_empty() {
            return Err(FieldError::new("spec.selector", "must not be empty: name at least one label"));
        }
        let parse = |selector: &Option<LabelSelector>, field| {
            selector.as_ref().map(|selector| Selector::parse(selector, field)).transpose()
        };
        let namespaces = parse(&spec.namespace_selector, "spec.namespaceSelector")?;
        let updates = parse(&spec.update_strategy.selector, "spec.updateStrategy.selector")?;
        Ok(Self { pods, namespaces, updates })
    }
}

fn name_of(set: &SidecarSet) -> &str {
    set.metadata.name.as_deref().unwrap_or_default()
}

/// Returns the set that this one is a canary of, from the annotations that OpenKruise reads.
fn canary_of(annotations: &BTreeMap<String, String>) -> Option<String> {
    let is_canary = annotations.get(keys::CANARY).is_some_and(|value| value == "true");
    annotations.get(keys::CANARY_BASE).filter(|base| is_canary && !base.is_empty()).cloned()
}

/// Returns the hashes in the annotations, if both are present.
fn recorded_hashes(annotations: &BTreeMap<String, String>) -> Option<Hashes> {
    let hash = |key| annotations.get(key).filter(|hash| !hash.is_empty()).cloned();
    Some(Hashes { hash: hash(keys::HASH)?, without_image: hash(keys::HASH_WITHOUT_IMAGE)? })
}

/// Returns the hash annotations that differ from the content's hashes, and which of the two counts.
fn differing_hashes(annotations: &BTreeMap<String, String>, hashes: &Hashes, annotations_count: bool) -> Vec<String> {
    let used = if annotations_count { "the annotation counts, as Pods were injected with it" } else { "which is used" };
    [(keys::HASH, &hashes.hash), (keys::HASH_WITHOUT_IMAGE, &hashes.without_image)]
        .into_iter()
        .filter_map(|(key, hash)| {
            let written = annotations.get(key)?;
            (written != hash).then(|| {
                format!("metadata.annotations[{key}]: is {written:?}, but the containers hash to {hash:?}, {used}")
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::decode;
    use crate::injection::additions::Additions;
    use serde_json::{Value, json};

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
        let container = &set.content.containers[0];
        let json: Value = serde_json::from_str(&container.json(&Additions::default())).unwrap();
        assert_eq!(json["future"], json!({"n": 1}));
        assert_eq!(json["env"], json!([{"name": "IS_INJECTED", "value": "true"}]));
        assert_eq!(json.get("podInjectPolicy"), None);
        assert_eq!(json.get("upgradeStrategy"), None);
        assert!(!container.before);
        assert_eq!(*container.volumes, ["v"]);
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

    #[test]
    fn the_hashes_of_a_stored_set_are_those_of_its_annotations_if_it_has_both() {
        let with = |annotations: Value| {
            let object = json!({
                "apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet",
                "metadata": {"name": "s", "annotations": annotations},
                "spec": {"selector": {"matchLabels": {"a": "b"}}, "containers": [{"name": "c", "image": "x:1"}]}
            });
            decode::sidecarset(object).unwrap()
        };
        let computed = InjectableSet::new(with(json!({}))).unwrap().content.hashes;
        let both = json!({keys::HASH: "old", keys::HASH_WITHOUT_IMAGE: "older"});
        let stored = InjectableSet::stored(with(both.clone())).unwrap();
        let recorded = Hashes { hash: "old".to_owned(), without_image: "older".to_owned() };
        assert_eq!(stored.content.hashes, recorded);
        assert_eq!(stored.warnings.len(), 2);
        assert!(stored.warnings[0].ends_with("the annotation counts, as Pods were injected with it"));
        assert_eq!(InjectableSet::new(with(both)).unwrap().content.hashes, computed);
        for incomplete in
            [json!({keys::HASH: "old"}), json!({keys::HASH: "old", keys::HASH_WITHOUT_IMAGE: ""}), json!({})]
        {
            assert_eq!(InjectableSet::stored(with(incomplete)).unwrap().content.hashes, computed);
        }
    }
}
