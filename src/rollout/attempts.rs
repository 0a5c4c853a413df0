//! Pure: the outcome of writes to Pods, as far as the Pods themselves do not show it. The leader that wrote remembers it. The next
//! leader does not know it and is more careful.

use super::pod::{ObservedPod, SentImage};
use super::pods::PodIndex;
use super::standing::PodStanding;
use crate::cluster::ObjectVersion;
use jiff::{SignedDuration, Timestamp};
use std::collections::HashMap;

/// The pause after the first rejected write to a Pod. It doubles with each further one.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_secs(1);

/// The maximum pause.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_secs(60);

/// The API server gives up a request after 60 s. After this time, a write without an answer is no longer executed.
const DOUBT: SignedDuration = SignedDuration::from_secs(90);

/// By set, then by the Pod's uid.
#[derive(Debug, Default)]
pub struct Attempts {
    by_set: HashMap<String, HashMap<Box<str>, Attempt>>,
    /// Namespaces in which outrigger may not write Pods, by kind of write.
    forbidden: [HashMap<String, Hold>; 2],
}

/// The parts of a Pod that are written with different permissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodWrite {
    /// Its images, amounts and annotations.
    Update,
    /// Its condition.
    Condition,
}

/// Whether and how this process updates Pods.
#[derive(Clone, Copy)]
pub struct PodUpdates<'a> {
    /// Whether updates are enabled.
    pub are_on: bool,
    /// The outcome of earlier writes.
    pub attempts: &'a Attempts,
    /// Whether there is a set of this name.
    pub is_known: &'a dyn Fn(&str) -> bool,
}

/// What is remembered of the writes to a Pod.
#[derive(Debug, Default)]
pub(super) struct Attempt {
    namespace: Box<str>,
    name: Box<str>,
    /// The Pod's key in the index when it was written, which saves a lookup by name.
    key: Option<usize>,
    /// The version that was overwritten, until another is seen. The write may or may not have happened.
    over: Option<String>,
    /// The time since when the outcome of the write is unknown.
    doubted_since: Option<Timestamp>,
    noted: Noted,
    /// What was noted before that write.
    noted_before: Noted,
    holds: [Option<Hold>; 2],
}

/// What a Pod does not show itself, or not reliably.
#[derive(Clone, Debug, Default)]
struct Noted {
    /// Whether the Pod was unavailable before its update. If it stays unavailable, that says nothing about the update.
    is_excused: bool,
    /// The images that it was given. The Pod also records what ran before, but its author may change that.
    sent: Vec<SentImage>,
}

/// The time until which nothing is written.
#[derive(Clone, Debug)]
pub(super) struct Hold {
    pub until: Timestamp,
    pause: SignedDuration,
    /// The reason; `None` if it is not worth reporting.
    pub problem: Option<String>,
}

/// The outcome of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttemptEnd {
    /// The write succeeded.
    Written,
    /// The Pod has changed since it was seen.
    Conflict,
    /// The API server rejected the write.
    Refused(String),
    /// Outrigger may not write Pods of this namespace.
    Forbidden(String),
    /// The outcome is unknown.
    Unknown(String),
}

impl AttemptEnd {
    /// Returns why the write failed, or may have.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        match self {
            Self::Written | Self::Conflict => None,
            Self::Refused(problem) | Self::Forbidden(problem) | Self::Unknown(problem) => Some(problem),
        }
    }
}

impl Attempts {
    /// An update is about to be sent. An earlier one over the same version, which may have been executed, stays in
    /// doubt.
    pub(super) fn begin(
        &mut self,
        set: &str,
        pod: ObjectVersion<'_>,
        key: Option<usize>,
        is_excused: bool,
        images: Vec<SentImage>,
    ) {
        let attempt = self.of_pod(set, pod);
        attempt.key = key;
        if attempt.is_in_doubt(pod.resource_version) {
            return;
        }
        attempt.over = Some(pod.resource_version.to_owned());
        attempt.doubted_since = None;
        attempt.noted_before = attempt.noted.clone();
        attempt.noted.is_excused |= is_excused;
        if !images.is_empty() {
            attempt.noted.sent = images;
        }
    }

    /// A write ended. Returns whether its problem differs from the previous one. A repeated write in doubt was preceded by a
    /// read, which showed that the earlier one had not happened.
    pub(super) fn end(
        &mut self,
        set: &str,
        pod: ObjectVersion<'_>,
        write: PodWrite,
        end: AttemptEnd,
        now: Timestamp,
    ) -> bool {
        let attempt = self.of_pod(set, pod);
        let hold = &mut attempt.holds[write as usize];
        let before = hold.as_ref().and_then(|hold| hold.problem.as_deref());
        let is_news = end.problem().is_some_and(|problem| before != Some(problem));
        match &end {
            AttemptEnd::Written => *hold = None,
            // Waits for another version, so that the same write is not repeated at once.
            AttemptEnd::Conflict => {
                *hold = Some(Hold { until: now + FIRST_PAUSE, pause: FIRST_PAUSE, problem: None });
            }
            AttemptEnd::Unknown(problem) | AttemptEnd::Refused(problem) => {
                *hold = Some(Hold::after(hold.as_ref(), problem.clone(), now));
            }
            AttemptEnd::Forbidden(_) => {}
        }
        if write == PodWrite::Update {
            match &end {
                AttemptEnd::Written => (attempt.over, attempt.doubted_since) = (None, None),
                AttemptEnd::Unknown(_) => _ = attempt.doubted_since.get_or_insert(now),
                // The newer version may be the result of the earlier write. It shows that.
                AttemptEnd::Conflict if attempt.doubted_since.is_some() => {}
                AttemptEnd::Conflict | AttemptEnd::Refused(_) | AttemptEnd::Forbidden(_) => attempt.take_back(now),
            }
        }
        let forbidden = &mut self.forbidden[write as usize];
        let AttemptEnd::Forbidden(problem) = end else {
            forbidden.remove(pod.namespace);
            return is_news;
        };
        let earlier = forbidden.get(pod.namespace);
        if earlier.is_none_or(|earlier| earlier.until <= now) {
            let hold = Hold::after(earlier, problem, now);
            return forbidden.insert(pod.namespace.to_owned(), hold).is_none();
        }
        false
    }

    fn of_pod(&mut self, set: &str, pod: ObjectVersion<'_>) -> &mut Attempt {
        let of_set = self.by_set.entry(set.to_owned()).or_default();
        of_set.entry(pod.uid.into()).or_insert_with(|| Attempt {
            namespace: pod.namespace.into(),
            name: pod.name.into(),
            ..Attempt::default()
        })
    }

    /// Returns how many Pods use a place of `maxUnavailable` without showing it, and how many show one that they do not
    /// use.
    pub(super) fn hidden(&self, set: &str, pods: &PodIndex) -> (usize, usize) {
        let (mut more, mut less) = (0, 0);
        let Some(rules) = pods.rules(set) else { return (0, 0) };
        for (uid, attempt) in self.by_set.get(set).into_iter().flatten() {
            let Some((pod, PodStanding { matched, unavailable, .. })) = attempt.pod(set, uid, pods) else { continue };
            if attempt.noted.is_excused {
                less += usize::from(unavailable);
            } else if matched && !unavailable {
                let is_on_its_way =
                    attempt.is_in_doubt(&pod.resource_version) || rules.is_on_its_way(pod, &attempt.noted.sent);
                more += usize::from(is_on_its_way);
            }
        }
        (more, less)
    }

    /// Whether this version of a Pod may already have been updated.
    pub(super) fn is_in_doubt(&self, set: &str, pod: &ObservedPod) -> bool {
        let attempt = self.by_set.get(set).and_then(|attempts| attempts.get(&pod.uid));
        attempt.is_some_and(|attempt| attempt.is_in_doubt(&pod.resource_version))
    }

    /// Returns until when nothing is written to a Pod, and why.
    pub(super) fn hold(&self, set: &str, pod: &ObservedPod, write: PodWrite) -> Option<&Hold> {
        let attempt = self.by_set.get(set).and_then(|attempts| attempts.get(&pod.uid));
        let of_pod = attempt.and_then(|attempt| attempt.holds[write as usize].as_ref());
        of_pod.into_iter().chain(self.forbidden[write as usize].get(&*pod.namespace)).max_by_key(|hold| hold.until)
    }

    /// Forgets what the Pods show themselves by now.
    pub(super) fn tidy(&mut self, set: &str, pods: &PodIndex) {
        let Some(attempts) = self.by_set.get_mut(set) else { return };
        let rules = pods.rules(set);
        attempts.retain(|uid, attempt| {
            let Some((pod, standing)) = attempt.pod(set, uid, pods) else { return false };
            attempt.over.take_if(|over| **over != *pod.resource_version);
            if attempt.over.is_none() {
                attempt.doubted_since = None;
                if rules.is_none_or(|rules| !rules.is_on_its_way(pod, &attempt.noted.sent)) {
                    attempt.noted.sent = Vec::new();
                }
            }
            attempt.noted.is_excused &= !standing.ready;
            let [update, condition] = &mut attempt.holds;
            update.take_if(|_| standing.updated);
            condition.take_if(|_| standing.to_tell.is_none());
            let Noted { is_excused, sent } = &attempt.noted;
            attempt.over.is_some() || *is_excused || !sent.is_empty() || update.is_some() || condition.is_some()
        });
        if attempts.is_empty() {
            self.by_set.remove(set);
        }
    }
}

impl Attempt {
    /// Returns the current Pod and its standing with the set.
    fn pod<'p>(&self, set: &str, uid: &str, pods: &'p PodIndex) -> Option<(&'p ObservedPod, PodStanding)> {
        let is_it = |(pod, _): &(&ObservedPod, PodStanding)| *pod.uid == *uid;
        let by_key = self.key.and_then(|key| pods.at(set, key)).filter(is_it);
        by_key.or_else(|| pods.standing(set, &self.namespace, &self.name).filter(is_it))
    }

    fn is_in_doubt(&self, resource_version: &str) -> bool {
        self.over.as_deref() == Some(resource_version)
    }

    /// The last write did not happen. An earlier one over the same version still may have.
    fn take_back(&mut self, now: Timestamp) {
        if self.over.is_some() && self.doubted_since.is_none_or(|since| now.duration_since(since) > DOUBT) {
            (self.over, self.doubted_since) = (None, None);
            self.noted = std::mem::take(&mut self.noted_before);
        }
    }
}

impl Hold {
    fn after(earlier: Option<&Hold>, problem: String, now: Timestamp) -> Self {
        let pause = earlier.map_or(FIRST_PAUSE, |earlier| earlier.pause.saturating_mul(2).min(LONGEST_PAUSE));
        Self { until: now + pause, pause, problem: Some(problem) }
    }
}
