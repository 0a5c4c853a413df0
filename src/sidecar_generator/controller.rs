//! Keeps the Sidecars of all SidecarGenerators according to their URLs while this process leads: its events, and the
//! work of a term.

use super::fetches::{Fetches, GeneratorQueue, IndexWithFetches};
use super::fetching::Fetching;
use super::gauges;
use super::generator::ObservedGenerator;
use super::leader::Leader;
use super::metrics::GeneratorMetrics;
use super::sidecar::{self, ObservedSidecar};
use crate::api::sidecar_generator::SidecarGenerator;
use crate::cluster::controller::every;
use crate::cluster::queue::Observer;
use crate::cluster::{Event, Events, Feeds, IndexedQueue, Objects, Slice, Term, Watch, controller};
use crate::fetch::{Fetcher, Rules};
use kube::Client;
use kube::api::ApiResource;
use std::sync::Arc;
use std::time::Duration;

/// The number of objects worked on at the same time.
const WORKERS: usize = 8;

/// The time between two checks for Sidecars with changed selectors, so that many changes are handled together.
const RESELECTED_PAUSE: Duration = Duration::from_secs(1);

/// The time between two updates of the metrics.
const GAUGES_PAUSE: Duration = Duration::from_secs(10);

/// The settings of the controller.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The minimum period of all SidecarGenerators.
    pub min_period: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { min_period: Duration::from_secs(10) }
    }
}

/// The controller. Clones share its state. Every replica passes all events to it, so that a new leader knows the
/// objects already.
#[derive(Clone)]
pub struct Controller {
    queue: Arc<GeneratorQueue>,
    fetches: Arc<Fetches>,
    generators: Objects,
    sidecars: Objects,
    metrics: GeneratorMetrics,
    min_period: Duration,
}

/// The watches of a controller. Clones share them.
#[derive(Clone, Debug)]
pub struct Watches {
    /// SidecarGenerators of all namespaces.
    pub generators: Watch,
    /// Istio's Sidecars of all namespaces.
    pub sidecars: Watch,
}

/// Cleans up after a term, however it ends.
struct Ending<'a>(&'a Controller);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.fetches.stop_all();
        gauges::clear(&self.0.metrics);
    }
}

impl Controller {
    /// Creates a controller with this fetcher, these rules and an observer.
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
        let Settings { min_period } = settings;
        let queue = Arc::new(IndexedQueue::new(IndexWithFetches::default(), observer));
        let fetching = Fetching::new(client.clone(), fetcher, rules, metrics.clone());
        let resource = ApiResource::erase::<SidecarGenerator>(&());
        let generators = Objects::new(client.clone(), resource, events.clone());
        let sidecars = Objects::new(client, sidecar::resource(), events);
        Self {
            fetches: Arc::new(Fetches::new(Arc::clone(&queue), fetching, min_period)),
            queue,
            generators,
            sidecars,
            metrics,
            min_period,
        }
    }

    /// Subscribes to SidecarGenerators and Sidecars. Every candidate needs them.
    pub fn subscribe(&self, feeds: &mut Feeds) -> Watches {
        let fed = self.clone();
        let sink = move |event: Event<ObservedGenerator>| {
            if let Some(event) = event.filter_map(|generator| Some(Arc::new(generator))) {
                fed.generators_event(event);
            }
        };
        let generators = feeds.subscribe(Slice::all::<SidecarGenerator>("sidecargenerators"), sink);

        let fed = self.clone();
        let sink = move |event: Event<ObservedSidecar>| {
            if let Some(event) = event.filter_map(|sidecar| Some(Arc::new(sidecar))) {
                fed.sidecars_event(event);
            }
        };
        let sidecars = feeds.subscribe(Slice::of("sidecars", sidecar::resource()), sink);
        Watches { generators, sidecars }
    }

    /// Sets the root namespace of the mesh.
    #[must_use]
    pub fn in_mesh_of(self, root_namespace: &str) -> Self {
        root_namespace.clone_into(&mut self.queue.lock().index.root_namespace);
        self
    }

    /// SidecarGenerators changed.
    fn generators_event(&self, event: Event<Arc<ObservedGenerator>>) {
        let may_be_gone = matches!(event, Event::End | Event::Deleted(_));
        self.queue.change(|known| {
            let touched = known.index.generators_event(event);
            if may_be_gone {
                known.stop_fetches_of_gone();
            }
            touched
        });
    }

    /// Sidecars changed, including those of others.
    fn sidecars_event(&self, event: Event<Arc<ObservedSidecar>>) {
        self.queue.change(|known| known.index.sidecars_event(event));
    }

    /// Does the work of a term: waits for fresh lists of both kinds, then keeps all Sidecars up to date until the term
    /// ends.
    pub async fn run(&self, term: Term, watches: &Watches) {
        if !controller::fresh(&[watches.generators.clone(), watches.sidecars.clone()], &term).await {
            return;
        }
        let _ending = Ending(self);
        let beside = async {
            tokio::select! {
                () = every(RESELECTED_PAUSE, || self.queue.change(|known| known.index.reselected())) => {}
                () = self.look_at_all_as_istio_comes_and_goes(&watches.sidecars) => {}
                () = every(GAUGES_PAUSE, || self.show_gauges()) => {}
            }
        };
        let leader = Arc::new(self.leader(watches.sidecars.clone()));
        self.queue.run(WORKERS, &term, IndexWithFetches::begin_term, beside, leader).await;
    }

    fn leader(&self, watched_sidecars: Watch) -> Leader {
        Leader {
            queue: Arc::clone(&self.queue),
            fetches: Arc::clone(&self.fetches),
            generators: self.generators.clone(),
            sidecars: self.sidecars.clone(),
            watched_sidecars,
            min_period: self.min_period,
        }
    }

    /// The watch delivers an empty or first list before it reports that the kind was removed or installed.
    async fn look_at_all_as_istio_comes_and_goes(&self, sidecars: &Watch) {
        let mut absent = sidecars.is_absent();
        loop {
            absent = !absent;
            sidecars.until_absent(absent).await;
            self.queue.change(|known| known.keys());
        }
    }

    fn show_gauges(&self) {
        let counts = gauges::Counts::of(self.queue.lock().index.generators());
        counts.show(&self.metrics);
    }
}

#[cfg(test)]
mod tests;
