//! The metrics of in-place updates: Pods that are not up to date, and the outcome of writes to Pods.

use super::attempts::AttemptEnd;
use super::standing::Counts;
use crate::telemetry::metrics::Labels;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// A number of Pods in a state, with its label.
type PodsCounted = (&'static str, fn(&Counts) -> usize);

/// The states reported for the Pods of all sets together.
const PODS: [PodsCounted; 4] = [
    ("in_place", |counts| counts.in_place),
    ("recreate", |counts| counts.recreate),
    ("unavailable", |counts| counts.unavailable),
    ("deviating", |counts| counts.deviating),
];

/// Outcomes of a write to a Pod, as labels.
const RESULTS: [&str; 5] = ["written", "conflict", "refused", "forbidden", "unknown"];

/// The metrics of all rollouts. Clones share their values.
#[derive(Clone, Debug)]
pub struct RolloutMetrics {
    pods: [Gauge; PODS.len()],
    updates: [Counter; RESULTS.len()],
}

impl RolloutMetrics {
    /// Registers them with zero values.
    pub fn register(registry: &mut Registry) -> Self {
        let (pods, updates) = (Family::<Labels<1>, Gauge>::default(), Family::<Labels<1>, Counter>::default());
        let metrics = Self {
            pods: PODS.map(|(state, _)| pods.get_or_create_owned(&[("state", state)])),
            updates: RESULTS.map(|result| updates.get_or_create_owned(&[("result", result)])),
        };
        registry.register(
            "outrigger_rollout_pods",
            "Pods of SidecarSets that in-place updates are about, by state",
            pods,
        );
        registry.register("outrigger_pod_updates", "Writes to Pods for in-place updates, by result", updates);
        metrics
    }

    /// Sets the numbers of Pods. A Pod counts once for each of its sets.
    pub fn show(&self, counts: &Counts) {
        for (gauge, (_, count)) in self.pods.iter().zip(PODS) {
            gauge.set(i64::try_from(count(counts)).unwrap_or(i64::MAX));
        }
    }

    /// Counts the outcome of a write to a Pod.
    pub fn ended(&self, end: &AttemptEnd) {
        let [written, conflict, refused, forbidden, unknown] = &self.updates;
        match end {
            AttemptEnd::Written => written,
            AttemptEnd::Conflict => conflict,
            AttemptEnd::Refused(_) => refused,
            AttemptEnd::Forbidden(_) => forbidden,
            AttemptEnd::Unknown(_) => unknown,
        }
        .inc();
    }
}

impl Default for RolloutMetrics {
    /// Unregistered metrics.
    fn default() -> Self {
        Self { pods: PODS.map(|_| Gauge::default()), updates: RESULTS.map(|_| Counter::default()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Metrics;

    #[test]
    fn pods_and_writes_are_counted() {
        let metrics = Metrics::new();
        let rollout = metrics.register(RolloutMetrics::register);
        rollout.show(&Counts { in_place: 3, recreate: 2, unavailable: 1, ..Counts::default() });
        rollout.ended(&AttemptEnd::Refused("no".to_owned()));
        let text = metrics.encode().unwrap();
        for expected in [
            "outrigger_rollout_pods{state=\"in_place\"} 3",
            "outrigger_rollout_pods{state=\"recreate\"} 2",
            "outrigger_rollout_pods{state=\"unavailable\"} 1",
            "outrigger_rollout_pods{state=\"deviating\"} 0",
            "outrigger_pod_updates_total{result=\"refused\"} 1",
            "outrigger_pod_updates_total{result=\"written\"} 0",
        ] {
            assert!(text.lines().any(|line| line == expected), "no {expected} in\n{text}");
        }
    }
}
