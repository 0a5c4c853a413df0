//! Pure: which Pods of a set are updated in place now.
//!
//! Candidates are Pods that differ from the set by images only. Those that an update has made unavailable take a place each of
//! `maxUnavailable`, until they are ready with the new images; so a bad image stops the rollout by itself. A candidate that is not
//! ready takes none: it can only gain.

use super::attempts::Attempts;
use super::counting::{PodStanding, Update};
use super::pod::ObservedPod;
use super::pod_patch::{self, ImageIds};
use super::pods::PodIndex;
use super::set::{ObservedSet, UsableSet};
use super::watched_pod::WatchedPod;
use jiff::Timestamp;
use json_patch::PatchOperation;
use serde_json::Value;

/// At most this many writes are planned at once: whoever plans keeps events waiting.
const MOST_AT_ONCE: usize = 100;

/// What is to be written to the Pods of a set.
#[derive(Clone, Debug, Default)]
pub struct UpgradePlan {
    /// Pods to update.
    pub updates: Vec<PodUpdate>,
    /// Pods whose condition is to be written.
    pub conditions: Vec<PodCondition>,
    /// When to look again, although nothing changes until then.
    pub look_again: Option<Timestamp>,
}

/// An update of a Pod in place.
#[derive(Clone, Debug)]
pub struct PodUpdate {
    /// The Pod as it was seen.
    pub pod: WatchedPod,
    /// The patch.
    pub operations: Vec<PatchOperation>,
    /// Whether it is unavailable already, and not by an update.
    pub is_excused: bool,
    /// What runs until it is updated.
    pub image_ids_before: ImageIds,
}

/// A condition of a Pod.
#[derive(Clone, Debug)]
pub struct PodCondition {
    /// The Pod as it was seen.
    pub pod: WatchedPod,
    /// The condition.
    pub condition: Value,
}

/// Plans for a set. `revision` is the name of that of its present content.
#[must_use]
pub fn plan(
    set: &ObservedSet,
    usable: &UsableSet,
    pods: &PodIndex,
    attempts: &Attempts,
    is_known: impl Fn(&str) -> bool,
    revision: &str,
    now: Timestamp,
) -> UpgradePlan {
    let (name, matched) = (&*set.name, pods.counts(&set.name).matched);
    let mut plan = UpgradePlan::default();
    let Some(rules) = pods.rules(name) else { return plan };
    let mut free = usable.strategy.max_unavailable(matched).saturating_sub(taken(name, pods, attempts));
    let mut candidates = Vec::new();
    for (pod, standing) in pods.to_write(name) {
        if standing.update == Update::InPlace && usable.strategy.selects(&usable.updates, pod) {
            candidates.push((pod, standing));
        }
        // Hot upgrades come to their end whatever else is to be done: the Pod has a place until then.
        if standing.to_reset && plan.updates.len() < MOST_AT_ONCE && !plan.waits(name, pod, attempts, now) {
            let (operations, image_ids_before) = pod_patch::reset(name, rules, pod, now);
            let pod = WatchedPod::named(pod.version());
            plan.updates.push(PodUpdate { pod, operations, is_excused: false, image_ids_before });
        }
        if let Some(upgradable) = standing.to_tell
            && plan.conditions.len() < MOST_AT_ONCE
            && !plan.waits(name, pod, attempts, now)
        {
            let condition = pod_patch::condition(name, pod, upgradable, &is_known, now);
            plan.conditions.push(PodCondition { pod: WatchedPod::named(pod.version()), condition });
        }
    }
    usable.strategy.sort(&mut candidates, |(pod, _)| pod);
    candidates.truncate(candidates.len().saturating_sub(usable.strategy.kept_back(matched)));
    for (pod, standing) in candidates {
        if plan.updates.len() == MOST_AT_ONCE {
            break;
        }
        if plan.waits(name, pod, attempts, now) {
            continue;
        }
        let attempt = attempts.get(name, pod.version());
        let has_place = standing.unavailable || attempt.is_some_and(|it| it.is_in_doubt(&pod.resource_version));
        let needs_place = pod.ready && !has_place;
        if needs_place && free == 0 {
            continue;
        }
        let (operations, image_ids_before) = pod_patch::update(name, &set.resource_version, rules, pod, revision, now);
        free -= usize::from(needs_place);
        plan.updates.push(PodUpdate {
            pod: WatchedPod::named(pod.version()),
            operations,
            is_excused: !pod.ready && !has_place,
            image_ids_before,
        });
    }
    plan
}

/// How many Pods take a place of `maxUnavailable`.
fn taken(set: &str, pods: &PodIndex, attempts: &Attempts) -> usize {
    let mut taken = pods.counts(set).unavailable;
    let rules = pods.rules(set);
    for ((namespace, name), attempt) in attempts.of(set) {
        let Some((pod, standing)) = pods.standing(set, namespace, name) else { continue };
        if *pod.uid != *attempt.uid() {
            continue;
        }
        let PodStanding { matched, unavailable, .. } = standing;
        if unavailable && attempt.is_excused {
            taken -= 1;
        } else if matched && !unavailable && !attempt.is_excused {
            let is_on_its_way = attempt.is_in_doubt(&pod.resource_version)
                || rules.is_some_and(|rules| !rules.runs_other_than(pod, &attempt.image_ids_before));
            taken += usize::from(is_on_its_way);
        }
    }
    taken
}

impl UpgradePlan {
    /// Whether nothing may be written to a Pod yet.
    fn waits(&mut self, set: &str, pod: &ObservedPod, attempts: &Attempts, now: Timestamp) -> bool {
        let of_pod = attempts.get(set, pod.version()).and_then(|attempt| attempt.hold());
        let holds = of_pod.into_iter().chain(attempts.forbidden(&pod.namespace));
        let Some(until) = holds.map(|hold| hold.until).filter(|until| *until > now).max() else { return false };
        self.look_again = Some(self.look_again.map_or(until, |other| other.min(until)));
        true
    }
}

/// Of the Pods of a set that could not be updated, how many there are, and one with the reason.
#[must_use]
pub fn refused(set: &str, pods: &PodIndex, attempts: &Attempts) -> Option<(usize, String)> {
    let mut refused: Vec<(&ObservedPod, &str)> = Vec::new();
    for (pod, standing) in pods.to_write(set) {
        let of_pod = attempts.get(set, pod.version()).and_then(|attempt| attempt.hold());
        let hold = of_pod.filter(|hold| hold.problem.is_some()).or_else(|| attempts.forbidden(&pod.namespace));
        if standing.update == Update::InPlace
            && let Some(problem) = hold.and_then(|hold| hold.problem.as_deref())
        {
            refused.push((pod, problem));
        }
    }
    let (first, problem) = refused.iter().min_by_key(|(pod, _)| (&pod.namespace, &pod.name))?;
    Some((refused.len(), format!("{}/{}: {problem}", first.namespace, first.name)))
}

#[cfg(test)]
mod tests;
