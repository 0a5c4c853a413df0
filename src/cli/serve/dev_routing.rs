//! The controller `devrouting`: VirtualServices and placeholders from Services, and the flags for its ConfigMap.

use super::part::{Common, Part};
use super::queues;
use crate::cluster::{Feeds, Term};
use crate::dev_routing::metrics::RoutingMetrics;
use crate::dev_routing::{Controller, Key, Settings};
use crate::telemetry::{Readiness, metrics};

/// Flags about developer routing.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Developer routing")]
pub(in crate::cli) struct RoutingFlags {
    /// ConfigMap with the configuration, under the key config.yaml
    #[arg(long, value_name = "NAME", default_value = "virtualservice-operator-config")]
    pub config_map_name: String,
    /// Namespace of that ConfigMap
    #[arg(long, value_name = "NAMESPACE", default_value = "virtualservice-operator-system")]
    pub config_map_namespace: String,
}

/// Starts the part of every replica, and returns the part of a leader.
pub(super) fn part(flags: &RoutingFlags, common: &Common, feeds: &mut Feeds) -> Part {
    let Common { client, events, metrics, .. } = common;
    let observer = queues::observer(metrics, metrics::Controller::DevRouting);
    let routing = metrics.register(RoutingMetrics::register);
    let settings = Settings { config_map: Key::new(&flags.config_map_namespace, &flags.config_map_name) };
    let controller = Controller::new(client.clone(), events.clone(), routing, observer, settings);
    let watches = controller.subscribe(feeds);
    // Only reported: Pods are injected regardless.
    let readiness = [watches.config_map.clone(), watches.services.clone()].into_iter();
    let readiness = readiness.fold(Readiness::new(), |readiness, watch| {
        readiness.check(watch.what(), move || Ok(watch.check().unwrap_or_else(|waiting| waiting)))
    });
    let lead = move |term: Term, _: &mut Feeds| {
        let (controller, watches) = (controller.clone(), watches.clone());
        Box::pin(async move { controller.run(term, &watches).await }) as _
    };
    Part { controller: metrics::Controller::DevRouting, webhooks: Vec::new(), readiness, lead: Box::new(lead) }
}
