//! `outrigger serve` against a cluster: the parts of all controllers put together.

use super::certificates::Source;
use super::flags::{Args, Controller};
use super::job::Job;
use super::part::Common;
use super::{sidecar_generator, sidecarset};
use crate::admission::{self, ServingCertificate};
use crate::cluster::{self, Feeds, Leadership, Shutdown, Tasks, Term, Watch, events, lease};
use crate::telemetry::{Metrics, Readiness};
use anyhow::{Context, Result};
use futures::future::join_all;
use std::sync::Arc;
use std::time::Duration;

/// How long controllers and watches may take to stop, once nobody is answered any more.
const BACKGROUND_STOP: Duration = Duration::from_secs(8);

/// Watches the cluster, and says how to serve what is in it. `front` has the certificate's source if there are webhooks to serve.
pub(super) async fn job(
    args: &Args,
    front: Option<(Source, &Arc<ServingCertificate>)>,
    metrics: &Arc<Metrics>,
    reviews: &Arc<admission::Metrics>,
    shutdown: &Shutdown,
) -> Result<Job> {
    let flags = &args.cluster;
    let (client, url) =
        cluster::connect(None).await.context("there is no cluster to serve (with --from DIR none is needed)")?;
    let identity = lease::identity();
    let (mut tasks, mut feeds) = (Tasks::new(shutdown.clone()), Feeds::new(client.clone()));
    let (events, publish) = events::events(client.clone(), identity.clone());
    tasks.spawn_until_stop("events", publish);
    let common = Common { client, url, events, metrics: metrics.clone(), reviews: reviews.clone() };

    let mut parts = Vec::new();
    if let Some((source, certificate)) = front {
        parts.push(sidecarset::part(args, source, certificate, &common, &mut feeds, &mut tasks)?);
    }
    if flags.runs(Controller::SidecarGenerator) {
        parts.push(sidecar_generator::part(&flags.fetching, &common, &mut feeds, &mut tasks));
    }

    let (mut webhooks, mut readiness, mut leads) = (Vec::new(), Readiness::new(), Vec::new());
    for part in parts {
        webhooks.extend(part.webhooks);
        readiness = readiness.and(part.readiness);
        leads.push(part.lead);
    }
    tasks.spawn_until_stop("metrics of watches", ages(feeds.watches(), metrics.clone()));
    tasks.spawn_until_stop("feeds", feeds.run());
    tasks.spawn_until_drain("leadership", {
        let leadership = Leadership::new(common.client.clone(), flags.namespace(), lease::LEASE, identity);
        let (drain, elected, metrics) = (shutdown.drain.clone(), flags.leader_elect, metrics.clone());
        let lead = move |term: Term| {
            let (leading, mut feeds) = (Leading::new(&metrics), Feeds::new(common.client.clone()));
            let work = join_all(leads.iter().map(|lead| lead(term.clone(), &mut feeds)));
            async move {
                tokio::select! {
                    _ = work => {}
                    () = feeds.run() => {}
                }
                drop(leading);
            }
        };
        async move {
            if elected {
                Box::pin(leadership.run(&drain, lead)).await;
            } else {
                Box::pin(lease::lead_alone(&drain, lead)).await;
            }
        }
    });
    let background = Box::pin(async move { tasks.run(BACKGROUND_STOP).await.map_err(Into::into) });
    Ok(Job { webhooks, readiness, background })
}

/// Shows for as long as it lives that this replica leads.
struct Leading(Arc<Metrics>);

impl Leading {
    fn new(metrics: &Arc<Metrics>) -> Self {
        metrics.leading.set(1);
        Self(metrics.clone())
    }
}

impl Drop for Leading {
    fn drop(&mut self) {
        self.0.leading.set(0);
    }
}

/// Keeps the metric of the watches' ages.
async fn ages(watches: Vec<Watch>, metrics: Arc<Metrics>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    loop {
        ticks.tick().await;
        for watch in &watches {
            if let Some(age) = watch.age() {
                metrics.watch_age(watch.what()).set(i64::try_from(age.as_secs()).unwrap_or(i64::MAX));
            }
        }
    }
}
