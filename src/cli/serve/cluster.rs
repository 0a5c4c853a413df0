//! `outrigger serve` with a cluster: combines the parts of all controllers.

use super::certificates::Source;
use super::flags::{Args, Controller};
use super::job::Job;
use super::part::{Common, Part, lease_of};
use super::{dev_routing, mesh_service, sidecar_generator, sidecarset};
use crate::admission::{self, ServingCertificate};
use crate::cluster::{self, Feeds, Leadership, LeaseStanding, Shutdown, Tasks, Term, Watch, events, lease};
use crate::telemetry::{Metrics, Readiness};
use anyhow::{Context, Result};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch::Receiver;

/// The time limit for controllers and watches to stop after the server has stopped.
const BACKGROUND_STOP: Duration = Duration::from_secs(8);

/// Watches the cluster, and returns how to serve its objects. `front` has the source of the certificate if there are
/// webhooks.
pub(super) async fn job(
    args: &Args,
    front: Option<(Source, &Arc<ServingCertificate>)>,
    metrics: &Arc<Metrics>,
    reviews: &Arc<admission::Metrics>,
    shutdown: &Shutdown,
) -> Result<Job> {
    let flags = &args.cluster;
    let (client, url) =
        cluster::connect(flags.access.access(), flags.api_timeout, Arc::new(metrics.rest_client().clone()))
            .await
            .context("no cluster to serve (--from DIR needs none)")?;
    let identity = lease::identity();
    let (mut tasks, mut feeds) = (Tasks::new(shutdown.clone()), Feeds::new(client.clone()));
    let (events, publish) = events::events(client.clone(), identity.clone());
    // The receiver of the last Event may have stopped before the others, so the publisher continues until all have.
    let kept = events.clone();
    tasks.spawn_until_stop("events", async move {
        publish.await;
        drop(kept);
    });
    let common = Common { client, url, events, metrics: metrics.clone(), reviews: reviews.clone() };

    let mut parts = Vec::new();
    if let Some((source, certificate)) = front {
        parts.push(sidecarset::part(args, source, certificate, &common, &mut feeds, &mut tasks)?);
    }
    if flags.runs(Controller::SidecarGenerator) {
        parts.push(sidecar_generator::part(&flags.fetching, &common, &mut feeds, &mut tasks));
    }
    if flags.runs(Controller::DevRouting) {
        parts.push(dev_routing::part(&flags.routing, &common, &mut feeds));
    }
    if flags.runs(Controller::MeshService) {
        parts.push(mesh_service::part(&flags.mesh, &flags.fetching.istio_root_namespace, &common));
    }

    let (mut webhooks, mut readiness) = (Vec::new(), Readiness::new());
    for Part { controller, webhooks: served, readiness: needed, lead } in parts {
        webhooks.extend(served);
        let lease = lease_of(controller);
        let leadership = Leadership::of_job(common.client.clone(), flags.namespace(), lease, identity.clone());
        let standing = leadership.standing();
        tasks.spawn_until_stop("metrics of leadership", tell_standing(lease, standing.clone(), metrics.clone()));
        readiness = readiness.and(needed).check(lease, move || standing.borrow().check());
        tasks.spawn_until_drain(lease, {
            let (drain, elected, client) = (shutdown.drain.clone(), flags.leader_elect, common.client.clone());
            let lead = move |term: Term| {
                let mut feeds = Feeds::new(client.clone());
                let work = lead(term, &mut feeds);
                async move {
                    tokio::select! {
                        () = work => {}
                        () = feeds.run() => {}
                    }
                }
            };
            async move {
                if elected {
                    Box::pin(leadership.run(&drain, lead)).await;
                } else {
                    Box::pin(leadership.run_alone(&drain, lead)).await;
                }
            }
        });
    }
    tasks.spawn_until_stop("metrics of watches", tell_watches(feeds.watches(), metrics.clone()));
    tasks.spawn_until_stop("feeds", feeds.run());
    let background = Box::pin(async move { tasks.run(BACKGROUND_STOP).await.map_err(Into::into) });
    Ok(Job { webhooks, readiness, background })
}

/// Updates the metrics of a candidate.
async fn tell_standing(lease: &'static str, mut standing: Receiver<LeaseStanding>, metrics: Arc<Metrics>) {
    let (leading, failing) = (metrics.leading(lease), metrics.lease_failing(lease));
    loop {
        let (leads, fails) = {
            let now = standing.borrow_and_update();
            (now.leads, now.fails)
        };
        leading.set(leads.into());
        failing.set(fails.into());
        if standing.changed().await.is_err() {
            std::future::pending::<()>().await; // there is no candidate any more, so the state stays unchanged
        }
    }
}

/// Updates the metrics of watches.
async fn tell_watches(watches: Vec<Watch>, metrics: Arc<Metrics>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    loop {
        ticks.tick().await;
        for watch in &watches {
            if let Some(age) = watch.age() {
                metrics.watch_age(watch.what()).set(i64::try_from(age.as_secs()).unwrap_or(i64::MAX));
            }
            metrics.undecodable(watch.what()).set(i64::try_from(watch.undecodable().len()).unwrap_or(i64::MAX));
        }
    }
}
