//! The leader's work on one SidecarGenerator: plans, writes, and plans again until everything is up to date.

use super::fetches::{Fetches, GeneratorQueue};
use super::generator::{Key, ObservedGenerator};
use super::plan::{Fetch, Plan};
use super::sidecar::ObservedSidecar;
use super::status::READY;
use super::write::Write;
use crate::api::sidecar_generator::SidecarGeneratorStatus;
use crate::cluster::conditions::{News, news};
use crate::cluster::{ObjectVersion, Objects, Outcome, Reconciler, Term, Versioned, Watch, WriteError, Written};
use crate::telemetry::seldom;
use jiff::Timestamp;
use kube::runtime::events::EventType;
use std::sync::Arc;
use std::time::Duration;

/// The maximum number of plans in a row for an object: for a write, and for the status after it.
const ROUNDS: usize = 3;

/// Works during a term.
pub(super) struct Leader {
    pub queue: Arc<GeneratorQueue>,
    pub fetches: Arc<Fetches>,
    pub generators: Objects,
    pub sidecars: Objects,
    pub watched_sidecars: Watch,
    pub min_period: Duration,
}

impl Reconciler<Key> for Leader {
    async fn reconcile(&self, key: &Key, term: &Term) -> Outcome {
        let mut failed = false;
        for _ in 0..ROUNDS {
            let installed = !self.watched_sidecars.is_absent();
            let planned = self.queue.lock().index.plan(key, installed, self.min_period, Timestamp::now());
            let Some((generator, plan)) = planned.filter(|_| term.is_current()) else { return Outcome::Done };
            let Plan { fetch, write, status, wake } = plan;
            match fetch {
                Fetch::Leave => {}
                Fetch::Stop => self.fetches.stop(key),
                Fetch::Start => self.fetches.begin(&generator, term),
            }
            if let Some(write) = write.filter(|_| !failed) {
                match self.write(&generator, write).await {
                    Ok(true) => continue,
                    Ok(false) => return Outcome::Retry,
                    Err(error) => {
                        seldom!(warn, generator = %key, "{error}; retrying");
                        if let Some(memory) = self.queue.lock().index.memory(key) {
                            memory.write_problem = Some(error.to_string());
                        }
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
                        seldom!(warn, generator = %key, "{error}; retrying");
                        return Outcome::Retry;
                    }
                }
            }
            return if failed { Outcome::Retry } else { wake.map_or(Outcome::Done, Outcome::RequeueAfter) };
        }
        Outcome::Retry
    }
}

impl Leader {
    /// Writes the Sidecar. Returns false if it has changed since it was seen.
    async fn write(&self, generator: &ObservedGenerator, write: Write) -> Result<bool, WriteError> {
        let (key, sidecars) = (&generator.key, &self.sidecars);
        let (written, over, reason) = match write {
            Write::Create(object) => {
                (sidecars.create("generator.sidecar.create", &object).await?, None, "SidecarCreated")
            }
            Write::Change(over, changes) => {
                let seen = ObjectVersion { resource_version: &over, ..generator.version() };
                let patched = sidecars.patch("generator.sidecar.change", seen, changes).await?;
                (patched, Some(over), "SidecarUpdated")
            }
        };
        let Written::Done(object) = written else { return Ok(false) };
        let mut known = self.queue.lock();
        if let Ok(after) = serde_json::to_value(object).map(ObservedSidecar::read) {
            known.index.sidecar_answered(after, over.as_deref());
        }
        if let Some(memory) = known.index.memory(key) {
            memory.writes.written(true, Timestamp::now());
            memory.write_problem = None;
        }
        drop(known);
        tracing::info!(generator = %key, reason, "the Sidecar was written");
        let note = format!("Sidecar {:?} matches the last answer of the URL", key.name);
        self.generators.tell(generator.version(), EventType::Normal, reason, &note);
        Ok(true)
    }

    /// Writes the status. Returns false if the SidecarGenerator has changed since it was seen.
    async fn write_status(
        &self,
        generator: &ObservedGenerator,
        status: SidecarGeneratorStatus,
    ) -> Result<bool, WriteError> {
        let (key, generators) = (&generator.key, &self.generators);
        let written = generators.write_status("generator.status", generator.version(), &status).await?;
        let Written::Done(object) = written else { return Ok(false) };
        if let Ok(object) = serde_json::to_value(object) {
            let after = ObservedGenerator::read(object);
            self.queue.lock().index.generator_answered(after, &generator.resource_version);
        }
        match news(&generator.status.conditions, &status.conditions, READY) {
            Some(News::Trouble(reason, message)) => {
                seldom!(warn, generator = %key, reason, "{message}");
                generators.tell(generator.version(), EventType::Warning, reason, message);
            }
            Some(News::Recovery(message)) => {
                tracing::info!(generator = %key, "recovered: {message}");
                generators.tell(generator.version(), EventType::Normal, "Recovered", message);
            }
            None => {}
        }
        Ok(true)
    }
}
