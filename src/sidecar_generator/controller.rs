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
use super::sidecar::{ObservedSidecar, Ownership, Selects};
use super::state::State;
use super::{Watches, gauges};
use crate::api::sidecar_generator::{API_VERSION, KIND};
use crate::cluster::{Event, Events, Term, Watch, WorkQueue, queue};
use crate::fetch::Fetcher;
use futures::FutureExt;
use futures::future::join;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event as ObjectEvent, EventType};
use std::collections::{BTreeSet, HashMap};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;
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
    pub client: Client,
    pub settings: Settings,
    fetching: Fetching,
    events: Events,
    metrics: GeneratorMetrics,
    queue: WorkQueue<Key>,
    known: Mutex<Known>,
}

#[derive(Default)]
pub(super) struct Known {
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
    /// A controller that asks URLs by this fetcher, and whose work the observer is told of.
    #[must_use]
    pub fn new(
        client: Client,
        fetcher: Fetcher,
        events: Events,
        metrics: GeneratorMetrics,
        observer: Arc<dyn queue::Observer>,
        settings: Settings,
    ) -> Self {
        let fetching = Fetching::new(client.clone(), fetcher, metrics.clone());
        let (queue, known) = (WorkQueue::observed(observer), Mutex::default());
        Self { shared: Arc::new(Shared { client, settings, fetching, events, metrics, queue, known }) }
    }

    /// In a mesh with this root namespace.
    #[must_use]
    pub fn in_mesh_of(self, root_namespace: &str) -> Self {
        root_namespace.clone_into(&mut self.shared.lock().state.root_namespace);
        self
    }

    /// SidecarGenerators changed.
    pub fn generators_event(&self, event: Event<Arc<ObservedGenerator>>) {
        let may_be_gone = !matches!(event, Event::Applied(_));
        let mut known = self.shared.lock();
        let touched = known.state.generators_event(event);
        if may_be_gone {
            let Known { state, fetches, .. } = &mut *known;
            fetches.retain(|key, _| state.get(key).is_some());
        }
        drop(known);
        self.shared.add(touched);
    }

    /// Sidecars changed, whoever's.
    pub fn sidecars_event(&self, event: Event<Arc<ObservedSidecar>>) {
        let touched = self.shared.lock().state.sidecars_event(event);
        self.shared.add(touched);
    }

    /// Does the work of a term: waits for fresh lists of both kinds, then keeps all Sidecars up to date until the term ends.
    pub async fn run(&self, term: Term, watches: &Watches) {
        tokio::select! {
            _ = join(watches.generators.fresh(), watches.sidecars.fresh()) => {}
            () = term.ended() => return,
        }
        let shared = &self.shared;
        let _ending = Ending(Arc::clone(shared));
        let all: Vec<Key> = {
            let mut known = shared.lock();
            known.fetches.clear();
            known.state.forget();
            known.state.keys().cloned().collect()
        };
        shared.add(all);
        let leader = Arc::new(Leader { shared: Arc::clone(shared), term: term.clone(), watches: watches.clone() });
        let handle = move |key: Key| {
            let leader = Arc::clone(&leader);
            async move { leader.reconcile(&key).await }
        };
        let stop = CancellationToken::new();
        let mut work = pin!(queue::run(&shared.queue, WORKERS, &stop, handle));
        tokio::select! {
            () = &mut work => {}
            () = shared.look_at_reselected() => {}
            () = shared.look_at_all_as_istio_comes_and_goes(&watches.sidecars) => {}
            () = shared.keep_gauges() => {}
            () = term.ended() => {
                stop.cancel();
                work.await;
            }
        }
    }
}

impl Shared {
    pub fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, keys: Vec<Key>) {
        for key in keys {
            self.queue.add(key);
        }
    }

    async fn look_at_reselected(&self) {
        let mut ticks = interval(RESELECTED_PAUSE);
        loop {
            ticks.tick().await;
            let touched = self.lock().state.reselected();
            self.add(touched);
        }
    }

    /// The watch tells its sink of an empty or first list before it says that the kind went or came.
    async fn look_at_all_as_istio_comes_and_goes(&self, sidecars: &Watch) {
        let mut absent = sidecars.is_absent();
        loop {
            absent = !absent;
            sidecars.until_absent(absent).await;
            let all = self.lock().state.keys().cloned().collect();
            self.add(all);
        }
    }

    async fn keep_gauges(&self) {
        let mut ticks = interval(GAUGES_PAUSE);
        loop {
            ticks.tick().await;
            let counts = gauges::Counts::of(self.lock().state.all());
            counts.show(&self.metrics);
        }
    }

    /// Begins a fetch, in place of one that is under way.
    pub fn begin_fetch(self: &Arc<Self>, generator: &Arc<ObservedGenerator>, term: &Term) {
        let mut known = self.lock();
        // Asked with the lock held, as the fetches of a term that is over are ended.
        if !term.is_current() {
            return;
        }
        let Known { state, fetches, begun } = &mut *known;
        *begun += 1;
        let memory = state.memory(&generator.key);
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
        if known.fetches.remove(key).is_some() {
            known.state.memory(key).fetching = None;
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
        let key = &generator.key;
        let mut known = self.lock();
        if known.fetches.get(key).is_none_or(|underway| underway.number != number) {
            return;
        }
        known.fetches.remove(key);
        let present = known.state.get(key);
        if present.is_none_or(|present| (&present.uid, present.generation) != (&generator.uid, generator.generation)) {
            known.state.memory(key).fetching = None;
            drop(known);
            return self.queue.add(key.clone()); // it is fetched anew
        }
        let sidecar = known.state.sidecar(key);
        let hosts =
            sidecar.filter(|sidecar| sidecar.ownership(generator) == Ownership::Own).map(|sidecar| sidecar.hosts);
        let ended = Ended { answer, sharing, at: Timestamp::now(), random: fastrand::f64() };
        known.state.memory(key).take(ended, generator, spec, hosts, self.settings.min_period);
        drop(known);
        self.queue.add(key.clone());
    }

    pub fn publish(&self, generator: &ObservedGenerator, type_: EventType, reason: &str, note: String) {
        let reference = ObjectReference {
            api_version: Some(API_VERSION.to_owned()),
            kind: Some(KIND.to_owned()),
            namespace: Some(generator.key.namespace.clone()),
            name: Some(generator.key.name.clone()),
            uid: Some(generator.uid.clone()),
            ..ObjectReference::default() // with a resourceVersion each event would be a new one
        };
        let (reason, action) = (reason.to_owned(), "Reconcile".to_owned());
        self.events.publish(&reference, ObjectEvent { type_, reason, note: Some(note), action, secondary: None });
    }
}

#[cfg(test)]
mod tests;
