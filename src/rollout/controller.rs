//! Keeps the status and the `ControllerRevisions` of all SidecarSets up to date while this process leads.

use super::counting::Labels;
use super::index::RolloutIndex;
use super::metrics::RolloutMetrics;
use super::pod_writer::PodWriter;
use super::revision_object::{RevisionError, RevisionObject, is_for_data, let_be_orphaned, make_anew};
use super::revisions::{KeptRevision, NewRevision, RevisionWrite};
use super::set::ObservedSet;
use super::standing::Counts;
use super::status::{MADE_ANEW, WarningEvent};
use super::survey::Survey;
use super::watched_pod::WatchedPod;
use crate::api::keys;
use crate::api::sidecarset::SidecarSet;
use crate::cluster::queue::Observer;
use crate::cluster::{
    Event, Events, IndexedQueue, Objects, Outcome, Reconciler, Term, Versioned, Watch, WriteError, Written, apply,
    conditions, controller, describe, failpoint,
};
use crate::injection::Revision;
use crate::telemetry::seldom;
use jiff::Timestamp;
use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, PatchOperation, ReplaceOperation};
use kube::api::ApiResource;
use kube::runtime::events::EventType;
use kube::{Api, Client};
use std::collections::{BTreeSet, HashMap};
use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use thiserror::Error;
use tokio::time::Instant;

/// The number of sets worked on at the same time.
const WORKERS: usize = 4;

/// The minimum time between two status writes of a set. While many Pods start, their changes are combined.
const STATUS_PAUSE: Duration = Duration::from_millis(500);

/// At most this many revision names are tried in a row before the work starts over.
const NAMES_TRIED: usize = 5;

/// The controller. Clones share its state. Every replica passes all events to it, so that a new leader knows the
/// objects already.
#[derive(Clone)]
pub struct Controller {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    /// The namespace of the revisions.
    namespace: String,
    sets: Objects,
    /// Keyed by set name.
    queue: IndexedQueue<String, RolloutIndex>,
    pods: PodWriter,
    /// The time of the last status write of each set. Entries older than [`STATUS_PAUSE`] are meaningless and are
    /// removed at the next write.
    status_written: Mutex<HashMap<String, Instant>>,
}

/// Why the work on a set failed.
#[derive(Debug, Error)]
enum Failure {
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("cannot read ControllerRevision {name:?}: {problem}")]
    Read { name: String, problem: String },
    #[error(transparent)]
    Revision(#[from] RevisionError),
    #[error("cannot write the content of the set as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// The outcome of a revision write.
enum RevisionOutcome {
    Written,
    /// Its basis has changed: plan again now.
    PlanAnew,
    /// Plan again once the cache has caught up.
    Later,
}

impl Controller {
    /// Creates a controller with its revisions in this namespace. It reports its work to the observer and the metrics.
    #[must_use]
    pub fn new(
        client: Client,
        revision_namespace: &str,
        events: Events,
        observer: Arc<dyn Observer>,
        metrics: RolloutMetrics,
    ) -> Self {
        let sets = Objects::new(client.clone(), ApiResource::erase::<SidecarSet>(&()), events.clone());
        let pods = PodWriter::new(client.clone(), events, metrics);
        let (namespace, queue) = (revision_namespace.to_owned(), IndexedQueue::new(RolloutIndex::default(), observer));
        Self { shared: Arc::new(Shared { client, namespace, sets, queue, pods, status_written: Mutex::default() }) }
    }

    /// Sets the namespaces whose Pods are never injected.
    #[must_use]
    pub fn excluding(self, namespaces: BTreeSet<String>) -> Self {
        self.shared.queue.lock().excluded = namespaces;
        self
    }

    /// Sets whether it updates Pods in place.
    #[must_use]
    pub fn updating_pods(self, updates: bool) -> Self {
        self.shared.queue.lock().updates_pods = updates;
        self
    }

    /// SidecarSets changed.
    pub fn sets_event(&self, event: Event<Arc<ObservedSet>>) {
        self.shared.queue.change(|index| index.sets_event(event));
    }

    /// Pods changed.
    pub fn pods_event(&self, event: Event<WatchedPod>) {
        self.shared.queue.change(|index| index.pods_event(event));
    }

    /// Namespaces changed: their names and labels.
    pub fn namespaces_event(&self, event: Event<(String, Labels)>) {
        self.shared.queue.change(|index| index.namespaces_event(event));
    }

    /// `ControllerRevisions` in the revisions' namespace changed.
    pub fn revisions_event(&self, event: Event<KeptRevision>) {
        self.shared.queue.change(|index| index.revisions_event(event));
    }

    /// Does the work of a term: waits for fresh lists of all four kinds, then keeps all sets up to date until the term
    /// ends.
    pub async fn run(&self, term: Term, watches: &[Watch]) {
        if controller::fresh(watches, &term).await {
            let all = |index: &mut RolloutIndex| index.sets().cloned().collect::<Vec<_>>();
            self.shared.queue.run(WORKERS, &term, all, pending(), Arc::clone(&self.shared)).await;
            self.shared.pods.metrics.show(&Counts::default());
        }
    }
}

impl Reconciler<String> for Shared {
    async fn reconcile(&self, name: &String, term: &Term) -> Outcome {
        if let Some(pause) = self.pause(name) {
            return Outcome::RequeueAfter(pause);
        }
        match self.write(name, term).await {
            Ok(outcome) => outcome,
            Err(failure) => {
                seldom!(warn, sidecarset = name, "{failure}; retrying");
                Outcome::Retry
            }
        }
    }
}

impl Shared {
    /// Returns how long to wait until the set's status may be written again.
    fn pause(&self, name: &str) -> Option<Duration> {
        let written = self.status_written.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied()?;
        STATUS_PAUSE.checked_sub(written.elapsed()).filter(|pause| !pause.is_zero())
    }

    /// Records that the set's status was written now.
    fn begin_pause(&self, name: &str) {
        let mut written = self.status_written.lock().unwrap_or_else(PoisonError::into_inner);
        written.retain(|_, written| written.elapsed() < STATUS_PAUSE);
        written.insert(name.to_owned(), Instant::now());
    }

    async fn write(&self, name: &str, term: &Term) -> Result<Outcome, Failure> {
        for _ in 0..NAMES_TRIED {
            let Some(survey) = self.survey(name).await else { return Ok(Outcome::Done) };
            self.queue.lock().tidy(name);
            let planned = {
                let index = self.queue.lock();
                self.pods.metrics.show(&index.pods().total());
                index.plan_of(&survey, Timestamp::now())
            };
            let (set, Some(mut plan)) = (survey.set, planned) else { continue };
            let mut failure = None;
            if let Some(write) = &plan.revision {
                if !term.is_current() {
                    return Ok(Outcome::Done);
                }
                match self.write_revision(&set, write).await {
                    Ok(RevisionOutcome::Written) => {}
                    Ok(RevisionOutcome::PlanAnew) => continue,
                    Ok(RevisionOutcome::Later) => return Ok(Outcome::Retry),
                    Err(problem) => failure = Some(problem),
                }
            }
            if failure.is_some() {
                // The counts can be reported, but not a revision that does not exist.
                plan.obsolete.clear();
                if let Some(status) = &mut plan.status {
                    status.latest_revision.clone_from(&set.status.latest_revision);
                    status.collision_count = set.status.collision_count;
                }
            }
            let outcome = match &failure {
                // Pods record the revision, so it is written first.
                None => self.pods.write(&self.queue, &set, &plan.pods, term).await,
                Some(_) => Outcome::Done,
            };
            if let Some(status) = plan.status.filter(|status| *status != set.status) {
                if !term.is_current() {
                    return Ok(Outcome::Done);
                }
                match self.sets.write_status("rollout.status", set.version(), &status).await? {
                    Written::Conflict => return failure.map_or(Ok(Outcome::Retry), Err),
                    Written::Done(_) | Written::Unchanged => {
                        self.begin_pause(name);
                    }
                }
                if let Some(WarningEvent { reason, note }) = &plan.problem
                    && !conditions::say(&set.status.conditions, note)
                {
                    tracing::warn!(sidecarset = name, problem = note, "the set must be corrected");
                    self.sets.tell(set.version(), EventType::Warning, reason, note);
                }
            }
            if let Some(note) = plan.not_upgradable.filter(|_| !conditions::say(&set.status.conditions, MADE_ANEW)) {
                self.sets.tell(set.version(), EventType::Normal, "NotUpgradablePods", &note);
            }
            for revision in &plan.orphaned {
                if !term.is_current() {
                    return Ok(Outcome::Done);
                }
                let seen = revision.seen(&self.namespace);
                if let Written::Done(anew) = let_be_orphaned(&self.revisions(), &seen, &set.uid).await? {
                    self.learn(anew, None);
                }
            }
            for revision in plan.obsolete {
                if !term.is_current() {
                    return Ok(Outcome::Done);
                }
                let (api, seen) = (self.revisions(), revision.seen(&self.namespace));
                if let Written::Done(()) | Written::Unchanged =
                    failpoint::around("rollout.revision.delete", apply::delete(&api, &seen)).await?
                {
                    self.queue.change(|index| index.revisions_event(Event::Deleted(revision)));
                }
            }
            return failure.map_or(Ok(outcome), Err);
        }
        Ok(Outcome::Retry)
    }

    /// Surveys the Pods of a set, in the order of its strategy. Events are processed in between.
    async fn survey(&self, name: &str) -> Option<Survey> {
        let mut survey = self.queue.lock().survey(name)?;
        while !self.queue.lock().go_on(&mut survey, Timestamp::now()) {
            tokio::task::yield_now().await;
        }
        survey.sort();
        Some(survey)
    }

    async fn write_revision(&self, set: &ObservedSet, write: &RevisionWrite) -> Result<RevisionOutcome, Failure> {
        let api = self.revisions();
        match write {
            RevisionWrite::Create(new) => {
                let Ok(usable) = &set.usable else { return Ok(RevisionOutcome::Later) };
                let object = new.object(set, &usable.content, &self.namespace)?;
                match failpoint::around("rollout.revision.create", apply::ensure(&api, &object, None)).await? {
                    Written::Done(created) => self.learn(created, None),
                    Written::Conflict => return self.look_up(set, new).await,
                    Written::Unchanged => {}
                }
            }
            RevisionWrite::Update { seen, number, custom_version } => {
                let number = ReplaceOperation { path: PointerBuf::from_tokens(["revision"]), value: (*number).into() };
                let label = custom_version.clone().map(|version| {
                    let path = PointerBuf::from_tokens(["metadata", "labels", keys::CUSTOM_VERSION]);
                    PatchOperation::Add(AddOperation { path, value: version.into() })
                });
                let operations = [PatchOperation::Replace(number)].into_iter().chain(label).collect();
                let (present, over) = (seen.seen(&self.namespace), &seen.resource_version);
                let write = apply::patch(&api, &present, None, operations);
                let written = match failpoint::around("rollout.revision.renumber", write).await {
                    Err(error) if is_for_data(&error) => {
                        let Written::Done(anew) = make_anew(&api, &present, None).await? else {
                            return Ok(RevisionOutcome::Later);
                        };
                        self.learn(anew, None);
                        return Ok(RevisionOutcome::PlanAnew);
                    }
                    written => written?,
                };
                match written {
                    Written::Done(updated) => self.learn(updated, Some(over)),
                    Written::Conflict => return Ok(RevisionOutcome::Later),
                    Written::Unchanged => {}
                }
            }
        }
        Ok(RevisionOutcome::Written)
    }

    /// Looks up the object with the name of a revision to create: the same revision, not yet in the cache, or something
    /// else.
    async fn look_up(&self, set: &ObservedSet, new: &NewRevision) -> Result<RevisionOutcome, Failure> {
        let found = self.revisions().get_opt(&new.name).await;
        let found = found.map_err(|e| Failure::Read { name: new.name.clone(), problem: describe(&e) })?;
        let Some(found) = found else { return Ok(RevisionOutcome::Later) };
        match Revision::read(serde_json::to_value(found)?) {
            Ok(Some(revision)) if revision.set == set.name => {
                self.queue.lock().revision_answered(KeptRevision::from(&revision), None);
            }
            _ => self.queue.lock().mark_taken(&new.name),
        }
        Ok(RevisionOutcome::PlanAnew)
    }

    /// The watch reports it too, but later.
    fn learn(&self, written: RevisionObject, over: Option<&str>) {
        let read = serde_json::to_value(written).ok().and_then(|object| Revision::read(object).ok().flatten());
        if let Some(revision) = read {
            self.queue.lock().revision_answered(KeptRevision::from(&revision), over);
        }
    }

    fn revisions(&self) -> Api<RevisionObject> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}

#[cfg(test)]
mod tests;
