//! `outrigger serve` against a cluster: the flags, and the parts of all controllers put together.

use super::Job;
use super::certificates::Source;
use super::feature_gates::FeatureGates;
use super::part::{Common, Part, lease_of};
use super::{sidecar_generator, sidecarset};
use crate::admission::registration::{CONVERSION_SERVICE, FailurePolicy, Reach, SERVICE, ScopeMode};
use crate::admission::{self, ServingCertificate};
use crate::api::go_duration;
use crate::cluster::{self, Feeds, Leadership, Shutdown, Standing, Tasks, Term, Watch, events, lease};
use crate::telemetry::{Metrics, Readiness};
use anyhow::{Context, Result};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch::Receiver;

/// How long controllers and watches may take to stop, once nobody is answered any more.
const BACKGROUND_STOP: Duration = Duration::from_secs(8);

/// The namespace of outrigger and all it keeps.
const NAMESPACE: &str = "outrigger-system";

/// Flags of `outrigger serve` against a cluster.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Cluster")]
pub(in crate::cli) struct Flags {
    /// Controllers to run [default: all]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub controllers: Option<Vec<Controller>>,
    /// Namespace of outrigger itself: of its Services and its Leases; its Pods are left alone [default: outrigger-system]
    #[arg(long, value_name = "NAMESPACE", env = "POD_NAMESPACE")]
    pub namespace: Option<String>,
    /// Namespace of the ControllerRevisions and of the ConfigMap kruise-configuration; kruise-system after OpenKruise
    /// [default: that of --namespace]
    #[arg(long, value_name = "NAMESPACE")]
    pub revision_namespace: Option<String>,
    /// Which new Pods the API server sends: those that may match a SidecarSet by their labels, or all
    #[arg(long, value_enum, ignore_case = true, default_value_t)]
    pub scope: ScopeMode,
    /// What happens to new Pods while no replica answers
    #[arg(long, value_enum, ignore_case = true, default_value_t)]
    pub failure_policy: FailurePolicy,
    /// Register the webhooks by this URL instead of by Service, for a server outside of the cluster
    #[arg(long, value_name = "https://HOST:PORT", value_parser = https)]
    pub webhook_url: Option<String>,
    /// Port of the Services by which the webhooks are registered [default: 443]
    #[arg(long, value_name = "PORT", conflicts_with = "webhook_url")]
    pub service_port: Option<u16>,
    /// ClusterRole that owns the webhook configurations: deleting it removes them
    #[arg(long, value_name = "NAME")]
    pub owner_cluster_role: Option<String>,
    /// Whether controllers wait to be elected; false only where there is never a second replica
    #[arg(long, value_name = "true|false", default_value = "true", action = clap::ArgAction::Set)]
    pub leader_elect: bool,
    /// How long the API server may take to begin an answer; for a page of a list it may take six times as long
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = go_duration::positive)]
    pub api_timeout: Duration,
    /// OpenKruise's feature gates; one has a meaning here, `SidecarSetPatchPodMetadataDefaultsAllowed`, off by default
    #[arg(long, value_name = "NAME=BOOL,…", default_value = "", hide_default_value = true)]
    pub feature_gates: FeatureGates,
    #[command(flatten)]
    pub fetching: sidecar_generator::FetchFlags,
}

/// A controller that can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "lower")]
pub(in crate::cli) enum Controller {
    /// Injection of SidecarSets, their status and revisions
    SidecarSet,
    /// Istio Sidecars from the URLs of SidecarGenerators
    SidecarGenerator,
}

/// A URL by which webhooks may be registered: <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#url>.
fn https(url: &str) -> Result<String, String> {
    let host = url
        .strip_prefix("https://")
        .ok_or("must begin with https://, for the API server calls webhooks by TLS only")?;
    if host.is_empty() || host.contains(['@', '?', '#']) {
        return Err("must be https://HOST[:PORT][/PATH], without user, query or fragment".to_owned());
    }
    Ok(url.to_owned())
}

/// The host of such a URL, as certificates name it.
fn host(url: &str) -> Option<String> {
    let url: http::Uri = url.parse().ok()?;
    Some(url.host()?.trim_matches(['[', ']']).to_owned())
}

impl Flags {
    /// Whether this controller is to run.
    pub fn runs(&self, controller: Controller) -> bool {
        self.controllers.as_ref().is_none_or(|chosen| chosen.contains(&controller))
    }

    /// The namespace of outrigger itself.
    pub fn namespace(&self) -> &str {
        self.namespace.as_deref().filter(|name| !name.is_empty()).unwrap_or(NAMESPACE)
    }

    pub fn revision_namespace(&self) -> &str {
        self.revision_namespace.as_deref().unwrap_or_else(|| self.namespace())
    }

    pub fn reach(&self) -> Reach {
        match &self.webhook_url {
            Some(url) => Reach::Url(url.clone()),
            None => Reach::Service { namespace: self.namespace().to_owned(), port: self.service_port.unwrap_or(443) },
        }
    }

    /// Names by which the API server asks for the certificate.
    pub fn server_names(&self) -> Vec<String> {
        match self.reach() {
            Reach::Url(url) => host(&url).into_iter().collect(),
            Reach::Service { namespace, .. } => {
                [SERVICE, CONVERSION_SERVICE].map(|service| format!("{service}.{namespace}.svc")).to_vec()
            }
        }
    }
}

/// Watches the cluster, and says how to serve what is in it. `front` has the certificate's source if there are webhooks to serve.
pub(super) async fn job(
    args: &super::Args,
    front: Option<(Source, &Arc<ServingCertificate>)>,
    metrics: &Arc<Metrics>,
    reviews: &Arc<admission::Metrics>,
    shutdown: &Shutdown,
) -> Result<Job> {
    let flags = &args.cluster;
    let (client, url) = cluster::connect(None, flags.api_timeout)
        .await
        .context("there is no cluster to serve (with --from DIR none is needed)")?;
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

/// Keeps the metrics of a candidacy.
async fn tell_standing(lease: &'static str, mut standing: Receiver<Standing>, metrics: Arc<Metrics>) {
    let (leading, failing) = (metrics.leading(lease), metrics.lease_failing(lease));
    loop {
        let (leads, fails) = {
            let now = standing.borrow_and_update();
            (now.leads, now.fails)
        };
        leading.set(leads.into());
        failing.set(fails.into());
        if standing.changed().await.is_err() {
            std::future::pending::<()>().await; // nobody is a candidate any more: it stays as it is
        }
    }
}

/// Keeps the metrics of watches.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_certificate_names_what_is_registered() {
        let by_url = |url: &str| Flags { webhook_url: Some(url.to_owned()), ..Flags::default() }.server_names();
        assert_eq!(by_url("https://laptop.example:9443/outrigger"), ["laptop.example"]);
        assert_eq!(by_url("https://[fd00::1]:9443"), ["fd00::1"]);
        let by_service = Flags { namespace: Some("ns".to_owned()), ..Flags::default() }.server_names();
        assert_eq!(by_service, ["outrigger-webhook.ns.svc", "outrigger-conversion.ns.svc"]);
    }
}
