//! Writes the webhook configurations and the CRD's conversion when they differ from the desired ones.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::api::PostParams;
use kube::core::DynamicObject;
use kube::{Api, Client, ResourceExt};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::sleep;

use super::super::metrics::Metrics;
use super::break_glass::BreakGlass;
use super::desired::{Owner, Registration, keep_bundles, registered_scope};
use super::narrowing::Narrowing;
use super::own_ca::OwnCa;
use super::published::{Bundles, Published};
use super::repair::{Repairs, last_other_manager};
use super::scope::{Scope, TooBroad};
use super::target::Target;
use crate::admission::Cache;
use crate::api::keys;
use crate::cluster::apply::{self, covers};
use crate::cluster::{
    self, Feeds, Outcome, OwnWrite, Reconciler, Slice, Term, Versioned, Watch, WorkQueue, WriteError, Written,
    controller, failpoint,
};

/// Keeps the registration up to date while this replica leads.
#[derive(Clone)]
pub struct Registrar {
    /// Reads and writes.
    pub client: Client,
    /// The desired registration; a change is written at once.
    pub registration: watch::Receiver<Registration>,
    /// The `ClusterRole` that owns the configurations.
    pub owner: Option<String>,
    /// What the objects trust, while this replica leads.
    pub published: watch::Sender<Published>,
    /// How long our own CA stays next to cert-manager's after a change to its mode.
    pub overlap: Duration,
    /// Which Pods are sent.
    pub scope: ScopeMode,
    /// The SidecarSets in it,
    pub cache: Arc<Cache>,
    /// and whether all of them are.
    pub sets: Watch,
    /// Whether the webhooks are registered at all.
    pub break_glass: BreakGlass,
    /// The counter of repairs.
    pub metrics: Arc<Metrics>,
}

/// Which Pods are sent to the webhook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ScopeMode {
    /// Pods whose labels may match a SidecarSet when the API server calls the webhook.
    #[default]
    Sets,
    /// All Pods except those of excluded namespaces. Use it if a later webhook adds the labels.
    Broad,
}

/// Why an object was not registered.
#[derive(Debug, thiserror::Error)]
enum RegistrationError {
    #[error(
        "the ClusterRole {name:?} that is to own the webhook configurations cannot be read: {problem}; create it, or change --owner-cluster-role (or is outrigger being removed?)"
    )]
    NoOwner { name: String, problem: String },
    #[error("{0}")]
    Api(String),
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// The last seen objects, `None` for an absent one. Objects that were not listed yet have no entry.
type SeenObjects = Arc<Mutex<HashMap<Target, Option<DynamicObject>>>>;

/// The objects as they are followed during a term.
pub struct WatchedTargets {
    seen: SeenObjects,
    /// The changed ones.
    work: WorkQueue<Target>,
}

/// The registration during a term.
struct Registering {
    registrar: Registrar,
    seen: SeenObjects,
    memory: tokio::sync::Mutex<TermMemory>,
}

/// The memory of a term.
#[derive(Default)]
struct TermMemory {
    narrowing: Narrowing,
    objects: HashMap<Target, ObjectMemory>,
    too_broad: Option<TooBroad>,
}

/// The memory of an object.
#[derive(Default)]
struct ObjectMemory {
    /// Our last write of it.
    written: Option<OwnWrite>,
    /// Its state when it was last correct.
    left: Option<(Registration, Scope)>,
    repairs: Repairs,
    own_ca: OwnCa,
}

/// The delay before a watch that is behind our last write is checked again.
const BEHIND: Duration = Duration::from_secs(1);

/// The delay before narrowing is checked again while the SidecarSets are not known for sure.
const UNSURE: Duration = Duration::from_secs(5);

/// The pause between two looks at what the SidecarSets need: sets are often created by the hundred. The review of each has
/// widened the registration for it ([`super::widening`]).
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

/// A desired object.
struct Desired {
    registration: Registration,
    scope: Scope,
    /// When to ask again.
    again: Option<Duration>,
}

impl Registrar {
    /// Writes the objects when they differ from the desired ones, until the term ends.
    ///
    /// All replicas would write the same, except while one version of outrigger replaces another.
    pub async fn run(self, term: Term, targets: WatchedTargets) {
        let WatchedTargets { seen, work } = targets;
        let mut registration = self.registration.clone();
        let changes = async {
            while registration.changed().await.is_ok() {
                for target in Target::ALL {
                    work.add(target);
                }
            }
            std::future::pending::<()>().await;
        };
        let mut published = self.cache.published();
        let sets = async {
            self.sets.settled().await;
            let mut last = None;
            loop {
                let needed = Some(self.needed());
                if needed != last {
                    last = needed;
                    work.add(Target::Mutating);
                }
                sleep(BETWEEN_LOOKS).await;
                if published.changed().await.is_err() {
                    return;
                }
            }
        };
        let mut break_glass = self.break_glass.clone();
        let switch = async {
            loop {
                break_glass.turned().await;
                work.add(Target::Mutating);
                work.add(Target::Validating);
            }
        };
        let beside = async {
            tokio::select! {
                () = changes => {}
                () = sets => {}
                () = switch => {}
            }
        };
        let registering = Registering { registrar: self.clone(), seen, memory: tokio::sync::Mutex::default() };
        controller::run(&work, 1, &term, beside, Arc::new(registering)).await;
    }

    /// Follows the objects for a new term. It forgets what the API server trusted in an earlier one.
    pub fn subscribe(&self, feeds: &mut Feeds) -> WatchedTargets {
        self.published.send_replace(Published::default());
        let (seen, work) = (SeenObjects::default(), WorkQueue::new());
        for target in Target::ALL {
            self.watch(target, &seen, &work, feeds);
        }
        WatchedTargets { seen, work }
    }

    fn watch(&self, target: Target, seen: &SeenObjects, work: &WorkQueue<Target>, feeds: &mut Feeds) {
        let (seen, work, published) = (seen.clone(), work.clone(), self.published.clone());
        feeds.subscribe_one(Slice::of(target.name(), target.kind()), target.name(), move |now| {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            let now = now.map(|object| target.typed(object));
            let bundles = now.as_ref().map(Bundles::of);
            published.send_modify(|published| published.saw(target.name(), bundles, Timestamp::now()));
            seen.insert(target, now);
            work.add(target);
        });
    }

    /// Writes an object if it differs from the desired one.
    async fn register(
        &self,
        target: Target,
        present: Option<DynamicObject>,
        memory: &mut TermMemory,
    ) -> Result<Outcome, RegistrationError> {
        if target == Target::Conversion {
            // Another client installs it; the watch reports it then.
            if present.is_none() {
                return Ok(Outcome::Done);
            }
        } else {
            match self.break_glass.allows() {
                Some(true) => {}
                Some(false) => return self.remove(target, present, memory).await,
                None => return Ok(Outcome::Done), // it is queued again once that is known
            }
        }
        if memory.is_ahead_of(target, present.as_ref()) {
            return Ok(Outcome::RequeueAfter(BEHIND)); // the watch also queues it when it reports our write
        }
        let now = Instant::now();
        let json = present.as_ref().map(serde_json::to_value).transpose();
        let json = json.map_err(|error| RegistrationError::Api(error.to_string()))?;
        let Some(desired) = self.desired(target, json.as_ref(), memory, now).await? else {
            return Ok(Outcome::Done); // it is queued again once that is known
        };

        let object = memory.objects.entry(target).or_default();
        let edited =
            json.as_ref().filter(|json| object.left.as_ref().is_some_and(|left| !is_as_left(target, json, left)));
        if let Some(json) = edited {
            let (pause, new) = object.repairs.edited(now);
            if new {
                let by = last_other_manager(json).unwrap_or("somebody");
                let (times, seconds) = (object.repairs.edits(), pause.as_secs());
                tracing::warn!(
                    by,
                    times,
                    seconds,
                    "{target} was changed by somebody else; it is put right after these seconds"
                );
            }
            if !pause.is_zero() {
                return Ok(Outcome::RequeueAfter(pause));
            }
        }
        let api = target.api(&self.client);
        if let Some(present) = present.as_ref().filter(|_| desired.registration.inject_ca_from.is_none()) {
            stop_injection(&api, present).await?;
        }
        let mut wanted = target.desired(&desired.registration, &desired.scope);
        let mut again = desired.again;
        if let (None, Some(present)) = (&desired.registration.ca_bundle, &json) {
            keep_bundles(&mut wanted, present);
            again = again.into_iter().chain(object.own_ca.take_out(&mut wanted, present, self.overlap, now)).min();
        }
        let wanted = serde_json::from_value(wanted).map_err(|error| RegistrationError::Api(error.to_string()))?;
        // The write has the resourceVersion that was seen, so that no other change is lost. The watch reports it.
        match failpoint::around(target.failpoint(), apply::ensure(&api, &wanted, present.as_ref())).await? {
            Written::Done(written) => {
                let over = present.as_ref().map(|present| present.version().resource_version);
                object.written = Some(OwnWrite::new(written.version(), over));
                // This makes the new trust visible before the watch reports it.
                let bundles = Some(Bundles::of(&written));
                self.published.send_modify(|published| published.saw(target.name(), bundles, Timestamp::now()));
                if present.is_none() && object.left.is_some() {
                    tracing::warn!("{target} was deleted by somebody else; it is registered again");
                    self.metrics.registration.repairs(target.name()).inc();
                } else {
                    tracing::info!("{target} is registered");
                }
            }
            Written::Unchanged => {}
            Written::Conflict => return Ok(Outcome::Done),
        }
        object.left = Some((desired.registration, desired.scope));
        if object.repairs.well(now) {
            self.metrics.registration.repairs(target.name()).inc();
        }
        Ok(again.map_or(Outcome::Done, Outcome::RequeueAfter))
    }

    /// Returns the desired object for this existing one; `None` while it is not known.
    async fn desired(
        &self,
        target: Target,
        present: Option<&Value>,
        memory: &mut TermMemory,
        now: Instant,
    ) -> Result<Option<Desired>, RegistrationError> {
        let mut registration = self.registration.borrow().clone();
        if !registration.is_trusted() {
            return Ok(None); // a change queues it
        }
        if target != Target::Conversion {
            registration.owner = self.owner().await?;
        }
        let (scope, again) = match (target, self.scope) {
            (Target::Mutating, ScopeMode::Sets) => {
                if !self.sets.is_synced() && !self.sets.is_absent() {
                    return Ok(None);
                }
                let registered = present.and_then(registered_scope).unwrap_or_default();
                let needed = memory.tell(self.needed());
                if self.sets.problem().is_some() {
                    (registered.with(needed), Some(UNSURE)) // a set that is not known yet may need what seems to be unused
                } else {
                    memory.narrowing.next(&registered, needed, now)
                }
            }
            (Target::Mutating, ScopeMode::Broad) => (Scope::Broad, None),
            (Target::Validating | Target::Conversion, _) => (Scope::default(), None),
        };
        Ok(Some(Desired { registration, scope, again }))
    }

    /// Returns what the SidecarSets need.
    fn needed(&self) -> Result<Scope, TooBroad> {
        let snapshot = self.cache.snapshot();
        Scope::of(snapshot.sets().map(|set| (&*set.name, &set.selector)))
    }

    /// Deletes an object because nothing is to be registered.
    async fn remove(
        &self,
        target: Target,
        present: Option<DynamicObject>,
        memory: &mut TermMemory,
    ) -> Result<Outcome, RegistrationError> {
        let object = memory.objects.entry(target).or_default();
        (object.left, object.repairs) = (None, Repairs::default());
        let Some(present) = present else { return Ok(Outcome::Done) };
        let api = target.api(&self.client);
        if failpoint::around("registration.remove", apply::delete(&api, &present)).await? == Written::Done(()) {
            tracing::warn!("{target} is deleted, as outrigger is disabled");
        }
        Ok(Outcome::Done)
    }

    async fn owner(&self) -> Result<Option<Owner>, RegistrationError> {
        let Some(name) = &self.owner else { return Ok(None) };
        let no_owner = |problem| RegistrationError::NoOwner { name: name.clone(), problem };
        match Api::<ClusterRole>::all(self.client.clone()).get_opt(name).await {
            Ok(Some(role)) => Ok(Some(Owner { name: name.clone(), uid: role.uid().unwrap_or_default() })),
            Ok(None) => Err(no_owner("it is not there".to_owned())),
            // Its deletion also removes the permission to read it.
            Err(kube::Error::Api(status)) if status.code == 403 => Err(no_owner(status.message)),
            Err(error) => Err(RegistrationError::Api(cluster::describe(&error))),
        }
    }
}

impl Reconciler<Target> for Registering {
    async fn reconcile(&self, target: &Target, term: &Term) -> Outcome {
        let target = *target;
        let listed = self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(&target).cloned();
        let Some(present) = listed.filter(|_| term.is_current()) else {
            return Outcome::Done; // its first list queues it again
        };
        match self.registrar.register(target, present, &mut *self.memory.lock().await).await {
            Ok(outcome) => outcome,
            Err(error) => {
                tracing::warn!("{target} is not registered as it should be: {error}");
                Outcome::Retry
            }
        }
    }
}

impl TermMemory {
    /// Returns whether a seen object is older than our last write of it.
    fn is_ahead_of(&self, target: Target, present: Option<&DynamicObject>) -> bool {
        let written = self.objects.get(&target).and_then(|object| object.written.as_ref());
        written.zip(present).is_some_and(|(written, shown)| written.is_newer_than(shown.version()))
    }

    /// Returns what is needed. Logs once why that is all Pods.
    fn tell(&mut self, needed: Result<Scope, TooBroad>) -> Scope {
        let too_broad = needed.as_ref().err();
        if self.too_broad.as_ref() != too_broad {
            if let Some(why) = too_broad {
                tracing::warn!("all Pods are sent to the webhook: {why}");
            } else {
                tracing::info!("only Pods that a SidecarSet may match need to be sent to the webhook again");
            }
            self.too_broad = too_broad.cloned();
        }
        needed.unwrap_or(Scope::Broad)
    }
}

/// Returns whether no other client has changed an object since. Other replicas may widen the scope; only the leader
/// narrows it.
fn is_as_left(target: Target, present: &Value, (registration, scope): &(Registration, Scope)) -> bool {
    let now = if target == Target::Mutating { registered_scope(present) } else { Some(Scope::default()) };
    now.is_some_and(|now| now.contains(scope) && covers(present, &target.desired(registration, &now)))
}

/// Removes the annotation for which cert-manager writes the CAs: it would continue to do so.
async fn stop_injection(api: &Api<DynamicObject>, present: &DynamicObject) -> Result<(), RegistrationError> {
    let mut without = present.clone();
    if without.annotations_mut().remove(keys::INJECT_CA_FROM).is_none() {
        return Ok(());
    }
    let (name, params) = (present.name_any(), PostParams::default());
    match failpoint::around("registration.inject-ca-from", api.replace(&name, &params, &without)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()), // the watch reports the present object
        Err(error) => Err(RegistrationError::Api(cluster::describe(&error))),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::desired::{FailurePolicy, Reach};
    use super::*;

    fn registration() -> Registration {
        Registration {
            reach: Reach::Url("https://127.0.0.1:9443".to_owned()),
            ca_bundle: Some("PEM".to_owned()),
            inject_ca_from: None,
            failure_policy: FailurePolicy::Fail,
            excluded_namespaces: BTreeSet::new(),
            owner: None,
        }
    }

    #[test]
    fn an_item_of_a_list_which_tells_no_kind_is_as_it_was_left() {
        let left = (registration(), Scope::default());
        for target in Target::ALL {
            let mut item: DynamicObject = serde_json::from_value(target.desired(&left.0, &left.1)).expect("an object");
            item.types = None;
            let listed = serde_json::to_value(target.typed(item)).expect("JSON");
            assert!(is_as_left(target, &listed, &left), "{target}");
        }
    }

    #[test]
    fn a_wider_scope_is_no_edit_of_somebody_else_and_a_narrower_one_is() {
        let scopes = [&[][..], &["db"], &["db", "web"]].map(|apps: &[&str]| {
            let labels = apps.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
            if labels.is_empty() { Scope::default() } else { Scope::Labels([("app".to_owned(), labels)].into()) }
        });
        let registration = registration();
        for (left, now, as_left) in [(0, 1, true), (1, 2, true), (2, 2, true), (2, 1, false), (1, 0, false)] {
            let present = registration.mutating(&scopes[now]);
            let left = (registration.clone(), scopes[left].clone());
            assert_eq!(is_as_left(Target::Mutating, &present, &left), as_left, "{present}");
        }
    }
}
