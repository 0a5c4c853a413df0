//! What reviews are answered from in a cluster: its SidecarSets, Namespaces and revisions, as watches tell of them.
//!
//! Reviews read snapshots, which are made anew after changes; of many changes at once a few snapshots are made. Whatever cannot be
//! used is left out and told: it must not stop the rest.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::ResourceExt;
use kube::core::PartialObjectMeta;
use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::awaited::{Awaited, is_newer};
use super::sidecarset::name as name_of;
use super::validate_sidecarset::{KnownWorld, RevisionName};
use crate::api::decode::{self, FieldError};
use crate::api::sidecarset::SidecarSet;
use crate::cluster::Event;
use crate::injection::validate::{WHITELIST_CONFIG_MAP, WHITELIST_KEY, Whitelist, WhitelistError};
use crate::injection::{Index, InjectableSet, Options, Revision, Snapshot};
use crate::telemetry::Metrics;

/// The cluster as reviews see it. Empty until watches tell of objects.
#[derive(Debug)]
pub struct Cache {
    known: Mutex<Known>,
    changed: Notify,
    snapshot: ArcSwap<Snapshot>,
    world: ArcSwap<KnownWorld>,
    awaited: Awaited,
    published: watch::Sender<()>,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct Known {
    index: Index,
    sets: Arc<BTreeMap<String, Arc<SidecarSet>>>,
    whitelist: Option<Arc<Result<Whitelist, WhitelistError>>>,
    patch_without_whitelist: bool,
    /// Objects that cannot be used: by kind and name, what is wrong.
    unusable: BTreeMap<(&'static str, String), String>,
}

impl Cache {
    /// Nothing is known. `patch_without_whitelist` is OpenKruise's feature gate `SidecarSetPatchPodMetadataDefaultsAllowed`.
    #[must_use]
    pub fn new(options: Options, patch_without_whitelist: bool, metrics: Arc<Metrics>) -> Self {
        let known = Known {
            index: Index::new(Options { all_namespaces_are_known: true, ..options }),
            sets: Arc::default(),
            whitelist: None,
            patch_without_whitelist,
            unusable: BTreeMap::new(),
        };
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

    /// For the review of Pods.
    pub fn snapshot(&self) -> arc_swap::Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }

    /// For the review of SidecarSets.
    pub fn world(&self) -> arc_swap::Guard<Arc<KnownWorld>> {
        self.world.load()
    }

    /// Tells of each new snapshot.
    pub fn published(&self) -> watch::Receiver<()> {
        self.published.subscribe()
    }

    /// This set was allowed here and is about to be stored: Pods that it may be for wait until the watch tells of it, so that who
    /// creates a set and then a Pod finds it injected. They wait no longer than [`super::awaited::PATIENCE`], and what is never told is
    /// never injected: others may have refused it.
    pub fn expect(&self, set: &SidecarSet) {
        let known = self.lock();
        let metadata = &set.metadata;
        // A set of this name that is there already: it will be refused (creation), or nothing that selects Pods changes (the
        // generation is the same).
        if known.sets.get(name_of(set)).is_none_or(|stored| is_newer(metadata, &stored.metadata)) {
            self.awaited.expect(set, Instant::now());
        }
    }

    /// What the Pod of this review has to wait for, if anything.
    pub fn awaited_for(&self, body: &[u8]) -> Option<impl Future<Output = ()> + Send + use<>> {
        self.awaited.by(body, Instant::now(), &self.metrics)
    }

    /// Makes snapshots after single changes, for ever. A whole list is seen as soon as it was told.
    pub async fn keep_published(&self) {
        loop {
            self.changed.notified().await;
            self.publish();
        }
    }

    /// Takes time in proportion to the SidecarSets.
    fn publish(&self) {
        self.publish_known(&self.lock());
    }

    fn publish_known(&self, known: &Known) {
        self.snapshot.store(Arc::new(known.index.snapshot()));
        self.world.store(Arc::new(known.world()));
        self.awaited.told(|name| known.sets.get(name).map(|set| &set.metadata));
        self.published.send_replace(());
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.metrics.sidecarsets.set(count(known.index.sets()));
        self.metrics.source_errors.set(count(known.unusable.len()));
    }

    /// Objects that cannot be used, each with what is wrong.
    #[must_use]
    pub fn unusable(&self) -> Vec<String> {
        self.lock().unusable.values().cloned().collect()
    }

    /// SidecarSets changed.
    pub fn sidecarsets(&self, event: &Event<Value>) {
        self.change(event, |known| match event {
            Event::Reset(sets) => {
                known.unusable.retain(|(kind, _), _| *kind != KIND_SET);
                known.index.reset_sets([]);
                known.sets = Arc::default();
                for set in sets {
                    known.apply_set(set);
                }
            }
            Event::Applied(set) => known.apply_set(set),
            Event::Deleted(set) => {
                known.unusable.remove(&(KIND_SET, name(set)));
                known.forget_set(&name(set));
            }
        });
    }

    /// Namespaces changed.
    pub fn namespaces(&self, event: &Event<PartialObjectMeta<Namespace>>) {
        let labels = |namespace: &PartialObjectMeta<Namespace>| namespace.labels().clone();
        self.change(event, |Known { index, .. }| match event {
            Event::Reset(all) => index.reset_namespaces(all.iter().map(|one| (one.name_any(), labels(one)))),
            Event::Applied(namespace) => index.apply_namespace(namespace.name_any(), labels(namespace)),
            Event::Deleted(namespace) => index.delete_namespace(&namespace.name_any()),
        });
    }

    /// `ControllerRevisions` changed.
    pub fn revisions(&self, event: &Event<Value>) {
        self.change(event, |known| match event {
            Event::Reset(revisions) => {
                known.unusable.retain(|(kind, _), _| *kind != KIND_REVISION);
                known.index.reset_revisions([]);
                for revision in revisions {
                    known.apply_revision(revision);
                }
            }
            Event::Applied(revision) => known.apply_revision(revision),
            Event::Deleted(revision) => {
                known.unusable.remove(&(KIND_REVISION, name(revision)));
                known.index.delete_revision(&namespace(revision), &name(revision));
            }
        });
    }

    /// The `ConfigMap` [`WHITELIST_CONFIG_MAP`] changed.
    pub fn configuration(&self, event: &Event<ConfigMap>) {
        self.change(event, |known| {
            let now = match event {
                Event::Reset(maps) => maps.first(),
                Event::Applied(map) => Some(map),
                Event::Deleted(_) => None,
            };
            let text = now.and_then(|map| map.data.as_ref()?.get(WHITELIST_KEY));
            known.whitelist = text.map(|text| Arc::new(Whitelist::parse(text)));
            match known.whitelist.as_deref() {
                Some(Err(error)) => known.report((KIND_CONFIG, WHITELIST_CONFIG_MAP.to_owned()), error.to_string()),
                _ => drop(known.unusable.remove(&(KIND_CONFIG, WHITELIST_CONFIG_MAP.to_owned()))),
            }
        });
    }

    /// A list is published before its watch counts as synced: a replica that is ready knows all.
    fn change<K>(&self, event: &Event<K>, change: impl FnOnce(&mut Known)) {
        let mut known = self.lock();
        change(&mut known);
        match event {
            Event::Reset(_) => self.publish_known(&known),
            Event::Applied(_) | Event::Deleted(_) => self.changed.notify_one(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const KIND_SET: &str = "SidecarSet";
const KIND_REVISION: &str = "ControllerRevision";
const KIND_CONFIG: &str = "ConfigMap";

impl Known {
    fn apply_set(&mut self, object: &Value) {
        let name = name(object);
        let set = match decode::sidecarset(object.clone()) {
            Ok(set) => set,
            Err(error) => {
                self.forget_set(&name);
                let problem = format!("SidecarSet {name:?}: {error}");
                return self.report((KIND_SET, name), problem);
            }
        };
        Arc::make_mut(&mut self.sets).insert(name.clone(), Arc::new(set.clone()));
        match InjectableSet::stored(set) {
            Ok(set) => {
                self.unusable.remove(&(KIND_SET, name));
                self.index.apply_set(set);
            }
            Err(error) => {
                self.index.delete_set(&name);
                self.report((KIND_SET, name), error.to_string());
            }
        }
    }

    fn forget_set(&mut self, name: &str) {
        self.index.delete_set(name);
        Arc::make_mut(&mut self.sets).remove(name);
    }

    fn apply_revision(&mut self, object: &Value) {
        let (namespace, name) = (namespace(object), name(object));
        match Revision::read(object.clone()) {
            Ok(Some(revision)) => {
                match revision.unreadable() {
                    None => drop(self.unusable.remove(&(KIND_REVISION, name))),
                    Some(error) => self.report_revision(&namespace, name, &error),
                }
                self.index.apply_revision(revision);
            }
            Ok(None) => {
                self.unusable.remove(&(KIND_REVISION, name.clone()));
                self.index.delete_revision(&namespace, &name);
            }
            Err(error) => {
                self.index.delete_revision(&namespace, &name);
                self.report_revision(&namespace, name, &error);
            }
        }
    }

    fn report_revision(&mut self, namespace: &str, name: String, error: &FieldError) {
        let problem = format!("ControllerRevision \"{namespace}/{name}\": {error}");
        self.report((KIND_REVISION, name), problem);
    }

    /// Tells of an object that cannot be used, once for each thing that is wrong with it.
    fn report(&mut self, object: (&'static str, String), problem: String) {
        if self.unusable.get(&object) != Some(&problem) {
            tracing::error!("{problem}; it is not used until it is corrected");
            self.unusable.insert(object, problem);
        }
    }

    fn world(&self) -> KnownWorld {
        let mut revisions: BTreeMap<String, Vec<RevisionName>> = BTreeMap::new();
        for revision in self.index.revisions() {
            let name = RevisionName { name: revision.name.clone(), custom_version: revision.custom_version.clone() };
            revisions.entry(revision.set.clone()).or_default().push(name);
        }
        KnownWorld {
            sets: Some(self.sets.clone()),
            revisions: Some(Arc::new(revisions)),
            whitelist: self.whitelist.clone(),
            patch_without_whitelist: self.patch_without_whitelist,
        }
    }
}

fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

fn namespace(object: &Value) -> String {
    object["metadata"]["namespace"].as_str().unwrap_or_default().to_owned()
}
