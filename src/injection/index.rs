//! What is known of SidecarSets, Namespaces and `ControllerRevisions`, kept up to date event by event.

use super::Options;
use super::chosen::ChosenRevision;
use super::revision::Revision;
use super::set::InjectableSet;
use super::snapshot::{Snapshot, SnapshotSet};
use super::verify::KnownImages;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// The state behind the snapshots. Applying replaces an object of the same name; resetting replaces all of a kind.
#[derive(Debug, Default)]
pub struct Index {
    options: Options,
    sets: BTreeMap<String, Arc<InjectableSet>>,
    namespaces: Arc<HashMap<String, Labels>>,
    /// By namespace and name.
    revisions: BTreeMap<(String, String), Revision>,
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
        self.sets.insert(set.name.clone(), set);
    }

    /// A SidecarSet was deleted.
    pub fn delete_set(&mut self, name: &str) {
        self.sets.remove(name);
    }

    /// These are all SidecarSets.
    pub fn reset_sets(&mut self, sets: impl IntoIterator<Item = Arc<InjectableSet>>) {
        self.sets = sets.into_iter().map(|set| (set.name.clone(), set)).collect();
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
        self.revisions.insert(key(&revision), revision);
    }

    /// A `ControllerRevision` was deleted.
    pub fn delete_revision(&mut self, namespace: &str, name: &str) {
        self.revisions.remove(&(namespace.to_owned(), name.to_owned()));
    }

    /// These are all `ControllerRevisions`.
    pub fn reset_revisions(&mut self, revisions: impl IntoIterator<Item = Revision>) {
        self.revisions = revisions.into_iter().map(|revision| (key(&revision), revision)).collect();
    }

    /// All `ControllerRevisions`.
    pub fn revisions(&self) -> impl Iterator<Item = &Revision> {
        self.revisions.values()
    }

    /// How many SidecarSets are known.
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
