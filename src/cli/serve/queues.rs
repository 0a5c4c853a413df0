//! Metrics of the work queues of controllers, and of calls to the API server.

use crate::cluster::calls::CallObserver;
use crate::cluster::{Outcome, queue::Observer};
use crate::telemetry::Metrics;
use crate::telemetry::metrics::{Controller, ControllerMetrics, ReconcileResult, RestClientMetrics};
use http::{Method, StatusCode};
use std::sync::Arc;
use std::time::Duration;

/// Returns the observer of a controller's work.
pub(super) fn observer(metrics: &Metrics, controller: Controller) -> Arc<dyn Observer> {
    Arc::new(metrics.controller(controller).clone())
}

impl Observer for ControllerMetrics {
    fn added(&self, waiting: usize) {
        self.added(waiting);
    }

    fn delayed(&self) {
        self.delayed();
    }

    fn begun(&self, waiting: usize) {
        self.begun(waiting);
    }

    fn finished(&self, outcome: Outcome, took: Duration) {
        let result = match outcome {
            Outcome::Done => ReconcileResult::Success,
            Outcome::Retry => ReconcileResult::Error,
            Outcome::RequeueAfter(_) => ReconcileResult::RequeueAfter,
        };
        self.finished(result, took);
    }
}

impl CallObserver for RestClientMetrics {
    fn answered(&self, method: &Method, status: Option<StatusCode>) {
        self.answered(method, status);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::WorkQueue;

    #[tokio::test(start_paused = true)]
    async fn the_work_on_a_queue_shows_in_the_metrics() {
        let metrics = Metrics::new();
        let queue = WorkQueue::observed(observer(&metrics, Controller::SidecarSet));
        for set in ["a", "b", "a", "c"] {
            queue.add(set);
        }
        queue.next().await.done();
        queue.next().await.retry();
        queue.next().await.requeue_after(Duration::from_secs(3600));
        let _working = queue.next().await; // retries the failed one
        let text = metrics.encode().unwrap();
        for expected in [
            "controller_runtime_reconcile_total{controller=\"sidecarset\",result=\"success\"} 1",
            "controller_runtime_reconcile_total{controller=\"sidecarset\",result=\"error\"} 1",
            "controller_runtime_reconcile_total{controller=\"sidecarset\",result=\"requeue_after\"} 1",
            "controller_runtime_reconcile_errors_total{controller=\"sidecarset\"} 1",
            "controller_runtime_reconcile_time_seconds_count{controller=\"sidecarset\"} 3",
            "controller_runtime_active_workers{controller=\"sidecarset\"} 1",
            "workqueue_adds_total{name=\"sidecarset\"} 4",
            "workqueue_retries_total{name=\"sidecarset\"} 2",
            "workqueue_depth{name=\"sidecarset\"} 0",
        ] {
            assert!(text.lines().any(|line| line == expected), "no {expected} in\n{text}");
        }
    }
}
