//! Predictions of what Kubernetes will say about a Pod because of a set, with the set, the container and the field.

use std::fmt;

/// A part of a set that does not fit a Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forecast {
    /// The container and its field, or the Pod's field.
    pub field: String,
    /// The problem and its solution.
    pub problem: String,
    /// The consequence.
    pub consequence: Consequence,
}

/// The consequence of a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Consequence {
    /// The API server refuses the Pod.
    Refused,
    /// The Pod is created, and one of its containers cannot run.
    Fails,
    /// The Pod runs, but differently than without the set.
    Changes,
}

impl fmt::Display for Forecast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.problem)
    }
}

/// Returns all predictions of a set for one Pod as one line; `None` if there are none.
pub(super) fn line(set: &str, forecasts: &[Forecast]) -> Option<String> {
    let parts = [
        (Consequence::Refused, "Kubernetes will refuse this Pod"),
        (Consequence::Fails, "this Pod will not run"),
        (Consequence::Changes, "this Pod will behave differently"),
    ];
    let told: Vec<String> = parts
        .iter()
        .filter_map(|(consequence, words)| {
            let of_it = forecasts.iter().filter(|forecast| forecast.consequence == *consequence);
            let of_it: Vec<String> = of_it.map(ToString::to_string).collect();
            (!of_it.is_empty()).then(|| format!("{words}: {}", of_it.join("; ")))
        })
        .collect();
    (!told.is_empty()).then(|| format!("SidecarSet {set:?}: {}", told.join(". ")))
}
