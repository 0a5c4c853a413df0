//! The metrics of certificates: their expiry, their renewals, and who trusts them.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::telemetry::metrics::Labels;

/// A certificate whose expiry is exported and whose renewals are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// Our own CA.
    Authority,
    /// The certificate that the server presents.
    Serving,
}

/// The metrics of certificates.
#[derive(Debug)]
pub struct CertificateMetrics {
    expiration: Family<Labels<1>, Gauge>,
    renewals: [[Counter; 2]; Certificate::ALL.len()],
    in_sync: Family<Labels<1>, Gauge>,
    /// `certwatcher_read_certificate_total`: reads of the certificate's files.
    pub reads: Counter,
    /// `certwatcher_read_certificate_errors_total`: failed reads.
    pub read_errors: Counter,
    /// `outrigger_tls_handshake_errors_total`: failed handshakes of clients that sent anything.
    pub handshake_errors: Counter,
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

impl CertificateMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let renewals = Family::<Labels<2>, Counter>::default();
        let metrics = Self {
            expiration: Family::default(),
            renewals: Certificate::ALL.map(|certificate| {
                ["error", "success"]
                    .map(|result| renewals.get_or_create_owned(&[("type", certificate.label()), ("result", result)]))
            }),
            in_sync: Family::default(),
            reads: Counter::default(),
            read_errors: Counter::default(),
            handshake_errors: Counter::default(),
        };
        registry.register(
            "outrigger_certificate_expiration_timestamp_seconds",
            "When the certificate ends, in Unix seconds: ours (serving), and that of our CA (ca)",
            metrics.expiration.clone(),
        );
        registry.register("outrigger_certificate_renewals", "Certificates taken into use, and failures to", renewals);
        registry.register(
            "outrigger_cabundle_in_sync",
            "Whether what is registered trusts the certificate of this replica, as seen by the leader",
            metrics.in_sync.clone(),
        );
        registry.register(
            "certwatcher_read_certificate",
            "Times the files of the serving certificate were read",
            metrics.reads.clone(),
        );
        registry.register(
            "certwatcher_read_certificate_errors",
            "Times the files of the serving certificate could not be used; the one before stays in use",
            metrics.read_errors.clone(),
        );
        registry.register(
            "outrigger_tls_handshake_errors",
            "TLS handshakes that failed; a client that does not trust our CA shows here",
            metrics.handshake_errors.clone(),
        );
        metrics
    }

    /// Sets `outrigger_certificate_expiration_timestamp_seconds{type}`: when a certificate expires, in Unix seconds. It
    /// has no series until that is known.
    #[must_use]
    pub fn expiration(&self, certificate: Certificate) -> Gauge {
        self.expiration.get_or_create_owned(&[("type", certificate.label())])
    }

    /// Returns `outrigger_certificate_renewals_total{type,result}`: renewed certificates, and failures.
    #[must_use]
    pub fn renewals(&self, certificate: Certificate, success: bool) -> &Counter {
        &self.renewals[certificate as usize][usize::from(success)]
    }

    /// Sets `outrigger_cabundle_in_sync{webhook}`: 1 if the object of this name trusts the presented certificate,
    /// otherwise 0. Series of other names are removed.
    pub fn set_in_sync(&self, in_sync: impl IntoIterator<Item = (&'static str, bool)>) {
        self.in_sync.clear();
        for (webhook, in_sync) in in_sync {
            self.in_sync.get_or_create_owned(&[("webhook", webhook)]).set(in_sync.into());
        }
    }
}
