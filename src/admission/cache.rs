//! The SidecarSets, Namespaces and revisions of a cluster that reviews use, as the watches report them.
//!
//! Reviews read snapshots, which are recreated after changes; many changes at once lead to few snapshots. A list is
//! kept aside until it is complete: reviews use the old state until then. An object that cannot be used is left out and
//! reported, so that it does not affect the others.

mod known;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::ResourceExt;
use kube::core::PartialObjectMeta;
use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};

use self::known::{KIND_SET, KnownObjects, ReadRevision, ReadSet, name, namespace};
use super::awaited::{Awaited, is_newer};
use super::metrics::Metrics;
use super::sidecarset::name as name_of;
use super::validate_sidecarset::KnownWorld;
use crate::api::sidecarset::SidecarSet;
use crate::cluster::Event;
use crate::injection::{Index, Options, Snapshot, StoredSet};

/// The cluster as reviews see it. Empty until the watches report objects.
#[derive(Debug)]
pub struct Cache {
    known: Mutex<KnownObjects>,
    changed: Notify,
    snapshot: ArcSwap<Snapshot>,
    world: ArcSwap<KnownWorld>,
    awaited: Awaited,
    published: watch::Sender<()>,
    metrics: Arc<Metrics>,
}

impl Cache {
    /// Returns an empty cache. `patch_without_whitelist` is OpenKruise's feature gate
    /// `SidecarSetPatchPodMetadataDefaultsAllowed`.
    #[must_use]
    pub fn new(options: Options, patch_without_whitelist: bool, metrics: Arc<Metrics>) -> Self {
        let index = Index::new(Options { all_namespaces_are_known: true, ..options });
        let known = KnownObjects::new(index, patch_without_whitelist);
        let (snapshot, world) = (ArcSwap::from_pointee(known.index.snapshot()), ArcSwap::from_pointee(known.world()));
        Self {
            known: Mutex::new(known),
            changed: Notify::new(),
            snapshot,
            world,
            awaited: Awaited::default(),
            published: watch::Sender::default(),
            metrics,
        }
    }

    /// Returns the snapshots for reviews of Pods.
    pub fn snapshot(&self) -> arc_swap::Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }

    /// Returns the snapshots for reviews of SidecarSets.
    pub fn world(&self) -> arc_swap::Guard<Arc<KnownWorld>> {
        self.world.load()
    }

    /// Reports each new snapshot.
    pub fn published(&self) -> watch::Receiver<()> {
        self.published.subscribe()
    }

    /// Records that this set was allowed here and is about to be stored. Pods that it may select wait until the watch
    /// reports it, so that a Pod created right after its set is injected. They wait at most
    /// [`super::awaited::PATIENCE`]. A set that is never reported is never injected: another webhook may have refused
    /// it.
    pub fn expect(&self, set: &SidecarSet) {
        let known = self.lock();
        let metadata = &set.metadata;
        // A set of this name exists: either the creation will be refused, or the selector does not change (the
        // generation is the same).
        if known.sets.get(name_of(set)).is_none_or(|stored| is_newer(metadata, stored)) {
            self.awaited.expect(set, Instant::now());
        }
    }

    /// Returns what the Pod of this review has to wait for, if anything.
    pub fn awaited_for(&self, body: &[u8]) -> Option<impl Future<Output = ()> + Send + use<>> {
        self.awaited.by(body, Instant::now(), &self.snapshot, &self.metrics)
    }

    /// Makes snapshots after single changes and never returns. A whole list is visible as soon as it is complete.
    pub async fn keep_published(&self) {
        loop {
            self.changed.notified().await;
            let begun = Instant::now();
            self.publish();
            sleep((begun.elapsed() * REST).min(LONGEST_REST)).await;
        }
    }

    /// Takes time in proportion to the SidecarSets.
    fn publish(&self) {
        self.publish_known(&self.lock());
    }

    fn publish_known(&self, known: &KnownObjects) {
        let snapshot = Arc::new(known.index.snapshot());
        self.snapshot.store(snapshot.clone());
        self.world.store(Arc::new(known.world()));
        let set = |name: &str| known.sets.get(name).map(|set| &**set);
        self.awaited.told(set, |namespace| snapshot.knows_namespace(namespace));
        self.published.send_replace(());
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.metrics.sidecarsets.set(count(known.index.sets()));
        self.metrics.source_errors.set(count(known.unusable.len()));
    }

    /// Returns what `/readyz` reports about objects that cannot be used, each with its error. They do not affect
    /// readiness.
    ///
    /// # Errors
    /// Never.
    pub fn check(&self) -> Result<String, String> {
        let known = self.lock();
        let told = known.unusable.iter().take(UNUSABLE_TOLD).map(|((kind, name), problem)| {
            match known.index.revision_in_place_of(name).filter(|_| *kind == KIND_SET) {
                Some(revision) => format!("; {problem} (revision {revision} is injected instead)"),
                None => format!("; {problem}"),
            }
        });
        Ok(match known.unusable.len() {
            0 => "all can be used".to_owned(),
            count => {
                let more = count.saturating_sub(UNUSABLE_TOLD);
                let more = if more > 0 { format!("; and {more} more") } else { String::new() };
                format!("{count} cannot be used{}{more}", told.collect::<String>())
            }
        })
    }

    /// Handles changed SidecarSets.
    pub fn sidecarsets(&self, event: Event<&StoredSet>) {
        match event {
            Event::Begin => self.lock().lists.sets.clear(),
            Event::Item(set) => {
                let read = if self.lock().has_set(&set.object) { None } else { Some(ReadSet::of(set)) };
                self.lock().lists.sets.insert(name(&set.object), read);
            }
            Event::End => self.complete(KnownObjects::complete_sets),
            Event::Applied(set) => {
                if !self.lock().renew_set(&set.object) {
                    let read = ReadSet::of(set);
                    self.change(|known| known.apply_set(read));
                }
            }
            Event::Deleted(set) => self.change(|known| known.delete_set(&name(&set.object))),
        }
    }

    /// Handles changed Namespaces.
    pub fn namespaces(&self, event: Event<PartialObjectMeta<Namespace>>) {
        let labels = |namespace: PartialObjectMeta<Namespace>| namespace.metadata.labels.unwrap_or_default();
        match event {
            Event::Begin => self.lock().lists.namespaces.clear(),
            Event::Item(one) => _ = self.lock().lists.namespaces.insert(one.name_any(), labels(one)),
            Event::End => self.complete(|known| {
                let listed = std::mem::take(&mut known.lists.namespaces);
                known.index.reset_namespaces(listed);
            }),
            Event::Applied(one) => self.change(|known| known.index.apply_namespace(one.name_any(), labels(one))),
            Event::Deleted(one) => self.change(|known| known.index.delete_namespace(&one.name_any())),
        }
    }

    /// Handles changed `ControllerRevisions`.
    pub fn revisions(&self, event: Event<Value>) {
        match event {
            Event::Begin => self.lock().lists.revisions.clear(),
            Event::Item(revision) => {
                let key = (namespace(&revision), name(&revision));
                let read = if self.lock().has_revision(&revision) { None } else { Some(ReadRevision::of(revision)) };
                self.lock().lists.revisions.insert(key, read);
            }
            Event::End => self.complete(KnownObjects::complete_revisions),
            Event::Applied(revision) => {
                let read = ReadRevision::of(revision);
                self.change(|known| known.apply_revision(read));
            }
            Event::Deleted(revision) => {
                self.change(|known| known.delete_revision(&namespace(&revision), &name(&revision)));
            }
        }
    }

    /// Sets the `ConfigMap` [`WHITELIST_CONFIG_MAP`](crate::injection::validate::WHITELIST_CONFIG_MAP); `None` while it
    /// does not exist.
    pub fn configuration(&self, map: Option<&ConfigMap>) {
        self.complete(|known| known.set_whitelist(map));
    }

    /// Publishes a list before its watch counts as synced: a ready replica knows all objects.
    fn complete(&self, complete: impl FnOnce(&mut KnownObjects)) {
        let mut known = self.lock();
        complete(&mut known);
        self.publish_known(&known);
    }

    fn change(&self, change: impl FnOnce(&mut KnownObjects)) {
        change(&mut self.lock());
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, KnownObjects> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pause after a snapshot is this many times as long as it took, so that snapshots take at most a fifth of a core while
/// many sets change one after the other. Pods of a new set wait for its snapshot, so the pause is short.
const REST: u32 = 4;
const LONGEST_REST: Duration = Duration::from_millis(250);

/// At most this many unusable objects are reported one by one.
const UNUSABLE_TOLD: usize = 16;

#[cfg(test)]
mod tests;
