//! The metrics of SidecarGenerators: their fetches and states.

use crate::telemetry::metrics::Labels;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::time::Duration;

/// The state of a SidecarGenerator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GeneratorState {
    /// Its Sidecar is up to date.
    Current,
    /// Something failed and is retried. Its Sidecar is unchanged.
    Failing,
    /// Nothing will happen until somebody changes something.
    Stalled,
    /// It is suspended.
    Suspended,
}

/// The metrics of all SidecarGenerators. Clones share them.
#[derive(Clone, Debug)]
pub struct GeneratorMetrics {
    fetches: Family<Labels<1>, Counter>,
    fetch_duration: Histogram,
    generators: [Gauge; GeneratorState::ALL.len()],
    oldest_success: Family<Labels<0>, Gauge>,
}

/// Seconds. A fetch ends after 10.
const DURATION_BUCKETS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

impl GeneratorState {
    /// Every state, in the order of declaration.
    pub const ALL: [Self; 4] = [Self::Current, Self::Failing, Self::Stalled, Self::Suspended];

    const fn label(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Failing => "failing",
            Self::Stalled => "stalled",
            Self::Suspended => "suspended",
        }
    }
}

impl GeneratorMetrics {
    /// Registers them with zero values.
    pub fn register(registry: &mut Registry) -> Self {
        let generators = Family::<Labels<1>, Gauge>::default();
        let metrics = Self {
            fetches: Family::default(),
            fetch_duration: Histogram::new(DURATION_BUCKETS),
            generators: GeneratorState::ALL.map(|state| generators.get_or_create_owned(&[("state", state.label())])),
            oldest_success: Family::default(),
        };
        registry.register("outrigger_fetches", "Fetches of URLs, by outcome", metrics.fetches.clone());
        registry.register(
            "outrigger_fetch_duration_seconds",
            "Time from the start of a fetch to the end of its body",
            metrics.fetch_duration.clone(),
        );
        registry.register("outrigger_sidecar_generators", "SidecarGenerators, by state", generators);
        registry.register(
            "outrigger_sidecar_generators_oldest_success_timestamp_seconds",
            "Unix time of the last good answer, of the SidecarGenerator for which it is longest ago",
            metrics.oldest_success.clone(),
        );
        metrics
    }

    /// `outrigger_fetches_total{outcome}`: fetches by outcome. The first call creates the series.
    #[must_use]
    pub fn fetches(&self, outcome: &'static str) -> Counter {
        self.fetches.get_or_create_owned(&[("outcome", outcome)])
    }

    /// `outrigger_fetch_duration_seconds`: the duration of a fetch.
    pub fn fetched(&self, took: Duration) {
        self.fetch_duration.observe(took.as_secs_f64());
    }

    /// `outrigger_sidecar_generators{state}`: SidecarGenerators by state.
    #[must_use]
    pub fn generators(&self, state: GeneratorState) -> &Gauge {
        &self.generators[state as usize]
    }

    /// `outrigger_sidecar_generators_oldest_success_timestamp_seconds`: Unix seconds. There is no series without a success.
    pub fn set_oldest_success(&self, seconds: Option<i64>) {
        match seconds {
            Some(seconds) => {
                self.oldest_success.get_or_create_owned(&[]).set(seconds);
            }
            None => self.oldest_success.clear(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Metrics;

    #[test]
    fn fetches_and_states_are_counted() {
        let metrics = Metrics::new();
        let generators = metrics.register(GeneratorMetrics::register);
        generators.fetches("ok").inc();
        let _ = generators.fetches("timeout");
        generators.fetched(Duration::from_millis(20));
        generators.generators(GeneratorState::Failing).inc();
        generators.set_oldest_success(Some(1_800_000_000));
        let text = metrics.encode().unwrap();
        for expected in [
            "outrigger_fetches_total{outcome=\"ok\"} 1",
            "outrigger_fetches_total{outcome=\"timeout\"} 0",
            "outrigger_fetch_duration_seconds_bucket{le=\"0.025\"} 1",
            "outrigger_sidecar_generators{state=\"current\"} 0",
            "outrigger_sidecar_generators{state=\"failing\"} 1",
            "outrigger_sidecar_generators_oldest_success_timestamp_seconds{} 1800000000",
        ] {
            assert!(text.lines().any(|line| line == expected), "no {expected} in\n{text}");
        }
        generators.set_oldest_success(None);
        assert!(!metrics.encode().unwrap().contains("1800000000"));
    }
}
