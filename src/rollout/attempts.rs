//! Pure: what became of writes to Pods, as far as the Pods themselves do not show it. The leader that wrote remembers it; the next one
//! is more careful instead.

use super::counting::CountingRules;
use super::pods::PodIndex;
use super::text::Text;
use crate::cluster::ObjectVersion;
use jiff::{SignedDuration, Timestamp};
use std::collections::HashMap;

/// The pause after the first refusal of a write to a Pod; it doubles with each further one.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_secs(1);

/// No pause is longer.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_secs(60);

/// By set, and then by namespace and name of the Pod.
#[derive(Debug, Default)]
pub struct Attempts {
    by_set: HashMap<String, HashMap<(String, String), Attempt>>,
    /// Namespaces in which outrigger may not write Pods.
    forbidden: HashMap<String, Hold>,
}

/// Whether and how this process updates Pods.
#[derive(Clone, Copy)]
pub struct PodUpdates<'a> {
    /// Whether it does at all.
    pub are_on: bool,
    /// What became of the writes so far.
    pub attempts: &'a Attempts,
    /// Whether there is a set of this name.
    pub is_known: &'a dyn Fn(&str) -> bool,
}

/// What is remembered of the writes to a Pod.
#[derive(Debug, Default)]
pub(super) struct Attempt {
    /// Which Pod that is.
    uid: String,
    /// The version that was written over, until the answer comes: it may be written or not.
    over: Option<String>,
    /// Whether the Pod was unavailable before it was updated: that it stays so says nothing about the update.
    pub is_excused: bool,
    /// The images that ran before, until the Pod is ready with others. The Pod records them, too, but its author may change that.
    pub image_ids_before: Vec<(Text, Text)>,
    hold: Option<Hold>,
}

/// Until when nothing is written.
#[derive(Clone, Debug)]
pub(super) struct Hold {
    pub until: Timestamp,
    pause: SignedDuration,
    /// Why; `None` where it is not worth telling.
    pub problem: Option<String>,
}

/// How a write ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttemptEnd {
    /// It is written.
    Written,
    /// The Pod is no longer as it was seen.
    Conflict,
    /// The API server refused it.
    Refused(String),
    /// Outrigger has not the right to write Pods of this namespace.
    Forbidden(String),
    /// Nobody knows whether it is written.
    Unknown(String),
}

impl Attempts {
    /// A write is about to be sent.
    pub(super) fn begin(
        &mut self,
        set: &str,
        pod: ObjectVersion<'_>,
        is_excused: bool,
        image_ids_before: Vec<(Text, Text)>,
    ) {
        let attempt = self.of_pod(set, pod);
        attempt.over = Some(pod.resource_version.to_owned());
        attempt.is_excused |= is_excused;
        if !image_ids_before.is_empty() {
            attempt.image_ids_before = image_ids_before;
        }
    }

    /// A write ended.
    pub(super) fn end(&mut self, set: &str, pod: ObjectVersion<'_>, end: AttemptEnd, now: Timestamp) {
        let attempt = self.of_pod(set, pod);
        match end {
            AttemptEnd::Written => (attempt.over, attempt.hold) = (None, None),
            // Until another version is seen, so that the same is not tried again at once.
            AttemptEnd::Conflict => {
                attempt.hold = Some(Hold { until: now + FIRST_PAUSE, pause: FIRST_PAUSE, problem: None });
            }
            AttemptEnd::Unknown(problem) => attempt.hold = Some(Hold::after(attempt.hold.as_ref(), problem, now)),
            AttemptEnd::Refused(problem) => {
                attempt.take_back();
                attempt.hold = Some(Hold::after(attempt.hold.as_ref(), problem, now));
            }
            AttemptEnd::Forbidden(problem) => {
                attempt.take_back();
                let hold = Hold::after(self.forbidden.get(pod.namespace), problem, now);
                self.forbidden.insert(pod.namespace.to_owned(), hold);
                return;
            }
        }
        self.forbidden.remove(pod.namespace);
    }

    fn of_pod(&mut self, set: &str, pod: ObjectVersion<'_>) -> &mut Attempt {
        let of_set = self.by_set.entry(set.to_owned()).or_default();
        let attempt = of_set.entry((pod.namespace.to_owned(), pod.name.to_owned())).or_default();
        if attempt.uid != pod.uid {
            *attempt = Attempt { uid: pod.uid.to_owned(), ..Attempt::default() };
        }
        attempt
    }

    /// Those of a set.
    pub(super) fn of(&self, set: &str) -> impl Iterator<Item = (&(String, String), &Attempt)> {
        self.by_set.get(set).into_iter().flatten()
    }

    /// That of a Pod.
    pub(super) fn get(&self, set: &str, pod: ObjectVersion<'_>) -> Option<&Attempt> {
        let attempt = self.by_set.get(set)?.get(&(pod.namespace.to_owned(), pod.name.to_owned()))?;
        (attempt.uid == pod.uid).then_some(attempt)
    }

    /// Why nothing may be written in a namespace.
    pub(super) fn forbidden(&self, namespace: &str) -> Option<&Hold> {
        self.forbidden.get(namespace)
    }

    /// Forgets what the Pods show by now.
    pub(super) fn tidy(&mut self, set: &str, pods: &PodIndex) {
        let Some(attempts) = self.by_set.get_mut(set) else { return };
        let rules = pods.rules(set);
        attempts.retain(|(namespace, name), attempt| {
            let Some((pod, standing)) = pods.standing(set, namespace, name) else { return false };
            if *pod.uid != *attempt.uid {
                return false;
            }
            attempt.over.take_if(|over| **over != *pod.resource_version);
            if standing.ready {
                attempt.is_excused = false;
                let runs_others = |rules: &CountingRules| rules.runs_other_than(pod, &attempt.image_ids_before);
                if attempt.over.is_none() && rules.is_none_or(runs_others) {
                    attempt.image_ids_before = Vec::new();
                }
            }
            let is_done = standing.updated && standing.to_tell.is_none();
            attempt.hold.take_if(|_| is_done);
            attempt.over.is_some()
                || attempt.is_excused
                || !attempt.image_ids_before.is_empty()
                || attempt.hold.is_some()
        });
        if attempts.is_empty() {
            self.by_set.remove(set);
        }
    }
}

impl Attempt {
    /// Which Pod that is.
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// Whether this version may have been updated already.
    pub fn is_in_doubt(&self, resource_version: &str) -> bool {
        self.over.as_deref() == Some(resource_version)
    }

    /// Why nothing may be written yet.
    pub fn hold(&self) -> Option<&Hold> {
        self.hold.as_ref()
    }

    /// What was sent is certainly not written.
    fn take_back(&mut self) {
        if self.over.take().is_some() {
            (self.is_excused, self.image_ids_before) = (false, Vec::new());
        }
    }
}

impl Hold {
    fn after(earlier: Option<&Hold>, problem: String, now: Timestamp) -> Self {
        let pause = earlier.map_or(FIRST_PAUSE, |earlier| earlier.pause.saturating_mul(2).min(LONGEST_PAUSE));
        Self { until: now + pause, pause, problem: Some(problem) }
    }
}
