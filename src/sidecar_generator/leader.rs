//! The leader's work on one SidecarGenerator: plans, writes, and plans again, until all is as it should be.

use super::Watches;
use super::controller::Shared;
use super::generator::{Key, ObservedGenerator};
use super::plan::{Fetch, Plan};
use super::sidecar::{ObservedSidecar, resource};
use super::status::READY;
use super::write::Write;
use crate::api::sidecar_generator::{SidecarGenerator, SidecarGeneratorStatus};
use crate::cluster::{Outcome, Term, WriteError, Written, apply, failpoint};
use crate::telemetry::seldom;
use jiff::Timestamp;
use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, PatchOperation};
use kube::Api;
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::events::EventType;
use std::sync::Arc;

/// An object is planned for so often in a row: for a write, and for the status after it.
const ROUNDS: usize = 3;

/// Who works during a term.
pub(super) struct Leader {
    pub shared: Arc<Shared>,
    pub term: Term,
    pub watches: Watches,
}

impl Leader {
    /// Makes one Sidecar and the status of its SidecarGenerator as they should be.
    pub async fn reconcile(&self, key: &Key) -> Outcome {
        let mut failed = false;
        for _ in 0..ROUNDS {
            let installed = !self.watches.sidecars.is_absent();
            let floor = self.shared.settings.min_period;
            let planned = self.shared.lock().state.plan(key, installed, floor, Timestamp::now());
            let Some((generator, plan)) = planned.filter(|_| self.term.is_current()) else { return Outcome::Done };
            let Plan { fetch, write, status, wake } = plan;
            match fetch {
                Fetch::Leave => {}
                Fetch::Stop => self.shared.stop_fetch(key),
                Fetch::Start => self.shared.begin_fetch(&generator, &self.term),
            }
            if let Some(write) = write.filter(|_| !failed) {
                match self.write(&generator, write).await {
                    Ok(true) => continue,
                    Ok(false) => return Outcome::Retry,
                    Err(error) => {
                        seldom!(warn, generator = %key, "{error}; it is tried again");
                        self.shared.lock().state.memory(key).write_problem = Some(error.to_string());
                        failed = true;
                        continue;
                    }
                }
            }
            if let Some(status) = status {
                match self.write_status(&generator, status).await {
                    Ok(true) => {}
                    Ok(false) => return Outcome::Retry,
                    Err(error) => {
                        seldom!(warn, generator = %key, "{error}; it is tried again");
                        return Outcome::Retry;
                    }
                }
            }
            return if failed { Outcome::Retry } else { wake.map_or(Outcome::Done, Outcome::RequeueAfter) };
        }
        Outcome::Retry
    }

    /// Writes the Sidecar; false where it is no longer as it was looked at.
    async fn write(&self, generator: &ObservedGenerator, write: Write) -> Result<bool, WriteError> {
        let (key, resource) = (&generator.key, resource());
        let api: Api<DynamicObject> = Api::namespaced_with(self.shared.client.clone(), &key.namespace, &resource);
        let gone = self.shared.lock().state.gone();
        let (written, before, reason) = match write {
            Write::Create(object) => {
                let created =
                    failpoint::around("generator.sidecar.create", apply::ensure(&api, &*object, None)).await?;
                (created, None, "SidecarCreated")
            }
            Write::Change(version, changes) => {
                let present = seen(&resource, key, &version);
                let patched =
                    failpoint::around("generator.sidecar.change", apply::patch(&api, &present, None, changes)).await?;
                (patched, Some(version), "SidecarUpdated")
            }
        };
        let Written::Done(object) = written else { return Ok(false) };
        let mut known = self.shared.lock();
        if let Ok(after) = serde_json::to_value(object).map(ObservedSidecar::read) {
            match before {
                Some(before) => known.state.changed_sidecar(&before, after),
                None => known.state.made_sidecar(gone, after),
            }
        }
        let memory = known.state.memory(key);
        memory.writes.record(Timestamp::now());
        memory.write_problem = None;
        drop(known);
        tracing::info!(generator = %key, reason, "the Sidecar was written");
        let note = format!("Sidecar {:?} is what the URL last gave", key.name);
        self.shared.publish(generator, EventType::Normal, reason, note);
        Ok(true)
    }

    /// Writes the status; false where the SidecarGenerator is no longer as it was looked at.
    async fn write_status(
        &self,
        generator: &ObservedGenerator,
        status: SidecarGeneratorStatus,
    ) -> Result<bool, WriteError> {
        let (key, resource) = (&generator.key, ApiResource::erase::<SidecarGenerator>(&()));
        let api: Api<DynamicObject> = Api::namespaced_with(self.shared.client.clone(), &key.namespace, &resource);
        let present = seen(&resource, key, &generator.resource_version);
        let value = serde_json::to_value(&status).unwrap_or_default(); // texts, numbers and times: this cannot fail
        let add = AddOperation { path: PointerBuf::from_tokens(["status"]), value };
        let write = apply::patch(&api, &present, Some("status"), vec![PatchOperation::Add(add)]);
        let written = failpoint::around("generator.status", write).await?;
        let Written::Done(object) = written else { return Ok(false) };
        if let Ok(object) = serde_json::to_value(object) {
            let after = ObservedGenerator::read(object);
            self.shared.lock().state.wrote_generator(&generator.resource_version, after);
        }
        match news(&generator.status, &status) {
            Some(News::Trouble(reason, message)) => {
                seldom!(warn, generator = %key, reason, "{message}");
                self.shared.publish(generator, EventType::Warning, reason, message.to_owned());
            }
            Some(News::Recovery(message)) => {
                tracing::info!(generator = %key, "all is well again: {message}");
                self.shared.publish(generator, EventType::Normal, "Recovered", message.to_owned());
            }
            None => {}
        }
        Ok(true)
    }
}

/// What a new status has to tell, by its condition `Ready`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News<'a> {
    /// Reason and message of trouble that is new, or another one than before.
    Trouble(&'a str, &'a str),
    /// The message after trouble that is over.
    Recovery(&'a str),
}

/// What is to be told once when one status follows another.
pub(super) fn news<'a>(before: &SidecarGeneratorStatus, after: &'a SidecarGeneratorStatus) -> Option<News<'a>> {
    let is = after.conditions.iter().find(|condition| condition.type_ == READY)?;
    let was = before.conditions.iter().find(|condition| condition.type_ == READY);
    let changed =
        was.is_none_or(|was| (&was.status, &was.reason, &was.message) != (&is.status, &is.reason, &is.message));
    match is.status.as_str() {
        "False" => changed.then_some(News::Trouble(&is.reason, &is.message)),
        "True" => was.filter(|was| was.status == "False").map(|_| News::Recovery(&is.message)),
        _ => None,
    }
}

/// An object as far as a write needs it.
fn seen(resource: &ApiResource, key: &Key, version: &str) -> DynamicObject {
    let mut present = DynamicObject::new(&key.name, resource).within(&key.namespace);
    present.metadata.resource_version = Some(version.to_owned());
    present
}
