//! The metrics of controllers and their work queues, with the names of controller-runtime and client-go.

use super::labels::Labels;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::time::Duration;

/// A controller, for the labels `controller` and `name`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Controller {
    /// Status and revisions of SidecarSets.
    SidecarSet,
    /// Istio Sidecars from URLs.
    SidecarGenerator,
    /// VirtualServices and placeholders from Services.
    DevRouting,
    /// Istio objects from MeshServices.
    MeshService,
}

/// The outcome of work on an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReconcileResult {
    /// The object is up to date.
    Success,
    /// It failed and is retried.
    Error,
    /// The object is up to date for now.
    RequeueAfter,
}

/// The metrics of one controller. Clones share them.
#[derive(Clone, Debug)]
pub struct ControllerMetrics {
    results: [Counter; ReconcileResult::ALL.len()],
    errors: Counter,
    time: Histogram,
    active: Gauge,
    depth: Gauge,
    adds: Counter,
    retries: Counter,
}

/// Seconds.
const TIME_BUCKETS: [f64; 14] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

#[derive(Clone)]
struct TimeHistogram;

impl MetricConstructor<Histogram> for TimeHistogram {
    fn new_metric(&self) -> Histogram {
        Histogram::new(TIME_BUCKETS)
    }
}

impl Controller {
    /// Every controller, in the order of declaration.
    pub const ALL: [Self; 4] = [Self::SidecarSet, Self::SidecarGenerator, Self::DevRouting, Self::MeshService];

    const fn label(self) -> &'static str {
        match self {
            Self::SidecarSet => "sidecarset",
            Self::SidecarGenerator => "sidecargenerator",
            Self::DevRouting => "devrouting",
            Self::MeshService => "meshservice",
        }
    }
}

impl ReconcileResult {
    const ALL: [Self; 3] = [Self::Success, Self::Error, Self::RequeueAfter];

    const fn label(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Error => "error",
            Self::RequeueAfter => "requeue_after",
        }
    }
}

impl ControllerMetrics {
    /// Registers those of every controller, in the order of [`Controller::ALL`].
    pub(super) fn register(registry: &mut Registry) -> [Self; Controller::ALL.len()] {
        let results = Family::<Labels<2>, Counter>::default();
        let errors = Family::<Labels<1>, Counter>::default();
        let time = Family::<Labels<1>, Histogram, TimeHistogram>::new_with_constructor(TimeHistogram);
        let active = Family::<Labels<1>, Gauge>::default();
        let depth = Family::<Labels<1>, Gauge>::default();
        let adds = Family::<Labels<1>, Counter>::default();
        let retries = Family::<Labels<1>, Counter>::default();
        registry.register("controller_runtime_reconcile", "Reconciliations, by result", results.clone());
        registry.register("controller_runtime_reconcile_errors", "Failed reconciliations", errors.clone());
        registry.register("controller_runtime_reconcile_time_seconds", "Duration of reconciliations", time.clone());
        registry.register("controller_runtime_active_workers", "Objects being reconciled", active.clone());
        registry.register("workqueue_depth", "Objects waiting in the queue", depth.clone());
        registry.register("workqueue_adds", "Objects added to the queue", adds.clone());
        registry.register("workqueue_retries", "Objects added to the queue after a pause", retries.clone());
        Controller::ALL.map(|controller| {
            let (label, name) = (("controller", controller.label()), ("name", controller.label()));
            Self {
                results: ReconcileResult::ALL
                    .map(|result| results.get_or_create_owned(&[label, ("result", result.label())])),
                errors: errors.get_or_create_owned(&[label]),
                time: time.get_or_create_owned(&[label]),
                active: active.get_or_create_owned(&[label]),
                depth: depth.get_or_create_owned(&[name]),
                adds: adds.get_or_create_owned(&[name]),
                retries: retries.get_or_create_owned(&[name]),
            }
        })
    }

    /// `workqueue_adds_total`, `workqueue_depth`: an object was queued.
    pub fn added(&self, waiting: usize) {
        self.adds.inc();
        self.set_depth(waiting);
    }

    /// `workqueue_retries_total`: an object is queued again after a pause.
    pub fn delayed(&self) {
        self.retries.inc();
    }

    /// `controller_runtime_active_workers`, `workqueue_depth`: work on an object begins.
    pub fn begun(&self, waiting: usize) {
        self.active.inc();
        self.set_depth(waiting);
    }

    /// `controller_runtime_reconcile_total`, `…_errors_total`, `…_time_seconds`: work on an object ended.
    pub fn finished(&self, result: ReconcileResult, took: Duration) {
        self.active.dec();
        self.results[result as usize].inc();
        if result == ReconcileResult::Error {
            self.errors.inc();
        }
        self.time.observe(took.as_secs_f64());
    }

    fn set_depth(&self, waiting: usize) {
        self.depth.set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Metrics;

    #[test]
    fn names_are_those_of_controller_runtime_and_client_go() {
        let metrics = Metrics::new();
        let sets = metrics.controller(Controller::SidecarSet);
        sets.added(1);
        sets.added(2);
        sets.begun(1);
        sets.begun(0);
        sets.finished(ReconcileResult::Error, Duration::from_millis(30));
        sets.delayed();
        let text = metrics.encode().unwrap();
        for expected in [
            "controller_runtime_reconcile_total{controller=\"sidecarset\",result=\"error\"} 1",
            "controller_runtime_reconcile_total{controller=\"sidecarset\",result=\"success\"} 0",
            "controller_runtime_reconcile_total{controller=\"sidecargenerator\",result=\"requeue_after\"} 0",
            "controller_runtime_reconcile_errors_total{controller=\"sidecarset\"} 1",
            "controller_runtime_reconcile_time_seconds_bucket{le=\"0.025\",controller=\"sidecarset\"} 0",
            "controller_runtime_reconcile_time_seconds_bucket{le=\"0.05\",controller=\"sidecarset\"} 1",
            "controller_runtime_active_workers{controller=\"sidecarset\"} 1",
            "workqueue_depth{name=\"sidecarset\"} 0",
            "workqueue_adds_total{name=\"sidecarset\"} 2",
            "workqueue_retries_total{name=\"sidecarset\"} 1",
            "workqueue_adds_total{name=\"sidecargenerator\"} 0",
        ] {
            assert!(text.lines().any(|line| line == expected), "no {expected} in\n{text}");
        }
    }
}
