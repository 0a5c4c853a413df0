//! Which replica does the work of a job: a Lease held by one process at a time, for a term that ends by its own clock.
//!
//! A Lease cannot fence writes, because a write may arrive after its term. So every write carries the resourceVersion that it
//! was planned for, and a new leader plans only after a fresh list ([`super::Watch::fresh`]).
//!
//! # One Lease for each job, next to versions with one Lease for all
//!
//! Each job has its own Lease, so that replicas with different jobs do not exclude each other. Older versions know only the Lease
//! [`SHARED_LEASE`], whose holder leads all jobs. No job may have two leaders during a rolling upgrade or downgrade. So the leader of
//! a job also holds the shared Lease, under the name [`SHARED_HOLDER`], which is the same for the leaders of all jobs:
//!
//! 1. A candidate takes the Lease of its job if nobody holds it, or if it has not changed for 15 s by the candidate's
//!    own clock.
//! 2. It then takes the shared Lease by the same rule. It counts the shared name as its own, so it joins leaders of other jobs at
//!    once. It waits for a leader of an older version until that releases the Lease or is silent for 15 s.
//! 3. It leads while it renews both. The term lasts for 10 s from the older of the two renewals. It ends at once if either Lease is
//!    gone or held by somebody else.
//! 4. At the end it releases the Lease of its job. It lets the shared one expire, because others may lead other jobs under it. A
//!    replica of an older version waits for that, 15 s.
//!
//! The side without the shared Lease, old or new, can take it only if the other side has not renewed it for 15 s. A leader that does not
//! renew ends its term after 10 s. Among new versions, the same holds for the Lease of each job.

mod record;
mod timing;

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::Client;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use self::record::{Attempt, HeldLease, LeaseSeen};
pub use self::timing::Timing;

/// The Lease of older versions, in outrigger's own namespace.
pub const SHARED_LEASE: &str = "outrigger";

/// The holder of the shared Lease while leaders of single jobs hold it.
pub const SHARED_HOLDER: &str = "outrigger-leaders-of-jobs";

/// A candidate for leadership.
#[derive(Clone, Debug)]
pub struct Leadership {
    lease: HeldLease,
    /// The shared Lease that a leader must also hold; see the module documentation.
    shared: Option<HeldLease>,
    identity: String,
    timing: Timing,
    standing: watch::Sender<LeaseStanding>,
}

/// The state of a candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseStanding {
    /// Whether it leads.
    pub leads: bool,
    /// Whether the last attempt to read or write a Lease failed.
    pub fails: bool,
    /// The current leader, or the problem.
    pub says: String,
}

/// A term of leadership. Clones share it.
#[derive(Clone, Debug)]
pub struct Term {
    claim: Arc<Claim>,
}

#[derive(Debug)]
struct Claim {
    deadline: Mutex<Instant>,
    ended: CancellationToken,
}

impl Term {
    pub(crate) fn new(deadline: Instant) -> Self {
        Self { claim: Arc::new(Claim { deadline: Mutex::new(deadline), ended: CancellationToken::new() }) }
    }

    /// Whether this process leads now, by its own clock. Check it before each write.
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
    /// A candidate for the Lease of this name and namespace. The identity shows who leads: see [`identity`].
    #[must_use]
    pub fn new(client: Client, namespace: &str, lease: &str, identity: String) -> Self {
        let lease = HeldLease::new(client, namespace, lease, &identity);
        let standing = LeaseStanding { leads: false, fails: false, says: "not started yet".to_owned() };
        Self { lease, shared: None, identity, timing: Timing::default(), standing: watch::Sender::new(standing) }
    }

    /// A candidate for the job with this Lease. It does not lead at the same time as a replica of an older version.
    #[must_use]
    pub fn of_job(client: Client, namespace: &str, lease: &str, identity: String) -> Self {
        let shared = Some(HeldLease::new(client.clone(), namespace, SHARED_LEASE, SHARED_HOLDER));
        Self { shared, ..Self::new(client, namespace, lease, identity) }
    }

    /// Sets other times. Times that would allow two leaders are shortened.
    #[must_use]
    pub fn with_timing(self, timing: Timing) -> Self {
        Self { timing: timing.shortened(), ..self }
    }

    /// Returns its state and later changes.
    #[must_use]
    pub fn standing(&self) -> watch::Receiver<LeaseStanding> {
        self.standing.subscribe()
    }

    /// Waits for leadership, runs `work` while it lasts, and starts over when it is lost, until `shutdown` is
    /// cancelled.
    ///
    /// Work is dropped at once when its term has expired or was lost. At shutdown the term ends, the work has [`Timing::grace`]
    /// to end by itself, and the Lease is released. If the work ends by itself, the Lease is released and this returns.
    pub async fn run<W, F>(&self, shutdown: &CancellationToken, mut work: W)
    where
        W: FnMut(Term) -> F,
        F: Future<Output = ()>,
    {
        let lease = self.lease.name();
        loop {
            let Some(claimed) = shutdown.run_until_cancelled(self.campaign()).await else { break };
            let term = Term::new(claimed + self.timing.renew_deadline);
            tracing::info!(lease, identity = self.identity, "this process leads now");
            self.stands(true, false, "this replica leads");
            let lost = self.serve(&term, shutdown, work(term.clone())).await;
            term.end();
            let Some(why) = lost else { break };
            tracing::warn!(lease, identity = self.identity, why, "this process no longer leads");
            self.stands(false, false, &why);
        }
        self.stands(false, false, "this replica does not lead any more");
        // Also if it was never held, because an unanswered attempt may have taken it.
        self.lease.release(&self.timing).await;
    }

    /// Runs `work` in a term without a Lease, until `shutdown` is cancelled. Use it only if there is never a second
    /// process.
    pub async fn run_alone<F: Future<Output = ()>>(&self, shutdown: &CancellationToken, work: impl FnOnce(Term) -> F) {
        // Practically forever: a term must have a deadline.
        let deadline = Instant::now() + Duration::from_secs(u32::MAX.into());
        let claim = Claim { deadline: Mutex::new(deadline), ended: shutdown.child_token() };
        self.stands(true, false, "this replica leads, without election");
        work(Term { claim: Arc::new(claim) }).await;
        self.stands(false, false, "this replica does not lead any more");
    }

    /// Does the work of a term. Returns why the term was lost; `None` if the work ended first or was shut down.
    async fn serve(&self, term: &Term, shutdown: &CancellationToken, work: impl Future<Output = ()>) -> Option<String> {
        let mut work = pin!(work);
        let mut lost = pin!(self.keep(term));
        tokio::select! {
            why = &mut lost => {
                term.end(); // before the work is dropped, because tasks that it spawned may run a little longer
                return Some(why);
            }
            // The work may notice the end of the term before this function does.
            () = &mut work => return (!term.is_current()).then(|| "it was not renewed in time".to_owned()),
            () = shutdown.cancelled() => term.end(),
        }
        tokio::select! {
            why = lost => tracing::warn!(why, "the leadership was lost while its work was ending"),
            () = work => {}
            () = sleep(self.timing.grace) => tracing::warn!("the work of the leader did not end in time; it is dropped"),
        }
        None
    }

    /// Tries until everything is held. Returns since when.
    async fn campaign(&self) -> Instant {
        let (mut seen, mut shared_seen) = (LeaseSeen::default(), LeaseSeen::default());
        loop {
            let (fails, says) = match self.take(&mut seen, &mut shared_seen).await {
                Ok(Attempt::Held(since)) => return since,
                Ok(Attempt::Missed(holder)) => (false, holder),
                Err(problem) => (true, problem),
            };
            let (lease, identity) = (self.lease.name(), &self.identity);
            match (self.stands(false, fails, &says), fails) {
                (false, _) => {}
                (true, false) => tracing::info!(lease, identity, "waiting to lead: {says}"),
                (true, true) => tracing::warn!(lease, identity, "cannot lead: {says}"),
            }
            sleep(self.timing.retry.mul_f64(1.0 + fastrand::f64() / 5.0)).await;
        }
    }

    /// Tries once to take everything. Only one candidate of a job at a time gets as far as the shared Lease.
    async fn take(&self, seen: &mut LeaseSeen, shared_seen: &mut LeaseSeen) -> Result<Attempt, String> {
        let held = match self.lease.take(seen, &self.timing).await? {
            held @ Attempt::Held(_) => held,
            Attempt::Missed(holder) => return Ok(Attempt::Missed(format!("{holder} leads"))),
        };
        let Some(shared) = &self.shared else { return Ok(held) };
        Ok(match shared.take(shared_seen, &self.timing).await? {
            Attempt::Held(_) => held, // the older of the two times
            Attempt::Missed(holder) => {
                Attempt::Missed(format!("{holder} leads all jobs by the Lease {SHARED_LEASE}, as older versions do"))
            }
        })
    }

    /// Tries once to renew everything.
    async fn renew(&self) -> Result<Attempt, String> {
        let started = Instant::now();
        for lease in [&self.lease].into_iter().chain(&self.shared) {
            if let Attempt::Missed(holder) = lease.renew(&self.timing).await? {
                return Ok(Attempt::Missed(format!("the Lease {} is held by {holder:?}", lease.name())));
            }
        }
        Ok(Attempt::Held(started))
    }

    /// Renews the term repeatedly. Returns why that ended.
    async fn keep(&self, term: &Term) -> String {
        let mut problem = "the API server did not answer".to_owned();
        loop {
            let attempt = async {
                sleep(self.timing.retry).await;
                self.renew().await
            };
            problem = match timeout_at(term.deadline(), attempt).await {
                Ok(Ok(Attempt::Held(since))) => {
                    term.extend(since + self.timing.renew_deadline);
                    self.stands(true, false, "this replica leads");
                    continue;
                }
                Ok(Ok(Attempt::Missed(why))) => return why,
                Ok(Err(problem)) => problem,
                Err(_) => return format!("the Lease {} could not be renewed in time: {problem}", self.lease.name()),
            };
            tracing::warn!(problem, "the Lease {} was not renewed; trying again", self.lease.name());
            self.stands(true, true, &problem);
        }
    }

    /// Publishes its state. Returns whether the state is new.
    fn stands(&self, leads: bool, fails: bool, says: &str) -> bool {
        let now = LeaseStanding { leads, fails, says: says.to_owned() };
        self.standing.send_if_modified(|before| {
            let is_new = *before != now;
            *before = now;
            is_new
        })
    }
}

impl LeaseStanding {
    /// Returns the text of `/readyz` after the Lease's name. Reviews do not depend on it, so it is never an error.
    ///
    /// # Errors
    /// Never.
    pub fn check(&self) -> Result<String, String> {
        let fails = if self.fails { "FAILS: " } else { "" };
        Ok(format!("{fails}{}", self.says))
    }
}

/// Returns a unique name of this process: its host's name and a random part.
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
    fn no_two_identities_are_the_same() {
        assert_ne!(identity(), identity());
    }
}
