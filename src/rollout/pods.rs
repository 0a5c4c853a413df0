//! The Pods of all SidecarSets and their counts, updated at a cost proportional to the Pods that change.

use super::counting::{CountingRules, Labels};
use super::pod::ObservedPod;
use super::standing::{Counts, PodStanding};
use super::text::{Text, Texts};
use super::watched_pod::WatchedPod;
use crate::telemetry::seldom;
use slab::Slab;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Pods, Namespaces, the rules of the sets, and the resulting counts. Applying an object replaces the one of the same
/// name.
#[derive(Debug, Default)]
pub struct PodIndex {
    pods: Slab<CountedPod>,
    /// The number of Pod lists begun.
    lists: u32,
    /// Keyed by namespace and name.
    by_name: HashMap<Text, HashMap<Box<str>, usize>>,
    namespaces: HashMap<String, Labels>,
    /// Sets that exist or that a Pod names.
    sets: HashMap<Text, CountedSet>,
    /// Sets whose counts or revisions changed since the last query.
    changed: BTreeSet<Text>,
    /// The counts of all sets together.
    total: Counts,
    texts: Texts,
}

/// A Pod, and how it was counted for each of [`ObservedPod::injected`].
#[derive(Debug)]
struct CountedPod {
    pod: ObservedPod,
    /// The number of lists begun when it was last seen.
    told: u32,
    standings: Box<[PodStanding]>,
}

#[derive(Debug, Default)]
struct CountedSet {
    /// `None` while there is no usable set of this name.
    rules: Option<CountingRules>,
    /// Pods that name the set.
    pods: HashSet<usize>,
    counts: Counts,
    /// Those of its Pods that need a write or a report.
    amiss: HashSet<usize>,
    /// `ControllerRevisions` that matching Pods record, with the number of Pods.
    revisions: BTreeMap<Text, usize>,
}

impl PodIndex {
    /// A Pod was created or changed.
    pub fn apply_pod(&mut self, pod: &WatchedPod) {
        let known = self.key_of(pod);
        if let Some(key) = known {
            self.pods[key].told = self.lists;
            if self.pods[key].pod.is_as_in(pod) {
                return;
            }
        }
        if let Some(bytes) = pod.too_large {
            let metadata = kube::Resource::meta(pod);
            seldom!(
                warn,
                namespace = metadata.namespace,
                pod = metadata.name,
                bytes,
                "the Pod counts for no SidecarSet: its labels, containers and annotations of SidecarSets are too large"
            );
        }
        let pod = ObservedPod::of(pod, &mut self.texts);
        let Some(key) = known else {
            let names = self.by_name.entry(pod.namespace.clone()).or_default();
            let name = pod.name.clone();
            let key = self.pods.insert(CountedPod { standings: Box::default(), told: self.lists, pod });
            names.insert(name, key);
            self.count(key);
            return;
        };
        let sets =
            |pod: &ObservedPod| pod.injected.iter().map(|set| (set.name.clone(), set.revision.clone())).collect();
        let (before, now): (Vec<_>, Vec<_>) = (sets(&self.pods[key].pod), sets(&pod));
        if before == now {
            self.pods[key].pod = pod;
            self.recount(&[key], None);
        } else {
            self.discount(key);
            self.pods[key].pod = pod;
            self.count(key);
        }
    }

    /// A Pod was deleted. It stops counting immediately, however it was deleted.
    pub fn delete_pod(&mut self, namespace: &str, name: &str) {
        let Some(names) = self.by_name.get_mut(namespace) else { return };
        let Some(key) = names.remove(name) else { return };
        if names.is_empty() {
            self.by_name.remove(namespace);
        }
        self.discount(key);
        self.pods.remove(key);
        if self.pods.is_empty() {
            self.pods = Slab::new();
        }
    }

    /// A list of all Pods begins. Each Pod is applied, in any number of steps.
    pub fn begin_list(&mut self) {
        self.lists = self.lists.wrapping_add(1);
    }

    /// The list is complete: Pods that were not applied since it began are gone. A list that is not completed has no effect
    /// on the next one.
    pub fn end_list(&mut self) {
        let untold = self.pods.iter().filter(|(_, counted)| counted.told != self.lists);
        let gone: Vec<_> =
            untold.map(|(_, CountedPod { pod, .. })| (pod.namespace.clone(), pod.name.clone())).collect();
        for (namespace, name) in gone {
            self.delete_pod(&namespace, &name);
        }
        self.texts.sweep();
    }

    /// A SidecarSet was created or changed. `rules` is `None` if it cannot be used, and then no Pod counts for it. Its Pods are
    /// recounted only if the rules differ.
    pub fn apply_set(&mut self, name: &str, rules: Option<CountingRules>) {
        let name = self.texts.share(name);
        let set = self.sets.entry(name.clone()).or_default();
        if set.rules == rules {
            self.forget_if_unused(&name);
            return;
        }
        set.rules = rules;
        let pods: Vec<usize> = set.pods.iter().copied().collect();
        self.recount(&pods, Some(&name));
        self.forget_if_unused(&name);
    }

    /// A SidecarSet was deleted.
    pub fn delete_set(&mut self, name: &str) {
        self.apply_set(name, None);
    }

    /// A Namespace was created or changed. Only its own Pods are recounted, and only if its labels differ.
    pub fn apply_namespace(&mut self, name: &str, labels: Labels) {
        if self.namespaces.get(name) != Some(&labels) {
            self.namespaces.insert(name.to_owned(), labels);
            self.recount_namespace(name);
        }
    }

    /// A Namespace was deleted.
    pub fn delete_namespace(&mut self, name: &str) {
        if self.namespaces.remove(name).is_some() {
            self.recount_namespace(name);
        }
    }

    /// Returns all known Namespaces with their labels.
    pub fn namespaces(&self) -> impl Iterator<Item = (&String, &Labels)> {
        self.namespaces.iter()
    }

    /// Returns the labels of a known Namespace.
    #[must_use]
    pub fn labels_of(&self, namespace: &str) -> Option<&Labels> {
        self.namespaces.get(namespace)
    }

    /// Returns the counts of a set.
    #[must_use]
    pub fn counts(&self, set: &str) -> Counts {
        self.sets.get(set).map(|set| set.counts).unwrap_or_default()
    }

    /// Returns the counts of all sets together.
    #[must_use]
    pub fn total(&self) -> Counts {
        self.total
    }

    /// Whether a matching Pod of the set records this `ControllerRevision`.
    #[must_use]
    pub fn uses_revision(&self, set: &str, revision: &str) -> bool {
        self.sets.get(set).is_some_and(|set| set.revisions.contains_key(revision))
    }

    /// Returns the keys of the Pods that claim to be injected by a set, for [`Self::at`].
    pub(super) fn keys_of(&self, set: &str) -> impl Iterator<Item = usize> {
        self.sets.get(set).into_iter().flat_map(|set| &set.pods).copied()
    }

    /// Returns the keys of the set's Pods that need a write or a report, for [`Self::at`].
    pub(super) fn amiss(&self, set: &str) -> Vec<usize> {
        self.sets.get(set).map(|set| set.amiss.iter().copied().collect()).unwrap_or_default()
    }

    /// Returns the Pod with this key and its standing with a set; `None` if it does not name the set.
    pub(super) fn at(&self, set: &str, key: usize) -> Option<(&ObservedPod, PodStanding)> {
        let CountedPod { pod, standings, .. } = self.pods.get(key)?;
        let position = pod.injected.iter().position(|injected| &*injected.name == set)?;
        Some((pod, standings[position]))
    }

    /// Returns the key of a Pod, for [`Self::at`].
    pub(super) fn key(&self, namespace: &str, name: &str) -> Option<usize> {
        self.by_name.get(namespace)?.get(name).copied()
    }

    /// Returns a Pod and its standing with a set; `None` if it does not name the set.
    pub(super) fn standing(&self, set: &str, namespace: &str, name: &str) -> Option<(&ObservedPod, PodStanding)> {
        self.at(set, self.key(namespace, name)?)
    }

    /// Returns the Pod of this name.
    pub(super) fn pod(&self, namespace: &str, name: &str) -> Option<&ObservedPod> {
        Some(&self.pods.get(self.key(namespace, name)?)?.pod)
    }

    /// Returns the counting rules of a set; `None` if it cannot be used.
    pub(super) fn rules(&self, set: &str) -> Option<&CountingRules> {
        self.sets.get(set)?.rules.as_ref()
    }

    /// Returns the number of known Pods.
    #[must_use]
    pub fn pods(&self) -> usize {
        self.pods.len()
    }

    /// Returns the sets whose counts or used revisions changed since the last call. Some of them may be back at their
    /// earlier values, or may not exist.
    pub fn take_changed(&mut self) -> BTreeSet<Text> {
        std::mem::take(&mut self.changed)
    }

    fn key_of(&self, pod: &WatchedPod) -> Option<usize> {
        let metadata = kube::Resource::meta(pod);
        self.key(metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default())
    }

    /// Counts a Pod for the sets that it names.
    fn count(&mut self, key: usize) {
        let Self { pods, namespaces, sets, changed, total, .. } = self;
        let CountedPod { pod, standings, .. } = &mut pods[key];
        let namespace = namespaces.get(&*pod.namespace);
        let counted = pod.injected.iter().map(|injected| {
            let set = sets.entry(injected.name.clone()).or_default();
            set.pods.insert(key);
            let rules = set.rules.as_ref();
            let standing = rules.map(|rules| rules.standing(&injected.name, pod, namespace)).unwrap_or_default();
            total.add(standing);
            if set.count(key, standing, injected.revision.as_ref()) {
                changed.insert(injected.name.clone());
            }
            standing
        });
        *standings = counted.collect();
    }

    /// Removes a Pod from all counts.
    fn discount(&mut self, key: usize) {
        let Self { pods, sets, changed, total, .. } = self;
        let CountedPod { pod, standings, .. } = &mut pods[key];
        for (injected, standing) in pod.injected.iter().zip(standings) {
            let Some(set) = sets.get_mut(&injected.name) else { continue };
            set.pods.remove(&key);
            total.subtract(*standing);
            if set.discount(key, *standing, injected.revision.as_ref()) {
                changed.insert(injected.name.clone());
            }
            if set.is_unused() {
                sets.remove(&injected.name);
            }
        }
        give_back(sets);
    }

    /// Recounts Pods, for one set or for all that they name.
    fn recount(&mut self, keys: &[usize], only: Option<&Text>) {
        let Self { pods, namespaces, sets, changed, total, .. } = self;
        for key in keys {
            let CountedPod { pod, standings, .. } = &mut pods[*key];
            let namespace = namespaces.get(&*pod.namespace);
            for (injected, standing) in pod.injected.iter().zip(standings) {
                if only.is_some_and(|only| *only != injected.name) {
                    continue;
                }
                let Some(set) = sets.get_mut(&injected.name) else { continue };
                let rules = set.rules.as_ref();
                let new = rules.map(|rules| rules.standing(&injected.name, pod, namespace)).unwrap_or_default();
                if new != *standing {
                    total.subtract(*standing);
                    total.add(new);
                    set.discount(*key, *standing, injected.revision.as_ref());
                    set.count(*key, new, injected.revision.as_ref());
                    *standing = new;
                    changed.insert(injected.name.clone());
                }
            }
        }
    }

    fn recount_namespace(&mut self, name: &str) {
        let pods: Vec<usize> = self.by_name.get(name).into_iter().flat_map(HashMap::values).copied().collect();
        self.recount(&pods, None);
    }

    fn forget_if_unused(&mut self, name: &Text) {
        if self.sets.get(name).is_some_and(CountedSet::is_unused) {
            self.sets.remove(name);
        }
    }
}

/// Releases memory once three quarters of it are unused: Pods may have named very many sets for a while.
fn give_back(sets: &mut HashMap<Text, CountedSet>) {
    if sets.len() < sets.capacity() / 4 {
        sets.shrink_to(2 * sets.len());
    }
}

impl CountedSet {
    /// Counts a Pod. Returns whether anything changed.
    fn count(&mut self, key: usize, standing: PodStanding, revision: Option<&Text>) -> bool {
        self.counts.add(standing);
        if standing.is_amiss() {
            self.amiss.insert(key);
        }
        if let Some(revision) = revision.filter(|_| standing.matched) {
            *self.revisions.entry(revision.clone()).or_default() += 1;
        }
        standing.matched
    }

    /// Removes a Pod from the counts. Returns whether anything changed.
    fn discount(&mut self, key: usize, standing: PodStanding, revision: Option<&Text>) -> bool {
        self.counts.subtract(standing);
        self.amiss.remove(&key);
        if let Some(revision) = revision.filter(|_| standing.matched)
            && let Some(pods) = self.revisions.get_mut(revision)
        {
            *pods -= 1;
            if *pods == 0 {
                self.revisions.remove(revision);
            }
        }
        standing.matched
    }

    fn is_unused(&self) -> bool {
        self.rules.is_none() && self.pods.is_empty()
    }
}

#[cfg(test)]
mod tests;
