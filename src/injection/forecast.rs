//! What Kubernetes is going to say of a Pod because of a set: told beforehand, with the set, the container and the field.

use std::fmt;

/// Something of a set that does not fit a Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forecast {
    /// The container and its field, or the field of the Pod.
    pub field: String,
    /// What does not fit, and what to do.
    pub problem: String,
    /// What comes of it.
    pub consequence: Consequence,
}

/// What comes of something that does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Consequence {
    /// The API server refuses the Pod.
    Refused,
    /// The Pod is created, and a container of it cannot run.
    Fails,
    /// The Pod runs, but not as it would without the set.
    Changes,
}

impl fmt::Display for Forecast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.problem)
    }
}

/// All forecasts of a set for one Pod, as one line; `None` where there are none.
pub(super) fn line(set: &str, forecasts: &[Forecast]) -> Option<String> {
    let parts = [
        (Consequence::Refused, "Kubernetes will refuse this Pod"),
        (Consequence::Fails, "this Pod will not run"),
        (Consequence::Changes, "this Pod will not be what it was"),
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
