//! Counts of VirtualServices, placeholders and findings for the metrics.

use super::index::RoutingIndex;
use super::metrics::RoutingMetrics;
use super::placeholder::is_placeholder_for;
use std::collections::BTreeMap;

/// The counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    virtual_services: usize,
    placeholders: usize,
    invalid: bool,
    findings: BTreeMap<&'static str, usize>,
}

impl Counts {
    /// Counts the objects in the index.
    pub fn of(index: &RoutingIndex) -> Self {
        let default_namespace = index.configuration().map(|good| good.default_namespace.as_str());
        let is_placeholder =
            |namespace| index.services().filter(|service| is_placeholder_for(service, namespace)).count();
        let mut findings = BTreeMap::new();
        for finding in index.memories().flat_map(super::memory::Memory::findings) {
            *findings.entry(finding.reason).or_default() += 1;
        }
        Self {
            virtual_services: index.virtual_services().ours(),
            placeholders: default_namespace.map_or(0, is_placeholder),
            invalid: index.standing.problem.is_some(),
            findings,
        }
    }

    /// Updates the metrics.
    pub fn show(&self, metrics: &RoutingMetrics) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        metrics.virtual_services.set(number(self.virtual_services));
        metrics.placeholders.set(number(self.placeholders));
        metrics.invalid.set(self.invalid.into());
        metrics.set_findings(|reason| self.findings.get(reason).copied().unwrap_or_default());
    }
}

/// Clears the metrics of a replica that does not lead.
pub(super) fn clear(metrics: &RoutingMetrics) {
    Counts::default().show(metrics);
}
