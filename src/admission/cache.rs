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
use super::metrics::Metrics;
use super::sidecarset::name as name_of;
use super::validate_sidecarset::{KnownWorld, RevisionName};
use crate::api::decode::FieldError;
use crate::api::sidecarset::SidecarSet;
use crate::cluster::Event;
use crate::injection::validate::{WHITELIST_CONFIG_MAP, WHITELIST_KEY, Whitelist, WhitelistError};
use crate::injection::{Index, InjectableSet, Options, Revision, Snapshot};

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

    /// What `/readyz` says of the objects that cannot be used, which is no reason not to be ready: each with what is wrong.
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
                let read: Vec<Revision> =
                    revisions.iter().filter_map(|revision| known.read_revision(revision)).collect();
                known.index.reset_revisions(read);
            }
            Event::Applied(revision) => match known.read_revision(revision) {
                Some(read) => known.index.apply_revision(read),
                None => known.index.delete_revision(&namespace(revision), &name(revision)),
            },
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

/// As many objects that cannot be used are told one by one.
const UNUSABLE_TOLD: usize = 16;

const KIND_SET: &str = "SidecarSet";
const KIND_REVISION: &str = "ControllerRevision";
const KIND_CONFIG: &str = "ConfigMap";

impl Known {
    fn apply_set(&mut self, object: &Value) {
        let name = name(object);
        let sets = Arc::make_mut(&mut self.sets);
        let stored = match InjectableSet::decode(object) {
            Ok(set) => {
                sets.insert(name.clone(), Arc::new(set.clone()));
                InjectableSet::stored(set)
            }
            Err(unfit) => {
                sets.remove(&name);
                Err(unfit)
            }
        };
        match stored {
            Ok(set) => {
                self.unusable.remove(&(KIND_SET, name));
                self.index.apply_set(set);
            }
            Err(unfit) => {
                self.report((KIND_SET, name), unfit.to_string());
                self.index.apply_unfit_set(unfit);
            }
        }
    }

    fn forget_set(&mut self, name: &str) {
        self.index.delete_set(name);
        Arc::make_mut(&mut self.sets).remove(name);
    }

    /// Reads a revision; `None` where it is none of a SidecarSet, or cannot be read.
    fn read_revision(&mut self, object: &Value) -> Option<Revision> {
        let (read, error) = match Revision::read(object.clone()) {
            Ok(read) => {
                let error = read.as_ref().and_then(Revision::unreadable);
                (read, error)
            }
            Err(error) => (None, Some(error)),
        };
        match error {
            None => drop(self.unusable.remove(&(KIND_REVISION, name(object)))),
            Some(error) => self.report_revision(&namespace(object), name(object), &error),
        }
        read
    }

    fn report_revision(&mut self, namespace: &str, name: String, error: &FieldError) {
        let problem = format!("ControllerRevision \"{namespace}/{name}\": {error}");
        self.report((KIND_REVISION, name), problem);
    }

    /// Tells of an object that cannot be used, once for each thing that is wrong with it.
    fn report(&mut self, object: (&'static str, String), problem: String) {
        if self.unusable.get(&object) != Some(&problem) {
            tracing::error!("{problem}; what is stored is not used until it is corrected");
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set(image: &str) -> Value {
        json!({"apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet", "metadata": {"name": "s"},
               "spec": {"selector": {"matchLabels": {"app": "web"}}, "containers": [{"name": "c", "image": image}]}})
    }

    #[test]
    fn a_set_that_pods_would_be_refused_for_is_told_with_what_is_injected_instead() {
        let cache = Cache::new(Options::default(), true, Arc::new(Metrics::default()));
        let errors = || cache.metrics.source_errors.get();
        let in_use = || cache.snapshot().sets().count();
        cache.sidecarsets(&Event::Reset(vec![set("")]));
        let problem = "1 cannot be used; SidecarSet \"s\": spec.containers[0].image: Required value";
        assert_eq!(cache.check(), Ok(problem.to_owned()));
        assert_eq!((errors(), in_use()), (1, 0));
        assert!(
            cache.world().sets.as_ref().unwrap().contains_key("s"),
            "it is there for those that would clash with it"
        );
        let labels = json!({"kruise.io/sidecarset-name": "s"});
        let revision = json!({"metadata": {"name": "s-1", "namespace": "n", "labels": labels}, "revision": 1,
                              "data": {"spec": {"containers": [{"name": "c", "image": "x:1"}]}}});
        cache.revisions(&Event::Reset(vec![revision]));
        assert_eq!(cache.check(), Ok(format!("{problem} (revision s-1 is injected instead)")));
        assert_eq!((errors(), in_use()), (1, 1));
        cache.sidecarsets(&Event::Reset(vec![set("x:2")]));
        assert_eq!(cache.check(), Ok("all can be used".to_owned()));
        assert_eq!((errors(), in_use()), (0, 1));
    }
}
