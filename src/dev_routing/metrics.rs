//! The metrics of developer routing: counts and problems.

use super::plan::{DESTINATION_MISSING, HOST_SHARED, HOST_TAKEN, INVALID, NAME_TAKEN, NOT_ROUTED, WRITE_REFUSED};
use crate::telemetry::metrics::Labels;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The metrics. Clones share them.
#[derive(Clone, Debug)]
pub struct RoutingMetrics {
    /// `outrigger_routing_virtualservices`: outrigger's VirtualServices.
    pub virtual_services: Gauge,
    /// `outrigger_routing_placeholders`: placeholder Services.
    pub placeholders: Gauge,
    /// `outrigger_routing_configuration_invalid`: 1 while the ConfigMap is absent or unusable.
    pub invalid: Gauge,
    findings: [Gauge; FINDINGS.len()],
}

/// Reasons of findings, as labels.
const FINDINGS: [&str; 7] =
    [DESTINATION_MISSING, HOST_SHARED, HOST_TAKEN, INVALID, NAME_TAKEN, NOT_ROUTED, WRITE_REFUSED];

impl RoutingMetrics {
    /// Registers them with zero values.
    pub fn register(registry: &mut Registry) -> Self {
        let findings = Family::<Labels<1>, Gauge>::default();
        let metrics = Self {
            virtual_services: Gauge::default(),
            placeholders: Gauge::default(),
            invalid: Gauge::default(),
            findings: FINDINGS.map(|reason| findings.get_or_create_owned(&[("reason", reason)])),
        };
        registry.register(
            "outrigger_routing_virtualservices",
            "VirtualServices that route to developers, counted by the leader",
            metrics.virtual_services.clone(),
        );
        registry.register(
            "outrigger_routing_placeholders",
            "Placeholder Services, counted by the leader",
            metrics.placeholders.clone(),
        );
        registry.register(
            "outrigger_routing_configuration_invalid",
            "1 while the ConfigMap of developer routing is absent or unusable",
            metrics.invalid.clone(),
        );
        registry.register(
            "outrigger_routing_findings",
            "Services that are not fully routed, by the reason of their Event",
            findings,
        );
        metrics
    }

    /// `outrigger_routing_findings{reason}`: findings by reason.
    pub fn set_findings(&self, count: impl Fn(&str) -> usize) {
        for (reason, gauge) in FINDINGS.iter().zip(&self.findings) {
            gauge.set(i64::try_from(count(reason)).unwrap_or(i64::MAX));
        }
    }
}
