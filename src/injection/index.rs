//! The known SidecarSets, Namespaces and `ControllerRevisions`, updated event by event.

use super::Options;
use super::chosen::ChosenRevision;
use super::revision::Revision;
use super::set::InjectableSet;
use super::snapshot::{Labels, Snapshot, SnapshotSet};
use super::stored::Unfit;
use super::verify::KnownImages;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The state behind the snapshots. Applying an object replaces the one of the same name. Resetting sets or
/// Namespaces replaces all of them.
#[derive(Debug, Default)]
pub struct Index {
    options: Options,
    /// The sets in use. An unfit set is represented by an earlier content.
    sets: BTreeMap<String, Arc<InjectableSet>>,
    unfit: BTreeMap<String, UnfitSet>,
    namespaces: Arc<HashMap<String, Labels>>,
    /// Keyed by namespace and name.
    revisions: BTreeMap<(String, String), Revision>,
}

/// A set that cannot be injected as it is stored.
#[derive(Debug)]
struct UnfitSet {
    unfit: Unfit,
    /// Name of the revision that is injected instead.
    revision: Option<String>,
}

impl Index {
    /// An empty index.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { options, ..Self::default() }
    }

    /// A SidecarSet was created or changed.
    pub fn apply_set(&mut self, set: impl Into<Arc<InjectableSet>>) {
        let set = set.into();
        self.unfit.remove(&set.name);
        self.sets.insert(set.name.clone(), set);
    }

    /// A SidecarSet was created or changed, and is unfit. The last good content kept in a `ControllerRevision` is injected
    /// instead, if there is one.
    pub fn apply_unfit_set(&mut self, unfit: Unfit) {
        let name = unfit.set.clone();
        self.unfit.insert(name.clone(), UnfitSet { unfit, revision: None });
        self.replace_unfit(&name);
    }

    /// Returns the revision that is injected instead of the stored content, if the set is unfit and has one.
    #[must_use]
    pub fn revision_in_place_of(&self, set: &str) -> Option<&str> {
        self.unfit.get(set)?.revision.as_deref()
    }

    /// A SidecarSet was deleted.
    pub fn delete_set(&mut self, name: &str) {
        self.sets.remove(name);
        self.unfit.remove(name);
    }

    /// Replaces all SidecarSets.
    pub fn reset_sets(&mut self, sets: impl IntoIterator<Item = Arc<InjectableSet>>) {
        self.sets = sets.into_iter().map(|set| (set.name.clone(), set)).collect();
        self.unfit.clear();
    }

    /// A Namespace was created or changed.
    pub fn apply_namespace(&mut self, name: String, labels: Labels) {
        Arc::make_mut(&mut self.namespaces).insert(name, labels);
    }

    /// A Namespace was deleted.
    pub fn delete_namespace(&mut self, name: &str) {
        Arc::make_mut(&mut self.namespaces).remove(name);
    }

    /// Replaces all Namespaces.
    pub fn reset_namespaces(&mut self, namespaces: impl IntoIterator<Item = (String, Labels)>) {
        self.namespaces = Arc::new(namespaces.into_iter().collect());
    }

    /// A `ControllerRevision` was created or changed.
    pub fn apply_revision(&mut self, revision: Revision) {
        let set = revision.set.clone();
        let before = self.revisions.insert(key(&revision), revision);
        for set in before.map(|before| before.set).filter(|before| *before != set).iter().chain([&set]) {
            self.replace_unfit(set);
        }
    }

    /// A `ControllerRevision` was deleted.
    pub fn delete_revision(&mut self, namespace: &str, name: &str) {
        if let Some(deleted) = self.revisions.remove(&(namespace.to_owned(), name.to_owned())) {
            self.replace_unfit(&deleted.set);
        }
    }

    /// Replaces an unfit content by the last good one.
    fn replace_unfit(&mut self, set: &str) {
        let Some(UnfitSet { unfit, revision }) = self.unfit.get_mut(set) else { return };
        let good = self.revisions.values().filter(|revision| revision.set == set && revision.is_fit);
        let last_good = good.max_by_key(|revision| revision.number);
        let replaced =
            last_good.and_then(|last_good| Some((last_good.name.clone(), unfit.with(last_good.content().ok()?)?)));
        let (name, replaced) = replaced.unzip();
        *revision = name;
        match replaced {
            Some(replaced) => _ = self.sets.insert(set.to_owned(), Arc::new(replaced)),
            None => _ = self.sets.remove(set),
        }
    }

    /// Returns the `ControllerRevision` of this name.
    #[must_use]
    pub fn revision(&self, namespace: &str, name: &str) -> Option<&Revision> {
        self.revisions.get(&(namespace.to_owned(), name.to_owned()))
    }

    /// Returns all `ControllerRevisions`.
    pub fn revisions(&self) -> impl Iterator<Item = &Revision> {
        self.revisions.values()
    }

    /// Returns the number of SidecarSets in use.
    #[must_use]
    pub fn sets(&self) -> usize {
        self.sets.len()
    }

    /// Returns the current state for readers, in time proportional to the number of SidecarSets.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let mut revisions: HashMap<&str, Vec<&Revision>> = HashMap::new();
        for revision in self.revisions.values() {
            revisions.entry(&revision.set).or_default().push(revision);
        }
        let sets = self.sets.values().map(|set| {
            let kept = revisions.get(set.name.as_str()).map_or(&[][..], Vec::as_slice);
            SnapshotSet {
                set: Arc::clone(set),
                revision: latest_revision(set, kept),
                chosen: ChosenRevision::of(set, kept),
                images: KnownImages::of(&set.content.images, kept.iter().map(|revision| &revision.images)),
            }
        });
        Snapshot::new(self.options.clone(), sets.collect(), Arc::clone(&self.namespaces))
    }
}

fn key(revision: &Revision) -> (String, String) {
    (revision.namespace.clone(), revision.name.clone())
}

/// Returns the revision to record in Pods: the newest one with the set's current content. OpenKruise records
/// `status.latestRevision`, which lags behind changes of the set. It is used here only if no revisions are known.
fn latest_revision(set: &InjectableSet, kept: &[&Revision]) -> Option<String> {
    if kept.is_empty() {
        return set.latest_revision.clone();
    }
    let current = kept.iter().filter(|revision| revision.is_content_of(set)).max_by_key(|revision| revision.number);
    current.map(|revision| revision.name.clone())
}
