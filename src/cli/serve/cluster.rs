//! SidecarSets of a cluster: the flags, the watches and what they feed.

use super::Job;
use super::certificates::Source;
use super::feature_gates::FeatureGates;
use super::queues;
use super::trust::Trust;
use crate::admission::registration::{
    BreakGlass, CONVERSION_SERVICE, FailurePolicy, Published, Reach, Registrar, Registration, SERVICE, ScopeMode,
    Widening,
};
use crate::admission::{
    Answer, Cache, Handler, ServingCertificate, at_once, convert, mutate_pod, mutate_sidecarset, validate_sidecarset,
};
use crate::api::keys;
use crate::api::sidecarset::SidecarSet;
use crate::cluster::{self, Event, Leadership, Tasks, Term, Watch, events, lease};
use crate::injection::Revision;
use crate::injection::validate::WHITELIST_CONFIG_MAP;
use crate::rollout::revisions::KeptRevision;
use crate::rollout::{self, ObservedSet, WatchedPod, storage_migration};
use crate::telemetry::{Metrics, Readiness, Webhook, metrics::Controller as ControllerLabel};
use anyhow::{Context, Result};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::Config;
use kube::{Api, Client, ResourceExt};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long controllers and watches may take to stop.
const BACKGROUND_STOP: Duration = Duration::from_secs(8);

/// Pods in one answer of the API server, which is read in one go.
const PODS_A_PAGE: u32 = 200;

/// The namespace of outrigger and all it keeps.
const NAMESPACE: &str = "outrigger-system";

/// Flags of `outrigger serve` against a cluster.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Cluster")]
pub(in crate::cli) struct Flags {
    /// Controllers to run [default: all]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub controllers: Option<Vec<Controller>>,
    /// Namespace of outrigger itself: of its Services and its Lease; its Pods are left alone [default: outrigger-system]
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
    /// OpenKruise's feature gates; one has a meaning here, `SidecarSetPatchPodMetadataDefaultsAllowed`, off by default
    #[arg(long, value_name = "NAME=BOOL,…", default_value = "", hide_default_value = true)]
    pub feature_gates: FeatureGates,
}

/// A controller that can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "lower")]
pub(in crate::cli) enum Controller {
    /// Injection of SidecarSets, their status and revisions
    SidecarSet,
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
    /// The namespace of outrigger itself.
    pub fn namespace(&self) -> &str {
        self.namespace.as_deref().filter(|name| !name.is_empty()).unwrap_or(NAMESPACE)
    }

    fn revision_namespace(&self) -> &str {
        self.revision_namespace.as_deref().unwrap_or_else(|| self.namespace())
    }

    fn reach(&self) -> Reach {
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

/// Watches the cluster, and says how to serve what is in it.
pub(super) async fn job(
    args: &super::Args,
    source: Source,
    certificate: &Arc<ServingCertificate>,
    metrics: &Arc<Metrics>,
    shutdown: &CancellationToken,
) -> Result<Job> {
    let flags = &args.cluster;
    for gate in &flags.feature_gates.without_meaning {
        tracing::warn!(gate, "--feature-gates: this gate has no meaning here");
    }
    let client =
        cluster::connect(None).await.context("there is no cluster to serve (with --from DIR none is needed)")?;
    let identity = lease::identity();
    let mut tasks = Tasks::new(shutdown.clone());

    let mut options = args.injection.options();
    options.exclusions.namespaces.insert(flags.namespace().to_owned());
    let excluded_namespaces = options.exclusions.namespaces.clone();
    let cache = Arc::new(Cache::new(options, flags.feature_gates.patch_without_whitelist, metrics.clone()));
    let (events, publish) = events::events(client.clone(), identity.clone());
    tasks.spawn_until_shutdown("events", publish);
    let observer = queues::observer(metrics, ControllerLabel::SidecarSet);
    let rollout = rollout::Controller::new(client.clone(), flags.revision_namespace(), events, observer);
    let watches = Watches::start(&client, flags.revision_namespace(), &cache, &rollout, &mut tasks);
    tasks.spawn_until_shutdown("snapshots", {
        let cache = cache.clone();
        async move { cache.keep_published().await }
    });

    let (registration, receiver) = tokio::sync::watch::channel(Registration {
        reach: flags.reach(),
        ca_bundle: None,
        inject_ca_from: None,
        failure_policy: flags.failure_policy,
        excluded_namespaces,
        owner: None,
    });
    let trust = Trust::start(args, source, &client, certificate, registration, metrics, &mut tasks)?;
    let (published, _) = tokio::sync::watch::channel(Published::default());
    let (break_glass, task) = BreakGlass::watch(client.clone(), flags.namespace(), metrics.clone());
    tasks.spawn_until_shutdown("the watch of the break-glass switch", task);
    let widening = {
        let (client, registration, cache) = (client.clone(), receiver.clone(), cache.clone());
        Arc::new(Widening::new(client, flags.scope, registration, cache, break_glass.clone(), metrics.clone()))
    };
    let registrar = Registrar {
        client: client.clone(),
        registration: receiver,
        owner: flags.owner_cluster_role.clone(),
        published,
        scope: flags.scope,
        cache: cache.clone(),
        sets: watches.sets.clone(),
        break_glass: break_glass.clone(),
        metrics: metrics.clone(),
    };
    let leadership = Leadership::new(client.clone(), flags.namespace(), identity);
    let lead = {
        let (client, planned_from, metrics) = (client.clone(), watches.all.clone(), metrics.clone());
        let trust = trust.clone();
        move |term: Term| {
            let (registrar, rollout, planned_from) = (registrar.clone(), rollout.clone(), planned_from.clone());
            let (client, leading, trust) = (client.clone(), Leading::new(&metrics), trust.clone());
            async move {
                tokio::join!(
                    Box::pin(trust.lead(registrar, term.clone())),
                    storage_migration::run(client, term.clone()),
                    rollout.run(term, &planned_from)
                );
                drop(leading);
            }
        }
    };
    tasks.spawn_until_shutdown("metrics of watches", ages(watches.all.clone(), metrics.clone()));
    tasks.spawn("leadership", {
        let (shutdown, elected) = (shutdown.clone(), flags.leader_elect);
        async move {
            if elected {
                Box::pin(leadership.run(&shutdown, lead)).await;
            } else {
                Box::pin(lease::lead_alone(&shutdown, lead)).await;
            }
        }
    });

    let readiness = watches
        .of_reviews
        .into_iter()
        .fold(Readiness::new(), |readiness, watch| readiness.check(watch.what(), move || watch.check()));
    let readiness = trust.check(readiness).check("break-glass", move || break_glass.check());
    let background = Box::pin(async move { tasks.run(BACKGROUND_STOP).await.map_err(Into::into) });
    Ok(Job { webhooks: webhooks(&cache, widening, metrics), readiness, background })
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
    let mut ticks = tokio::time::interval(Duration::from_secs(5));
    loop {
        ticks.tick().await;
        for watch in &watches {
            if let Some(age) = watch.age() {
                metrics.watch_age(watch.what()).set(i64::try_from(age.as_secs()).unwrap_or(i64::MAX));
            }
        }
    }
}

/// The watches that run in every replica.
struct Watches {
    /// SidecarSets.
    sets: Watch,
    /// What controllers plan from.
    all: Vec<Watch>,
    /// What reviews are answered from: without it a replica is not ready.
    of_reviews: Vec<Watch>,
}

impl Watches {
    fn start(
        client: &Client,
        revision_namespace: &str,
        cache: &Arc<Cache>,
        rollout: &rollout::Controller,
        tasks: &mut Tasks,
    ) -> Self {
        let (reviews, controller) = (cache.clone(), rollout.clone());
        let api = Api::<SidecarSet>::all(client.clone());
        let (sets, task) = cluster::watch_as("sidecarsets", api, Config::default(), move |event: Event<Value>| {
            reviews.sidecarsets(&event);
            if let Some(event) = event.filter_map(|set| Some(Arc::new(ObservedSet::read(set)))) {
                controller.sets_event(event);
            }
        });
        tasks.spawn_until_shutdown("the watch of SidecarSets", task);

        let (reviews, controller) = (cache.clone(), rollout.clone());
        let api = Api::<PartialObjectMeta<Namespace>>::all(client.clone());
        let (namespaces, task) = cluster::watch("namespaces", api, Config::default(), move |event| {
            reviews.namespaces(&event);
            let labels = |namespace: PartialObjectMeta<Namespace>| {
                Some((namespace.name_any(), namespace.metadata.labels.unwrap_or_default()))
            };
            if let Some(event) = event.filter_map(labels) {
                controller.namespaces_event(event);
            }
        });
        tasks.spawn_until_shutdown("the watch of Namespaces", task);

        let (reviews, controller) = (cache.clone(), rollout.clone());
        let api = Api::<ControllerRevision>::namespaced(client.clone(), revision_namespace);
        // One that loses the label is told as deleted; those of other workloads are none of ours.
        let of_sets = Config::default().labels(keys::REVISION_OF);
        let (revisions, task) = cluster::watch_as("controllerrevisions", api, of_sets, move |event: Event<Value>| {
            reviews.revisions(&event);
            let kept = |revision| Some(KeptRevision::from(&Revision::read(revision).ok()??));
            if let Some(event) = event.filter_map(kept) {
                controller.revisions_event(event);
            }
        });
        tasks.spawn_until_shutdown("the watch of ControllerRevisions", task);

        let reviews = cache.clone();
        let only = Config::default().fields(&format!("metadata.name={WHITELIST_CONFIG_MAP}"));
        let api = Api::namespaced(client.clone(), revision_namespace);
        let (whitelist, task) = cluster::watch("configmaps", api, only, move |event| reviews.configuration(&event));
        tasks.spawn_until_shutdown("the watch of the metadata whitelist", task);

        let controller = rollout.clone();
        let api = Api::<Pod>::all(client.clone());
        let pages = Config::default().page_size(PODS_A_PAGE);
        let (pods, task) = cluster::watch_as("pods", api, pages, move |event: Event<WatchedPod>| {
            // The list of a large cluster takes a while to count; reviews must not wait for it.
            tokio::task::block_in_place(|| controller.pods_event(event));
        });
        tasks.spawn_until_shutdown("the watch of Pods", task);

        let of_reviews = vec![sets.clone(), namespaces.clone(), revisions.clone(), whitelist];
        Self { all: vec![sets.clone(), namespaces, revisions, pods], of_reviews, sets }
    }
}

fn webhooks(cache: &Arc<Cache>, widening: Arc<Widening>, metrics: &Arc<Metrics>) -> Vec<(Webhook, Handler)> {
    let (pods, counted, sets) = (cache.clone(), metrics.clone(), cache.clone());
    let inject = move |body: &[u8]| mutate_pod::answer(body, &pods.snapshot(), Timestamp::now(), &counted);
    let (inject, pods) = (Arc::new(inject), cache.clone());
    let mutate_pod: Handler = Arc::new(move |body| match pods.awaited_for(body) {
        None => inject(body).into(),
        Some(told) => {
            let (body, inject) = (body.to_owned(), inject.clone());
            Answer::Later(Box::pin(async move {
                told.await;
                inject(&body)
            }))
        }
    });
    let validate: Handler = Arc::new(move |body| widening.answer(validate_sidecarset::decide(body, &sets.world())));
    vec![
        (Webhook::MutatePod, mutate_pod),
        (Webhook::MutateSidecarSet, at_once(mutate_sidecarset::answer)),
        (Webhook::ValidateSidecarSet, validate),
        (Webhook::Convert, at_once(convert::answer)),
    ]
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
