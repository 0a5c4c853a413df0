//! Which replica runs the controllers: a Lease that one process holds at a time, for a term that ends by its own clock.
//!
//! A Lease cannot fence writes: what a leader sent may arrive after its term. So every write carries the resourceVersion it was
//! thought out for, and a new leader plans only after a fresh list ([`super::Watch::fresh`]).

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::client::describe;
use super::failpoint;

/// The name of the Lease of all controllers, in outrigger's own namespace.
pub const LEASE: &str = "outrigger";

/// A candidate for the leadership.
#[derive(Clone, Debug)]
pub struct Leadership {
    api: Api<Lease>,
    /// The Lease's name.
    name: String,
    identity: String,
    timing: Timing,
}

/// How long a leader may be silent. The defaults are those of the Kubernetes components.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Others may take a Lease that has not changed for so long. Default 15 s; whole seconds, at least one.
    pub duration: Duration,
    /// A term ends so long after the last renewal was sent. Default 10 s; at most two thirds of `duration`: in the time between
    /// nobody leads.
    pub renew_deadline: Duration,
    /// Between two tries to take or renew it. Default 2 s.
    pub retry: Duration,
    /// For the work to end by itself at shutdown before it is dropped. Default 5 s.
    pub grace: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { duration: seconds(15), renew_deadline: seconds(10), retry: seconds(2), grace: seconds(5) }
    }
}

/// A time of leadership. A cheap clone is the same term.
#[derive(Clone, Debug)]
pub struct Term {
    claim: Arc<Claim>,
}

#[derive(Debug)]
struct Claim {
    deadline: Mutex<Instant>,
    ended: CancellationToken,
}

/// What a try to hold the Lease came to.
#[derive(Debug, PartialEq, Eq)]
enum Attempt {
    /// It is ours, as of this moment before it was asked for.
    Held(Instant),
    /// It is somebody else's, whose name this is; empty if nobody's.
    Missed(String),
    /// It changed between reading and writing.
    Raced,
}

/// The Lease as it was last seen, and since when it has looked like that.
#[derive(Debug, Default)]
struct LeaseSeen {
    version: Option<String>,
    since: Option<Instant>,
}

impl Term {
    pub(crate) fn new(deadline: Instant) -> Self {
        Self { claim: Arc::new(Claim { deadline: Mutex::new(deadline), ended: CancellationToken::new() }) }
    }

    /// Whether this process leads now, by its own clock: to be asked before each write.
    #[must_use]
    pub fn is_current(&self) -> bool {
        !self.claim.ended.is_cancelled() && Instant::now() < self.deadline()
    }

    /// Returns when the term has ended: at shutdown, when the Lease was lost, or when it could not be renewed in time.
    pub async fn ended(&self) {
        while self.is_current() {
            tokio::select! {
                () = self.claim.ended.cancelled() => {}
                () = sleep_until(self.deadline()) => {}
            }
        }
    }

    fn deadline(&self) -> Instant {
        *self.claim.deadline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn extend(&self, deadline: Instant) {
        *self.claim.deadline.lock().unwrap_or_else(PoisonError::into_inner) = deadline;
    }

    fn end(&self) {
        self.claim.ended.cancel();
    }
}

impl Leadership {
    /// A candidate for the Lease of this name, such as [`LEASE`], in this namespace. The identity shows who leads: see [`identity`].
    #[must_use]
    pub fn new(client: Client, namespace: &str, name: &str, identity: String) -> Self {
        Self { api: Api::namespaced(client, namespace), name: name.to_owned(), identity, timing: Timing::default() }
    }

    /// The same candidate with other times. Those that would let two lead at once are shortened.
    #[must_use]
    pub fn with_timing(self, timing: Timing) -> Self {
        let duration = timing.duration.max(Duration::from_secs(1));
        let renew_deadline = timing.renew_deadline.min(duration * 2 / 3);
        Self { timing: Timing { duration, renew_deadline, ..timing }, ..self }
    }

    /// Waits for the leadership, does `work` while it lasts, and starts over when it is lost, until `shutdown` is cancelled.
    ///
    /// Work whose term is over by the clock, or taken, is dropped at once. At shutdown its term ends, it has [`Timing::grace`] to
    /// end by itself, and the Lease is released. Work that ends by itself ends the candidacy: this releases and returns.
    pub async fn run<W, F>(&self, shutdown: &CancellationToken, mut work: W)
    where
        W: FnMut(Term) -> F,
        F: Future<Output = ()>,
    {
        loop {
            let Some(claimed) = shutdown.run_until_cancelled(self.campaign()).await else {
                return self.release().await; // an unanswered try may have taken it
            };
            let term = Term::new(claimed + self.timing.renew_deadline);
            tracing::info!(identity = self.identity, "this process leads now");
            let lost = self.serve(&term, shutdown, work(term.clone())).await;
            term.end();
            match lost {
                Some(why) => tracing::warn!(identity = self.identity, why, "this process no longer leads"),
                None => return self.release().await,
            }
        }
    }

    /// Does the work of a term. Why the term was lost; `None` when the work is over or shut down.
    async fn serve(&self, term: &Term, shutdown: &CancellationToken, work: impl Future<Output = ()>) -> Option<String> {
        let mut work = pin!(work);
        let mut lost = pin!(self.keep(term));
        tokio::select! {
            why = &mut lost => {
                term.end(); // before the work is dropped: what it spawned may still run for a moment
                return Some(why);
            }
            () = &mut work => return None,
            () = shutdown.cancelled() => term.end(),
        }
        tokio::select! {
            why = lost => tracing::warn!(why, "the leadership was lost while its work was ending"),
            () = work => {}
            () = sleep(self.timing.grace) => tracing::warn!("the work of the leader did not end in time; it is dropped"),
        }
        None
    }

    /// Tries until the Lease is ours; since when.
    async fn campaign(&self) -> Instant {
        let mut seen = LeaseSeen::default();
        let mut said = String::new();
        loop {
            let state = match self.attempt(self.take(&mut seen)).await {
                Ok(Attempt::Held(since)) => return since,
                Ok(Attempt::Missed(holder)) => format!("{holder} leads"),
                Ok(Attempt::Raced) => "another candidate was faster".to_owned(),
                Err(problem) => format!("the Lease {} cannot be used: {problem}", self.name),
            };
            if state != said {
                tracing::info!(identity = self.identity, "waiting to lead: {state}");
                said = state;
            }
            sleep(self.timing.retry.mul_f64(1.0 + fastrand::f64() / 5.0)).await;
        }
    }

    /// Renews the term again and again; returns why that came to an end.
    async fn keep(&self, term: &Term) -> String {
        let mut problem = "the API server did not answer".to_owned();
        loop {
            let attempt = async {
                sleep(self.timing.retry).await;
                self.attempt(self.renew()).await
            };
            problem = match timeout_at(term.deadline(), attempt).await {
                Ok(Ok(Attempt::Held(since))) => {
                    term.extend(since + self.timing.renew_deadline);
                    continue;
                }
                Ok(Ok(Attempt::Missed(holder))) => return format!("the Lease {} is held by {holder:?}", self.name),
                Ok(Ok(Attempt::Raced)) => "somebody else changed it at the same time".to_owned(),
                Ok(Err(problem)) => problem,
                Err(_) => return format!("the Lease {} could not be renewed in time: {problem}", self.name),
            };
            tracing::warn!(problem, "the Lease {} was not renewed; trying again", self.name);
        }
    }

    /// One try, bounded in time.
    async fn attempt(&self, write: impl Future<Output = kube::Result<Option<String>>>) -> Result<Attempt, String> {
        let started = Instant::now();
        match timeout(self.timing.renew_deadline / 2, Box::pin(write)).await {
            Ok(Ok(None)) => Ok(Attempt::Held(started)),
            Ok(Ok(Some(holder))) => Ok(Attempt::Missed(holder)),
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => Ok(Attempt::Raced),
            Ok(Err(error)) => Err(describe(&error)),
            Err(_) => Err("the API server did not answer".to_owned()),
        }
    }

    /// Writes us into the Lease unless somebody else holds it, whose name is then returned.
    async fn take(&self, seen: &mut LeaseSeen) -> kube::Result<Option<String>> {
        let Some(lease) = self.api.get_opt(&self.name).await? else {
            let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
            let lease = Lease { metadata, spec: Some(self.next(LeaseSpec::default())) };
            failpoint::around("lease.create", self.api.create(&PostParams::default(), &lease)).await?;
            return Ok(None);
        };
        let unchanged = seen.unchanged_for(lease.metadata.resource_version.as_deref(), Instant::now());
        let spec = lease.spec.unwrap_or_default();
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        if !holder.is_empty() && holder != self.identity && unchanged < self.expiry(&spec) {
            return Ok(Some(holder.to_owned()));
        }
        self.replace("lease.take", lease.metadata, self.next(spec)).await
    }

    /// Renews the Lease if it is ours; else returns whose it is.
    async fn renew(&self) -> kube::Result<Option<String>> {
        let lease = self.api.get_opt(&self.name).await?.unwrap_or_default();
        let spec = lease.spec.unwrap_or_default();
        match &spec.holder_identity {
            Some(holder) if *holder == self.identity => {
                self.replace("lease.renew", lease.metadata, self.next(spec)).await
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

    /// How long a Lease must not have changed before it may be taken: what its holder wrote, or ours if that is longer.
    fn expiry(&self, spec: &LeaseSpec) -> Duration {
        let written = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(0);
        Duration::from_secs(written).max(self.timing.duration)
    }

    /// The record after `spec`, held by us.
    fn next(&self, spec: LeaseSpec) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let (acquired, transitions) = match spec.holder_identity.as_deref() {
            Some(holder) if holder == self.identity => (spec.acquire_time, spec.lease_transitions),
            None => (None, Some(0)),
            Some(_) => (None, Some(spec.lease_transitions.unwrap_or(0).saturating_add(1))),
        };
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(i32::try_from(self.timing.duration.as_secs()).unwrap_or(i32::MAX)),
            acquire_time: acquired.or_else(|| Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: transitions,
            ..spec
        }
    }

    /// Gives the Lease back if it is ours, so that the next one need not wait for it to run out. Failures only cost time.
    async fn release(&self) {
        let release = async {
            let Some(Lease { metadata, spec: Some(spec) }) = self.api.get_opt(&self.name).await? else { return Ok(()) };
            if spec.holder_identity.as_ref() != Some(&self.identity) {
                return Ok(());
            }
            let spec = LeaseSpec { holder_identity: Some(String::new()), lease_duration_seconds: Some(1), ..spec };
            self.replace("lease.release", metadata, spec).await.map(|_| ())
        };
        match timeout(self.timing.retry, Box::pin(release)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::info!("the Lease {} was not released: {}", self.name, describe(&error)),
            Err(_) => tracing::info!("the Lease {} was not released: the API server did not answer", self.name),
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

/// Does `work` in a term that lasts until `shutdown` is cancelled, with no Lease: right only where no second process ever runs.
pub async fn lead_alone<F: Future<Output = ()>>(shutdown: &CancellationToken, work: impl FnOnce(Term) -> F) {
    // As good as for ever: the deadline of a term cannot be left out.
    let deadline = Instant::now() + Duration::from_secs(u32::MAX.into());
    let claim = Claim { deadline: Mutex::new(deadline), ended: shutdown.child_token() };
    work(Term { claim: Arc::new(claim) }).await;
}

/// A name for this process that no other has: its host's name and something random.
#[must_use]
pub fn identity() -> String {
    let host = hostname::get().ok().and_then(|name| name.into_string().ok()).unwrap_or_else(|| "unknown".to_owned());
    format!("{host}_{:016x}", fastrand::u64(..))
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_term_is_over_by_the_clock_whether_or_not_anybody_ends_it() {
        let term = Term::new(Instant::now() + Duration::from_secs(10));
        advance(Duration::from_secs(9)).await;
        assert!(term.is_current());
        term.extend(Instant::now() + Duration::from_secs(10));
        advance(Duration::from_secs(9)).await;
        assert!(term.is_current());
        advance(Duration::from_secs(1)).await;
        assert!(!term.is_current());
        term.ended().await;
    }

    #[test]
    fn times_that_would_let_two_lead_are_shortened() {
        let service = tower::service_fn(|_: http::Request<kube::client::Body>| async {
            Ok::<_, std::convert::Infallible>(http::Response::new(kube::client::Body::empty()))
        });
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let _inside = runtime.enter();
        let leadership = Leadership::new(Client::new(service, "default"), "ours", LEASE, identity());
        let long = Timing { renew_deadline: Duration::from_secs(60), ..Timing::default() };
        assert_eq!(leadership.with_timing(long).timing.renew_deadline, Duration::from_secs(10));
    }

    #[test]
    fn no_two_identities_are_the_same() {
        assert_ne!(identity(), identity());
    }
}
