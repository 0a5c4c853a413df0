//! The metrics of the process, under controller-runtime's names where it has one, so that existing dashboards work.
//!
//! Labels are closed sets and every series is made at start, so that a request pays for an addition and nothing else.

mod connections;
mod controller;
mod generator;
mod webhook;

pub use connections::{Closed, ConnectionCounts, PortName};
pub use controller::{Controller, ControllerMetrics, ReconcileResult};
pub use generator::{GeneratorMetrics, GeneratorState};
pub use webhook::{Counted, InjectionResult, Shed, Webhook, WebhookMetrics};

use std::fmt;

use connections::ConnectionMetrics;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// All metrics. One for the process, shared by reference.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    webhooks: [WebhookMetrics; Webhook::ALL.len()],
    controllers: [ControllerMetrics; Controller::ALL.len()],
    generators: GeneratorMetrics,
    connections: ConnectionMetrics,
    shed: [Counter; Shed::ALL.len()],
    injections: [Counter; InjectionResult::ALL.len()],
    /// `controller_runtime_webhook_panics_total`: handlers that panicked; each answered 500.
    pub webhook_panics: Counter,
    /// `outrigger_tls_handshake_errors_total`: handshakes that failed, of clients that said anything.
    pub tls_handshake_errors: Counter,
    certificate_expiration: Family<Labels<1>, Gauge>,
    certificate_renewals: [[Counter; 2]; Certificate::ALL.len()],
    cabundle_in_sync: Family<Labels<1>, Gauge>,
    /// `certwatcher_read_certificate_total`: times the certificate's files were read.
    pub certificate_reads: Counter,
    /// `certwatcher_read_certificate_errors_total`: times they could not be used.
    pub certificate_read_errors: Counter,
    /// `outrigger_sidecarsets`: `SidecarSet`s in force.
    pub sidecarsets: Gauge,
    /// `outrigger_source_errors`: files and objects that cannot be used as they are now.
    pub source_errors: Gauge,
    /// `leader_election_master_status{name="outrigger"}`, as client-go names it: 1 while this replica runs the controllers.
    pub leading: Gauge,
    /// `outrigger_disabled`: 1 while the `ConfigMap` exists that takes the webhooks out.
    pub disabled: Gauge,
    /// `outrigger_awaited_sidecarset_timeouts_total`: Pods that waited in vain for a `SidecarSet` that was allowed here.
    pub awaited_in_vain: Counter,
    widenings: [Counter; WideningResult::ALL.len()],
    repairs: Family<Labels<1>, Counter>,
    watch_age: Family<Labels<1>, Gauge>,
}

/// A certificate whose end is shown and whose renewals are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// Our own CA.
    Authority,
    /// What the server shows.
    Serving,
}

/// What came of the widening of the registration for a `SidecarSet`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WideningResult {
    /// It is wider now.
    Widened,
    /// It could not be written.
    Failed,
}

type Labels<const N: usize> = [(&'static str, &'static str); N];

impl Metrics {
    /// All metrics at zero.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let shed = Family::<Labels<1>, Counter>::default();
        let injections = Family::<Labels<1>, Counter>::default();
        let widenings = Family::<Labels<1>, Counter>::default();
        registry.register(
            "outrigger_registration_widenings",
            "Times the registration had to be widened for a SidecarSet, by what came of it",
            widenings.clone(),
        );
        registry.register("outrigger_webhook_shed", "Reviews answered 503 because of too much load", shed.clone());
        let renewals = Family::<Labels<2>, Counter>::default();
        registry.register(
            "outrigger_certificate_renewals",
            "Certificates taken into use, and failures to",
            renewals.clone(),
        );
        registry.register("outrigger_injections", "Reviewed Pods, by what became of them", injections.clone());
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("outrigger_build", "This build", build);
        let mut metrics = Self {
            webhooks: WebhookMetrics::all(&mut registry),
            controllers: ControllerMetrics::all(&mut registry),
            generators: GeneratorMetrics::new(&mut registry),
            connections: ConnectionMetrics::new(&mut registry),
            shed: Shed::ALL.map(|reason| shed.get_or_create_owned(&[("reason", reason.label())])),
            injections: InjectionResult::ALL
                .map(|result| injections.get_or_create_owned(&[("result", result.label())])),
            widenings: WideningResult::ALL.map(|result| widenings.get_or_create_owned(&[("result", result.label())])),
            webhook_panics: Counter::default(),
            tls_handshake_errors: Counter::default(),
            certificate_expiration: Family::default(),
            certificate_renewals: Certificate::ALL.map(|certificate| {
                [false, true].map(|good| {
                    let result = if good { "success" } else { "error" };
                    renewals.get_or_create_owned(&[("type", certificate.label()), ("result", result)])
                })
            }),
            cabundle_in_sync: Family::default(),
            certificate_reads: Counter::default(),
            certificate_read_errors: Counter::default(),
            sidecarsets: Gauge::default(),
            source_errors: Gauge::default(),
            leading: Gauge::default(),
            disabled: Gauge::default(),
            awaited_in_vain: Counter::default(),
            repairs: Family::default(),
            watch_age: Family::default(),
            registry,
        };
        metrics.register_plain();
        metrics
    }

    fn register_plain(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "controller_runtime_webhook_panics",
            "Webhook handlers that panicked",
            self.webhook_panics.clone(),
        );
        registry.register(
            "outrigger_tls_handshake_errors",
            "TLS handshakes that failed; a client that does not trust our CA shows here",
            self.tls_handshake_errors.clone(),
        );
        registry.register(
            "outrigger_certificate_expiration_timestamp_seconds",
            "When the certificate ends, in Unix seconds: ours (serving), and that of our CA (ca)",
            self.certificate_expiration.clone(),
        );
        registry.register(
            "outrigger_cabundle_in_sync",
            "Whether what is registered trusts the certificate of this replica, as seen by the leader",
            self.cabundle_in_sync.clone(),
        );
        registry.register(
            "certwatcher_read_certificate",
            "Times the files of the serving certificate were read",
            self.certificate_reads.clone(),
        );
        registry.register(
            "certwatcher_read_certificate_errors",
            "Times the files of the serving certificate could not be used; the one before stays in use",
            self.certificate_read_errors.clone(),
        );
        registry.register("outrigger_sidecarsets", "SidecarSets in force", self.sidecarsets.clone());
        registry.register(
            "outrigger_source_errors",
            "Files and objects that cannot be used as they are now",
            self.source_errors.clone(),
        );
        let leading = Family::<Labels<1>, Gauge>::default();
        self.leading = leading.get_or_create_owned(&[("name", "outrigger")]);
        registry.register("leader_election_master_status", "1 while this replica runs the controllers", leading);
        registry.register(
            "outrigger_disabled",
            "1 while the ConfigMap outrigger-disabled takes the webhooks out",
            self.disabled.clone(),
        );
        registry.register(
            "outrigger_awaited_sidecarset_timeouts",
            "Pods that waited in vain for a SidecarSet that was allowed by this replica",
            self.awaited_in_vain.clone(),
        );
        registry.register(
            "outrigger_registration_repairs",
            "Edits and deletions of the registration by others that were undone",
            self.repairs.clone(),
        );
        registry.register(
            "outrigger_watch_age_seconds",
            "For how long the API server has not confirmed what is known of a kind; up to a minute is usual",
            self.watch_age.clone(),
        );
    }

    /// `outrigger_watch_age_seconds{kind}`: for how long the API server has not confirmed what is known of a kind.
    #[must_use]
    pub fn watch_age(&self, kind: &'static str) -> Gauge {
        self.watch_age.get_or_create_owned(&[("kind", kind)])
    }

    /// `outrigger_registration_repairs_total{object}`: edits of an object by others that were undone.
    #[must_use]
    pub fn repairs(&self, object: &'static str) -> Counter {
        self.repairs.get_or_create_owned(&[("object", object)])
    }

    /// `outrigger_registration_widenings_total{result}`: times the registration did not cover a `SidecarSet`.
    #[must_use]
    pub fn widenings(&self, result: WideningResult) -> &Counter {
        &self.widenings[result as usize]
    }

    /// `outrigger_certificate_expiration_timestamp_seconds{type}`: when a certificate ends, in Unix seconds. Without a series until
    /// it is known.
    #[must_use]
    pub fn certificate_expiration(&self, certificate: Certificate) -> Gauge {
        self.certificate_expiration.get_or_create_owned(&[("type", certificate.label())])
    }

    /// `outrigger_certificate_renewals_total{type,result}`: certificates taken into use, and failures to.
    #[must_use]
    pub fn certificate_renewals(&self, certificate: Certificate, success: bool) -> &Counter {
        &self.certificate_renewals[certificate as usize][usize::from(success)]
    }

    /// `outrigger_cabundle_in_sync{webhook}`: 1 where what is registered under these names trusts the certificate shown, 0 where
    /// not. Other names have no series from now on.
    pub fn set_cabundles_in_sync(&self, in_sync: impl IntoIterator<Item = (&'static str, bool)>) {
        self.cabundle_in_sync.clear();
        for (webhook, in_sync) in in_sync {
            self.cabundle_in_sync.get_or_create_owned(&[("webhook", webhook)]).set(in_sync.into());
        }
    }

    /// The metrics of a webhook.
    #[must_use]
    pub fn webhook(&self, webhook: Webhook) -> &WebhookMetrics {
        &self.webhooks[webhook as usize]
    }

    /// The metrics of a controller and its work queue.
    #[must_use]
    pub fn controller(&self, controller: Controller) -> &ControllerMetrics {
        &self.controllers[controller as usize]
    }

    /// The metrics of the SidecarGenerators and their fetches.
    #[must_use]
    pub fn generators(&self) -> &GeneratorMetrics {
        &self.generators
    }

    /// `outrigger_connections…{port}`: what is counted of the connections of a port.
    #[must_use]
    pub fn connections(&self, port: PortName) -> &ConnectionCounts {
        self.connections.port(port)
    }

    /// `outrigger_webhook_shed_total{reason}`: reviews turned away.
    #[must_use]
    pub fn shed(&self, reason: Shed) -> &Counter {
        &self.shed[reason as usize]
    }

    /// `outrigger_injections_total{result}`: reviewed Pods.
    #[must_use]
    pub fn injections(&self, result: InjectionResult) -> &Counter {
        &self.injections[result as usize]
    }

    /// Everything as `OpenMetrics` text.
    ///
    /// # Errors
    /// None in practice: writing to a string cannot fail.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        self.connections.look_at_files();
        let mut text = String::with_capacity(8 * 1024);
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl WideningResult {
    const ALL: [Self; 2] = [Self::Widened, Self::Failed];

    const fn label(self) -> &'static str {
        match self {
            Self::Widened => "widened",
            Self::Failed => "failed",
        }
    }
}

impl Certificate {
    const ALL: [Self; 2] = [Self::Authority, Self::Serving];

    const fn label(self) -> &'static str {
        match self {
            Self::Authority => "ca",
            Self::Serving => "serving",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line<'a>(text: &'a str, start: &str) -> &'a str {
        text.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("no {start} in\n{text}"))
    }

    #[test]
    fn names_are_those_of_controller_runtime_and_ours() {
        let metrics = Metrics::new();
        metrics.webhook(Webhook::MutatePod).start().finish(200);
        metrics.webhook(Webhook::MutatePod).start().finish(299);
        metrics.webhook_panics.inc();
        metrics.tls_handshake_errors.inc();
        metrics.shed(Shed::Bytes).inc();
        metrics.connections(PortName::Webhook).closed(Closed::Full).inc();
        metrics.injections(InjectionResult::NotMatched).inc();
        metrics.certificate_expiration(Certificate::Serving).set(1_800_000_000);
        metrics.certificate_renewals(Certificate::Authority, true).inc();
        metrics.set_cabundles_in_sync([("a", true), ("b", false)]);
        metrics.set_cabundles_in_sync([("b", true)]);
        metrics.sidecarsets.set(3);
        metrics.source_errors.set(2);
        let text = metrics.encode().expect("text");
        for expected in [
            "controller_runtime_webhook_requests_total{webhook=\"/mutate-pod\",code=\"200\"} 1",
            "controller_runtime_webhook_requests_total{webhook=\"/mutate-pod\",code=\"other\"} 1",
            "controller_runtime_webhook_requests_in_flight{webhook=\"/mutate-pod\"} 0",
            "controller_runtime_webhook_latency_seconds_count{webhook=\"/mutate-pod\"} 2",
            "controller_runtime_webhook_panics_total 1",
            "outrigger_tls_handshake_errors_total 1",
            "outrigger_webhook_shed_total{reason=\"bytes\"} 1",
            "outrigger_webhook_shed_total{reason=\"reviews\"} 0",
            "outrigger_connections_closed_total{port=\"webhook\",reason=\"full\"} 1",
            "outrigger_connections_closed_total{port=\"admin\",reason=\"slow_head\"} 0",
            "outrigger_accept_errors_total{port=\"webhook\"} 0",
            "outrigger_connections{port=\"admin\"} 0",
            "outrigger_injections_total{result=\"not_matched\"} 1",
            "outrigger_certificate_expiration_timestamp_seconds{type=\"serving\"} 1800000000",
            "outrigger_certificate_renewals_total{type=\"ca\",result=\"success\"} 1",
            "outrigger_certificate_renewals_total{type=\"serving\",result=\"error\"} 0",
            "outrigger_cabundle_in_sync{webhook=\"b\"} 1",
            "outrigger_sidecarsets 3",
            "outrigger_source_errors 2",
        ] {
            assert_eq!(line(&text, expected), expected);
        }
        let number = |name: &str| line(&text, name).rsplit(' ').next().and_then(|number| number.parse::<u64>().ok());
        let (open, most) = (number("process_open_fds "), number("process_max_fds "));
        assert!(open > Some(2) && open < most, "{open:?} of {most:?}");
        assert!(line(&text, "outrigger_build_info{").contains(env!("CARGO_PKG_VERSION")));
    }
}
