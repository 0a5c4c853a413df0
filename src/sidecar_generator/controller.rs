//! Keeps the Sidecars of all SidecarGenerators as their URLs say, while this process leads.
//!
//! Fetches are tasks beside the work on objects, which never waits for one: what a fetch brings is remembered, and the object looked
//! at again.

use super::answer::{FETCH_FAILED, Good, Problem, judge};
use super::fetching::{Earlier, Fetching, Labels};
use super::generator::{Key, ObservedGenerator, UsableSpec};
use super::leader::Leader;
use super::memory::Ended;
use super::metrics::GeneratorMetrics;
use super::sidecar::{self, ObservedSidecar, Ownership, Selects};
use super::state::State;
use super::{Watches, gauges};
use crate::api::sidecar_generator::SidecarGenerator;
use crate::cluster::controller::every;
use crate::cluster::queue::Observer;
use crate::cluster::{Event, Events, IndexedQueue, Objects, Term, Watch, controller};
use crate::fetch::{Fetcher, Rules};
use futures::FutureExt;
use jiff::Timestamp;
use kube::Client;
use kube::api::ApiResource;
use std::collections::{BTreeSet, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;
use tokio_util::task::AbortOnDropHandle;

/// Objects worked on at a time.
const WORKERS: usize = 8;

/// Between two looks for Sidecars that select other Pods than before, so that many changes are looked at together.
const RESELECTED_PAUSE: Duration = Duration::from_secs(1);

/// Between two counts for the metrics.
const GAUGES_PAUSE: Duration = Duration::from_secs(10);

/// How the controller is set up.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// No URL is asked more often, whatever a SidecarGenerator says.
    pub min_period: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { min_period: Duration::from_secs(10) }
    }
}

/// The controller; a cheap clone is the same one. Every replica tells it of all events, so that a new leader knows them already.
#[derive(Clone)]
pub struct Controller {
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub settings: Settings,
    pub generators: Objects,
    pub sidecars: Objects,
    fetching: Fetching,
    metrics: GeneratorMetrics,
    queue: IndexedQueue<Key, GeneratorIndex>,
}

#[derive(Default)]
pub(super) struct GeneratorIndex {
    pub state: State,
    /// Fetches under way, each of which ends when it is taken out.
    fetches: HashMap<Key, Underway>,
    /// Fetches begun since the start.
    begun: u64,
}

pub(super) struct Underway {
    number: u64,
    _task: AbortOnDropHandle<()>,
}

/// Ends what a term began, however it ends.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.lock().fetches.clear();
        gauges::clear(&self.0.metrics);
    }
}

impl Controller {
    /// A controller that asks URLs by this fetcher and these rules, and whose work the observer is told of.
    #[must_use]
    pub fn new(
        client: Client,
        fetcher: Fetcher,
        rules: Arc<Rules>,
        events: Events,
        metrics: GeneratorMetrics,
        observer: Arc<dyn Observer>,
        settings: Settings,
    ) -> Self {
        let fetching = Fetching::new(client.clone(), fetcher, rules, metrics.clone());
        let resource = ApiResource::erase::<SidecarGenerator>(&());
        let generators = Objects::new(client.clone(), resource, events.clone());
        let sidecars = Objects::new(client, sidecar::resource(), events);
        let queue = IndexedQueue::new(GeneratorIndex::default(), observer);
        Self { shared: Arc::new(Shared { settings, generators, sidecars, fetching, metrics, queue }) }
    }

    /// SidecarGenerators changed.
    pub fn generators_event(&self, event: Event<Arc<ObservedGenerator>>) {
        let may_be_gone = matches!(event, Event::End | Event::Deleted(_));
        self.shared.queue.change(|GeneratorIndex { state, fetches, .. }| {
            let touched = state.generators_event(event);
            if may_be_gone {
                fetches.retain(|key, _| state.get(key).is_some());
            }
            touched
        });
    }

    /// Sidecars changed, whoever's.
    pub fn sidecars_event(&self, event: Event<Arc<ObservedSidecar>>) {
        self.shared.queue.change(|index| index.state.sidecars_event(event));
    }

    /// Does the work of a term: waits for fresh lists of both kinds, then keeps all Sidecars up to date until the term ends.
    pub async fn run(&self, term: Term, watches: &Watches) {
        if !controller::fresh(&[watches.generators.clone(), watches.sidecars.clone()], &term).await {
            return;
        }
        let shared = &self.shared;
        let _ending = Ending(Arc::clone(shared));
        let all = |index: &mut GeneratorIndex| {
            index.fetches.clear();
            index.state.forget();
            index.all()
        };
        let beside = async {
            tokio::select! {
                () = every(RESELECTED_PAUSE, || shared.queue.change(|index| index.state.reselected())) => {}
                () = shared.look_at_all_as_istio_comes_and_goes(&watches.sidecars) => {}
                () = every(GAUGES_PAUSE, || shared.show_gauges()) => {}
            }
        };
        let leader = Leader { shared: Arc::clone(shared), watches: watches.clone() };
        shared.queue.run(WORKERS, &term, all, beside, Arc::new(leader)).await;
    }
}

impl GeneratorIndex {
    fn all(&self) -> Vec<Key> {
        self.state.keys().cloned().collect()
    }
}

impl Shared {
    pub fn lock(&self) -> MutexGuard<'_, GeneratorIndex> {
        self.queue.lock()
    }

    /// The watch tells its sink of an empty or first list before it says that the kind went or came.
    async fn look_at_all_as_istio_comes_and_goes(&self, sidecars: &Watch) {
        let mut absent = sidecars.is_absent();
        loop {
            absent = !absent;
            sidecars.until_absent(absent).await;
            self.queue.change(|index| index.all());
        }
    }

    fn show_gauges(&self) {
        let counts = gauges::Counts::of(self.lock().state.all());
        counts.show(&self.metrics);
    }

    /// Begins a fetch, in place of one that is under way.
    pub fn begin_fetch(self: &Arc<Self>, generator: &Arc<ObservedGenerator>, term: &Term) {
        let mut known = self.lock();
        // Asked with the lock held, as the fetches of a term that is over are ended.
        if !term.is_current() {
            return;
        }
        let GeneratorIndex { state, fetches, begun } = &mut *known;
        let Some(memory) = state.memory(&generator.key) else { return };
        *begun += 1;
        memory.fetching = Some(generator.generation);
        let good = memory.good.as_ref().filter(|good| good.generation == generator.generation);
        let validators = good.map(|good| good.validators.clone()).unwrap_or_default();
        let earlier = Earlier { validators, failed: memory.is_failing() };
        let task = Arc::clone(self).fetch(Arc::clone(generator), *begun, earlier);
        let underway = Underway { number: *begun, _task: AbortOnDropHandle::new(tokio::spawn(task)) };
        fetches.insert(generator.key.clone(), underway);
    }

    /// Ends a fetch that is under way.
    pub fn stop_fetch(&self, key: &Key) {
        let mut known = self.lock();
        if known.fetches.remove(key).is_some()
            && let Some(memory) = known.state.memory(key)
        {
            memory.fetching = None;
        }
    }

    /// A fetch, from its begin to what is remembered of it.
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
            (Err(Problem::new(FETCH_FAILED, "an internal fault, which the log tells more about")), None)
        });
        self.fetched(&generator, spec, number, answer, sharing);
    }

    /// Which of the Sidecars that may select a Pod of this one's do so.
    async fn sharing(&self, generator: &ObservedGenerator, spec: &UsableSpec) -> Option<BTreeSet<String>> {
        let ours = spec.selector.as_ref().map(|selector| &selector.labels).filter(|labels| !labels.is_empty())?;
        let possible: Vec<(String, Labels)> = {
            let known = self.lock();
            let neighbours = known.state.neighbours(&generator.key.namespace)?;
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

    /// Takes in a fetch that ended, unless it was given up meanwhile.
    fn fetched(
        &self,
        generator: &ObservedGenerator,
        spec: &UsableSpec,
        number: u64,
        answer: Result<Option<Good>, Problem>,
        sharing: Option<BTreeSet<String>>,
    ) {
        self.queue.change(|GeneratorIndex { state, fetches, .. }| {
            let key = &generator.key;
            if fetches.get(key).is_none_or(|underway| underway.number != number) {
                return None;
            }
            fetches.remove(key);
            let present = state.get(key);
            if present
                .is_none_or(|present| (&present.uid, present.generation) != (&generator.uid, generator.generation))
            {
                if let Some(memory) = state.memory(key) {
                    memory.fetching = None; // it is fetched anew
                }
                return Some(key.clone());
            }
            let sidecar = state.sidecar(key).filter(|sidecar| sidecar.ownership(generator) == Ownership::Own);
            let hosts = sidecar.map(|sidecar| sidecar.hosts);
            let ended = Ended { answer, sharing, at: Timestamp::now(), random: fastrand::f64() };
            state.memory(key)?.take(ended, generator, spec, hosts, self.settings.min_period);
            Some(key.clone())
        });
    }
}

#[cfg(test)]
mod tests;
