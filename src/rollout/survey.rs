//! Pure: the Pods of a set that are not up to date, collected a few at a time so that events of 100,000 Pods do not have to wait. A
//! plan checks them again.

use super::attempts::{Attempts, Hold, PodWrite};
use super::pod::ObservedPod;
use super::pods::PodIndex;
use super::set::ObservedSet;
use super::standing::Update;
use super::strategy::{Precedence, Progress};
use super::text::Text;
use jiff::Timestamp;
use std::sync::Arc;

/// The number of Pods examined in one step.
const AT_A_TIME: usize = 500;

/// What was found about a set's Pods.
#[derive(Debug)]
pub struct Survey {
    /// The set at the time of the survey.
    pub set: Arc<ObservedSet>,
    /// Keys of the remaining Pods.
    keys: Vec<usize>,
    /// Pods that can be updated in place, in the order of the strategy after [`Self::sort`].
    pub(super) candidates: Vec<Candidate>,
    /// Those that may be written now, in that order.
    turns: Vec<Turn>,
    /// Those of them that need no place of `maxUnavailable`.
    turns_without_place: Vec<Turn>,
    /// The Pods that were already updated, if the order depends on them.
    progress: Progress,
    /// The number of outdated Pods among those that updates select.
    pub(super) outdated: usize,
    /// Keys of Pods with a hot upgrade to end, if they may be written.
    pub(super) to_reset: Vec<usize>,
    /// Keys of Pods with a condition to write, likewise.
    pub(super) to_tell: Vec<usize>,
    /// The first Pod by name that only claims to have the latest containers.
    pub(super) deviating: Option<Example>,
    /// The first Pod by name that must be recreated.
    pub(super) recreation: Option<Example>,
    /// The number of Pods that could not be updated, and the first of them by name.
    pub(super) refused: (usize, Option<Example>),
    /// When to look again even if nothing changes.
    pub(super) look_again: Option<Timestamp>,
}

/// A Pod that can be updated in place.
#[derive(Debug)]
pub(super) struct Candidate {
    pub key: usize,
    precedence: Precedence,
    /// Whether it needs a place of `maxUnavailable` that it does not have.
    pub needs_place: bool,
    /// Whether it may not be written yet.
    pub waits: bool,
}

/// A candidate in compact form, because events wait while a plan examines them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    /// Its index in [`Survey::candidates`].
    pub position: usize,
    pub key: usize,
}

/// A Pod and what to report about it.
#[derive(Debug)]
pub(super) struct Example {
    namespace: Text,
    name: Box<str>,
    problem: String,
}

impl Survey {
    /// Starts a survey.
    #[must_use]
    pub fn of(set: Arc<ObservedSet>, pods: &PodIndex) -> Self {
        let scatters = set.usable.as_ref().is_ok_and(|usable| usable.strategy.scatters());
        Self {
            keys: if scatters { pods.keys_of(&set.name).collect() } else { pods.amiss(&set.name) },
            set,
            candidates: Vec::new(),
            turns: Vec::new(),
            turns_without_place: Vec::new(),
            progress: Progress::default(),
            outdated: 0,
            to_reset: Vec::new(),
            to_tell: Vec::new(),
            deviating: None,
            recreation: None,
            refused: (0, None),
            look_again: None,
        }
    }

    /// Examines some more Pods. Returns whether it is complete.
    pub fn go_on(&mut self, pods: &PodIndex, attempts: &Attempts, now: Timestamp) -> bool {
        let set = Arc::clone(&self.set);
        let rest = self.keys.split_off(self.keys.len().saturating_sub(AT_A_TIME));
        let (Ok(usable), Some(rules)) = (&set.usable, pods.rules(&set.name)) else { return true };
        for key in rest {
            let Some((pod, standing)) = pods.at(&set.name, key) else { continue };
            if standing.to_tell.is_some() && !self.waits(attempts.hold(&set.name, pod, PodWrite::Condition), now) {
                self.to_tell.push(key);
            }
            if standing.deviates {
                let problem = || rules.deviation(pod).map(|deviation| deviation.to_string()).unwrap_or_default();
                Example::keep_first(&mut self.deviating, pod, problem);
            }
            if standing.update == Update::Recreate {
                Example::keep_first(&mut self.recreation, pod, || rules.why_anew(&set.name, pod));
            }
            if standing.resize_waits {
                self.refused.0 += 1;
                Example::keep_first(&mut self.refused.1, pod, || pod.resize.as_deref().unwrap_or_default().to_owned());
            }
            let is_selected = usable.strategy.selects(&usable.updates, pod);
            if standing.matched && !standing.updated {
                self.outdated += usize::from(is_selected);
            } else if standing.matched && usable.strategy.scatters() {
                self.progress.add(&usable.strategy.precedence(pod));
            }
            let is_outdated = matches!(standing.update, Update::InPlace | Update::Underway);
            let hold = attempts.hold(&set.name, pod, PodWrite::Update).filter(|_| is_outdated || standing.to_reset);
            if let Some(problem) = hold.and_then(|hold| hold.problem.as_deref()) {
                self.refused.0 += 1;
                Example::keep_first(&mut self.refused.1, pod, || problem.to_owned());
            }
            let is_candidate = is_selected && standing.update == Update::InPlace;
            let waits = (is_candidate || standing.to_reset) && self.waits(hold, now);
            // A hot upgrade ends before the next one begins.
            if standing.to_reset {
                self.to_reset.extend((!waits).then_some(key));
            } else if is_candidate {
                let precedence = usable.strategy.precedence(pod);
                let has_place = standing.unavailable || attempts.is_in_doubt(&set.name, pod);
                self.candidates.push(Candidate { key, precedence, needs_place: pod.ready && !has_place, waits });
            }
        }
        self.keys.is_empty()
    }

    /// Whether nothing may be written yet. Updates when to look again.
    fn waits(&mut self, hold: Option<&Hold>, now: Timestamp) -> bool {
        let Some(until) = hold.map(|hold| hold.until).filter(|until| *until > now) else { return false };
        self.look_again = Some(self.look_again.map_or(until, |other| other.min(until)));
        true
    }

    /// Sorts the candidates into the order of the strategy.
    pub fn sort(&mut self) {
        if let Ok(usable) = &self.set.usable {
            usable.strategy.sort(&mut self.candidates, &self.progress, |candidate| &candidate.precedence);
        }
        let in_order = self.candidates.iter().enumerate().filter(|(_, candidate)| !candidate.waits);
        let turn = |(position, candidate): (usize, &Candidate)| Turn { position, key: candidate.key };
        self.turns = in_order.clone().map(turn).collect();
        self.turns_without_place = in_order.filter(|(_, candidate)| !candidate.needs_place).map(turn).collect();
    }

    /// Returns the next candidate that may be written, starting at a position. If no place is free, candidates that
    /// need one are skipped.
    pub(super) fn turn(&self, from: usize, is_place_free: bool) -> Option<Turn> {
        let turns = if is_place_free { &self.turns } else { &self.turns_without_place };
        turns.get(turns.partition_point(|turn| turn.position < from)).copied()
    }
}

impl Example {
    /// Keeps the first one by name.
    fn keep_first(kept: &mut Option<Self>, pod: &ObservedPod, problem: impl FnOnce() -> String) {
        let is_before = |kept: &Self| (&*pod.namespace, &*pod.name) < (&*kept.namespace, &*kept.name);
        if kept.as_ref().is_none_or(is_before) {
            *kept = Some(Self { namespace: pod.namespace.clone(), name: pod.name.clone(), problem: problem() });
        }
    }

    /// Returns the text for a message.
    pub fn sentence(&self) -> String {
        let Self { namespace, name, problem } = self;
        format!("{namespace}/{name}: {problem}")
    }
}
