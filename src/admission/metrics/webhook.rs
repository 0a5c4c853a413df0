//! The metrics of the webhooks: their requests, the results for Pods, and refused reviews.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::time::Instant;

use crate::telemetry::metrics::Labels;

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

/// Why a review was answered with 503 without being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shed {
    /// The limit of reviews in flight was reached.
    Reviews,
    /// The limit of body bytes in flight was reached, and this body was the slowest.
    Bytes,
    /// The body did not arrive in time.
    SlowBody,
}

/// The result of a reviewed Pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InjectionResult {
    /// A patch was sent.
    Injected,
    /// `SidecarSet`s match, and the Pod has all of them already.
    Unchanged,
    /// No `SidecarSet` matches.
    NotMatched,
    /// The Pod is excluded: its namespace, a mirror Pod, an opt-out.
    Excluded,
    /// The Pod was refused.
    Denied,
}

/// The metrics of one webhook.
#[derive(Clone, Debug)]
pub struct WebhookMetrics {
    requests: [Counter; CODES.len()],
    arriving: Gauge,
    in_flight: Gauge,
    latency: Histogram,
}

/// A counted request. It counts as arriving until [`Counted::arrived`], or until it is dropped because the client
/// disconnected.
#[derive(Debug)]
pub struct Counted<'a> {
    webhook: &'a WebhookMetrics,
    arriving: bool,
    start: Instant,
}

/// The status codes with their own series; the last represents all others.
const CODES: [(u16, &str); 8] =
    [(200, "200"), (400, "400"), (405, "405"), (413, "413"), (415, "415"), (500, "500"), (503, "503"), (0, "other")];

/// In seconds: controller-runtime's buckets, and finer ones below. A review takes tens of microseconds.
const LATENCY_BUCKETS: [f64; 16] =
    [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

#[derive(Clone)]
struct LatencyHistogram;

impl MetricConstructor<Histogram> for LatencyHistogram {
    fn new_metric(&self) -> Histogram {
        Histogram::new(LATENCY_BUCKETS)
    }
}

impl Webhook {
    /// Every webhook, in the order of declaration.
    pub const ALL: [Self; 4] = [Self::MutatePod, Self::MutateSidecarSet, Self::ValidateSidecarSet, Self::Convert];

    /// Returns the path it is served at, which is also its label (as in controller-runtime).
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::MutatePod => "/mutate-pod",
            Self::MutateSidecarSet => "/mutate-apps-kruise-io-sidecarset",
            Self::ValidateSidecarSet => "/validate-apps-kruise-io-sidecarset",
            Self::Convert => "/convert",
        }
    }

    /// Returns the path at which OpenKruise up to 1.8 serves the same; its requests count under the present one.
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
    pub(super) const ALL: [Self; 3] = [Self::Reviews, Self::Bytes, Self::SlowBody];

    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Reviews => "reviews",
            Self::Bytes => "bytes",
            Self::SlowBody => "slow_body",
        }
    }
}

impl InjectionResult {
    pub(super) const ALL: [Self; 5] = [Self::Injected, Self::Unchanged, Self::NotMatched, Self::Excluded, Self::Denied];

    pub(super) const fn label(self) -> &'static str {
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
    /// Registers those of every webhook, in the order of [`Webhook::ALL`].
    pub(super) fn register(registry: &mut Registry) -> [Self; Webhook::ALL.len()] {
        let latency = Family::<Labels<1>, Histogram, LatencyHistogram>::new_with_constructor(LatencyHistogram);
        let requests = Family::<Labels<2>, Counter>::default();
        let in_flight = Family::<Labels<1>, Gauge>::default();
        let arriving = Family::<Labels<1>, Gauge>::default();
        registry.register(
            "controller_runtime_webhook_latency_seconds",
            "Time from the head of a request to its answer",
            latency.clone(),
        );
        registry.register("controller_runtime_webhook_requests", "Requests answered, by status code", requests.clone());
        registry.register(
            "controller_runtime_webhook_requests_in_flight",
            "Reviews being worked on now",
            in_flight.clone(),
        );
        registry.register(
            "outrigger_webhook_requests_arriving",
            "Requests of which the body is being read now",
            arriving.clone(),
        );
        Webhook::ALL.map(|webhook| {
            let label = ("webhook", webhook.path());
            Self {
                requests: CODES.map(|(_, code)| requests.get_or_create_owned(&[label, ("code", code)])),
                arriving: arriving.get_or_create_owned(&[label]),
                in_flight: in_flight.get_or_create_owned(&[label]),
                latency: latency.get_or_create_owned(&[label]),
            }
        })
    }

    /// Counts a request whose head has arrived.
    #[must_use]
    pub fn start(&self) -> Counted<'_> {
        self.arriving.inc();
        Counted { webhook: self, arriving: true, start: Instant::now() }
    }

    /// Returns `controller_runtime_webhook_requests_total{code}`; codes without their own series share the code
    /// `other`.
    #[must_use]
    pub fn requests(&self, status: u16) -> &Counter {
        let index = CODES.iter().position(|(code, _)| *code == status).unwrap_or(CODES.len() - 1);
        &self.requests[index]
    }

    /// Returns `outrigger_webhook_requests_arriving`: requests whose body is being read now.
    #[must_use]
    pub fn arriving(&self) -> &Gauge {
        &self.arriving
    }

    /// Returns `controller_runtime_webhook_requests_in_flight`: reviews that are handled now, and sets their limit.
    #[must_use]
    pub fn in_flight(&self) -> &Gauge {
        &self.in_flight
    }
}

impl Counted<'_> {
    /// Records that the body was read or refused.
    pub fn arrived(&mut self) {
        if std::mem::take(&mut self.arriving) {
            self.webhook.arriving.dec();
        }
    }

    /// Records that the request is answered with this status code.
    pub fn finish(self, status: u16) {
        self.webhook.latency.observe(self.start.elapsed().as_secs_f64());
        self.webhook.requests(status).inc();
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.arrived();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::Metrics;

    #[test]
    fn a_request_arrives_until_its_body_was_read() {
        let metrics = Metrics::default();
        let webhook = metrics.webhook(Webhook::MutatePod);
        let mut request = webhook.start();
        assert_eq!(webhook.arriving().get(), 1);
        request.arrived();
        assert_eq!(webhook.arriving().get(), 0);
        request.finish(200);
        assert_eq!((webhook.arriving().get(), webhook.requests(200).get()), (0, 1));
    }

    #[test]
    fn a_request_whose_client_went_away_no_longer_arrives_and_is_not_counted() {
        let metrics = Metrics::default();
        let webhook = metrics.webhook(Webhook::MutatePod);
        drop(webhook.start());
        assert_eq!((webhook.arriving().get(), webhook.requests(200).get()), (0, 0));
    }
}
