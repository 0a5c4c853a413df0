//! The leader's work on one MeshService: applies its objects, deletes what is left over, and writes its status.

use super::index::MeshQueue;
use super::key::Key;
use super::kind::MeshKind;
use super::look::{self, Lacks, Look, Over, Write};
use super::mend::Mend;
use super::metrics::MeshMetrics;
use super::observed::ObservedMeshService;
use super::release::{self, Released};
use super::seen::Seen;
use super::selection::Selection;
use super::state::Settled;
use super::told::{READY, Told};
use super::watched::{ObjectKey, Watched};
use crate::api::keys;
use crate::api::mesh_service::MeshServiceStatus;
use crate::cluster::conditions::{News, news};
use crate::cluster::{Objects, Outcome, Reconciler, Term, Versioned, WriteError, Written, describe};
use crate::telemetry::seldom;
use jiff::Timestamp;
use json_patch::jsonptr::PointerBuf;
use json_patch::{PatchOperation, RemoveOperation};
use kube::api::DynamicObject;
use kube::runtime::events::EventType;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The most rounds of one reconcile. Objects, surplus fields, the Pods of subsets and the status may take one each.
const ROUNDS: usize = 5;

/// The field selector of Pods that have not ended.
const PODS_THAT_RUN: &str = "status.phase!=Succeeded,status.phase!=Failed";

/// The field manager of the objects that are made.
const MANAGER: &str = "outrigger-meshservice";

/// The longest spec that is kept in an annotation when an object is taken over (bytes).
const LONGEST_SPEC: usize = 64 * 1024;

/// Does the work of a term.
pub(super) struct Leader {
    pub queue: Arc<MeshQueue>,
    pub mesh_services: Objects,
    pub objects: BTreeMap<MeshKind, Objects>,
    pub pods: Objects,
    pub metrics: MeshMetrics,
}

/// The result of a write.
enum Went {
    Well,
    /// The object has changed since it was read.
    Conflicted,
    /// The API server refuses the write.
    Refused(String),
}

/// The outcome of a write.
type Attempt = Result<Went, WriteError>;

impl Reconciler<Key> for Leader {
    async fn reconcile(&self, key: &Key, term: &Term) -> Outcome {
        let mut failed = false;
        for _ in 0..ROUNDS {
            let Look { mesh_service, writes, asks, pause, told } =
                look::at(&mut self.queue.lock(), key, Timestamp::now());
            if !failed && !writes.is_empty() {
                match self.write_all(key, mesh_service.as_deref(), writes, term).await {
                    Some(all_went_well) => failed = !all_went_well,
                    None => return Outcome::Retry,
                }
                continue;
            }
            if !asks.is_empty() {
                if !self.ask(key, asks, term).await {
                    return Outcome::Retry;
                }
                continue;
            }
            let wake = match (mesh_service, told) {
                (Some(mesh_service), Some(told)) => match self.tell(&mesh_service, told, term).await {
                    Ok(wake) => wake,
                    Err(()) => return Outcome::Retry,
                },
                _ => None,
            };
            return match pause.into_iter().chain(wake).min() {
                _ if failed => Outcome::Retry,
                Some(wake) => Outcome::RequeueAfter(wake),
                None => Outcome::Done,
            };
        }
        Outcome::Retry
    }
}

impl Leader {
    /// Writes in order, referenced objects first. Returns whether the API server accepted everything, or `None` if
    /// something has changed since it was read, or the API server does not answer.
    async fn write_all(
        &self,
        key: &Key,
        mesh_service: Option<&ObservedMeshService>,
        writes: Vec<Write>,
        term: &Term,
    ) -> Option<bool> {
        let generation = mesh_service.map_or(0, |mesh_service| mesh_service.generation);
        let (mut lacks, mut failed) = (Lacks::default(), false);
        for write in writes {
            let (object, deletes) = (write.object().clone(), write.taken_away().is_some());
            let is_new = matches!(write, Write::Apply(_, _, Over::Nothing));
            // Leftovers are deleted only once their replacements exist. Objects that are always deleted come first.
            let has_to_wait = if deletes { lacks.anything } else { lacks.hinders(object.kind, is_new) };
            if has_to_wait {
                continue;
            }
            if !term.is_current() {
                return None;
            }
            let went = match self.write(key, mesh_service, write).await {
                Ok(went) => went,
                Err(error) if is_refusal(error.code()) => Went::Refused(error.to_string()),
                Err(error) => {
                    seldom!(warn, mesh_service = %key, "{error}; it is tried again");
                    return None;
                }
            };
            match went {
                Went::Well => self.queue.lock().memory(key).written(&object, generation, Timestamp::now()),
                Went::Conflicted => return None,
                Went::Refused(problem) => {
                    seldom!(warn, mesh_service = %key, object = %object, "{problem}; it is tried again");
                    failed = true;
                    if !deletes {
                        lacks.note(object.kind);
                    }
                    if mesh_service.is_some() {
                        self.queue.lock().memory(key).refused.insert(object, problem);
                    }
                }
            }
        }
        Some(!failed)
    }

    /// Asks the API server for Pods. If it refuses, nothing is reported about them. Returns false if the term is over.
    async fn ask(&self, key: &Key, asks: Vec<Selection>, term: &Term) -> bool {
        for selection in asks {
            if !term.is_current() {
                return false;
            }
            let is_any = match self.pods.any(&selection.namespace, &selection.selector(), PODS_THAT_RUN).await {
                Ok(is_any) => Some(is_any),
                Err(error) => {
                    seldom!(warn, mesh_service = %key, "cannot list Pods: {}; whether subsets have any is not told", describe(&error));
                    None
                }
            };
            self.queue.lock().memory(key).pods.answered(selection, is_any, Timestamp::now());
        }
        true
    }

    async fn write(&self, key: &Key, mesh_service: Option<&ObservedMeshService>, write: Write) -> Attempt {
        match write {
            Write::Apply(mut object, object_key, over) => {
                let Some(objects) = self.objects_of(&object_key) else { return Ok(Went::Well) };
                if let Over::Adopted(seen) = &over {
                    match self.write_down(objects, seen, &mut object).await {
                        Ok(Went::Well) => {}
                        other => return other,
                    }
                }
                let written = objects.apply("mesh.object.apply", &object, MANAGER).await?;
                let over_version = over.seen().map(|seen| seen.resource_version.clone());
                let was_right = self.queue.lock().memory(key).was_right(&object_key);
                let is_done = self.took(&object_key, written, over_version.as_deref());
                if is_done && let Some(mesh_service) = mesh_service {
                    self.tell_applied(mesh_service, &object_key, &over, was_right);
                }
                Ok(if is_done { Went::Well } else { Went::Conflicted })
            }
            Write::Mend(seen, mend) => {
                let Some(objects) = self.objects_of(&seen.key) else { return Ok(Went::Well) };
                let written = objects.patch("mesh.service.mend", seen.version(), mend.operations.clone()).await?;
                let is_done = self.took(&seen.key, written, Some(&seen.resource_version));
                if is_done && let Some(mesh_service) = mesh_service {
                    self.tell_mended(objects, mesh_service, &seen, &mend);
                }
                Ok(if is_done { Went::Well } else { Went::Conflicted })
            }
            Write::Trim(seen, extra) => {
                let Some(objects) = self.objects_of(&seen.key) else { return Ok(Went::Well) };
                let fields = extra.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                let removals = extra.into_iter().map(removal).collect();
                let written = objects.patch("mesh.object.trim", seen.version(), removals).await?;
                let was_right = self.queue.lock().memory(key).was_right(&seen.key);
                let is_done = self.took(&seen.key, written, Some(&seen.resource_version));
                if is_done
                    && was_right
                    && let Some(mesh_service) = mesh_service
                {
                    self.tell_repaired(mesh_service, &seen.key, &format!("fields were added: {fields}"));
                }
                Ok(if is_done { Went::Well } else { Went::Conflicted })
            }
            Write::Delete(seen) => {
                let Some(objects) = self.objects_of(&seen.key) else { return Ok(Went::Well) };
                if objects.delete("mesh.object.delete", seen.version()).await? == Written::Conflict {
                    return Ok(Went::Conflicted);
                }
                tracing::info!(mesh_service = %key, object = %seen.key, "the object was deleted: it is of no use any more");
                self.queue.lock().object_deleted(&seen.key);
                Ok(Went::Well)
            }
            Write::Release(seen, released) => {
                let Some(objects) = self.objects_of(&seen.key) else { return Ok(Went::Well) };
                let operations = release::operations(&seen, released);
                let written = objects.patch("mesh.object.release", seen.version(), operations).await?;
                let is_done = self.took(&seen.key, written, Some(&seen.resource_version));
                if is_done {
                    let note = format!("{} is nobody's any more", seen.key);
                    let note = match released {
                        Released::AsItIs => {
                            format!("{note}, and stays as it is: MeshService/{key} was deleted with --cascade=orphan")
                        }
                        Released::AsItWas => format!("{note}, and is as it was before MeshService/{key} took it over"),
                    };
                    tracing::info!(mesh_service = %key, "{note}");
                    objects.tell(seen.version(), EventType::Normal, "Released", &note);
                }
                Ok(if is_done { Went::Well } else { Went::Conflicted })
            }
        }
    }

    /// Keeps the spec of an object that is taken over in an annotation, so that it can be restored.
    async fn write_down(&self, objects: &Objects, seen: &Seen, object: &mut DynamicObject) -> Attempt {
        let present = match objects.get(seen.version()).await {
            Ok(Some(present)) if present.version() == seen.version() => present,
            Ok(_) => return Ok(Went::Conflicted),
            Err(error) => {
                seldom!(warn, object = %seen.key, "cannot read the object: {}", describe(&error));
                return Ok(Went::Conflicted);
            }
        };
        let annotations = present.metadata.annotations.as_ref();
        if let Some(before) = annotations.and_then(|annotations| annotations.get(keys::MESH_ADOPTED)) {
            // It was taken over before and has lost its labels since. The present spec is ours.
            let annotations = object.metadata.annotations.get_or_insert_default();
            annotations.insert(keys::MESH_ADOPTED.to_owned(), before.clone());
            return Ok(Went::Well);
        }
        let spec = present.data.get("spec").map(ToString::to_string).unwrap_or_default();
        if spec.len() > LONGEST_SPEC {
            let problem = format!(
                "it is not taken over: its spec has {} bytes, and at most {LONGEST_SPEC} are kept in its annotation {}",
                spec.len(),
                keys::MESH_ADOPTED
            );
            return Ok(Went::Refused(problem));
        }
        object.metadata.annotations.get_or_insert_default().insert(keys::MESH_ADOPTED.to_owned(), spec);
        Ok(Went::Well)
    }

    fn objects_of(&self, key: &ObjectKey) -> Option<&Objects> {
        if let Watched::Made(kind) = key.kind { self.objects.get(&kind) } else { None }
    }

    /// Puts the API server's answer into the index. Returns false if nothing was written.
    fn took(&self, key: &ObjectKey, written: Written<DynamicObject>, over: Option<&str>) -> bool {
        let Written::Done(object) = written else { return written == Written::Unchanged };
        if let Ok(object) = serde_json::to_value(object) {
            tracing::info!(object = %key, "the object was written");
            self.queue.lock().object_answered(Seen::read(key.kind, object), over);
        }
        true
    }

    fn tell_applied(&self, mesh_service: &ObservedMeshService, object: &ObjectKey, over: &Over, was_right: bool) {
        match over {
            Over::Nothing if was_right => self.tell_repaired(mesh_service, object, "it was deleted"),
            Over::Drift(_, fields) if was_right => {
                self.tell_repaired(mesh_service, object, &format!("these differed: {fields}"));
            }
            Over::Nothing | Over::Drift(..) | Over::Left(_) => {}
            Over::Adopted(_) => {
                let note = format!(
                    "{object} belongs to this object now. To undo that, take {} and {}: Adopt away, and delete this object or have \
                     it make nothing of that name: then {object} is as it was again, of which its annotation {} keeps the spec",
                    keys::ADOPT,
                    keys::MESH_REPAIR,
                    keys::MESH_ADOPTED
                );
                self.mesh_services.tell(mesh_service.version(), EventType::Normal, "Adopted", &note);
            }
        }
    }

    /// Sends the Event about both objects, for the owner of each.
    fn tell_mended(&self, objects: &Objects, mesh_service: &ObservedMeshService, seen: &Seen, mend: &Mend) {
        let note = format!(
            "{} was changed as MeshService/{} says, which its annotation {} allows: {}. To undo that, take the word for it out of the \
             annotation, and then remove {}",
            seen.key,
            mesh_service.key,
            keys::MESH_REPAIR,
            mend.done.join(", "),
            mend.undo.join(", ")
        );
        self.mesh_services.tell(mesh_service.version(), EventType::Normal, "Mended", &note);
        objects.tell(seen.version(), EventType::Normal, "Mended", &note);
    }

    fn tell_repaired(&self, mesh_service: &ObservedMeshService, object: &ObjectKey, what: &str) {
        self.metrics.repairs.inc();
        let note = format!("{object} is as this object says again: {what}");
        self.mesh_services.tell(mesh_service.version(), EventType::Normal, "Repaired", &note);
    }

    /// Writes the status once it has settled. Returns when to reconcile again.
    async fn tell(&self, mesh_service: &ObservedMeshService, told: Told, term: &Term) -> Result<Option<Duration>, ()> {
        let key = &mesh_service.key;
        let status = {
            let (mut index, now) = (self.queue.lock(), Timestamp::now());
            if !index.is_checked(key) {
                index.memory(key).is_waiting = true;
                return Ok(None);
            }
            let status = told.status(&mesh_service.status, now);
            match (index.memory(key).settling.settle(told, status.is_none(), now), status) {
                (Settled::After(pause), _) => return Ok(Some(pause)),
                (Settled::Now, Some(status)) if term.is_current() => status,
                _ => return Ok(None),
            }
        };
        match self.write_status(mesh_service, status).await {
            Ok(true) => Ok(None),
            Ok(false) => Err(()),
            Err(error) => {
                seldom!(warn, mesh_service = %key, "{error}; it is tried again");
                Err(())
            }
        }
    }

    /// Returns false if the MeshService has changed since it was read.
    async fn write_status(
        &self,
        mesh_service: &ObservedMeshService,
        status: MeshServiceStatus,
    ) -> Result<bool, WriteError> {
        let (key, version) = (&mesh_service.key, mesh_service.version());
        let Written::Done(object) = self.mesh_services.write_status("mesh.status", version, &status).await? else {
            return Ok(false);
        };
        if let Ok(object) = serde_json::to_value(object) {
            let after = ObservedMeshService::read(object);
            self.queue.lock().mesh_service_answered(after, &mesh_service.resource_version);
        }
        match news(&mesh_service.status.conditions, &status.conditions, READY) {
            Some(News::Trouble(reason, message)) => {
                seldom!(warn, mesh_service = %key, reason, "{message}");
                self.mesh_services.tell(version, EventType::Warning, reason, message);
            }
            Some(News::Recovery(message)) => {
                tracing::info!(mesh_service = %key, "all is well again: {message}");
                self.mesh_services.tell(version, EventType::Normal, "Recovered", message);
            }
            None => {}
        }
        Ok(true)
    }
}

/// Returns whether the API server refused the write for a reason other than load. The cause may be a webhook of one
/// kind that is down, so the other objects are still written.
fn is_refusal(code: Option<u16>) -> bool {
    code.is_some_and(|code| code >= 400 && code != 429)
}

fn removal(path: PointerBuf) -> PatchOperation {
    PatchOperation::Remove(RemoveOperation { path })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_answered_but_a_request_to_wait_holds_up_no_other_object() {
        for (code, expected) in [
            (Some(403), true),
            (Some(422), true),
            (Some(500), true), // a webhook that is down
            (Some(503), true),
            (Some(429), false),
            (None, false), // no answer
        ] {
            assert_eq!(is_refusal(code), expected, "{code:?}");
        }
    }
}
