//! The list of all metrics. Dashboards and alerts of users name them, so none may disappear or change its type or
//! labels.

use std::collections::BTreeMap;

use outrigger::admission;
use outrigger::admission::metrics::Certificate;
use outrigger::dev_routing::metrics::RoutingMetrics;
use outrigger::mesh_service::metrics::MeshMetrics;
use outrigger::sidecar_generator::metrics::GeneratorMetrics;
use outrigger::telemetry::Metrics;

/// Name, type and labels of the metrics in the first release that had any.
const FIRST: &[(&str, &str, &str)] = &[
    ("certwatcher_read_certificate_errors_total", "counter", ""),
    ("certwatcher_read_certificate_total", "counter", ""),
    ("controller_runtime_active_workers", "gauge", "controller"),
    ("controller_runtime_reconcile_errors_total", "counter", "controller"),
    ("controller_runtime_reconcile_time_seconds", "histogram", "controller"),
    ("controller_runtime_reconcile_total", "counter", "controller,result"),
    ("controller_runtime_webhook_latency_seconds", "histogram", "webhook"),
    ("controller_runtime_webhook_panics_total", "counter", ""),
    ("controller_runtime_webhook_requests_in_flight", "gauge", "webhook"),
    ("controller_runtime_webhook_requests_total", "counter", "webhook,code"),
    ("leader_election_master_status", "gauge", "name"),
    ("outrigger_build_info", "info", "version"),
    ("outrigger_cabundle_in_sync", "gauge", "webhook"),
    ("outrigger_certificate_expiration_timestamp_seconds", "gauge", "type"),
    ("outrigger_certificate_renewals_total", "counter", "type,result"),
    ("outrigger_disabled", "gauge", ""),
    ("outrigger_fetch_duration_seconds", "histogram", ""),
    ("outrigger_fetches_total", "counter", "outcome"),
    ("outrigger_injections_total", "counter", "result"),
    ("outrigger_registration_repairs_total", "counter", "object"),
    ("outrigger_registration_widenings_total", "counter", "result"),
    ("outrigger_sidecar_generators", "gauge", "state"),
    ("outrigger_sidecar_generators_oldest_success_timestamp_seconds", "gauge", ""),
    ("outrigger_sidecarsets", "gauge", ""),
    ("outrigger_source_errors", "gauge", ""),
    ("outrigger_tls_handshake_errors_total", "counter", ""),
    ("outrigger_watch_age_seconds", "gauge", "kind"),
    ("outrigger_webhook_shed_total", "counter", "reason"),
    ("workqueue_adds_total", "counter", "name"),
    ("workqueue_depth", "gauge", "name"),
    ("workqueue_retries_total", "counter", "name"),
];

/// Later metrics.
const LATER: &[(&str, &str, &str)] = &[
    ("outrigger_accept_errors_total", "counter", "port"),
    ("outrigger_awaited_namespace_timeouts_total", "counter", ""),
    ("outrigger_awaited_sidecarset_timeouts_total", "counter", ""),
    ("outrigger_connections", "gauge", "port"),
    ("outrigger_connections_closed_total", "counter", "port,reason"),
    ("outrigger_lease_failing", "gauge", "name"),
    ("outrigger_mesh_objects", "gauge", ""),
    ("outrigger_mesh_repairs_total", "counter", ""),
    ("outrigger_mesh_services", "gauge", "state"),
    ("outrigger_mesh_violations", "gauge", "severity"),
    ("outrigger_routing_configuration_invalid", "gauge", ""),
    ("outrigger_routing_findings", "gauge", "reason"),
    ("outrigger_routing_placeholders", "gauge", ""),
    ("outrigger_routing_virtualservices", "gauge", ""),
    ("outrigger_undecodable_objects", "gauge", "kind"),
    ("outrigger_webhook_requests_arriving", "gauge", "webhook"),
    ("process_max_fds", "gauge", ""),
    ("process_open_fds", "gauge", ""),
    ("rest_client_requests_total", "counter", "code,method"),
];

/// Returns every metric as printed, by name, with its type and the names of its labels.
fn printed() -> BTreeMap<String, (String, String)> {
    let process = Metrics::new();
    let reviews = admission::Metrics::register(&process);
    let generators = process.register(GeneratorMetrics::register);
    let _ = process.register(RoutingMetrics::register);
    let _ = process.register(MeshMetrics::register);
    // Those without series before something happens.
    process.watch_age("pods").set(1);
    process.rest_client().answered(&http::Method::GET, Some(http::StatusCode::OK));
    process.undecodable("pods").set(1);
    process.leading("outrigger-sidecarset").set(1);
    process.lease_failing("outrigger-sidecarset").set(0);
    reviews.certificates.expiration(Certificate::Serving).set(1);
    reviews.certificates.set_in_sync([("pods", true)]);
    reviews.registration.repairs("outrigger-mutating").inc();
    generators.fetches("ok").inc();
    generators.set_oldest_success(Some(1));

    let text = process.encode().expect("text");
    let types: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let series = types.into_iter().map(|(name, kind)| {
        let name = match kind {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name.to_owned(),
        };
        let first = if kind == "histogram" { format!("{name}_count") } else { name.clone() };
        let is_it = |line: &&str| line.strip_prefix(&*first).is_some_and(|rest| rest.starts_with(['{', ' ']));
        let line = text.lines().find(is_it).unwrap_or_else(|| panic!("no series of {name} in\n{text}"));
        let labels = line.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or("", |(labels, _)| labels);
        let labels: Vec<_> = labels.split(',').filter_map(|label| Some(label.split_once('=')?.0)).collect();
        (name, (kind.to_owned(), labels.join(",")))
    });
    series.collect()
}

#[test]
fn no_metric_vanishes_or_changes_its_type_or_labels() {
    let expected = FIRST.iter().chain(LATER);
    let expected: BTreeMap<_, _> =
        expected.map(|(name, kind, labels)| ((*name).to_owned(), ((*kind).to_owned(), (*labels).to_owned()))).collect();
    assert_eq!(expected.len(), FIRST.len() + LATER.len());
    assert_eq!(printed(), expected);
}

#[test]
fn the_page_on_operations_has_every_metric_with_its_labels() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md")).expect("the page");
    for (name, (_, labels)) in printed() {
        let labelled = if labels.is_empty() { format!("`{name}`") } else { format!("`{name}{{{labels}}}`") };
        assert!(page.contains(&labelled) || page.contains(&format!("`{name}{{{labels}=\"")), "no {labelled}");
    }
}
