//! Pure: what became of writes to Pods, as far as the Pods themselves do not show it. The leader that wrote remembers it; the next one
//! is more careful instead.

use super::pod::{ObservedPod, SentImage};
use super::pods::PodIndex;
use super::standing::PodStanding;
use crate::cluster::ObjectVersion;
use jiff::{SignedDuration, Timestamp};
use std::collections::HashMap;

/// The pause after the first refusal of a write to a Pod; it doubles with each further one.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_secs(1);

/// No pause is longer.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_secs(60);

/// The API server gives up a request after 60 s: so long after a write without an answer it is not written any more.
const DOUBT: SignedDuration = SignedDuration::from_secs(90);

/// By set, and then by the uid of the Pod.
#[derive(Debug, Default)]
pub struct Attempts {
    by_set: HashMap<String, HashMap<Box<str>, Attempt>>,
    /// Namespaces in which outrigger may not write Pods, by what is written.
    forbidden: [HashMap<String, Hold>; 2],
}

/// What is written of a Pod, by different rights.
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
    namespace: Box<str>,
    name: Box<str>,
    /// Where the index had the Pod when it was written: found by that, it need not be looked up by name.
    key: Option<usize>,
    /// The version that was written over, until another is seen: it may be written or not.
    over: Option<String>,
    /// Since when nobody knows whether it is written.
    doubted_since: Option<Timestamp>,
    noted: Noted,
    /// What was noted before that write.
    noted_before: Noted,
    holds: [Option<Hold>; 2],
}

/// What a Pod does not show by itself, or not for sure.
#[derive(Clone, Debug, Default)]
struct Noted {
    /// Whether the Pod was unavailable before it was updated: that it stays so says nothing about the update.
    is_excused: bool,
    /// The images that it was given. The Pod records what ran before, too, but its author may change that.
    sent: Vec<SentImage>,
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

impl AttemptEnd {
    /// Why it is not written, or may not be.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        match self {
            Self::Written | Self::Conflict => None,
            Self::Refused(problem) | Self::Forbidden(problem) | Self::Unknown(problem) => Some(problem),
        }
    }
}

impl Attempts {
    /// An update is about to be sent. One that was sent over the same version before, and may be written, stays in doubt.
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

    /// A write ended; whether its problem is another one than before. What is sent again while it may be written was read before,
    /// and was not.
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
            // Until another version is seen, so that the same is not tried again at once.
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
                // The newer version may be that of the earlier write: it tells.
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

    /// How many Pods take a place of `maxUnavailable` that do not show it, and how many show one that they do not take.
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

    /// Whether this version of a Pod may have been updated already.
    pub(super) fn is_in_doubt(&self, set: &str, pod: &ObservedPod) -> bool {
        let attempt = self.by_set.get(set).and_then(|attempts| attempts.get(&pod.uid));
        attempt.is_some_and(|attempt| attempt.is_in_doubt(&pod.resource_version))
    }

    /// Until when nothing is written to a Pod, and why.
    pub(super) fn hold(&self, set: &str, pod: &ObservedPod, write: PodWrite) -> Option<&Hold> {
        let attempt = self.by_set.get(set).and_then(|attempts| attempts.get(&pod.uid));
        let of_pod = attempt.and_then(|attempt| attempt.holds[write as usize].as_ref());
        of_pod.into_iter().chain(self.forbidden[write as usize].get(&*pod.namespace)).max_by_key(|hold| hold.until)
    }

    /// Forgets what the Pods show by now.
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
    /// The Pod as it is now, and how it stands with the set.
    fn pod<'p>(&self, set: &str, uid: &str, pods: &'p PodIndex) -> Option<(&'p ObservedPod, PodStanding)> {
        let is_it = |(pod, _): &(&ObservedPod, PodStanding)| *pod.uid == *uid;
        let by_key = self.key.and_then(|key| pods.at(set, key)).filter(is_it);
        by_key.or_else(|| pods.standing(set, &self.namespace, &self.name).filter(is_it))
    }

    fn is_in_doubt(&self, resource_version: &str) -> bool {
        self.over.as_deref() == Some(resource_version)
    }

    /// What was sent last is not written. What was sent before that over the same version may still be.
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
