//! Keeps the status and the `ControllerRevisions` of all SidecarSets as they should be, while this process leads.

use super::counting::Labels;
use super::revision_object::{RevisionError, RevisionObject, is_for_data, let_be_orphaned, make_anew};
use super::revisions::{KeptRevision, NewRevision, RevisionWrite};
use super::set::ObservedSet;
use super::state::State;
use super::status::WarningEvent;
use super::watched_pod::WatchedPod;
use crate::api::keys;
use crate::api::sidecarset::{GROUP, KIND, SidecarSet};
use crate::cluster::{
    Event, Events, Outcome, Term, Watch, WorkQueue, WriteError, Written, apply, describe, queue, queue::Observer,
};
use crate::injection::Revision;
use crate::telemetry::seldom;
use futures::future::join_all;
use jiff::Timestamp;
use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, PatchOperation, ReplaceOperation};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::events::{Event as ObjectEvent, EventType};
use kube::{Api, Client};
use std::collections::{BTreeSet, HashMap};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use thiserror::Error;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Sets worked on at a time.
const WORKERS: usize = 4;

/// The status of one set is not written more often: while many Pods start, their changes are gathered.
const STATUS_PAUSE: Duration = Duration::from_millis(500);

/// So often a revision's name may turn out to be taken before the work starts over.
const NAMES_TRIED: usize = 5;

/// The controller; a cheap clone is the same one. Every replica tells it of all events, so that a new leader knows them already.
#[derive(Clone)]
pub struct Controller {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    /// Where the revisions are.
    namespace: String,
    events: Events,
    queue: WorkQueue<String>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    state: State,
    /// When the status of each set was written last.
    written: HashMap<String, Instant>,
    /// What was last said to be wrong with a set.
    told: HashMap<String, String>,
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

/// How a write of a revision ended.
enum RevisionOutcome {
    Written,
    /// What it was based on is no longer so: plan anew, now.
    PlanAnew,
    /// The same, once the cache has caught up.
    Later,
}

impl Controller {
    /// A controller whose revisions are in this namespace, and whose work the observer is told of.
    #[must_use]
    pub fn new(client: Client, revision_namespace: &str, events: Events, observer: Arc<dyn Observer>) -> Self {
        let (queue, known) = (WorkQueue::observed(observer), Mutex::default());
        let namespace = revision_namespace.to_owned();
        Self { shared: Arc::new(Shared { client, namespace, events, queue, known }) }
    }

    /// One that knows whose Pods are never injected.
    #[must_use]
    pub fn excluding(self, namespaces: BTreeSet<String>) -> Self {
        self.shared.lock().state.excluded = namespaces;
        self
    }

    /// SidecarSets changed.
    pub fn sets_event(&self, event: Event<Arc<ObservedSet>>) {
        let may_be_gone = !matches!(event, Event::Applied(_));
        self.shared.tell(|state| state.sets_event(event));
        if may_be_gone {
            self.shared.forget_gone();
        }
    }

    /// Pods changed.
    pub fn pods_event(&self, event: Event<WatchedPod>) {
        self.shared.tell(|state| state.pods_event(event));
    }

    /// Namespaces changed: their names and labels.
    pub fn namespaces_event(&self, event: Event<(String, Labels)>) {
        self.shared.tell(|state| state.namespaces_event(event));
    }

    /// `ControllerRevisions` in the revisions' namespace changed.
    pub fn revisions_event(&self, event: Event<KeptRevision>) {
        self.shared.tell(|state| state.revisions_event(event));
    }

    /// Does the work of a term: waits for fresh lists of all four kinds, then keeps all sets up to date until the term ends.
    pub async fn run(&self, term: Term, watches: &[Watch]) {
        tokio::select! {
            _ = join_all(watches.iter().map(Watch::fresh)) => {}
            () = term.ended() => return,
        }
        let sets: Vec<String> = self.shared.lock().state.sets().cloned().collect();
        for set in sets {
            self.shared.queue.add(set);
        }
        let (shared, of_term, stop) = (Arc::clone(&self.shared), term.clone(), CancellationToken::new());
        let handle = move |set: String| {
            let (shared, term) = (Arc::clone(&shared), of_term.clone());
            async move { shared.reconcile(&set, &term).await }
        };
        let mut work = pin!(queue::run(&self.shared.queue, WORKERS, &stop, handle));
        tokio::select! {
            () = &mut work => {}
            () = term.ended() => {
                stop.cancel();
                work.await;
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, event: impl FnOnce(&mut State) -> BTreeSet<String>) {
        let touched = event(&mut self.lock().state);
        for set in touched {
            self.queue.add(set);
        }
    }

    /// Makes one set as it should be.
    async fn reconcile(&self, name: &str, term: &Term) -> Outcome {
        if let Some(pause) = self.pause(name) {
            return Outcome::RequeueAfter(pause);
        }
        match self.write(name, term).await {
            Ok(outcome) => outcome,
            Err(failure) => {
                seldom!(warn, sidecarset = name, "{failure}; it is tried again");
                Outcome::Retry
            }
        }
    }

    /// How long the set has to wait until its status may be written again.
    fn pause(&self, name: &str) -> Option<Duration> {
        let written = self.lock().written.get(name).copied()?;
        STATUS_PAUSE.checked_sub(written.elapsed()).filter(|pause| !pause.is_zero())
    }

    async fn write(&self, name: &str, term: &Term) -> Result<Outcome, Failure> {
        for _ in 0..NAMES_TRIED {
            let planned = self.lock().state.plan(name, Timestamp::now());
            let Some((set, mut plan)) = planned else {
                self.forget_gone();
                return Ok(Outcome::Done);
            };
            self.tell_problem(&set, plan.problem.as_ref());
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
                // The counts can be told all the same, but no revision that does not exist.
                plan.obsolete.clear();
                if let Some(status) = &mut plan.status {
                    status.latest_revision.clone_from(&set.status.latest_revision);
                    status.collision_count = set.status.collision_count;
                }
            }
            if let Some(status) = plan.status.filter(|status| *status != set.status) {
                if !term.is_current() {
                    return Ok(Outcome::Done);
                }
                let status =
                    AddOperation { path: PointerBuf::from_tokens(["status"]), value: serde_json::to_value(status)? };
                let (api, present) = self.seen(&set);
                match apply::patch(&api, &present, Some("status"), vec![PatchOperation::Add(status)]).await? {
                    Written::Conflict => return failure.map_or(Ok(Outcome::Retry), Err),
                    Written::Done(_) | Written::Unchanged => {
                        self.lock().written.insert(name.to_owned(), Instant::now());
                    }
                }
            }
            for revision in &plan.orphaned {
                if !term.is_current() {
                    return Ok(Outcome::Done);
                }
                let seen = revision.seen(&self.namespace);
                if let Written::Done(anew) = let_be_orphaned(&self.revisions(), &seen, &set.uid).await? {
                    self.learn(anew);
                }
            }
            for revision in plan.obsolete {
                if !term.is_current() {
                    return Ok(Outcome::Done);
                }
                if let Written::Done(()) | Written::Unchanged =
                    apply::delete(&self.revisions(), &revision.seen(&self.namespace)).await?
                {
                    self.tell(|state| state.revisions_event(Event::Deleted(revision)));
                }
            }
            return failure.map_or(Ok(Outcome::Done), Err);
        }
        Ok(Outcome::Retry)
    }

    async fn write_revision(&self, set: &ObservedSet, write: &RevisionWrite) -> Result<RevisionOutcome, Failure> {
        let api = self.revisions();
        match write {
            RevisionWrite::Create(new) => {
                let Ok(usable) = &set.usable else { return Ok(RevisionOutcome::Later) };
                let object = new.object(set, &usable.content, &self.namespace)?;
                match apply::ensure(&api, &object, None).await? {
                    Written::Done(created) => self.learn(created),
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
                let seen = seen.seen(&self.namespace);
                let written = match apply::patch(&api, &seen, None, operations).await {
                    Err(error) if is_for_data(&error) => {
                        let Written::Done(anew) = make_anew(&api, &seen, None).await? else {
                            return Ok(RevisionOutcome::Later);
                        };
                        self.learn(anew);
                        return Ok(RevisionOutcome::PlanAnew);
                    }
                    written => written?,
                };
                match written {
                    Written::Done(updated) => self.learn(updated),
                    Written::Conflict => return Ok(RevisionOutcome::Later),
                    Written::Unchanged => {}
                }
            }
        }
        Ok(RevisionOutcome::Written)
    }

    /// Finds out what has the name of a revision that was to be created: the same revision, of which the cache does not know
    /// yet, or something else.
    async fn look_up(&self, set: &ObservedSet, new: &NewRevision) -> Result<RevisionOutcome, Failure> {
        let found = self.revisions().get_opt(&new.name).await;
        let found = found.map_err(|e| Failure::Read { name: new.name.clone(), problem: describe(&e) })?;
        let Some(found) = found else { return Ok(RevisionOutcome::Later) };
        match Revision::read(serde_json::to_value(found)?) {
            Ok(Some(revision)) if revision.set == set.name => {
                self.lock().state.revisions_event(Event::Applied(KeptRevision::from(&revision)));
            }
            _ => self.lock().state.mark_taken(&new.name),
        }
        Ok(RevisionOutcome::PlanAnew)
    }

    /// The cache will be told by the watch, too, but later.
    fn learn(&self, written: RevisionObject) {
        let read = serde_json::to_value(written).ok().and_then(|object| Revision::read(object).ok().flatten());
        if let Some(revision) = read {
            self.lock().state.revisions_event(Event::Applied(KeptRevision::from(&revision)));
        }
    }

    /// An Event about a set that somebody has to correct, once for each problem.
    fn tell_problem(&self, set: &ObservedSet, problem: Option<&WarningEvent>) {
        let mut known = self.lock();
        let Some(problem) = problem else {
            known.told.remove(&set.name);
            return;
        };
        if known.told.get(&set.name).is_some_and(|told| *told == problem.note) {
            return;
        }
        known.told.insert(set.name.clone(), problem.note.clone());
        drop(known);
        tracing::warn!(sidecarset = set.name, problem = problem.note, "somebody has to correct the set");
        if set.status.conditions.iter().any(|condition| condition.message.contains(&problem.note)) {
            return; // there was an Event when that was written
        }
        let reference = ObjectReference {
            api_version: Some(format!("{GROUP}/v1beta1")),
            kind: Some(KIND.to_owned()),
            name: Some(set.name.clone()),
            uid: Some(set.uid.clone()),
            resource_version: Some(set.resource_version.clone()),
            ..ObjectReference::default()
        };
        let event = ObjectEvent {
            type_: EventType::Warning,
            reason: problem.reason.to_owned(),
            note: Some(problem.note.clone()),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        self.events.publish(&reference, event);
    }

    /// Forgets what was done for sets that are gone: one of the same name is another one.
    fn forget_gone(&self) {
        let mut known = self.lock();
        let Known { state, written, told } = &mut *known;
        written.retain(|name, _| state.has(name));
        told.retain(|name, _| state.has(name));
    }

    fn revisions(&self) -> Api<RevisionObject> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The set as it was seen, as far as a write needs it.
    fn seen(&self, set: &ObservedSet) -> (Api<DynamicObject>, DynamicObject) {
        let resource = ApiResource::erase::<SidecarSet>(&());
        let mut present = DynamicObject::new(&set.name, &resource);
        present.metadata.resource_version = Some(set.resource_version.clone());
        (Api::all_with(self.client.clone(), &resource), present)
    }
}

#[cfg(test)]
mod tests;
