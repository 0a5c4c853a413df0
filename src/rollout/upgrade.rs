//! Pure: which Pods of a set are updated in place now.
//!
//! Candidates are Pods that differ from the set only by images. A Pod that an update made unavailable uses one place of
//! `maxUnavailable` until it is ready with the new images, so a bad image stops the rollout by itself. A candidate that is not
//! ready needs no place, because it can only improve.

use super::attempts::{Attempts, PodWrite};
use super::pod::ObservedPod;
use super::pod_patch::{self, PodPatch};
use super::pods::PodIndex;
use super::set::UsableSet;
use super::standing::Update;
use super::survey::Survey;
use super::watched_pod::WatchedPod;
use jiff::Timestamp;
use json_patch::PatchOperation;
use serde_json::Value;

/// The maximum number of writes in one plan. Events wait during planning.
const MOST_AT_ONCE: usize = 100;

/// The planned writes to the Pods of a set.
#[derive(Clone, Debug, Default)]
pub struct UpgradePlan {
    /// Pods to update.
    pub updates: Vec<PodUpdate>,
    /// Pods with a condition to write.
    pub conditions: Vec<PodCondition>,
    /// When to look again even if nothing changes.
    pub look_again: Option<Timestamp>,
}

/// An update of a Pod in place.
#[derive(Clone, Debug)]
pub struct PodUpdate {
    /// The Pod as it was seen.
    pub pod: WatchedPod,
    /// The kind of update.
    pub kind: UpdateKind,
    /// The patch of its amounts of CPU and memory, which is sent first.
    pub resize: Vec<PatchOperation>,
    /// The patch.
    pub patch: PodPatch,
    /// Whether it is already unavailable, and not because of an update.
    pub is_excused: bool,
    /// Whether it may already have been written. It must be read before it is written again.
    pub is_in_doubt: bool,
}

/// The purpose of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateKind {
    /// Set the current images.
    Images,
    /// Set the current images and amounts of CPU and memory.
    Resources,
    /// End a hot upgrade: a container gets the empty image again.
    Reset,
}

/// A condition of a Pod.
#[derive(Clone, Debug)]
pub struct PodCondition {
    /// The Pod as it was seen.
    pub pod: WatchedPod,
    /// The condition.
    pub condition: Value,
}

/// Plans for the set of a complete survey with sorted candidates. `revision` is the name of the current content's
/// revision.
#[must_use]
pub fn plan(
    survey: &Survey,
    usable: &UsableSet,
    pods: &PodIndex,
    attempts: &Attempts,
    is_known: impl Fn(&str) -> bool,
    revision: &str,
    now: Timestamp,
) -> UpgradePlan {
    let set = &survey.set;
    let (name, matched) = (&*set.name, pods.counts(&set.name).matched);
    let mut plan = UpgradePlan { look_again: survey.look_again, ..UpgradePlan::default() };
    let Some(rules) = pods.rules(name) else { return plan };
    // Hot upgrades are ended first, because the Pod keeps its place until then.
    for (pod, standing) in survey.to_reset.iter().filter_map(|key| pods.at(name, *key)) {
        if plan.updates.len() == MOST_AT_ONCE {
            break;
        }
        if standing.to_reset && !plan.waits(name, pod, attempts, PodWrite::Update, now) {
            plan.updates.push(PodUpdate {
                pod: WatchedPod::named(pod.version()),
                kind: UpdateKind::Reset,
                resize: Vec::new(),
                patch: pod_patch::reset(name, rules, pod, now),
                is_excused: false,
                is_in_doubt: attempts.is_in_doubt(name, pod),
            });
        }
    }
    for (pod, standing) in survey.to_tell.iter().filter_map(|key| pods.at(name, *key)) {
        if plan.conditions.len() == MOST_AT_ONCE {
            break;
        }
        if let Some(upgradable) = standing.to_tell
            && !plan.waits(name, pod, attempts, PodWrite::Condition, now)
        {
            let condition = pod_patch::condition(name, pod, upgradable, &is_known, now);
            plan.conditions.push(PodCondition { pod: WatchedPod::named(pod.version()), condition });
        }
    }
    let mut free = usable.strategy.max_unavailable(matched).saturating_sub(taken(name, pods, attempts));
    let to_update = survey.candidates.len().saturating_sub(usable.strategy.kept_back(matched));
    let mut from = 0;
    while let Some(turn) = survey.turn(from, free > 0).filter(|turn| turn.position < to_update)
        && plan.updates.len() < MOST_AT_ONCE
    {
        from = turn.position + 1;
        let Some((pod, standing)) = pods.at(name, turn.key) else { continue };
        let is_still = standing.update == Update::InPlace && !standing.to_reset;
        if !is_still || plan.waits(name, pod, attempts, PodWrite::Update, now) {
            continue; // it has changed since
        }
        let is_in_doubt = attempts.is_in_doubt(name, pod);
        let has_place = standing.unavailable || is_in_doubt;
        let needs_place = pod.ready && !has_place;
        if needs_place && free == 0 {
            continue;
        }
        free -= usize::from(needs_place);
        let is_resized = rules.is_resized_by_update(name, pod);
        plan.updates.push(PodUpdate {
            pod: WatchedPod::named(pod.version()),
            kind: if is_resized { UpdateKind::Resources } else { UpdateKind::Images },
            resize: pod_patch::resize(name, rules, pod),
            patch: pod_patch::update(name, rules, pod, revision, now),
            is_excused: !pod.ready && !has_place,
            is_in_doubt,
        });
    }
    plan
}

/// Returns how many Pods use a place of `maxUnavailable`.
pub(super) fn taken(set: &str, pods: &PodIndex, attempts: &Attempts) -> usize {
    let (more, less) = attempts.hidden(set, pods);
    (pods.counts(set).unavailable + more).saturating_sub(less)
}

impl UpgradePlan {
    /// Whether a Pod may not be written yet.
    fn waits(&mut self, set: &str, pod: &ObservedPod, attempts: &Attempts, write: PodWrite, now: Timestamp) -> bool {
        let until = attempts.hold(set, pod, write).map(|hold| hold.until).filter(|until| *until > now);
        let Some(until) = until else { return false };
        self.look_again = Some(self.look_again.map_or(until, |other| other.min(until)));
        true
    }
}

#[cfg(test)]
mod tests;
