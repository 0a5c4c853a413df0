//! How many SidecarGenerators are well, and since when one has not been: for the metrics.

use super::generator::ObservedGenerator;
use super::status::{READY, STALLED};
use crate::telemetry::metrics::{GeneratorMetrics, GeneratorState};
use jiff::Timestamp;

/// How all SidecarGenerators are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    states: [i64; GeneratorState::ALL.len()],
    oldest_success: Option<Timestamp>,
}

impl Counts {
    /// Counts by what the statuses say.
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

    /// Makes the metrics say so.
    pub fn show(&self, metrics: &GeneratorMetrics) {
        for (state, count) in GeneratorState::ALL.into_iter().zip(self.states) {
            metrics.generators(state).set(count);
        }
        metrics.set_oldest_success(self.oldest_success.map(Timestamp::as_second));
    }
}

/// The metrics of a replica that does not lead.
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
