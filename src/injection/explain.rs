//! Explains why each SidecarSet is or is not injected into a Pod, from the decisions of [`Snapshot::inject`].

use super::PodRequest;
use super::exclusion::Exclusion;
use super::forecast::{Consequence, Forecast};
use super::outcome::{InjectError, InjectedSet, Injection};
use super::snapshot::{Mismatch, Snapshot};
use super::verify::Deviation;
use crate::api::pod::PodView;
use std::collections::{HashMap, HashSet};
use std::fmt;

/// The outcome for a Pod, by set.
#[derive(Debug)]
pub enum Explanation {
    /// The Pod is excluded, whatever the SidecarSets are.
    Excluded(Exclusion),
    /// The sets decide.
    Sets {
        /// The outcome of each set.
        sets: Vec<SetExplanation>,
        /// Warnings for the Pod's author.
        warnings: Vec<String>,
    },
}

/// The outcome of one set.
#[derive(Debug)]
pub struct SetExplanation {
    /// Name of the set.
    pub set: String,
    /// Whether it is injected, and if not, why.
    pub verdict: Verdict,
}

/// Whether a set is injected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Injected, with this revision if one is known.
    Injected {
        /// Names of the containers and init containers that it adds.
        containers: Vec<String>,
        /// The revision recorded in the Pod.
        revision: Option<String>,
    },
    /// Injected, and Kubernetes will refuse the Pod because of it.
    Refused {
        /// Names of the containers and init containers that it adds.
        containers: Vec<String>,
        /// The revision recorded in the Pod.
        revision: Option<String>,
        /// The problems.
        forecasts: Vec<Forecast>,
    },
    /// The Pod already has it.
    Present,
    /// The Pod claims to have it, but these containers differ from the set's.
    Differs(Vec<Deviation>),
    /// It does not match.
    NotMatched(Mismatch),
    /// It matches, but so does its canary.
    ReplacedByCanary(String),
    /// It matches, but the Pod is refused.
    Denied(String),
}

impl Verdict {
    /// Returns one word for machines.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Injected { .. } => "injected",
            Self::Refused { .. } => "refused",
            Self::Present => "present",
            Self::Differs(_) => "differs",
            Self::NotMatched(_) => "not-matched",
            Self::ReplacedByCanary(_) => "replaced-by-canary",
            Self::Denied(_) => "denied",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Injected { containers, revision } => write_injected(f, containers, revision.as_deref()),
            Self::Refused { containers, revision, forecasts } => {
                write_injected(f, containers, revision.as_deref())?;
                let forecasts: Vec<String> = forecasts.iter().map(ToString::to_string).collect();
                write!(f, ", but Kubernetes will refuse the Pod: {}", forecasts.join("; "))
            }
            Self::Present => f.write_str("injected already: the Pod has it"),
            Self::Differs(deviations) => {
                let deviations: Vec<String> = deviations.iter().map(ToString::to_string).collect();
                write!(f, "injected already, but not updated: {}", deviations.join("; "))
            }
            Self::NotMatched(mismatch) => write!(f, "not injected: {mismatch}"),
            Self::ReplacedByCanary(canary) => write!(f, "not injected: its canary {canary:?} is"),
            Self::Denied(reason) => write!(f, "the Pod is denied: {reason}"),
        }
    }
}

fn write_injected(f: &mut fmt::Formatter<'_>, containers: &[String], revision: Option<&str>) -> fmt::Result {
    write!(f, "injected: {}", containers.join(", "))?;
    revision.map_or(Ok(()), |revision| write!(f, " (revision {revision})"))
}

impl Snapshot {
    /// Explains the decision of [`Snapshot::inject`] about a Pod, for every set.
    ///
    /// # Errors
    /// When the Pod cannot be read.
    pub fn explain(&self, pod: &PodView<'_>, request: &PodRequest<'_>) -> Result<Explanation, InjectError> {
        let (injected, denial) = match self.inject(pod, request) {
            Ok(Injection::Excluded(exclusion)) => return Ok(Explanation::Excluded(exclusion)),
            Ok(Injection::NotMatched) => (None, None),
            Ok(Injection::Matched(injected)) => (Some(injected), None),
            Err(InjectError::Denied(denial)) => (None, Some(denial)),
            Err(unreadable) => return Err(unreadable),
        };
        let matching = self.matching(pod, request);
        let names: HashSet<&str> = matching.iter().map(|entry| entry.set.name.as_str()).collect();
        let canaries =
            matching.iter().rev().filter_map(|entry| Some((entry.set.canary_of.as_deref()?, &entry.set.name)));
        let canaries: HashMap<&str, &String> = canaries.collect(); // the first of several
        let outcomes = injected.iter().flat_map(|injected| &injected.sets);
        let outcomes: HashMap<&str, &InjectedSet> = outcomes.map(|outcome| (outcome.name.as_str(), outcome)).collect();
        let verdict = |set: &super::InjectableSet| {
            if let Some(mismatch) = self.mismatch(set, pod, request) {
                return Verdict::NotMatched(mismatch);
            }
            if let Some(denial) = &denial {
                return Verdict::Denied(denial.to_string());
            }
            if !names.contains(set.name.as_str()) {
                let canary = canaries.get(set.name.as_str());
                return Verdict::ReplacedByCanary(canary.map(|name| (*name).clone()).unwrap_or_default());
            }
            match outcomes.get(set.name.as_str()) {
                Some(outcome) if !outcome.containers.is_empty() => {
                    let (containers, revision) = (outcome.containers.clone(), outcome.revision.clone());
                    let refused = outcome.forecasts.iter().filter(|it| it.consequence == Consequence::Refused);
                    let forecasts: Vec<Forecast> = refused.cloned().collect();
                    if forecasts.is_empty() {
                        Verdict::Injected { containers, revision }
                    } else {
                        Verdict::Refused { containers, revision, forecasts }
                    }
                }
                Some(outcome) if !outcome.deviations.is_empty() => Verdict::Differs(outcome.deviations.clone()),
                _ => Verdict::Present,
            }
        };
        let sets = self.sets().map(|set| SetExplanation { set: set.name.clone(), verdict: verdict(set) });
        let sets = sets.collect();
        Ok(Explanation::Sets { sets, warnings: injected.map(|injected| injected.warnings).unwrap_or_default() })
    }
}
