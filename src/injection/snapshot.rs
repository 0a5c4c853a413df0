//! An immutable view of all SidecarSets. Finding the sets that match a Pod costs time proportional to the matches.
//!
//! Each set is indexed under one necessary condition: a label with a certain value, or a certain namespace. Of several
//! conditions, the one that fewest sets share is used. Sets without such a condition are tried for each Pod.

use super::Options;
use super::PodRequest;
use super::chosen::ChosenRevision;
use super::selector::{Operator, Requirement, Selector};
use super::set::InjectableSet;
use super::verify::KnownImages;
use crate::api::keys::NAMESPACE_NAME;
use crate::api::pod::PodView;
use foldhash::fast::RandomState;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// A map whose keys are texts of SidecarSets. Pods only look them up, so nobody who creates Pods can make them collide.
type Filed<T> = HashMap<String, T, RandomState>;

/// All SidecarSets at one moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    options: Options,
    /// In name order.
    sets: Vec<SnapshotSet>,
    /// Sets indexed by a label's key, then value.
    by_label: Filed<Filed<Vec<usize>>>,
    /// Sets indexed by namespace.
    by_namespace: Filed<Vec<usize>>,
    /// Sets that are tried for each Pod.
    unfiled: Vec<usize>,
    namespaces: Arc<HashMap<String, Labels>>,
}

/// A set with its derived state.
#[derive(Debug)]
pub(super) struct SnapshotSet {
    pub set: Arc<InjectableSet>,
    /// The revision to record for its current content.
    pub revision: Option<String>,
    /// The version to inject, if it is not the current one.
    pub chosen: Option<ChosenRevision>,
    /// The images of the current and the kept versions.
    pub images: KnownImages,
}

/// Why a set does not match a Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// `injectionStrategy.paused`.
    Paused,
    /// A requirement of the selector, and the label's value.
    Selector(Requirement, Option<String>),
    /// A requirement of the namespaceSelector, and the label's value.
    NamespaceSelector(Requirement, Option<String>),
    /// A requirement of the namespaceSelector, for a Namespace whose labels are not known (yet).
    UnknownNamespace(Requirement),
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, requirement, value) = match self {
            Self::Paused => return f.write_str("spec.injectionStrategy.paused is true"),
            Self::UnknownNamespace(requirement) => {
                return write!(
                    f,
                    "spec.namespaceSelector wants the Namespace's label {requirement}; the Namespace is not known"
                );
            }
            Self::Selector(requirement, value) => ("spec.selector wants the Pod's label", requirement, value),
            Self::NamespaceSelector(requirement, value) => {
                ("spec.namespaceSelector wants the Namespace's label", requirement, value)
            }
        };
        match value {
            Some(value) => write!(f, "{what} {requirement}; it is {value:?}"),
            None => write!(f, "{what} {requirement}; there is none"),
        }
    }
}

/// A condition that sets are indexed by.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Condition<'a> {
    Label(&'a str, &'a str),
    Namespace(&'a str),
}

impl Snapshot {
    pub(super) fn new(options: Options, sets: Vec<SnapshotSet>, namespaces: Arc<HashMap<String, Labels>>) -> Self {
        let mut snapshot = Self { options, namespaces, ..Self::default() };
        let choices: Vec<Vec<Vec<Condition<'_>>>> = sets.iter().map(|entry| conditions(&entry.set)).collect();
        let mut shared: HashMap<Condition<'_>, usize> = HashMap::new();
        for condition in choices.iter().flatten().flatten() {
            *shared.entry(*condition).or_default() += 1;
        }
        for (index, alternatives) in choices.iter().enumerate() {
            let crowd =
                |conditions: &&Vec<Condition<'_>>| conditions.iter().map(|c| shared[c]).max().unwrap_or_default();
            let Some(filed_under) = alternatives.iter().min_by_key(crowd) else {
                snapshot.unfiled.push(index);
                continue;
            };
            for condition in filed_under {
                match *condition {
                    Condition::Label(key, value) => {
                        let values = snapshot.by_label.entry(key.to_owned()).or_default();
                        values.entry(value.to_owned()).or_default().push(index);
                    }
                    Condition::Namespace(name) => {
                        snapshot.by_namespace.entry(name.to_owned()).or_default().push(index);
                    }
                }
            }
        }
        snapshot.sets = sets;
        snapshot
    }

    /// All sets, in name order.
    pub fn sets(&self) -> impl Iterator<Item = &InjectableSet> {
        self.sets.iter().map(|entry| &*entry.set)
    }

    /// Returns the options of injection.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Returns why `set` does not match the Pod; `None` if it does.
    #[must_use]
    pub fn mismatch(&self, set: &InjectableSet, pod: &PodView<'_>, request: &PodRequest<'_>) -> Option<Mismatch> {
        if set.paused {
            return Some(Mismatch::Paused);
        }
        if let Some(unmet) = set.selector.unmet(|key| pod.label(key)) {
            return Some(Mismatch::Selector(unmet.clone(), pod.label(&unmet.key).map(str::to_owned)));
        }
        let name = request.namespace_of(pod);
        let labels = self.namespaces.get(name);
        // The API server sets the name label on every Namespace, so it is known even if the Namespace is not.
        let label = |key: &str| {
            let name_label = (key == NAMESPACE_NAME).then_some(name);
            labels.and_then(|labels| labels.get(key)).map(String::as_str).or(name_label)
        };
        let selector = set.namespace_selector.as_ref()?;
        if labels.is_none() && self.options.all_namespaces_are_known {
            let of_its_labels = selector.requirements().iter().find(|requirement| requirement.key != NAMESPACE_NAME);
            if let Some(requirement) = of_its_labels {
                return Some(Mismatch::UnknownNamespace(requirement.clone()));
            }
        }
        let unmet = selector.unmet(label)?;
        if labels.is_none() && unmet.key != NAMESPACE_NAME {
            return Some(Mismatch::UnknownNamespace(unmet.clone()));
        }
        Some(Mismatch::NamespaceSelector(unmet.clone(), label(&unmet.key).map(str::to_owned)))
    }

    /// Returns the sets to inject into a Pod, in name order: all that match, except sets whose canary matches too.
    pub(super) fn matching(&self, pod: &PodView<'_>, request: &PodRequest<'_>) -> Vec<&SnapshotSet> {
        let by_label = pod.labels().filter_map(|(key, value)| self.by_label.get(key)?.get(value));
        let by_namespace = self.by_namespace.get(request.namespace_of(pod));
        let mut candidates: Vec<usize> =
            by_label.chain(by_namespace).chain([&self.unfiled]).flatten().copied().collect();
        candidates.sort_unstable();
        candidates.dedup();
        let mut matching: Vec<&SnapshotSet> = candidates
            .into_iter()
            .map(|index| &self.sets[index])
            .filter(|entry| self.mismatch(&entry.set, pod, request).is_none())
            .collect();
        if matching.iter().any(|entry| entry.set.canary_of.is_some()) {
            let bases: HashSet<&str> = matching.iter().filter_map(|entry| entry.set.canary_of.as_deref()).collect();
            matching.retain(|entry| !bases.contains(entry.set.name.as_str()));
        }
        matching
    }

    /// Whether this Namespace and its labels are known.
    #[must_use]
    pub fn knows_namespace(&self, name: &str) -> bool {
        self.namespaces.contains_key(name)
    }

    /// Returns the labels of a Namespace, if it is known.
    pub(super) fn namespace_labels(&self, name: &str) -> Option<&Labels> {
        self.namespaces.get(name)
    }
}

/// Returns lists of conditions. The set matches only if one condition of each list holds.
fn conditions(set: &InjectableSet) -> Vec<Vec<Condition<'_>>> {
    let labels = one_of(&set.selector, |requirement, value| Some(Condition::Label(&requirement.key, value)));
    let namespaces = set.namespace_selector.iter().flat_map(|selector| {
        one_of(selector, |requirement, value| {
            (requirement.key == NAMESPACE_NAME).then_some(Condition::Namespace(value))
        })
    });
    labels.into_iter().chain(namespaces).collect()
}

fn one_of<'s>(
    selector: &'s Selector,
    condition: impl Fn(&'s Requirement, &'s str) -> Option<Condition<'s>>,
) -> Vec<Vec<Condition<'s>>> {
    let lists = selector.requirements().iter().filter_map(|requirement| match &requirement.operator {
        Operator::In(values) => values.iter().map(|value| condition(requirement, value)).collect(),
        _ => None,
    });
    lists.collect()
}
