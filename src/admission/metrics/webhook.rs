//! The metrics of the webhooks: their requests, what became of the Pods, what was turned away.

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

/// Why a review was answered 503 without looking at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shed {
    /// There were as many reviews in flight as allowed.
    Reviews,
    /// There were as many bytes of bodies in flight as allowed, and this body was the slowest.
    Bytes,
    /// The body did not arrive in time.
    SlowBody,
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

/// The metrics of one webhook.
#[derive(Clone, Debug)]
pub struct WebhookMetrics {
    requests: [Counter; CODES.len()],
    arriving: Gauge,
    in_flight: Gauge,
    latency: Histogram,
}

/// A request being counted: among those that arrive until [`Counted::arrived`], or until dropped because the client went away.
#[derive(Debug)]
pub struct Counted<'a> {
    webhook: &'a WebhookMetrics,
    arriving: bool,
    start: Instant,
}

/// The status codes with a series of their own; the last stands for all others.
const CODES: [(u16, &str); 8] =
    [(200, "200"), (400, "400"), (405, "405"), (413, "413"), (415, "415"), (500, "500"), (503, "503"), (0, "other")];

/// Seconds. controller-runtime's buckets, and finer ones below: a review takes tens of microseconds.
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
    /// Those of every webhook, in the order of [`Webhook::ALL`].
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

    /// A request begins: its head has arrived.
    #[must_use]
    pub fn start(&self) -> Counted<'_> {
        self.arriving.inc();
        Counted { webhook: self, arriving: true, start: Instant::now() }
    }

    /// `controller_runtime_webhook_requests_total{code}`; codes without a series of their own share the code `other`.
    #[must_use]
    pub fn requests(&self, status: u16) -> &Counter {
        let index = CODES.iter().position(|(code, _)| *code == status).unwrap_or(CODES.len() - 1);
        &self.requests[index]
    }

    /// `outrigger_webhook_requests_arriving`: requests of which the body is being read now.
    #[must_use]
    pub fn arriving(&self) -> &Gauge {
        &self.arriving
    }

    /// `controller_runtime_webhook_requests_in_flight`: reviews being worked on now, of which there may be so many.
    #[must_use]
    pub fn in_flight(&self) -> &Gauge {
        &self.in_flight
    }
}

impl Counted<'_> {
    /// The body was read, or refused.
    pub fn arrived(&mut self) {
        if std::mem::take(&mut self.arriving) {
            self.webhook.arriving.dec();
        }
    }

    /// The request is answered with this status code.
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
