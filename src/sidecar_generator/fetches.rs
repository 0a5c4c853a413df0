//! Fetches in progress: tasks next to the work on objects, which never waits for them. Their results are remembered, and the object
//! is examined again.

use super::answer::{AnswerProblem, FETCH_FAILED, Good, judge};
use super::fetching::{Earlier, Fetching, Labels};
use super::generator::{Key, ObservedGenerator, UsableSpec};
use super::index::GeneratorIndex;
use super::memory::Ended;
use super::sidecar::{ObservedSidecar, Ownership, Selects};
use crate::cluster::{IndexedQueue, Term};
use futures::FutureExt;
use jiff::Timestamp;
use std::collections::{BTreeSet, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::task::AbortOnDropHandle;

/// The index with its queue.
pub(super) type GeneratorQueue = IndexedQueue<Key, IndexWithFetches>;

/// The index and the fetches in progress, under one lock so that no fetch outlives its term or its SidecarGenerator.
#[derive(Default)]
pub(super) struct IndexWithFetches {
    pub index: GeneratorIndex,
    /// Removing one ends the fetch.
    underway: HashMap<Key, Underway>,
    /// The number of fetches since the start.
    begun: u64,
}

struct Underway {
    number: u64,
    _task: AbortOnDropHandle<()>,
}

/// Begins and ends fetches, and handles their results.
pub(super) struct Fetches {
    queue: Arc<GeneratorQueue>,
    fetching: Fetching,
    min_period: Duration,
}

impl IndexWithFetches {
    /// Returns the keys of all SidecarGenerators.
    pub fn keys(&self) -> Vec<Key> {
        self.index.keys().cloned().collect()
    }

    /// Forgets an earlier term. Returns all keys.
    pub fn begin_term(&mut self) -> Vec<Key> {
        self.underway.clear();
        self.index.forget();
        self.keys()
    }

    /// Ends the fetches of deleted SidecarGenerators.
    pub fn stop_fetches_of_gone(&mut self) {
        let Self { index, underway, .. } = self;
        underway.retain(|key, _| index.get(key).is_some());
    }
}

impl Fetches {
    pub fn new(queue: Arc<GeneratorQueue>, fetching: Fetching, min_period: Duration) -> Self {
        Self { queue, fetching, min_period }
    }

    /// Begins a fetch, and replaces one in progress.
    pub fn begin(self: &Arc<Self>, generator: &Arc<ObservedGenerator>, term: &Term) {
        let mut known = self.queue.lock();
        // Checked under the lock, because fetches of an earlier term are ended.
        if !term.is_current() {
            return;
        }
        let IndexWithFetches { index, underway, begun } = &mut *known;
        let Some(memory) = index.memory(&generator.key) else { return };
        *begun += 1;
        memory.fetching = Some(generator.generation);
        let good = memory.good.as_ref().filter(|good| good.generation == generator.generation);
        let validators = good.map(|good| good.validators.clone()).unwrap_or_default();
        let earlier = Earlier { validators, failed: memory.is_failing() };
        let task = Arc::clone(self).fetch(Arc::clone(generator), *begun, earlier);
        let task = AbortOnDropHandle::new(tokio::spawn(task));
        underway.insert(generator.key.clone(), Underway { number: *begun, _task: task });
    }

    /// Ends a fetch in progress.
    pub fn stop(&self, key: &Key) {
        let mut known = self.queue.lock();
        if known.underway.remove(key).is_some()
            && let Some(memory) = known.index.memory(key)
        {
            memory.fetching = None;
        }
    }

    /// Ends all fetches.
    pub fn stop_all(&self) {
        self.queue.lock().underway.clear();
    }

    /// A fetch, up to the handling of its result.
    async fn fetch(self: Arc<Self>, generator: Arc<ObservedGenerator>, number: u64, earlier: Earlier) {
        let Ok(spec) = &generator.usable else { return };
        let fetch = async {
            let answer = self.fetching.fetch(&generator, spec, earlier).await;
            let sharing = if answer.is_ok() { self.sharing(&generator, spec).await } else { None };
            (answer.and_then(|answer| judge(answer, &generator, spec)), sharing)
        };
        let ended = AssertUnwindSafe(fetch).catch_unwind().await;
        let (answer, sharing) = ended.unwrap_or_else(|_| {
            tracing::error!(generator = %generator.key, "a fetch panicked; it is retried");
            (Err(AnswerProblem::new(FETCH_FAILED, "an internal fault, which the log tells more about")), None)
        });
        self.fetched(&generator, spec, number, answer, sharing);
    }

    /// Returns which of the possibly overlapping Sidecars select a Pod of this one.
    async fn sharing(&self, generator: &ObservedGenerator, spec: &UsableSpec) -> Option<BTreeSet<String>> {
        let ours = spec.selector.as_ref().map(|selector| &selector.labels).filter(|labels| !labels.is_empty())?;
        let possible: Vec<(String, Labels)> = {
            let known = self.queue.lock();
            let neighbours = known.index.neighbours(&generator.key.namespace)?;
            let wanted = ObservedSidecar {
                key: generator.key.clone(),
                selects: Selects::Labelled(ours.clone()),
                ..ObservedSidecar::default()
            };
            let possible = neighbours.overlaps(&wanted).possible.into_iter();
            possible.filter_map(|name| neighbours.get(&name)?.labels().cloned().map(|labels| (name, labels))).collect()
        };
        self.fetching.sharing(&generator.key.namespace, ours, &possible).await
    }

    /// Handles the result of a fetch, unless it was replaced in the meantime.
    pub fn fetched(
        &self,
        generator: &ObservedGenerator,
        spec: &UsableSpec,
        number: u64,
        answer: Result<Option<Good>, AnswerProblem>,
        sharing: Option<BTreeSet<String>>,
    ) {
        self.queue.change(|IndexWithFetches { index, underway, .. }| {
            let key = &generator.key;
            if underway.get(key).is_none_or(|underway| underway.number != number) {
                return None;
            }
            underway.remove(key);
            let present = index.get(key);
            if present
                .is_none_or(|present| (&present.uid, present.generation) != (&generator.uid, generator.generation))
            {
                if let Some(memory) = index.memory(key) {
                    memory.fetching = None; // it is fetched again
                }
                return Some(key.clone());
            }
            let sidecar = index.sidecar(key).filter(|sidecar| sidecar.ownership(generator) == Ownership::Own);
            let hosts = sidecar.map(|sidecar| sidecar.hosts);
            let ended = Ended { answer, sharing, at: Timestamp::now(), random: fastrand::f64() };
            index.memory(key)?.take(ended, generator, spec, hosts, self.min_period);
            Some(key.clone())
        });
    }
}
