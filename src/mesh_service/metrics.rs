//! The metrics of MeshServices: their states, and the objects that are made for them.

use crate::api::mesh_service::{ConsistencyState, Severity};
use crate::telemetry::metrics::Labels;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The metrics. A cheap clone is the same.
#[derive(Clone, Debug)]
pub struct MeshMetrics {
    states: [Gauge; STATES.len()],
    violations: [Gauge; SEVERITIES.len()],
    /// `outrigger_mesh_objects`: objects that were made.
    pub objects: Gauge,
    /// `outrigger_mesh_repairs_total`: objects that had drifted and were repaired.
    pub repairs: Counter,
}

const STATES: [ConsistencyState; 5] = [
    ConsistencyState::Checking,
    ConsistencyState::Consistent,
    ConsistencyState::Inconsistent,
    ConsistencyState::RepairPending,
    ConsistencyState::RepairFailed,
];

const SEVERITIES: [(Severity, &str); 3] =
    [(Severity::Error, "error"), (Severity::Warning, "warning"), (Severity::Info, "info")];

const fn label(state: ConsistencyState) -> &'static str {
    match state {
        ConsistencyState::Checking => "Checking",
        ConsistencyState::Consistent => "Consistent",
        ConsistencyState::Inconsistent => "Inconsistent",
        ConsistencyState::RepairPending => "RepairPending",
        ConsistencyState::RepairFailed => "RepairFailed",
    }
}

impl MeshMetrics {
    /// Registers them, at zero.
    pub fn register(registry: &mut Registry) -> Self {
        let (states, violations) = (Family::<Labels<1>, Gauge>::default(), Family::<Labels<1>, Gauge>::default());
        let metrics = Self {
            states: STATES.map(|state| states.get_or_create_owned(&[("state", label(state))])),
            violations: SEVERITIES.map(|(_, label)| violations.get_or_create_owned(&[("severity", label)])),
            objects: Gauge::default(),
            repairs: Counter::default(),
        };
        registry.register("outrigger_mesh_services", "MeshServices, by their consistencyState", states);
        registry.register(
            "outrigger_mesh_violations",
            "What the status of MeshServices says is wrong, by how bad it is",
            violations,
        );
        registry.register(
            "outrigger_mesh_objects",
            "Objects that were made for MeshServices, as the leader sees them",
            metrics.objects.clone(),
        );
        registry.register(
            "outrigger_mesh_repairs",
            "Objects that somebody changed and that were made again as their MeshService says",
            metrics.repairs.clone(),
        );
        metrics
    }

    /// Sets `outrigger_mesh_services{state}` and `outrigger_mesh_violations{severity}`.
    pub fn show(&self, states: impl Fn(ConsistencyState) -> usize, violations: impl Fn(Severity) -> usize) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        for (state, gauge) in STATES.iter().zip(&self.states) {
            gauge.set(number(states(*state)));
        }
        for ((severity, _), gauge) in SEVERITIES.iter().zip(&self.violations) {
            gauge.set(number(violations(*severity)));
        }
    }
}
