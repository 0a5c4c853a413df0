//! The metrics of the registration: edits by others, widenings, the break-glass switch.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::telemetry::metrics::Labels;

/// The result of widening the registration for a `SidecarSet`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WideningResult {
    /// It was widened.
    Widened,
    /// It could not be written.
    Failed,
}

/// The metrics of the registration.
#[derive(Debug)]
pub struct RegistrationMetrics {
    repairs: Family<Labels<1>, Counter>,
    widenings: [Counter; WideningResult::ALL.len()],
    /// `outrigger_disabled`: 1 while the `ConfigMap` exists that removes the webhooks.
    pub disabled: Gauge,
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

impl RegistrationMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let widenings = Family::<Labels<1>, Counter>::default();
        let metrics = Self {
            repairs: Family::default(),
            widenings: WideningResult::ALL.map(|result| widenings.get_or_create_owned(&[("result", result.label())])),
            disabled: Gauge::default(),
        };
        registry.register(
            "outrigger_registration_repairs",
            "Edits and deletions of the registration by others that were undone",
            metrics.repairs.clone(),
        );
        registry.register(
            "outrigger_registration_widenings",
            "Times the registration had to be widened for a SidecarSet, by what came of it",
            widenings,
        );
        registry.register(
            "outrigger_disabled",
            "1 while the ConfigMap outrigger-disabled takes the webhooks out",
            metrics.disabled.clone(),
        );
        metrics
    }

    /// Returns `outrigger_registration_repairs_total{object}`: edits of an object by others that were undone.
    #[must_use]
    pub fn repairs(&self, object: &'static str) -> Counter {
        self.repairs.get_or_create_owned(&[("object", object)])
    }

    /// Returns `outrigger_registration_widenings_total{result}`: times the registration did not cover a `SidecarSet`.
    #[must_use]
    pub fn widenings(&self, result: WideningResult) -> &Counter {
        &self.widenings[result as usize]
    }
}
