//! Pure: what an update would do with each Pod of a set now, and why not more.

use super::attempts::Attempts;
use super::counting::CountingRules;
use super::index::RolloutIndex;
use super::pod::ObservedPod;
use super::standing::{PodStanding, Update};
use super::strategy::Updates;
use super::upgrade::taken;
use crate::cluster::Versioned;
use jiff::Timestamp;
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use std::fmt;

/// A set, and each Pod that claims to be injected by it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RolloutExplanation {
    /// The set.
    pub set: String,
    /// The problem of the set. If there is one, nothing else is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// The number of Pods that match.
    pub matched: usize,
    /// The number of matching Pods with the latest containers.
    pub updated: usize,
    /// The maximum number of Pods that may be unavailable because of updates.
    pub max_unavailable: usize,
    /// The number of unavailable Pods, as far as the Pods themselves show it.
    pub unavailable: usize,
    /// Pods in the order of their updates, then the others by name.
    pub pods: Vec<PodVerdict>,
}

/// The verdict on a Pod.
#[derive(Clone, Debug, Serialize)]
pub struct PodVerdict {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// One word.
    pub verdict: Verdict,
    /// The reason, if the word does not make it clear.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// What happens to a Pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It is among the next to be updated.
    Next,
    /// It is updated once other Pods are ready.
    Waits,
    /// It keeps its containers.
    Held,
    /// It has the latest images and is not ready yet.
    Starting,
    /// It must be recreated.
    Recreate,
    /// It claims to be updated, and is not.
    Deviates,
    /// It has the latest containers.
    Updated,
    /// It does not count for the set.
    NotCounted,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Next => "next",
            Self::Waits => "waits",
            Self::Held => "held",
            Self::Starting => "starting",
            Self::Recreate => "recreate",
            Self::Deviates => "deviates",
            Self::Updated => "updated",
            Self::NotCounted => "not-counted",
        })
    }
}

/// Explains how the next leader would continue the rollout of a set; `None` if there is no such set.
#[must_use]
pub fn explain(index: &RolloutIndex, set: &str, now: Timestamp) -> Option<RolloutExplanation> {
    let mut survey = index.survey(set)?;
    while !index.go_on(&mut survey, now) {}
    survey.sort();
    let plan = index.plan_of(&survey, now)?;
    let pods = index.pods();
    let counts = pods.counts(set);
    let mut explanation = RolloutExplanation {
        set: set.to_owned(),
        problem: None,
        matched: counts.matched,
        updated: counts.updated,
        max_unavailable: 0,
        unavailable: taken(set, pods, &Attempts::default()),
        pods: Vec::new(),
    };
    let (usable, rules) = match (&survey.set.usable, pods.rules(set)) {
        (Ok(usable), Some(rules)) => (usable, rules),
        (Err(unusable), _) => {
            return Some(RolloutExplanation { problem: Some(unusable.problem.clone()), ..explanation });
        }
        (Ok(_), None) => return Some(explanation),
    };
    explanation.max_unavailable = usable.strategy.max_unavailable(counts.matched);
    let next: HashSet<_> = plan.pods.updates.iter().map(|update| update.pod.version().uid.to_owned()).collect();
    let last = survey.candidates.len().saturating_sub(usable.strategy.kept_back(counts.matched));
    let in_order = survey.candidates.iter().enumerate();
    let positions: HashMap<usize, usize> = in_order.map(|(position, candidate)| (candidate.key, position)).collect();
    let mut told: Vec<(Option<usize>, PodVerdict)> = pods
        .keys_of(set)
        .filter_map(|key| {
            let (pod, standing) = pods.at(set, key)?;
            let position = positions.get(&key).copied();
            let (verdict, reason) = match position {
                Some(_) if next.contains(&*pod.uid) => (Verdict::Next, String::new()),
                Some(position) if position < last => {
                    (Verdict::Waits, "maxUnavailable: other Pods must be ready first".to_owned())
                }
                Some(_) => (Verdict::Held, "spec.updateStrategy.partition".to_owned()),
                None => of_other(set, pod, standing, rules, &usable.updates),
            };
            let (namespace, name) = (pod.namespace.to_string(), pod.name.to_string());
            Some((position, PodVerdict { namespace, name, verdict, reason }))
        })
        .collect();
    told.sort_by(|(a, pod), (b, other)| {
        let by_name = (&pod.namespace, &pod.name).cmp(&(&other.namespace, &other.name));
        (a.is_none(), a).cmp(&(b.is_none(), b)).then(by_name)
    });
    explanation.pods = told.into_iter().map(|(_, pod)| pod).collect();
    Some(explanation)
}

/// Explains a Pod that is not going to be updated.
fn of_other(
    set: &str,
    pod: &ObservedPod,
    standing: PodStanding,
    rules: &CountingRules,
    updates: &Updates,
) -> (Verdict, String) {
    let PodStanding { matched, updated, deviates, ready, update, to_reset, .. } = standing;
    let takes_place = "counts against maxUnavailable until it is ready";
    match update {
        _ if !matched => {
            (Verdict::NotCounted, "it does not match, has ended or is being deleted, or lacks a container".to_owned())
        }
        _ if deviates => {
            (Verdict::Deviates, rules.deviation(pod).map(|deviation| deviation.to_string()).unwrap_or_default())
        }
        Update::Recreate => (Verdict::Recreate, rules.why_anew(set, pod)),
        Update::Underway => {
            (Verdict::Starting, format!("an earlier update has yet to reach the kubelet; {takes_place}"))
        }
        _ if to_reset => (Verdict::Starting, "its hot upgrade is about to end".to_owned()),
        Update::InPlace if *updates == Updates::Off => {
            (Verdict::Held, "spec.updateStrategy: paused is true, or type is NotUpdate".to_owned())
        }
        Update::InPlace => (Verdict::Held, "spec.updateStrategy.selector does not select it".to_owned()),
        Update::None if updated && !ready => (Verdict::Starting, format!("{}; {takes_place}", not_ready(pod))),
        Update::None => (Verdict::Updated, String::new()),
    }
}

fn not_ready(pod: &ObservedPod) -> &'static str {
    if pod.ready { "it does not run all of its images yet" } else { "it is not ready" }
}
