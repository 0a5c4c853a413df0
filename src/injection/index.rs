//! What is known of SidecarSets, Namespaces and `ControllerRevisions`, kept up to date event by event.

use super::Options;
use super::chosen::ChosenRevision;
use super::revision::Revision;
use super::set::InjectableSet;
use super::snapshot::{Labels, Snapshot, SnapshotSet};
use super::stored::Unfit;
use super::verify::KnownImages;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The state behind the snapshots. Applying replaces an object of the same name; resetting sets or
/// Namespaces replaces all of them.
#[derive(Debug, Default)]
pub struct Index {
    options: Options,
    /// Those in use: as they are, or with an earlier content in the place of one that is unfit.
    sets: BTreeMap<String, Arc<InjectableSet>>,
    unfit: BTreeMap<String, UnfitSet>,
    namespaces: Arc<HashMap<String, Labels>>,
    /// By namespace and name.
    revisions: BTreeMap<(String, String), Revision>,
}

/// A set that cannot be injected as it is stored.
#[derive(Debug)]
struct UnfitSet {
    unfit: Unfit,
    /// Name of the revision whose content is injected instead.
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

    /// A SidecarSet was created or changed, and is unfit: the last good content that a `ControllerRevision` keeps of it is
    /// injected, where there is one.
    pub fn apply_unfit_set(&mut self, unfit: Unfit) {
        let name = unfit.set.clone();
        self.unfit.insert(name.clone(), UnfitSet { unfit, revision: None });
        self.replace_unfit(&name);
    }

    /// The revision whose content is injected in the place of what is stored, if the set is unfit and has one.
    #[must_use]
    pub fn revision_in_place_of(&self, set: &str) -> Option<&str> {
        self.unfit.get(set)?.revision.as_deref()
    }

    /// A SidecarSet was deleted.
    pub fn delete_set(&mut self, name: &str) {
        self.sets.remove(name);
        self.unfit.remove(name);
    }

    /// These are all SidecarSets.
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

    /// These are all Namespaces.
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

    /// Puts the last good content into the place of an unfit one.
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

    /// The `ControllerRevision` of this name.
    #[must_use]
    pub fn revision(&self, namespace: &str, name: &str) -> Option<&Revision> {
        self.revisions.get(&(namespace.to_owned(), name.to_owned()))
    }

    /// All `ControllerRevisions`.
    pub fn revisions(&self) -> impl Iterator<Item = &Revision> {
        self.revisions.values()
    }

    /// How many SidecarSets are in use.
    #[must_use]
    pub fn sets(&self) -> usize {
        self.sets.len()
    }

    /// The present state, for readers. Costs time in proportion to all SidecarSets.
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

/// The revision to record in Pods: the newest with the set's present content. OpenKruise records `status.latestRevision`, which
/// lags behind a change of the set; that is used only where no revisions are known.
fn latest_revision(set: &InjectableSet, kept: &[&Revision]) -> Option<String> {
    if kept.is_empty() {
        return set.latest_revision.clone();
    }
    let current = kept.iter().filter(|revision| revision.is_content_of(set)).max_by_key(|revision| revision.number);
    current.map(|revision| revision.name.clone())
}
