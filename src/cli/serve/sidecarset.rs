//! The controller `sidecarset`: injection of SidecarSets, the registration of its webhooks, status and revisions.

use super::certificates::Source;
use super::part::{Common, Part};
use super::queues;
use super::trust::Trust;
use crate::admission::registration::{BreakGlass, Published, Registrar, Registration, Widening};
use crate::admission::{
    Answer, Cache, Handler, Metrics, ServingCertificate, Webhook, Work, at_once, convert, mutate_pod,
    mutate_sidecarset, validate_sidecarset,
};
use crate::api::keys;
use crate::api::sidecarset::SidecarSet;
use crate::cluster::{self, Event, Tasks, Term, Watch};
use crate::injection::Revision;
use crate::injection::validate::WHITELIST_CONFIG_MAP;
use crate::rollout::revisions::KeptRevision;
use crate::rollout::{self, ObservedSet, WatchedPod, storage_migration};
use crate::telemetry::Readiness;
use crate::telemetry::metrics::Controller;
use anyhow::Result;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::Config;
use kube::{Api, Client, ResourceExt};
use serde_json::Value;
use std::sync::Arc;

/// Pods in one answer of the API server, which is read in one go.
const PODS_A_PAGE: u32 = 200;

/// Starts what every replica does, and says what is to be served and what a leader does.
pub(super) fn part(
    args: &super::Args,
    source: Source,
    certificate: &Arc<ServingCertificate>,
    common: &Common,
    tasks: &mut Tasks,
) -> Result<Part> {
    let flags = &args.cluster;
    for gate in &flags.feature_gates.without_meaning {
        tracing::warn!(gate, "--feature-gates: this gate has no meaning here");
    }
    let Common { client, events, reviews, .. } = common;
    let mut options = args.injection.options();
    options.exclusions.namespaces.insert(flags.namespace().to_owned());
    let excluded_namespaces = options.exclusions.namespaces.clone();
    let cache = Arc::new(Cache::new(options, flags.feature_gates.patch_without_whitelist, reviews.clone()));
    let observer = queues::observer(&common.metrics, Controller::SidecarSet);
    let rollout = rollout::Controller::new(client.clone(), flags.revision_namespace(), events.clone(), observer)
        .excluding(excluded_namespaces.clone());
    let watches = Watches::start(client, flags.revision_namespace(), &cache, &rollout, tasks);
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
    let trust = Trust::start(args, source, client, certificate, registration, reviews, tasks)?;
    let (published, _) = tokio::sync::watch::channel(Published::default());
    let (break_glass, task) = BreakGlass::watch(client.clone(), flags.namespace(), reviews.clone());
    tasks.spawn_until_shutdown("the watch of the break-glass switch", task);
    let widening = {
        let (client, registration, cache) = (client.clone(), receiver.clone(), cache.clone());
        Arc::new(Widening::new(client, flags.scope, registration, cache, break_glass.clone(), reviews.clone()))
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
        metrics: reviews.clone(),
    };
    let others = [break_glass.watched(), watches.whitelist.clone()];
    let read = watches.all.iter().cloned().chain(others).chain(trust.watch()).collect();
    let readiness = watches
        .of_reviews
        .into_iter()
        .fold(Readiness::new(), |readiness, watch| readiness.check(watch.what(), move || watch.check()));
    let objects = cache.clone();
    let readiness = trust
        .check(readiness)
        .check("objects", move || objects.check())
        .check("break-glass", move || break_glass.check());
    let webhooks = webhooks(&cache, &watches.sets, widening, reviews);
    let (client, planned_from) = (client.clone(), watches.all.clone());
    let lead = move |term: Term| {
        let (registrar, rollout, planned_from) = (registrar.clone(), rollout.clone(), planned_from.clone());
        let (client, trust) = (client.clone(), trust.clone());
        let work = async move {
            tokio::join!(
                Box::pin(trust.lead(registrar, term.clone())),
                storage_migration::run(client, term.clone()),
                rollout.run(term, &planned_from)
            );
        };
        Box::pin(work) as _
    };
    Ok(Part { webhooks, readiness, watches: read, lead: Box::new(lead) })
}

/// The watches that run in every replica.
struct Watches {
    /// SidecarSets.
    sets: Watch,
    /// The rules for metadata patches.
    whitelist: Watch,
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
            if let Some(event) = event.filter_map(|set| Some(Arc::new(ObservedSet::read(&set)))) {
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

        let of_reviews = vec![sets.clone(), namespaces.clone(), revisions.clone(), whitelist.clone()];
        Self { all: vec![sets.clone(), namespaces, revisions, pods], of_reviews, sets, whitelist }
    }
}

fn webhooks(
    cache: &Arc<Cache>,
    watch_of_sets: &Watch,
    widening: Arc<Widening>,
    metrics: &Arc<Metrics>,
) -> Vec<(Webhook, Handler)> {
    let (pods, counted, sets) = (cache.clone(), metrics.clone(), cache.clone());
    let inject: Work = Arc::new(move |body, abandoned| {
        mutate_pod::answer(body, abandoned, &pods.snapshot(), Timestamp::now(), &counted)
    });
    let (pods, watch_of_sets) = (cache.clone(), watch_of_sets.clone());
    let mutate_pod: Handler = Arc::new(move |body, abandoned| match pods.awaited_for(body) {
        None => inject(body, abandoned).into(),
        Some(told) => {
            watch_of_sets.retry(); // the API server is there: it stored the set, and sent the Pod
            Answer::After(Box::pin(told), inject.clone())
        }
    });
    let validate: Handler = Arc::new(move |body, _| widening.answer(validate_sidecarset::decide(body, &sets.world())));
    vec![
        (Webhook::MutatePod, mutate_pod),
        (Webhook::MutateSidecarSet, at_once(mutate_sidecarset::answer)),
        (Webhook::ValidateSidecarSet, validate),
        (Webhook::Convert, at_once(convert::answer)),
    ]
}
