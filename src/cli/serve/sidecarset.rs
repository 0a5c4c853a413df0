//! The controller `sidecarset`: injection of SidecarSets, registration of its webhooks, status and revisions.

use super::certificates::Source;
use super::flags::{self, Args};
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
use crate::cluster::{Event, Feeds, Slice, Tasks, Term, Watch};
use crate::injection::validate::WHITELIST_CONFIG_MAP;
use crate::injection::{Revision, StoredSet};
use crate::rollout::metrics::RolloutMetrics;
use crate::rollout::revisions::KeptRevision;
use crate::rollout::{self, ObservedSet, WatchedPod, storage_migration};
use crate::telemetry::Readiness;
use crate::telemetry::metrics::Controller;
use anyhow::Result;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube::ResourceExt;
use kube::core::PartialObjectMeta;
use serde_json::Value;
use std::sync::Arc;

/// The number of Pods in one answer of the API server, which is read in one go.
const PODS_A_PAGE: u32 = 200;

/// Starts the part of every replica, and returns the webhooks and the part of a leader.
pub(super) fn part(
    args: &Args,
    source: Source,
    certificate: &Arc<ServingCertificate>,
    common: &Common,
    feeds: &mut Feeds,
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
    let counted = common.metrics.register(RolloutMetrics::register);
    let rollout =
        rollout::Controller::new(client.clone(), flags.revision_namespace(), events.clone(), observer, counted)
            .excluding(excluded_namespaces.clone())
            .updating_pods(flags.runs(flags::Controller::Rollout));
    let watches = Watches::subscribe(feeds, flags.revision_namespace(), &cache, &rollout);
    tasks.spawn_until_stop("snapshots", {
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
    let trust = Trust::start(args, source, common, certificate, registration, feeds, tasks)?;
    let (published, _) = tokio::sync::watch::channel(Published::default());
    let break_glass = BreakGlass::subscribe(feeds, flags.namespace(), reviews.clone());
    let widening = {
        let (client, registration, cache) = (client.clone(), receiver.clone(), cache.clone());
        Arc::new(Widening::new(client, flags.scope, registration, cache, break_glass.clone(), reviews.clone()))
    };
    let registrar = Registrar {
        client: client.clone(),
        registration: receiver,
        owner: flags.owner_cluster_role.clone(),
        published,
        overlap: args.certificates.certificate_times.unwrap_or_default().grace * 10,
        scope: flags.scope,
        cache: cache.clone(),
        sets: watches.sets.clone(),
        break_glass: break_glass.clone(),
        metrics: reviews.clone(),
    };
    let readiness = watches
        .of_reviews
        .into_iter()
        .fold(Readiness::new(), |readiness, watch| readiness.check(watch.what(), move || watch.check()));
    let objects = cache.clone();
    let readiness = trust
        .check(readiness)
        .check("objects", move || objects.check())
        .check("break-glass", move || break_glass.check());
    let webhooks = webhooks(&cache, watches.of_pods, widening, reviews);
    let (client, planned_from) = (client.clone(), watches.all);
    let lead = move |term: Term, feeds: &mut Feeds| {
        let (registrar, rollout, planned_from) = (registrar.clone(), rollout.clone(), planned_from.clone());
        let (client, trust) = (client.clone(), trust.clone());
        let (targets, crd) = (registrar.subscribe(feeds), storage_migration::subscribe(feeds));
        let work = async move {
            tokio::join!(
                Box::pin(trust.lead(registrar, targets, term.clone())),
                storage_migration::run(client, term.clone(), crd),
                rollout.run(term, &planned_from)
            );
        };
        Box::pin(work) as _
    };
    Ok(Part { controller: Controller::SidecarSet, webhooks, readiness, lead: Box::new(lead) })
}

/// The watches of every replica.
struct Watches {
    /// SidecarSets.
    sets: Watch,
    /// Objects that Pods may have to wait for.
    of_pods: [Watch; 2],
    /// Objects that controllers plan from.
    all: Vec<Watch>,
    /// Objects that reviews need. A replica is not ready without them.
    of_reviews: Vec<Watch>,
}

impl Watches {
    fn subscribe(
        feeds: &mut Feeds,
        revision_namespace: &str,
        cache: &Arc<Cache>,
        rollout: &rollout::Controller,
    ) -> Self {
        let (reviews, controller) = (cache.clone(), rollout.clone());
        let sets = feeds.subscribe(Slice::all::<SidecarSet>("sidecarsets"), move |event: Event<StoredSet>| {
            reviews.sidecarsets(event.as_ref());
            controller.sets_event(event.as_ref().map(|set| Arc::new(ObservedSet::of(set))));
        });

        let slice = || Slice::all::<Namespace>("namespaces").metadata_only();
        let (reviews, controller) = (cache.clone(), rollout.clone());
        let namespaces = feeds.subscribe(slice(), move |event| reviews.namespaces(event));
        feeds.subscribe(slice(), move |event: Event<PartialObjectMeta<Namespace>>| {
            let labels = |namespace: PartialObjectMeta<Namespace>| {
                Some((namespace.name_any(), namespace.metadata.labels.unwrap_or_default()))
            };
            if let Some(event) = event.filter_map(labels) {
                controller.namespaces_event(event);
            }
        });

        // A Pod that loses the label is reported as deleted. Other Pods are irrelevant.
        let slice = || {
            let all = Slice::all::<ControllerRevision>("controllerrevisions");
            all.in_namespace(revision_namespace).labels(keys::REVISION_OF)
        };
        let (reviews, controller) = (cache.clone(), rollout.clone());
        let revisions = feeds.subscribe(slice(), move |event| reviews.revisions(event));
        feeds.subscribe(slice(), move |event: Event<Value>| {
            let kept = |revision| Some(KeptRevision::from(&Revision::read(revision).ok()??));
            if let Some(event) = event.filter_map(kept) {
                controller.revisions_event(event);
            }
        });

        let reviews = cache.clone();
        let slice = Slice::all::<ConfigMap>("configmaps").in_namespace(revision_namespace);
        let whitelist = feeds.subscribe_one(slice, WHITELIST_CONFIG_MAP, move |map: Option<ConfigMap>| {
            reviews.configuration(map.as_ref());
        });

        let controller = rollout.clone();
        let slice = Slice::all::<Pod>("pods").page_size(PODS_A_PAGE);
        let pods = feeds.subscribe(slice, move |event: Event<WatchedPod>| controller.pods_event(event));

        let of_reviews = vec![sets.clone(), namespaces.clone(), revisions.clone(), whitelist];
        let of_pods = [sets.clone(), namespaces.clone()];
        Self { all: vec![sets.clone(), namespaces, revisions, pods], of_pods, of_reviews, sets }
    }
}

fn webhooks(
    cache: &Arc<Cache>,
    watches: [Watch; 2],
    widening: Arc<Widening>,
    metrics: &Arc<Metrics>,
) -> Vec<(Webhook, Handler)> {
    let (pods, counted, sets) = (cache.clone(), metrics.clone(), cache.clone());
    let inject: Work = Arc::new(move |body, abandoned| {
        mutate_pod::answer(body, abandoned, &pods.snapshot(), Timestamp::now(), &counted)
    });
    let pods = cache.clone();
    let mutate_pod: Handler = Arc::new(move |body, abandoned| match pods.awaited_for(body) {
        None => inject(body, abandoned).into(),
        Some(told) => {
            watches.iter().for_each(Watch::retry); // the API server is reachable: it sent the Pod
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
