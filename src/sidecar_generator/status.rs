//! Pure: the status of a SidecarGenerator: two times, and the conditions of its first controller and of kstatus.

use super::generator::ObservedGenerator;
use super::neighbours::Overlaps;
use crate::api::sidecar_generator::SidecarGeneratorStatus;
use crate::cluster::conditions::{self, Is};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use std::collections::BTreeSet;

/// Whether the Sidecar is up to date: the seed's condition.
pub const RECONCILED: &str = "Reconciled";
/// The same for kstatus.
pub const READY: &str = "Ready";
/// Whether a retry is pending.
pub const RECONCILING: &str = "Reconciling";
/// Whether somebody must change something first.
pub const STALLED: &str = "Stalled";
/// Whether other Sidecars select the same Pods.
pub const OVERLAPPING: &str = "Overlapping";

/// The URL is being requested for the first time.
const FETCHING: &str = "Fetching";

/// At most this many other Sidecars are named.
const NAMED: usize = 10;

/// The state of a SidecarGenerator that all conditions except `Overlapping` express.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneratorStanding {
    phase: GeneratorPhase,
    reason: &'static str,
    /// A sentence without secrets, times and counters.
    message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GeneratorPhase {
    Begun,
    Current,
    Failing,
    Stalled,
}

impl GeneratorStanding {
    /// The URL is being requested for the first time. Until it answers, the object must not count as ready.
    #[must_use]
    pub fn begun() -> Self {
        Self {
            phase: GeneratorPhase::Begun,
            reason: FETCHING,
            message: "the URL is being requested for the first time".to_owned(),
        }
    }

    /// The Sidecar is up to date. `warnings` are Istio's.
    #[must_use]
    pub fn current(warnings: &str) -> Self {
        let mut message = "the Sidecar matches the last answer of the URL".to_owned();
        if !warnings.is_empty() {
            message = format!("{message}; Istio warns: {warnings}");
        }
        Self { phase: GeneratorPhase::Current, reason: "Current", message }
    }

    /// The Sidecar is not up to date, and a retry is pending.
    #[must_use]
    pub fn failing(reason: &'static str, message: impl Into<String>) -> Self {
        Self { phase: GeneratorPhase::Failing, reason, message: message.into() }
    }

    /// The Sidecar is not up to date, and somebody must change something first.
    #[must_use]
    pub fn stalled(reason: &'static str, message: impl Into<String>) -> Self {
        Self { phase: GeneratorPhase::Stalled, reason, message: message.into() }
    }

    fn conditions(&self, generation: i64, now: Timestamp) -> [Condition; 4] {
        let condition = |type_: &str, is: Is, reason: &str, message: &str| {
            conditions::condition(type_, is, reason, message, Some(generation), now)
        };
        let told = |type_, is| condition(type_, is, self.reason, &self.message);
        let (reconciled, ready) = match self.phase {
            GeneratorPhase::Begun => (told(RECONCILED, Is::Unknown), Is::Unknown),
            GeneratorPhase::Current => {
                let message = "Successfully reconciled SidecarGenerator";
                (condition(RECONCILED, Is::True, "ReconcileSuccess", message), Is::True)
            }
            GeneratorPhase::Failing | GeneratorPhase::Stalled => {
                let message = format!("Failed to reconcile SidecarGenerator: {}", self.message);
                (condition(RECONCILED, Is::False, "ReconcileError", &message), Is::False)
            }
        };
        [
            reconciled,
            told(READY, ready),
            told(RECONCILING, matches!(self.phase, GeneratorPhase::Begun | GeneratorPhase::Failing).into()),
            told(STALLED, (self.phase == GeneratorPhase::Stalled).into()),
        ]
    }
}

/// The times of a status.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    /// Of the last good answer; `None` keeps the current value.
    pub last: Option<Timestamp>,
    /// Of the next fetch; `None` if it is unknown.
    pub next: Option<Timestamp>,
}

/// Returns the status in this state; `None` if it is unchanged.
#[must_use]
pub fn status(
    generator: &ObservedGenerator,
    standing: &GeneratorStanding,
    times: Times,
    overlapping: Option<Condition>,
    now: Timestamp,
) -> Option<SidecarGeneratorStatus> {
    let mut status = generator.status.clone();
    status.observed_generation = Some(generator.generation);
    if let Some(last) = times.last {
        status.last_sidecar_generator_update = Some(whole_second(last));
    }
    status.next_sidecar_generator_update = times.next.map(whole_second);
    for condition in standing.conditions(generator.generation, now).into_iter().chain(overlapping) {
        conditions::set(&mut status.conditions, condition);
    }
    (status != generator.status).then_some(status)
}

/// Returns the status of a suspended SidecarGenerator; `None` if it is unchanged. The conditions stay, because they describe
/// the existing Sidecar.
#[must_use]
pub fn suspended(generator: &ObservedGenerator) -> Option<SidecarGeneratorStatus> {
    let mut status = generator.status.clone();
    status.observed_generation = Some(generator.generation);
    status.next_sidecar_generator_update = None;
    (status != generator.status).then_some(status)
}

/// Returns the status with this condition replaced; `None` if it is unchanged.
#[must_use]
pub fn with(generator: &ObservedGenerator, condition: Condition) -> Option<SidecarGeneratorStatus> {
    let mut status = generator.status.clone();
    conditions::set(&mut status.conditions, condition).then_some(status)
}

/// Returns the condition `Overlapping`. `sharing` are the possible overlaps for which a Pod was found.
#[must_use]
pub fn overlapping(
    overlaps: &Overlaps,
    sharing: &BTreeSet<String>,
    has_selector: bool,
    generation: i64,
    now: Timestamp,
) -> Condition {
    let found = overlaps.possible.iter().filter(|name| sharing.contains(*name));
    let names: BTreeSet<&String> = overlaps.certain.iter().chain(found).collect();
    let mut told = names.iter().take(NAMED).map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
    if names.len() > NAMED {
        told = format!("{told} and others");
    }
    let (is, reason, message) = if names.is_empty() {
        (false, "NoOverlap", "no other Sidecar is known to select the same Pods".to_owned())
    } else if has_selector {
        let message =
            format!("other Sidecars select the same Pods: {told}; which of them Istio uses is undefined (IST0110)");
        (true, "ConflictingSidecarWorkloadSelectors", message)
    } else {
        let message = format!(
            "other Sidecars have no workloadSelector either: {told}; which of them Istio uses is undefined (IST0111)"
        );
        (true, "MultipleSidecarsWithoutWorkloadSelectors", message)
    };
    conditions::condition(OVERLAPPING, is, reason, message, Some(generation), now)
}

/// Truncates a time as the API server does.
fn whole_second(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}
