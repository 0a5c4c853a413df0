//! One Lease and its operations: take, renew and release.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::time::{Instant, timeout};

use super::timing::Timing;
use crate::cluster::client::describe;
use crate::cluster::failpoint;

/// A Lease is read and written at most 4 times in one attempt, because others may change it in between. Leaders of several jobs do
/// so with the Lease that they share.
const ROUNDS: usize = 4;

/// A Lease and the holder's name.
#[derive(Clone, Debug)]
pub(super) struct HeldLease {
    api: Api<Lease>,
    name: String,
    holder: String,
}

/// The outcome of an attempt to hold a Lease.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// It is held, as of this time before the request.
    Held(Instant),
    /// It is held by another, with this name; empty if it is held by nobody.
    Missed(String),
}

/// The Lease as last seen, and since when it has been unchanged.
#[derive(Debug, Default)]
pub(super) struct LeaseSeen {
    version: Option<String>,
    since: Option<Instant>,
}

impl HeldLease {
    pub fn new(client: Client, namespace: &str, name: &str, holder: &str) -> Self {
        Self { api: Api::namespaced(client, namespace), name: name.to_owned(), holder: holder.to_owned() }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Takes the Lease unless somebody else holds it.
    ///
    /// # Errors
    /// A sentence about the problem.
    pub async fn take(&self, seen: &mut LeaseSeen, timing: &Timing) -> Result<Attempt, String> {
        let rounds = async {
            let mut taken = self.take_once(seen, timing).await;
            for _ in 1..ROUNDS {
                if !is_conflict(&taken) {
                    break;
                }
                taken = self.take_once(seen, timing).await;
            }
            taken
        };
        self.in_time(rounds, timing).await
    }

    /// Renews the Lease if this process holds it.
    ///
    /// # Errors
    /// A sentence about the problem.
    pub async fn renew(&self, timing: &Timing) -> Result<Attempt, String> {
        let rounds = async {
            let mut renewed = self.renew_once(timing).await;
            for _ in 1..ROUNDS {
                if !is_conflict(&renewed) {
                    break;
                }
                renewed = self.renew_once(timing).await;
            }
            renewed
        };
        self.in_time(rounds, timing).await
    }

    /// Releases the Lease if this process holds it, so that the next holder does not wait for it to expire. A failure
    /// only costs time.
    pub async fn release(&self, timing: &Timing) {
        let release = async {
            let Some(Lease { metadata, spec: Some(spec) }) = self.api.get_opt(&self.name).await? else { return Ok(()) };
            if spec.holder_identity.as_ref() != Some(&self.holder) {
                return Ok(());
            }
            let spec = LeaseSpec { holder_identity: Some(String::new()), lease_duration_seconds: Some(1), ..spec };
            self.replace("lease.release", metadata, spec).await.map(|_| ())
        };
        match timeout(timing.retry, Box::pin(release)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::info!("the Lease {} was not released: {}", self.name, describe(&error)),
            Err(_) => tracing::info!("the Lease {} was not released: the API server did not answer", self.name),
        }
    }

    /// Makes one attempt with a time limit.
    async fn in_time(
        &self,
        rounds: impl Future<Output = kube::Result<Option<String>>>,
        timing: &Timing,
    ) -> Result<Attempt, String> {
        let started = Instant::now();
        let problem = match timeout(timing.renew_deadline / 2, Box::pin(rounds)).await {
            Ok(Ok(None)) => return Ok(Attempt::Held(started)),
            Ok(Ok(Some(holder))) => return Ok(Attempt::Missed(holder)),
            Ok(Err(error)) => describe(&error),
            Err(_) => "the API server did not answer".to_owned(),
        };
        Err(format!("the Lease {} cannot be used: {problem}", self.name))
    }

    /// Becomes the holder unless somebody else is, whose name is then returned.
    async fn take_once(&self, seen: &mut LeaseSeen, timing: &Timing) -> kube::Result<Option<String>> {
        let Some(lease) = self.api.get_opt(&self.name).await? else {
            let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
            let lease = Lease { metadata, spec: Some(self.next(LeaseSpec::default(), timing)) };
            failpoint::around("lease.create", self.api.create(&PostParams::default(), &lease)).await?;
            return Ok(None);
        };
        let unchanged = seen.unchanged_for(lease.metadata.resource_version.as_deref(), Instant::now());
        let spec = lease.spec.unwrap_or_default();
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        if !holder.is_empty() && holder != self.holder && unchanged < expiry(&spec, timing) {
            return Ok(Some(holder.to_owned()));
        }
        self.replace("lease.take", lease.metadata, self.next(spec, timing)).await
    }

    /// Renews the Lease if this process holds it; otherwise returns the holder.
    async fn renew_once(&self, timing: &Timing) -> kube::Result<Option<String>> {
        let lease = self.api.get_opt(&self.name).await?.unwrap_or_default();
        let spec = lease.spec.unwrap_or_default();
        match &spec.holder_identity {
            Some(holder) if *holder == self.holder => {
                self.replace("lease.renew", lease.metadata, self.next(spec, timing)).await
            }
            holder => Ok(Some(holder.clone().unwrap_or_default())),
        }
    }

    /// The write carries the resourceVersion that was read, so a slow writer gets a conflict.
    async fn replace(
        &self,
        write: &'static str,
        metadata: ObjectMeta,
        spec: LeaseSpec,
    ) -> kube::Result<Option<String>> {
        let lease = Lease { metadata, spec: Some(spec) };
        failpoint::around(write, self.api.replace(&self.name, &PostParams::default(), &lease)).await?;
        Ok(None)
    }

    /// Returns the record after `spec`, held by this process.
    fn next(&self, spec: LeaseSpec, timing: &Timing) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let (acquired, transitions) = match spec.holder_identity.as_deref() {
            Some(holder) if holder == self.holder => (spec.acquire_time, spec.lease_transitions),
            None => (None, Some(0)),
            Some(_) => (None, Some(spec.lease_transitions.unwrap_or(0).saturating_add(1))),
        };
        LeaseSpec {
            holder_identity: Some(self.holder.clone()),
            lease_duration_seconds: Some(i32::try_from(timing.duration.as_secs()).unwrap_or(i32::MAX)),
            acquire_time: acquired.or_else(|| Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: transitions,
            ..spec
        }
    }
}

impl LeaseSeen {
    /// Returns how long the Lease has had this version by our own clock. Another node's clock is not used.
    fn unchanged_for(&mut self, version: Option<&str>, now: Instant) -> Duration {
        match self.since {
            Some(since) if self.version.as_deref() == version => now.duration_since(since),
            _ => {
                self.version = version.map(str::to_owned);
                self.since = Some(now);
                Duration::ZERO
            }
        }
    }
}

/// Returns how long a Lease must be unchanged before it may be taken: the duration that its holder wrote, or ours if
/// that is longer.
fn expiry(spec: &LeaseSpec, timing: &Timing) -> Duration {
    let written = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(0);
    Duration::from_secs(written).max(timing.duration)
}

/// Whether somebody else changed the Lease between our read and our write.
fn is_conflict(result: &kube::Result<Option<String>>) -> bool {
    matches!(result, Err(kube::Error::Api(status)) if status.code == 409)
}
