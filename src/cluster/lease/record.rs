//! One Lease and what a holder does with it: take it, renew it, give it back.

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

/// At most 4 times in one try a Lease is read and written: others may change it in between. Leaders of several jobs do so with the
/// Lease that they share.
const ROUNDS: usize = 4;

/// A Lease, and the name by which it is held.
#[derive(Clone, Debug)]
pub(super) struct HeldLease {
    api: Api<Lease>,
    name: String,
    holder: String,
}

/// What a try to hold a Lease came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// It is ours, as of this moment before it was asked for.
    Held(Instant),
    /// It is somebody else's, whose name this is; empty if nobody's.
    Missed(String),
}

/// The Lease as it was last seen, and since when it has looked like that.
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

    /// Holds the Lease unless somebody else does.
    ///
    /// # Errors
    /// What is wrong, as a sentence.
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

    /// Renews the Lease if it is ours.
    ///
    /// # Errors
    /// What is wrong, as a sentence.
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

    /// Gives the Lease back if it is ours, so that the next one need not wait for it to run out. Failures only cost time.
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

    /// One try, bounded in time.
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

    /// Writes us into the Lease unless somebody else holds it, whose name is then returned.
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

    /// Renews the Lease if it is ours; else returns whose it is.
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

    /// The resourceVersion that was read goes with it: whoever was slow since then gets a conflict.
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

    /// The record after `spec`, held by us.
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
    /// For how long, by our own clock, the Lease has had this version. Another node's clock says nothing.
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

/// How long a Lease must not have changed before it may be taken: what its holder wrote, or ours if that is longer.
fn expiry(spec: &LeaseSpec, timing: &Timing) -> Duration {
    let written = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(0);
    Duration::from_secs(written).max(timing.duration)
}

/// Whether somebody else changed the Lease between our read and our write.
fn is_conflict(result: &kube::Result<Option<String>>) -> bool {
    matches!(result, Err(kube::Error::Api(status)) if status.code == 409)
}
