//! Counts of SidecarGenerators by state, and the oldest success, for the metrics.

use super::generator::ObservedGenerator;
use super::metrics::{GeneratorMetrics, GeneratorState};
use super::status::{READY, STALLED};
use jiff::Timestamp;

/// Counts of all SidecarGenerators.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    states: [i64; GeneratorState::ALL.len()],
    oldest_success: Option<Timestamp>,
}

impl Counts {
    /// Counts by the statuses.
    pub fn of<'a>(generators: impl Iterator<Item = &'a ObservedGenerator>) -> Self {
        let mut counts = Self::default();
        for generator in generators.filter(|generator| !generator.deleting) {
            let state = state(generator);
            counts.states[state as usize] += 1;
            if state != GeneratorState::Suspended {
                let last = generator.status.last_sidecar_generator_update.as_ref().map(|last| last.0);
                counts.oldest_success = counts.oldest_success.into_iter().chain(last).min();
            }
        }
        counts
    }

    /// Updates the metrics.
    pub fn show(&self, metrics: &GeneratorMetrics) {
        for (state, count) in GeneratorState::ALL.into_iter().zip(self.states) {
            metrics.generators(state).set(count);
        }
        metrics.set_oldest_success(self.oldest_success.map(Timestamp::as_second));
    }
}

/// Clears the metrics of a replica that does not lead.
pub fn clear(metrics: &GeneratorMetrics) {
    Counts::default().show(metrics);
}

fn state(generator: &ObservedGenerator) -> GeneratorState {
    let is = |type_: &str| {
        generator.status.conditions.iter().any(|condition| condition.type_ == type_ && condition.status == "True")
    };
    if generator.usable.as_ref().is_ok_and(|spec| spec.suspended) {
        GeneratorState::Suspended
    } else if is(STALLED) {
        GeneratorState::Stalled
    } else if is(READY) {
        GeneratorState::Current
    } else {
        GeneratorState::Failing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sidecar_generator::tests::generator;
    use crate::telemetry::Metrics;
    use serde_json::{Value, json};

    fn seen(condition: &str, last: &str, more: &Value) -> ObservedGenerator {
        let mut spec = json!({"url": "http://h"});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let mut object = generator("g", &spec);
        let time = format!("2026-01-08T19:07:{last}Z");
        object["status"] = json!({
            "lastSidecarGeneratorUpdate": time,
            "conditions": [{"type": condition, "status": "True", "reason": "R", "message": "", "lastTransitionTime": time}]
        });
        ObservedGenerator::read(object)
    }

    #[test]
    fn they_are_counted_by_how_they_are_and_the_oldest_success_is_told() {
        let none = json!({});
        let mut deleting = seen("Ready", "01", &none);
        deleting.deleting = true;
        let generators = [
            seen("Ready", "21", &none),
            seen("Ready", "22", &none),
            seen("Stalled", "20", &none),
            seen("Reconciling", "23", &none),
            seen("Ready", "10", &json!({"suspend": true})),
            ObservedGenerator::read(generator("new", &json!({"url": "http://h"}))),
            deleting,
        ];
        let counts = Counts::of(generators.iter());
        assert_eq!(counts.states, [2, 2, 1, 1]);
        assert_eq!(counts.oldest_success, Some("2026-01-08T19:07:20Z".parse().unwrap()));
        let metrics = Metrics::new().register(GeneratorMetrics::register);
        counts.show(&metrics);
        assert_eq!(metrics.generators(GeneratorState::Suspended).get(), 1);
        clear(&metrics);
        assert_eq!(metrics.generators(GeneratorState::Suspended).get(), 0);
    }
}
