//! The metrics of the webhook server and of its registration.

mod certificate;
mod registration;
mod webhook;

pub use certificate::{Certificate, CertificateMetrics};
pub use registration::{RegistrationMetrics, WideningResult};
pub use webhook::{Counted, InjectionResult, Shed, Webhook, WebhookMetrics};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::telemetry;
use crate::telemetry::metrics::{ConnectionCounts, Labels, PortName};

/// The metrics. The process has one instance, shared by reference.
#[derive(Debug)]
pub struct Metrics {
    webhooks: [WebhookMetrics; Webhook::ALL.len()],
    shed: [Counter; Shed::ALL.len()],
    injections: [Counter; InjectionResult::ALL.len()],
    /// `controller_runtime_webhook_panics_total`: handlers that panicked; each answered 500.
    pub webhook_panics: Counter,
    /// `outrigger_sidecarsets`: `SidecarSet`s that are active.
    pub sidecarsets: Gauge,
    /// `outrigger_source_errors`: files and objects that cannot be used now.
    pub source_errors: Gauge,
    /// `outrigger_awaited_sidecarset_timeouts_total`: Pods that waited in vain for a `SidecarSet` that was allowed here.
    pub awaited_in_vain: Counter,
    /// `outrigger_awaited_namespace_timeouts_total`: Pods that waited in vain for their Namespace.
    pub namespaces_awaited_in_vain: Counter,
    /// Of certificates.
    pub certificates: CertificateMetrics,
    /// Of the registration.
    pub registration: RegistrationMetrics,
    /// Of the port of the webhooks.
    pub connections: ConnectionCounts,
}

impl Metrics {
    /// Registers them with the process's metrics, at zero.
    #[must_use]
    pub fn register(process: &telemetry::Metrics) -> Self {
        let connections = process.connections(PortName::Webhook).clone();
        process.register(|registry| Self::all(registry, connections))
    }

    fn all(registry: &mut Registry, connections: ConnectionCounts) -> Self {
        let shed = Family::<Labels<1>, Counter>::default();
        let injections = Family::<Labels<1>, Counter>::default();
        let metrics = Self {
            webhooks: WebhookMetrics::register(registry),
            shed: Shed::ALL.map(|reason| shed.get_or_create_owned(&[("reason", reason.label())])),
            injections: InjectionResult::ALL
                .map(|result| injections.get_or_create_owned(&[("result", result.label())])),
            webhook_panics: Counter::default(),
            sidecarsets: Gauge::default(),
            source_errors: Gauge::default(),
            awaited_in_vain: Counter::default(),
            namespaces_awaited_in_vain: Counter::default(),
            certificates: CertificateMetrics::register(registry),
            registration: RegistrationMetrics::register(registry),
            connections,
        };
        registry.register("outrigger_webhook_shed", "Reviews answered 503 because of too much load", shed);
        registry.register("outrigger_injections", "Reviewed Pods, by what became of them", injections);
        registry.register(
            "controller_runtime_webhook_panics",
            "Webhook handlers that panicked",
            metrics.webhook_panics.clone(),
        );
        registry.register("outrigger_sidecarsets", "SidecarSets in force", metrics.sidecarsets.clone());
        registry.register(
            "outrigger_source_errors",
            "Files and objects that cannot be used as they are now",
            metrics.source_errors.clone(),
        );
        registry.register(
            "outrigger_awaited_sidecarset_timeouts",
            "Pods that waited in vain for a SidecarSet that was allowed by this replica",
            metrics.awaited_in_vain.clone(),
        );
        registry.register(
            "outrigger_awaited_namespace_timeouts",
            "Pods that waited in vain for the watch to tell of their Namespace",
            metrics.namespaces_awaited_in_vain.clone(),
        );
        metrics
    }

    /// Returns the metrics of a webhook.
    #[must_use]
    pub fn webhook(&self, webhook: Webhook) -> &WebhookMetrics {
        &self.webhooks[webhook as usize]
    }

    /// Returns `outrigger_webhook_shed_total{reason}`: refused reviews.
    #[must_use]
    pub fn shed(&self, reason: Shed) -> &Counter {
        &self.shed[reason as usize]
    }

    /// Returns `outrigger_injections_total{result}`: reviewed Pods.
    #[must_use]
    pub fn injections(&self, result: InjectionResult) -> &Counter {
        &self.injections[result as usize]
    }
}

/// Metrics that belong to no process.
impl Default for Metrics {
    fn default() -> Self {
        Self::register(&telemetry::Metrics::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_controller_runtime_and_ours() {
        let process = telemetry::Metrics::new();
        let metrics = Metrics::register(&process);
        metrics.webhook(Webhook::MutatePod).start().finish(200);
        metrics.webhook(Webhook::MutatePod).start().finish(299);
        metrics.webhook_panics.inc();
        metrics.certificates.handshake_errors.inc();
        metrics.shed(Shed::Bytes).inc();
        metrics.injections(InjectionResult::NotMatched).inc();
        metrics.certificates.expiration(Certificate::Serving).set(1_800_000_000);
        metrics.certificates.renewals(Certificate::Authority, true).inc();
        metrics.certificates.set_in_sync([("a", true), ("b", false)]);
        metrics.certificates.set_in_sync([("b", true)]);
        metrics.sidecarsets.set(3);
        metrics.source_errors.set(2);
        let text = process.encode().expect("text");
        for expected in [
            "controller_runtime_webhook_requests_total{webhook=\"/mutate-pod\",code=\"200\"} 1",
            "controller_runtime_webhook_requests_total{webhook=\"/mutate-pod\",code=\"other\"} 1",
            "controller_runtime_webhook_requests_in_flight{webhook=\"/mutate-pod\"} 0",
            "controller_runtime_webhook_latency_seconds_count{webhook=\"/mutate-pod\"} 2",
            "controller_runtime_webhook_panics_total 1",
            "outrigger_tls_handshake_errors_total 1",
            "outrigger_webhook_shed_total{reason=\"bytes\"} 1",
            "outrigger_webhook_shed_total{reason=\"reviews\"} 0",
            "outrigger_injections_total{result=\"not_matched\"} 1",
            "outrigger_certificate_expiration_timestamp_seconds{type=\"serving\"} 1800000000",
            "outrigger_certificate_renewals_total{type=\"ca\",result=\"success\"} 1",
            "outrigger_certificate_renewals_total{type=\"serving\",result=\"error\"} 0",
            "outrigger_cabundle_in_sync{webhook=\"b\"} 1",
            "outrigger_sidecarsets 3",
            "outrigger_source_errors 2",
        ] {
            assert!(text.lines().any(|line| line == expected), "no {expected} in\n{text}");
        }
        assert!(!text.contains("webhook=\"a\""), "{text}");
    }
}
