//! A SidecarSet as last seen: everything its status and revisions are computed from, whether it can be used or not.

use super::counting::{CountingRules, Labels};
use super::strategy::{Strategy, Updates};
use crate::api::conversion::is_label_value;
use crate::api::decode;
use crate::api::keys;
use crate::api::sidecarset::{InjectRevision, SidecarSet, SidecarSetStatus};
use crate::cluster::{ObjectVersion, Versioned};
use crate::injection::validate::advice;
use crate::injection::{InjectableSet, Operator, Selector, StoredSet, Unfit, revision_data};
#[cfg(test)]
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The finalizer of an object whose dependents are kept when it is deleted.
const ORPHAN: &str = "orphan";

/// A SidecarSet as last seen.
#[derive(Clone, Debug)]
pub struct ObservedSet {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its resourceVersion.
    pub resource_version: String,
    /// Its generation, which increases with each change of the spec.
    pub generation: i64,
    /// Its current status; empty if it cannot be read.
    pub status: SidecarSetStatus,
    /// Whether it is being deleted and its dependents are to be kept.
    pub is_orphaning: bool,
    /// What it injects, or why it cannot be used.
    pub usable: Result<UsableSet, Unusable>,
}

/// Why a set cannot be injected as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    /// A sentence that names the field.
    pub problem: String,
    /// Whether the last good content kept in a `ControllerRevision` is injected instead, if there is one.
    pub is_replaceable: bool,
}

/// The content of a usable set.
#[derive(Clone, Debug)]
pub struct UsableSet {
    /// What is injected into which Pods. Shared with [`crate::injection::Index`].
    pub injectable: Arc<InjectableSet>,
    /// The counting rules.
    pub rules: CountingRules,
    /// The content of its `ControllerRevision`.
    pub content: RevisionContent,
    /// `ControllerRevisions` to keep, at least 1.
    pub history_limit: usize,
    /// `spec.injectionStrategy.revision`: the version to inject, if it is not the current one.
    pub pinned: Option<InjectRevision>,
    /// Which Pods with older containers to update.
    pub updates: Updates,
    /// Advice for its author.
    pub advice: Vec<String>,
    /// The order and the limits of updates.
    pub strategy: Strategy,
}

/// The content of a `ControllerRevision`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevisionContent {
    /// Its `data` as JSON text.
    pub data: Box<str>,
    /// [`revision_data::digest`] of the data.
    pub digest: [u8; 32],
    /// Labels copied from the set.
    pub labels: BTreeMap<String, String>,
    /// Annotations copied from the set, including the current hashes.
    pub annotations: BTreeMap<String, String>,
    /// The name of this version, if it is a valid label value.
    pub custom_version: Option<String>,
}

impl Versioned for ObservedSet {
    fn version(&self) -> ObjectVersion<'_> {
        ObjectVersion { namespace: "", name: &self.name, uid: &self.uid, resource_version: &self.resource_version }
    }
}

impl ObservedSet {
    /// Reads a stored set. `usable` tells what cannot be used.
    #[must_use]
    pub fn of(StoredSet { object, decoded }: &StoredSet) -> Self {
        let (metadata, status) = decode::metadata_and_status(object);
        let orphans = metadata.finalizers.iter().flatten().any(|finalizer| finalizer == ORPHAN);
        let read = decoded.clone().map_err(Unusable::from);
        let usable = read.and_then(|read| UsableSet::of(&read.set, read.injectable?));
        Self {
            is_orphaning: orphans && metadata.deletion_timestamp.is_some(),
            name: metadata.name.unwrap_or_default(),
            uid: metadata.uid.unwrap_or_default(),
            resource_version: metadata.resource_version.unwrap_or_default(),
            generation: metadata.generation.unwrap_or_default(),
            status,
            usable,
        }
    }

    /// Reads an object of either version.
    #[cfg(test)]
    pub(crate) fn read(object: &Value) -> Self {
        Self::of(&StoredSet::read(object.clone()))
    }

    /// Whether this is the same version of the same object.
    #[must_use]
    pub fn is_same_version_as(&self, other: &Self) -> bool {
        !self.resource_version.is_empty()
            && (&self.uid, &self.resource_version) == (&other.uid, &other.resource_version)
    }
}

impl UsableSet {
    fn of(set: &SidecarSet, injectable: Arc<InjectableSet>) -> Result<Self, Unusable> {
        let SidecarSet { metadata, spec, .. } = set;
        let data = revision_data::of(spec);
        let data =
            data.map_err(|error| Unusable { problem: error.to_string(), is_replaceable: false })?.into_boxed_str();
        let mut annotations = metadata.annotations.clone().unwrap_or_default();
        annotations.remove(keys::LAST_APPLIED); // a copy of the whole set, useless in a revision
        let hashes = &injectable.content.hashes;
        annotations.insert(keys::HASH.to_owned(), hashes.hash.clone());
        annotations.insert(keys::HASH_WITHOUT_IMAGE.to_owned(), hashes.without_image.clone());
        let limit = spec.revision_history_limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or_default();
        Ok(Self {
            rules: CountingRules::of(&injectable, spec),
            content: RevisionContent {
                digest: revision_data::digest(&data),
                data,
                labels: metadata.labels.clone().unwrap_or_default(),
                annotations,
                custom_version: Some(spec.custom_version.clone())
                    .filter(|text| !text.is_empty() && is_label_value(text)),
            },
            history_limit: limit.max(1),
            pinned: spec.injection_strategy.revision.clone(),
            updates: Updates::of(&spec.update_strategy),
            advice: advice(set),
            strategy: Strategy::of(&spec.update_strategy),
            injectable,
        })
    }
}

impl ObservedSet {
    /// Whether its `namespaceSelector` selects a Namespace with these labels.
    #[must_use]
    pub fn selects(&self, namespace: Option<&Labels>) -> bool {
        let selector = self.usable.as_ref().ok().and_then(|usable| usable.injectable.namespace_selector.as_ref());
        selector.zip(namespace).is_some_and(|(selector, labels)| matches(selector, labels))
    }
}

impl UsableSet {
    /// Returns why no Pod is injected although the set is valid: all namespaces that it selects, by name or by their current labels, are
    /// excluded.
    #[must_use]
    pub fn only_excluded<'n>(
        &self,
        excluded: &BTreeSet<String>,
        namespaces: impl Iterator<Item = (&'n String, &'n Labels)>,
    ) -> Option<String> {
        let selector = self.injectable.namespace_selector.as_ref()?;
        let on_names = selector.requirements().iter().filter(|requirement| requirement.key == keys::NAMESPACE_NAME);
        let mut lists = on_names.filter_map(|requirement| match &requirement.operator {
            Operator::In(names) => Some(names),
            _ => None,
        });
        let by_name = lists.find(|names| !names.is_empty() && names.iter().all(|name| excluded.contains(name)));
        let selected = if let Some(names) = by_name {
            names.join(", ")
        } else {
            let selected = namespaces.filter(|(_, labels)| matches(selector, labels));
            let selected: BTreeSet<&str> = selected.map(|(name, _)| name.as_str()).collect();
            // If it selects none, a matching one may still be created.
            if selected.is_empty() || !selected.iter().all(|name| excluded.contains(*name)) {
                return None;
            }
            selected.into_iter().collect::<Vec<_>>().join(", ")
        };
        Some(format!(
            "spec.namespaceSelector: no Pod can match: it selects only {selected}, which outrigger excludes \
             (--exclude-namespaces, and its own namespace)"
        ))
    }
}

fn matches(selector: &Selector, labels: &Labels) -> bool {
    selector.unmet(|key| labels.get(key).map(String::as_str)).is_none()
}

impl Unusable {
    /// Returns the problem and its consequence. `last_good` is the name of the revision with the last good content.
    #[must_use]
    pub fn sentence(&self, last_good: Option<&str>) -> String {
        let problem = &self.problem;
        match last_good.filter(|_| self.is_replaceable) {
            Some(revision) => {
                format!("{problem}; until it is corrected, the last good revision {revision} is injected")
            }
            None => format!("{problem}; it is not injected until it is corrected"),
        }
    }
}

impl From<Unfit> for Unusable {
    fn from(unfit: Unfit) -> Self {
        Self { is_replaceable: unfit.is_replaceable(), problem: unfit.problem }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::tests::set;
    use serde_json::json;

    fn spec() -> Value {
        json!({"selector": {"matchLabels": {"a": "b"}}, "containers": [{"name": "c", "image": "x:1"}]})
    }

    #[test]
    fn a_set_that_cannot_be_used_is_known_all_the_same() {
        let mut object = set("s", &json!({"selector": {"matchExpressions": [{"key": "a", "operator": "in"}]}}));
        object["status"] = json!({"matchedPods": 3, "updatedPods": 1, "readyPods": 2, "observedGeneration": 4});
        let seen = ObservedSet::read(&object);
        assert_eq!((seen.name.as_str(), seen.generation, seen.status.matched_pods), ("s", 1, 3));
        assert!(seen.usable.unwrap_err().problem.starts_with("spec.selector.matchExpressions[0].operator: \"in\""));
        let undecodable = ObservedSet::read(&set("s", &json!({"containers": 5})));
        assert_eq!(undecodable.resource_version, "1");
        assert!(undecodable.usable.unwrap_err().problem.starts_with("spec.containers: invalid type"));
        let mut odd = set("s", &spec());
        odd["status"] = json!({"matchedPods": "three"});
        assert_eq!(ObservedSet::read(&odd).status, SidecarSetStatus::default());
        assert!(ObservedSet::read(&json!([])).usable.is_err());
    }

    #[test]
    fn a_revision_takes_over_labels_and_annotations_but_not_the_set_once_more() {
        let mut object = set("s", &spec());
        object["metadata"]["labels"] = json!({"team": "x"});
        object["metadata"]["annotations"] =
            json!({"note": "y", keys::HASH: "outdated", keys::LAST_APPLIED: "{\"spec\":{}}"});
        let usable = ObservedSet::read(&object).usable.unwrap();
        assert_eq!(usable.content.labels, BTreeMap::from([("team".to_owned(), "x".to_owned())]));
        let hashes = &usable.injectable.content.hashes;
        let expected = [("note", "y"), (keys::HASH, &hashes.hash), (keys::HASH_WITHOUT_IMAGE, &hashes.without_image)];
        assert_eq!(
            usable.content.annotations,
            expected.map(|(key, value)| (key.to_owned(), value.to_owned())).into_iter().collect()
        );
    }

    #[test]
    fn a_custom_version_that_is_no_label_value_is_not_taken_over() {
        let custom = |version: &str| {
            let mut spec = spec();
            spec["customVersion"] = json!(version);
            ObservedSet::read(&set("s", &spec)).usable.unwrap().content.custom_version
        };
        assert_eq!(custom("v1").as_deref(), Some("v1"));
        assert_eq!(custom("not a label!"), None);
        assert_eq!(custom(""), None);
    }

    #[test]
    fn the_history_keeps_at_least_one() {
        let limit = |limit: i32| {
            let mut spec = spec();
            spec["revisionHistoryLimit"] = json!(limit);
            ObservedSet::read(&set("s", &spec)).usable.unwrap().history_limit
        };
        assert_eq!((limit(3), limit(0), limit(-1)), (3, 1, 1));
        assert_eq!(ObservedSet::read(&set("s", &spec())).usable.unwrap().history_limit, 10);
    }
}
