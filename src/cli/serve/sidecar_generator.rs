//! The controller `sidecargenerator`: Istio Sidecars from URLs, and the flags for what may be fetched.

use super::part::{Common, Part};
use super::queues;
use crate::api::go_duration;
use crate::cluster::{Feeds, Tasks, Term, api_server};
use crate::fetch;
use crate::fetch::{Allow, Fetcher, Guard, Pin, PinnedResolver, Proxies, Refused, Rules};
use crate::sidecar_generator::metrics::GeneratorMetrics;
use crate::sidecar_generator::{Controller, ROOT_NAMESPACE, Settings};
use crate::telemetry::{Readiness, metrics};
use http::HeaderValue;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch::channel;

/// Equal to sidecar-generator-operator's, because servers may check it.
const USER_AGENT: HeaderValue = HeaderValue::from_static("SidecarGeneratorController/1.0");

/// Flags for the URLs of users.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Fetching")]
pub(in crate::cli) struct FetchFlags {
    /// Allow URLs at addresses that are refused by default (loopback, link-local, metadata services): addresses, CIDRs, hosts
    /// or *.DOMAIN
    #[arg(long, value_name = "HOST_OR_CIDR,…", value_delimiter = ',')]
    pub fetch_allow: Vec<Allow>,
    /// Addresses of hosts that cannot be resolved here, such as Services while outrigger runs outside the cluster
    #[arg(long, value_name = "HOST=ADDRESS,…", value_delimiter = ',')]
    pub fetch_resolve: Vec<Pin>,
    /// Use the proxies of the environment variables. The proxy then resolves the names of hosts, and only addresses in URLs
    /// are checked here
    #[arg(long)]
    pub fetch_proxy_from_env: bool,
    /// Shortest time between two refreshes of a SidecarGenerator
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = go_duration::positive)]
    pub min_refresh_period: Duration,
    /// Root namespace of the mesh, whose Sidecar may apply to all namespaces
    #[arg(long, value_name = "NAMESPACE", default_value = ROOT_NAMESPACE)]
    pub istio_root_namespace: String,
}

/// Starts the part of every replica, and returns the part of a leader.
pub(super) fn part(flags: &FetchFlags, common: &Common, feeds: &mut Feeds, tasks: &mut Tasks) -> Part {
    let Common { client, url, events, metrics, .. } = common;
    let refused = Refused::default();
    let (known, are_known) = channel(false);
    tasks.spawn_until_stop("the addresses of the API server", {
        let refused = refused.clone();
        api_server::addresses(feeds, url.clone(), move |addresses| {
            refused.set(addresses);
            known.send_replace(true);
        })
    });
    let guard = Guard { allow: flags.fetch_allow.clone(), refused, ..Guard::default() };
    let rules = Rules { guard, ..Rules::default() }.into();
    let fetcher = Fetcher::new(fetch::Settings {
        resolver: Arc::new(PinnedResolver::new(flags.fetch_resolve.clone())),
        proxies: flags.fetch_proxy_from_env.then(Proxies::from_env),
        user_agent: USER_AGENT,
        ..fetch::Settings::default()
    });
    let observer = queues::observer(metrics, metrics::Controller::SidecarGenerator);
    let settings = Settings { min_period: flags.min_refresh_period };
    let generators = metrics.register(GeneratorMetrics::register);
    let controller = Controller::new(client.clone(), fetcher, rules, events.clone(), generators, observer, settings)
        .in_mesh_of(&flags.istio_root_namespace);
    let watches = controller.subscribe(feeds);
    let all = [watches.generators.clone(), watches.sidecars.clone()];
    // Only reported: Pods are injected regardless.
    let readiness = all.into_iter().fold(Readiness::new(), |readiness, watch| {
        readiness.check(watch.what(), move || Ok(watch.check().unwrap_or_else(|waiting| waiting)))
    });
    let lead = move |term: Term, _: &mut Feeds| {
        let (controller, watches, mut are_known) = (controller.clone(), watches.clone(), are_known.clone());
        let work = async move {
            // Nothing is fetched until the forbidden addresses are known.
            tokio::select! {
                _ = are_known.wait_for(|known| *known) => {}
                () = term.ended() => return,
            }
            controller.run(term, &watches).await;
        };
        Box::pin(work) as _
    };
    let controller = metrics::Controller::SidecarGenerator;
    Part { controller, webhooks: Vec::new(), readiness, lead: Box::new(lead) }
}
