//! The leader's work: plans for the Services of a name, writes, and plans again until everything is up to date.

use super::annotated::{ObservedConfigMap, Telling};
use super::index::RoutingQueue;
use super::key::{Key, QueueKey};
use super::placeholder::{MANAGER, handed_over, managers_to_set};
use super::plan::{Finding, Part, WRITE_REFUSED, Write};
use super::service::ObservedService;
use super::virtual_service::ObservedVirtualService;
use crate::cluster::{ObjectVersion, Objects, Outcome, Reconciler, Term, Versioned, WriteError, Written, describe};
use crate::telemetry::seldom;
use jiff::Timestamp;
use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, PatchOperation};
use kube::api::DynamicObject;
use kube::runtime::events::EventType;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

/// The maximum number of plans in a row for a name. For example, a placeholder that is handed over then gets a route.
const ROUNDS: usize = 4;

/// Works during a term.
pub(super) struct Leader {
    pub queue: Arc<RoutingQueue>,
    pub services: Objects,
    pub virtual_services: Objects,
    pub config_maps: Objects,
    /// The subject of Events about the ConfigMap while it does not exist.
    pub config_map: Key,
}

/// The current plan for the Services of a name.
struct Due {
    findings: Vec<Finding>,
    writes: BTreeMap<Part, Vec<Write>>,
    /// When further writes are due.
    pause: Option<Duration>,
}

/// The outcome of a part's writes.
enum Went {
    Well,
    /// An object has changed since it was seen.
    Conflicted,
    /// The finding, if the API server rejected a write.
    Failed(Option<Finding>),
}

impl Reconciler<QueueKey> for Leader {
    async fn reconcile(&self, key: &QueueKey, term: &Term) -> Outcome {
        match key {
            QueueKey::Configuration => self.tell_configuration(term).await,
            QueueKey::Services(name) => self.reconcile_services(name, term).await,
        }
    }
}

impl Leader {
    async fn reconcile_services(&self, name: &str, term: &Term) -> Outcome {
        for _ in 0..ROUNDS {
            let Some(Due { mut findings, writes, pause }) = self.due(name) else { return Outcome::Done };
            if writes.is_empty() {
                self.tell_findings(name, &findings);
                self.queue.lock().tidy(name);
                return pause.map_or(Outcome::Done, Outcome::RequeueAfter);
            }
            let mut is_held_up = false;
            let (mut failed, mut again) = (false, pause);
            for (part, writes) in writes {
                let what = hash(&writes);
                let Some(went) = self.write_all(name, writes, term).await else { return Outcome::Done };
                let (mut index, now) = (self.queue.lock(), Timestamp::now());
                let pause = match (went, part) {
                    (Went::Well, part) => {
                        index.memory(name).written(part, what, now);
                        continue;
                    }
                    (Went::Conflicted, part) => index.memory(name).conflicted(part, now),
                    (Went::Failed(Some(told)), Part::Placeholder(namespace)) => {
                        findings.push(told);
                        index.hold(namespace, now)
                    }
                    (Went::Failed(told), _) => {
                        failed = true;
                        findings.extend(told);
                        continue;
                    }
                };
                again = again.into_iter().chain([pause]).min();
                is_held_up = true;
            }
            self.tell_findings(name, &findings);
            if failed {
                return Outcome::Retry;
            }
            if is_held_up {
                return again.map_or(Outcome::Retry, Outcome::RequeueAfter);
            }
        }
        Outcome::Retry
    }

    /// Returns `None` without a configuration.
    fn due(&self, name: &str) -> Option<Due> {
        let mut index = self.queue.lock();
        let plan = index.plan(name)?;
        let now = Timestamp::now();
        let mut due = Due { findings: plan.findings, writes: BTreeMap::new(), pause: None };
        for write in plan.writes {
            let part = write.part();
            let held = match &part {
                Part::VirtualService => Duration::ZERO,
                Part::Placeholder(namespace) => index.held(namespace, now),
            };
            let wait = index.memory(name).pause(&part, now).max(held);
            if wait.is_zero() {
                due.writes.entry(part).or_default().push(write);
            } else {
                due.pause = due.pause.into_iter().chain([wait]).min();
            }
        }
        Some(due)
    }

    /// Writes one after the other until one fails, so that an old VirtualService stays until the new one exists.
    /// Returns `None` if the term has ended.
    async fn write_all(&self, name: &str, writes: Vec<Write>, term: &Term) -> Option<Went> {
        for write in writes {
            if !term.is_current() {
                return None;
            }
            match self.write(write).await {
                Ok(true) => {}
                Ok(false) => return Some(Went::Conflicted),
                Err(error) => {
                    seldom!(warn, service = name, "{error}; retrying");
                    return Some(Went::Failed(self.refusal(name, &error)));
                }
            }
        }
        Some(Went::Well)
    }

    /// Returns false if an object has changed since it was seen.
    async fn write(&self, write: Write) -> Result<bool, WriteError> {
        match write {
            Write::Create(object) => {
                let written = self.virtual_services.create("routing.virtualservice.create", &object).await?;
                Ok(self.took_virtual_service(written, None))
            }
            Write::Change(seen, changes) => {
                let written =
                    self.virtual_services.patch("routing.virtualservice.change", seen.version(), changes).await?;
                Ok(self.took_virtual_service(written, Some(&seen.resource_version)))
            }
            Write::Delete(seen) => {
                let written = self.virtual_services.delete("routing.virtualservice.delete", seen.version()).await?;
                let is_gone = written != Written::Conflict;
                if is_gone {
                    tracing::info!(virtual_service = %seen.key, "the VirtualService was deleted");
                    self.queue.lock().virtual_service_deleted(&seen.key);
                }
                Ok(is_gone)
            }
            Write::Placeholder(object) => {
                let over =
                    object.metadata.resource_version.clone().filter(|over| over != crate::cluster::apply::ABSENT);
                let written = self.services.apply("routing.placeholder.apply", &object, MANAGER).await?;
                Ok(self.took_service(written, over.as_deref()))
            }
            Write::HandOver(seen) => self.hand_over(&seen).await,
            Write::DeletePlaceholder(seen) => {
                let written = self.services.delete("routing.placeholder.delete", seen.version()).await?;
                let is_gone = written != Written::Conflict;
                if is_gone {
                    tracing::info!(placeholder = %seen.key, "the placeholder was deleted");
                    self.queue.lock().service_deleted(&seen.key);
                }
                Ok(is_gone)
            }
        }
    }

    /// A developer's manifest was applied over a placeholder. Removes everything that made it one.
    async fn hand_over(&self, seen: &ObservedService) -> Result<bool, WriteError> {
        let version = seen.version();
        let mut object = match self.services.get(version).await {
            Ok(Some(object)) if object.version() == version => object,
            Ok(_) => return Ok(false),
            Err(error) => {
                seldom!(warn, service = %seen.key, "cannot read the Service: {}", describe(&error));
                return Ok(false);
            }
        };
        if let Some(managers) = managers_to_set(&object) {
            let path = PointerBuf::from_tokens(["metadata", "managedFields"]);
            let value = serde_json::to_value(managers).unwrap_or_default(); // texts and objects cannot fail
            let change = vec![PatchOperation::Add(AddOperation { path, value })];
            match self.services.patch("routing.placeholder.take-over", version, change).await? {
                Written::Done(after) => object = after,
                Written::Unchanged | Written::Conflict => return Ok(false),
            }
        }
        let over = object.metadata.resource_version.clone();
        let bare = handed_over(&object);
        let written = self.services.apply("routing.placeholder.hand-over", &bare, MANAGER).await?;
        let is_done = self.took_service(written, over.as_deref());
        if is_done {
            let note = "It was a placeholder; it is the developer's own Service now";
            self.services.tell(version, EventType::Normal, "PlaceholderHandedOver", note);
        }
        Ok(is_done)
    }

    fn took_virtual_service(&self, written: Written<DynamicObject>, over: Option<&str>) -> bool {
        let Written::Done(object) = written else { return written == Written::Unchanged };
        if let Ok(after) = serde_json::to_value(object).map(ObservedVirtualService::read) {
            tracing::info!(virtual_service = %after.key, "the VirtualService was written");
            self.queue.lock().virtual_service_answered(after, over);
        }
        true
    }

    fn took_service(&self, written: Written<DynamicObject>, over: Option<&str>) -> bool {
        let Written::Done(object) = written else { return written == Written::Unchanged };
        if let Ok(after) = serde_json::to_value(object).map(ObservedService::read) {
            tracing::info!(service = %after.key, "the placeholder was written");
            self.queue.lock().service_answered(after, over);
        }
        true
    }

    /// Returns the finding for a failed write; `None` if the API server did not answer.
    fn refusal(&self, name: &str, error: &WriteError) -> Option<Finding> {
        let namespace = self.queue.lock().configuration()?.default_namespace.clone();
        let is_refused = error.code().is_some_and(|code| (400..500).contains(&code) && code != 429);
        let note = format!("{error}; retrying");
        is_refused.then(|| Finding { service: Key::new(namespace, name), reason: WRITE_REFUSED, note })
    }

    fn tell_findings(&self, name: &str, findings: &[Finding]) {
        let news = self.queue.lock().memory(name).news(findings);
        for Finding { service, reason, note } in news {
            seldom!(warn, service = %service, reason, "{note}");
            let index = self.queue.lock();
            let Some(seen) = index.service(&service).cloned() else { continue };
            drop(index);
            self.services.tell(seen.version(), EventType::Warning, reason, &note);
        }
    }

    async fn tell_configuration(&self, term: &Term) -> Outcome {
        let (Telling { events, changes }, config_map) = {
            let mut index = self.queue.lock();
            (index.tell(), index.standing.config_map.clone())
        };
        let absent = ObjectVersion {
            namespace: &self.config_map.namespace,
            name: &self.config_map.name,
            ..ObjectVersion::default()
        };
        let about = config_map.as_ref().map_or(absent, |config_map| config_map.version());
        for (type_, reason, note) in events {
            if type_ == EventType::Warning {
                tracing::warn!(config_map = %self.config_map, reason, "{note}");
            } else {
                tracing::info!(config_map = %self.config_map, reason, "{note}");
            }
            self.config_maps.tell(about, type_, reason, &note);
        }
        let Some(config_map) = config_map.filter(|_| !changes.is_empty() && term.is_current()) else {
            return Outcome::Done;
        };
        match self.config_maps.patch("routing.configuration.annotate", config_map.version(), changes).await {
            Ok(Written::Done(after)) => {
                if let Ok(after) = serde_json::to_value(after).map(ObservedConfigMap::read) {
                    self.queue.lock().standing.annotated(after);
                }
                Outcome::Done
            }
            Ok(Written::Unchanged) => Outcome::Done,
            Ok(Written::Conflict) => Outcome::Retry,
            Err(error) => {
                seldom!(warn, config_map = %self.config_map, "{error}; retrying");
                Outcome::Retry
            }
        }
    }
}

/// Hashes the writes, to compare them with others.
fn hash(writes: &[Write]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for write in writes {
        match write {
            Write::Create(object) | Write::Placeholder(object) => {
                (&object.metadata.name, object.data.to_string()).hash(&mut hasher);
            }
            Write::Change(seen, changes) => {
                (&seen.key, serde_json::to_string(changes).unwrap_or_default()).hash(&mut hasher);
            }
            Write::Delete(seen) => (&seen.key, "delete").hash(&mut hasher),
            Write::HandOver(seen) => (&seen.key, "hand over").hash(&mut hasher),
            Write::DeletePlaceholder(seen) => (&seen.key, "delete placeholder").hash(&mut hasher),
        }
    }
    hasher.finish()
}
