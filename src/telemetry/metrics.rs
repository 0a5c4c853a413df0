//! The metrics of the process, under controller-runtime's names where it has one, so that existing dashboards work.
//!
//! Labels are closed sets and every series is made at start, so that a request pays for an addition and nothing else.

use std::fmt;
use std::time::Instant;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// All metrics. One for the process, shared by reference.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    webhooks: [WebhookMetrics; Webhook::ALL.len()],
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
    widenings: [Counter; WideningResult::ALL.len()],
    repairs: Family<Labels<1>, Counter>,
    watch_age: Family<Labels<1>, Gauge>,
}

/// A webhook, as the label `webhook` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Webhook {
    /// Injection into Pods.
    MutatePod,
    /// Defaults and hashes of SidecarSets.
    MutateSidecarSet,
    /// Whether SidecarSets may be stored.
    ValidateSidecarSet,
    /// SidecarSets from one version to another.
    Convert,
}

/// Why a review was answered 503 without looking at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shed {
    /// As many reviews in flight as allowed.
    Reviews,
    /// As many bytes of bodies in flight as allowed.
    Bytes,
}

/// A certificate whose end is shown and whose renewals are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// Our own CA.
    Authority,
    /// What the server shows.
    Serving,
}

/// What became of a Pod that was reviewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InjectionResult {
    /// A patch was sent.
    Injected,
    /// `SidecarSet`s match and the Pod has all of them already.
    Unchanged,
    /// No `SidecarSet` matches.
    NotMatched,
    /// The Pod is excluded: its namespace, a mirror Pod, an opt-out.
    Excluded,
    /// The Pod was refused.
    Denied,
}

/// What came of the widening of the registration for a `SidecarSet`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WideningResult {
    /// It is wider now.
    Widened,
    /// It could not be written.
    Failed,
}

/// The metrics of one webhook.
#[derive(Clone, Debug)]
pub struct WebhookMetrics {
    requests: [Counter; CODES.len()],
    in_flight: Gauge,
    latency: Histogram,
}

/// A request being counted: in flight until [`InFlight::finish`], or until dropped because the client went away.
#[derive(Debug)]
pub struct InFlight<'a> {
    webhook: &'a WebhookMetrics,
    start: Instant,
}

/// The status codes with a series of their own; the last stands for all others.
const CODES: [(u16, &str); 9] = [
    (200, "200"),
    (400, "400"),
    (405, "405"),
    (408, "408"),
    (413, "413"),
    (415, "415"),
    (500, "500"),
    (503, "503"),
    (0, "other"),
];

/// Seconds. controller-runtime's buckets, and finer ones below: a review takes tens of microseconds.
const LATENCY_BUCKETS: [f64; 16] =
    [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

type Labels<const N: usize> = [(&'static str, &'static str); N];

#[derive(Clone)]
struct LatencyHistogram;

impl MetricConstructor<Histogram> for LatencyHistogram {
    fn new_metric(&self) -> Histogram {
        Histogram::new(LATENCY_BUCKETS)
    }
}

impl Metrics {
    /// All metrics at zero.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let latency = Family::<Labels<1>, Histogram, LatencyHistogram>::new_with_constructor(LatencyHistogram);
        let requests = Family::<Labels<2>, Counter>::default();
        let in_flight = Family::<Labels<1>, Gauge>::default();
        let shed = Family::<Labels<1>, Counter>::default();
        let injections = Family::<Labels<1>, Counter>::default();
        let widenings = Family::<Labels<1>, Counter>::default();
        registry.register(
            "outrigger_registration_widenings",
            "Times the registration had to be widened for a SidecarSet, by what came of it",
            widenings.clone(),
        );
        registry.register(
            "controller_runtime_webhook_latency_seconds",
            "Time from the head of a request to its answer",
            latency.clone(),
        );
        registry.register("controller_runtime_webhook_requests", "Requests answered, by status code", requests.clone());
        registry.register(
            "controller_runtime_webhook_requests_in_flight",
            "Requests being served now",
            in_flight.clone(),
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
            webhooks: Webhook::ALL.map(|webhook| {
                let label = ("webhook", webhook.path());
                WebhookMetrics {
                    requests: CODES.map(|(_, code)| requests.get_or_create_owned(&[label, ("code", code)])),
                    in_flight: in_flight.get_or_create_owned(&[label]),
                    latency: latency.get_or_create_owned(&[label]),
                }
            }),
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
            "outrigger_registration_repairs",
            "Edits of the registration by others that were undone",
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

impl Webhook {
    /// Every webhook, in the order of declaration.
    pub const ALL: [Self; 4] = [Self::MutatePod, Self::MutateSidecarSet, Self::ValidateSidecarSet, Self::Convert];

    /// The path it is served at, which is also its label (as in controller-runtime).
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::MutatePod => "/mutate-pod",
            Self::MutateSidecarSet => "/mutate-apps-kruise-io-sidecarset",
            Self::ValidateSidecarSet => "/validate-apps-kruise-io-sidecarset",
            Self::Convert => "/convert",
        }
    }

    /// The path at which OpenKruise up to 1.8 serves the same; requests to it count under the present one.
    #[must_use]
    pub const fn older_path(self) -> Option<&'static str> {
        match self {
            Self::MutatePod | Self::Convert => None,
            Self::MutateSidecarSet => Some("/mutate-apps-kruise-io-v1alpha1-sidecarset"),
            Self::ValidateSidecarSet => Some("/validate-apps-kruise-io-v1alpha1-sidecarset"),
        }
    }
}

impl Shed {
    const ALL: [Self; 2] = [Self::Reviews, Self::Bytes];

    const fn label(self) -> &'static str {
        match self {
            Self::Reviews => "reviews",
            Self::Bytes => "bytes",
        }
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

impl InjectionResult {
    const ALL: [Self; 5] = [Self::Injected, Self::Unchanged, Self::NotMatched, Self::Excluded, Self::Denied];

    const fn label(self) -> &'static str {
        match self {
            Self::Injected => "injected",
            Self::Unchanged => "unchanged",
            Self::NotMatched => "not_matched",
            Self::Excluded => "excluded",
            Self::Denied => "denied",
        }
    }
}

impl WebhookMetrics {
    /// A request begins.
    #[must_use]
    pub fn start(&self) -> InFlight<'_> {
        self.in_flight.inc();
        InFlight { webhook: self, start: Instant::now() }
    }

    /// `controller_runtime_webhook_requests_total{code}`; codes without a series of their own share the code `other`.
    #[must_use]
    pub fn requests(&self, status: u16) -> &Counter {
        let index = CODES.iter().position(|(code, _)| *code == status).unwrap_or(CODES.len() - 1);
        &self.requests[index]
    }

    /// `controller_runtime_webhook_requests_in_flight`: requests being served now.
    #[must_use]
    pub fn in_flight(&self) -> &Gauge {
        &self.in_flight
    }
}

impl InFlight<'_> {
    /// The request is answered with this status code.
    pub fn finish(self, status: u16) {
        self.webhook.latency.observe(self.start.elapsed().as_secs_f64());
        self.webhook.requests(status).inc();
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.webhook.in_flight.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line<'a>(text: &'a str, start: &str) -> &'a str {
        text.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("no {start} in\n{text}"))
    }

    #[test]
    fn a_request_is_in_flight_until_it_is_finished() {
        let metrics = Metrics::new();
        let webhook = metrics.webhook(Webhook::MutatePod);
        let request = webhook.start();
        assert_eq!(webhook.in_flight().get(), 1);
        request.finish(200);
        assert_eq!(webhook.in_flight().get(), 0);
        assert_eq!(webhook.requests(200).get(), 1);
    }

    #[test]
    fn a_request_whose_client_went_away_is_no_longer_in_flight_and_not_counted() {
        let metrics = Metrics::new();
        let webhook = metrics.webhook(Webhook::MutatePod);
        drop(webhook.start());
        assert_eq!(webhook.in_flight().get(), 0);
        assert_eq!(webhook.requests(200).get(), 0);
    }

    #[test]
    fn names_are_those_of_controller_runtime_and_ours() {
        let metrics = Metrics::new();
        metrics.webhook(Webhook::MutatePod).start().finish(200);
        metrics.webhook(Webhook::MutatePod).start().finish(299);
        metrics.webhook_panics.inc();
        metrics.tls_handshake_errors.inc();
        metrics.shed(Shed::Bytes).inc();
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
        assert!(line(&text, "outrigger_build_info{").contains(env!("CARGO_PKG_VERSION")));
    }
}
