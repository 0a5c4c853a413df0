//! While this process leads: applies the objects of all MeshServices, and reports errors.

use super::gauges;
use super::index::{MeshIndex, MeshQueue, Settings};
use super::kind::{MeshKind, MeshKinds};
use super::leader::Leader;
use super::metrics::MeshMetrics;
use super::observed::ObservedMeshService;
use super::seen::Seen;
use super::watched::Watched;
use crate::api::mesh_service::MeshService;
use crate::cluster::controller::every;
use crate::cluster::queue::Observer;
use crate::cluster::{Event, Events, Feeds, IndexedQueue, Objects, Slice, Term, Watch};
use crate::mesh_integrity::{Checks, Options, start};
use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::ApiResource;
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch::Receiver;

/// Objects that are reconciled at a time.
const WORKERS: usize = 8;

/// The time between two updates of the gauges.
const GAUGES_PAUSE: Duration = Duration::from_secs(10);

/// The controller; a cheap clone is the same one.
#[derive(Clone)]
pub struct Controller {
    client: Client,
    events: Events,
    metrics: MeshMetrics,
    observer: Arc<dyn Observer>,
    settings: Settings,
}

/// The watches of a term.
struct Watches {
    mesh_services: Watch,
    objects: Vec<(Watched, Watch)>,
}

/// Resets the gauges at the end of a term, however it ends.
struct Ending<'a>(&'a Controller);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        gauges::clear(&self.0.metrics);
    }
}

impl Controller {
    /// Returns a controller that reports its work to this observer.
    #[must_use]
    pub fn new(
        client: Client,
        events: Events,
        metrics: MeshMetrics,
        observer: Arc<dyn Observer>,
        settings: Settings,
    ) -> Self {
        Self { client, events, metrics, observer, settings }
    }

    /// Does the work of a term with the events of these feeds. Only a leader needs to know the mesh, and the first
    /// lists of a term are fresh.
    pub fn lead(&self, term: Term, feeds: &mut Feeds) -> impl Future<Output = ()> + Send + 'static {
        let index = MeshIndex::new(self.settings.clone());
        let queue = Arc::new(IndexedQueue::new(index, Arc::clone(&self.observer)));
        let watches = Watches::subscribe(&queue, feeds, &self.settings.kinds);
        let controller = self.clone();
        async move { controller.run(&queue, &term, &watches).await }
    }

    async fn run(&self, queue: &Arc<MeshQueue>, term: &Term, watches: &Watches) {
        tokio::select! {
            () = watches.settled() => {}
            () = term.ended() => return,
        }
        let _ending = Ending(self);
        let found = match self.begin(queue, watches) {
            Ok(found) => found,
            Err(error) => {
                tracing::error!("the checks of the mesh cannot begin: {error}");
                return;
            }
        };
        let beside = async {
            tokio::select! {
                () = follow_checks(queue, found) => {}
                () = watches.follow_absence(queue) => {}
                () = every(GAUGES_PAUSE, || gauges::show(&queue.lock(), &self.metrics)) => {}
            }
        };
        queue.run(WORKERS, term, |index| index.keys(), beside, Arc::new(self.leader(queue))).await;
    }

    /// Starts the checks. All lists are complete.
    fn begin(&self, queue: &MeshQueue, watches: &Watches) -> std::io::Result<Receiver<Checks>> {
        let Settings { root_namespace, domain, .. } = self.settings.clone();
        let mut index = queue.lock();
        index.is_installed = !watches.mesh_services.is_absent();
        for (kind, watch) in &watches.objects {
            index.set_absent(*kind, watch.is_absent());
        }
        let (changes, found) = start(Options { root_namespace, domain, now: None }, index.judged())?;
        index.judge().begin(changes);
        Ok(found)
    }

    fn leader(&self, queue: &Arc<MeshQueue>) -> Leader {
        let objects = |resource| Objects::new(self.client.clone(), resource, self.events.clone());
        Leader {
            queue: Arc::clone(queue),
            mesh_services: objects(ApiResource::erase::<MeshService>(&())),
            objects: MeshKind::ALL.into_iter().map(|kind| (kind, objects(kind.resource()))).collect(),
            pods: objects(ApiResource::erase::<Pod>(&())),
            metrics: self.metrics.clone(),
        }
    }
}

impl Watches {
    /// Subscribes to the kinds. Policies are watched only if they are made: no check reads them.
    fn subscribe(queue: &Arc<MeshQueue>, feeds: &mut Feeds, kinds: &MeshKinds) -> Self {
        let fed = Arc::clone(queue);
        let sink = move |event: Event<ObservedMeshService>| {
            let event = event.map(Arc::new);
            fed.change(|index| index.mesh_services_event(event));
        };
        let mesh_services = feeds.subscribe(Slice::all::<MeshService>("meshservices"), sink);
        let is_wanted = |watched: &Watched| match watched {
            Watched::Made(kind) => watched.judged().is_some() || kinds.contains(*kind),
            _ => true,
        };
        let objects = Watched::all().filter(is_wanted).map(|kind| {
            let fed = Arc::clone(queue);
            let sink = move |event: Event<Value>| {
                let event = event.map(|object| Arc::new(Seen::read(kind, object)));
                fed.change(|index| index.objects_event(kind, event));
            };
            (kind, feeds.subscribe(kind.slice(), sink))
        });
        Self { mesh_services, objects: objects.collect() }
    }

    async fn settled(&self) {
        let all = self.objects.iter().map(|(_, watch)| watch).chain([&self.mesh_services]);
        join_all(all.map(Watch::settled)).await;
    }

    /// Follows kinds that are added and removed. A watch sends its sink an empty or first list before it reports that.
    async fn follow_absence(&self, queue: &MeshQueue) {
        let of_objects = self.objects.iter().map(async |(kind, watch)| {
            let mut absent = watch.is_absent();
            queue.change(|index| index.set_absent(*kind, absent));
            loop {
                absent = !absent;
                watch.until_absent(absent).await;
                queue.change(|index| index.set_absent(*kind, absent));
            }
        });
        let of_mesh_services = async {
            let mut absent = self.mesh_services.is_absent();
            queue.change(|index| index.set_installed(!absent));
            loop {
                absent = !absent;
                self.mesh_services.until_absent(absent).await;
                queue.change(|index| index.set_installed(!absent));
            }
        };
        tokio::join!(join_all(of_objects), of_mesh_services);
    }
}

/// Receives the findings until the checks end.
async fn follow_checks(queue: &MeshQueue, mut found: Receiver<Checks>) {
    loop {
        let checks = found.borrow_and_update().clone();
        match checks {
            Some(Ok(found)) => queue.change(|index| index.found(found)),
            Some(Err(error)) => return tracing::error!("the mesh cannot be checked any more: {error}"),
            None => queue.change(|_| BTreeSet::new()),
        }
        if found.changed().await.is_err() {
            return;
        }
    }
}
