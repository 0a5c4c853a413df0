//! Keeps the VirtualServices and placeholders of all Services according to the ConfigMap while this process leads: its events, and the
//! work of a term.

use super::annotated::ObservedConfigMap;
use super::endpoints::ObservedSlice;
use super::excluded::{EXCLUDED_NAMESPACES, EXCLUDED_SERVICES};
use super::gauges::{self, Counts};
use super::index::{ObservedNamespace, RoutingIndex, RoutingQueue};
use super::istio_version;
use super::key::Key;
use super::leader::Leader;
use super::metrics::RoutingMetrics;
use super::placeholder;
use super::service::ObservedService;
use super::virtual_service::{self, ObservedVirtualService};
use crate::cluster::controller::{self, every};
use crate::cluster::queue::Observer;
use crate::cluster::{Event, Events, Feeds, IndexedQueue, Objects, Slice, Term, Watch};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use kube::api::{ApiResource, ObjectMeta};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;

/// The number of names worked on at the same time.
const WORKERS: usize = 8;

/// After this time, unknown endpoints are reported.
const ENDPOINTS_LATE: Duration = Duration::from_secs(10);

/// The time between two updates of the metrics.
const GAUGES_PAUSE: Duration = Duration::from_secs(10);

/// The settings of the controller.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The ConfigMap with the configuration.
    pub config_map: Key,
}

/// The controller. Clones share its state. Every replica passes all events to it, so that a new leader knows the
/// objects already.
#[derive(Clone)]
pub struct Controller {
    client: Client,
    events: Events,
    queue: Arc<RoutingQueue>,
    metrics: RoutingMetrics,
    config_map: Key,
    /// Whether the configuration needs ready endpoints.
    wants_endpoints: Arc<watch::Sender<bool>>,
}

/// The watches of a controller. Clones share them.
#[derive(Clone, Debug)]
pub struct Watches {
    /// The ConfigMap.
    pub config_map: Watch,
    /// Services of all namespaces.
    pub services: Watch,
    /// All namespaces.
    pub namespaces: Watch,
}

/// Cleans up after a term, however it ends.
struct Ending<'a>(&'a Controller);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.queue.lock().forget_feeds_of_term();
        gauges::clear(&self.0.metrics);
    }
}

/// The decoded metadata of a Namespace.
#[derive(Deserialize)]
struct NamespaceMetadata {
    metadata: ObjectMeta,
}

impl Controller {
    /// Creates a controller with an observer.
    #[must_use]
    pub fn new(
        client: Client,
        events: Events,
        metrics: RoutingMetrics,
        observer: Arc<dyn Observer>,
        settings: Settings,
    ) -> Self {
        let queue = Arc::new(IndexedQueue::new(RoutingIndex::default(), observer));
        let Settings { config_map } = settings;
        Self { client, events, queue, metrics, config_map, wants_endpoints: Arc::new(watch::Sender::new(false)) }
    }

    /// Subscribes to the ConfigMap, Services and Namespaces. Every candidate needs them.
    pub fn subscribe(&self, feeds: &mut Feeds) -> Watches {
        let fed = self.clone();
        let sink = move |config_map: Option<ObservedConfigMap>| fed.config_map_event(config_map);
        let slice = Slice::all::<ConfigMap>("routing-configuration").in_namespace(&self.config_map.namespace);
        let config_map = feeds.subscribe_one(slice, &self.config_map.name, sink);

        let queue = Arc::clone(&self.queue);
        let sink = move |event: Event<ObservedService>| {
            if let Some(event) = event.filter_map(|service| Some(Arc::new(service))) {
                queue.change(|index| index.services_event(event));
            }
        };
        let services = feeds.subscribe(Slice::all::<Service>("all-services"), sink);

        let queue = Arc::clone(&self.queue);
        let sink = move |event: Event<NamespaceMetadata>| {
            let observed = |NamespaceMetadata { metadata }: NamespaceMetadata| {
                let deleting = metadata.deletion_timestamp.is_some();
                metadata.name.map(|name| ObservedNamespace { name, deleting })
            };
            if let Some(event) = event.filter_map(observed) {
                queue.change(|index| index.namespaces_event(event));
            }
        };
        let namespaces = feeds.subscribe(Slice::all::<Namespace>("namespaces").metadata_only(), sink);
        Watches { config_map, services, namespaces }
    }

    fn config_map_event(&self, config_map: Option<ObservedConfigMap>) {
        self.queue.change(|index| {
            let touched = index.config_map_event(config_map);
            let wanted = index.configuration().is_some_and(|good| good.require_ready_endpoints);
            self.wants_endpoints.send_if_modified(|wants| std::mem::replace(wants, wanted) != wanted);
            touched
        });
    }

    /// Does the work of a term: waits for Istio's VirtualServices and for fresh lists of all kinds, then keeps everything up to date
    /// until the term ends. Without Istio nothing is written.
    pub async fn run(&self, term: Term, watches: &Watches) {
        tracing::info!(
            namespaces = EXCLUDED_NAMESPACES.join(","),
            services = EXCLUDED_SERVICES.join(","),
            "these namespaces and Services are never routed"
        );
        let _ending = Ending(self);
        while term.is_current() {
            let version = tokio::select! {
                version = istio_version::served(&self.client) => version,
                () = term.ended() => return,
            };
            self.run_with(version, &term, watches).await;
            self.queue.lock().forget_feeds_of_term();
        }
    }

    /// Works with VirtualServices of this version until the term ends or they are no longer served.
    async fn run_with(&self, version: &'static str, term: &Term, watches: &Watches) {
        let resource = virtual_service::resource(version);
        let mut feeds = Feeds::new(self.client.clone());
        let queue = Arc::clone(&self.queue);
        let sink = move |event: Event<ObservedVirtualService>| {
            if let Some(event) = event.filter_map(|seen| Some(Arc::new(seen))) {
                queue.change(|index| index.virtual_services_event(event));
            }
        };
        let virtual_services = feeds.subscribe(Slice::of("virtualservices", resource.clone()), sink);
        let all = [&watches.config_map, &watches.services, &watches.namespaces, &virtual_services].map(Clone::clone);
        let objects = |resource| Objects::new(self.client.clone(), resource, self.events.clone());
        let leader = Arc::new(Leader {
            queue: Arc::clone(&self.queue),
            services: objects(placeholder::resource()),
            virtual_services: objects(resource),
            config_maps: objects(ApiResource::erase::<ConfigMap>(&())),
            config_map: self.config_map.clone(),
        });
        let work = async {
            if !controller::fresh(&all, term).await {
                return;
            }
            let beside = async {
                tokio::select! {
                    () = virtual_services.until_absent(true) => {}
                    () = every(GAUGES_PAUSE, || self.show_gauges()) => {}
                }
            };
            let begin = |index: &mut RoutingIndex| index.begin_term(version);
            self.queue.run(WORKERS, term, begin, beside, leader).await;
        };
        tokio::select! {
            () = work => {}
            () = feeds.run() => {}
            () = self.follow_endpoints() => {}
        }
    }

    /// Follows EndpointSlices while the configuration needs them.
    async fn follow_endpoints(&self) {
        let mut wants = self.wants_endpoints.subscribe();
        loop {
            if wants.wait_for(|wants| *wants).await.is_err() {
                return std::future::pending().await; // cannot be: the sender is ours, too
            }
            let mut feeds = Feeds::new(self.client.clone());
            let queue = Arc::clone(&self.queue);
            let sink = move |event: Event<ObservedSlice>| queue.change(|index| index.endpoints_event(event));
            feeds.subscribe(Slice::all::<EndpointSlice>("all-endpointslices"), sink);
            let late = async {
                sleep(ENDPOINTS_LATE).await;
                self.queue.change(RoutingIndex::endpoints_are_late);
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = feeds.run() => {}
                _ = wants.wait_for(|wants| !*wants) => {}
                () = late => {}
            }
            self.queue.lock().forget_endpoints();
        }
    }

    fn show_gauges(&self) {
        let counts = Counts::of(&self.queue.lock());
        counts.show(&self.metrics);
    }
}
