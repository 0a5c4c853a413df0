//! Watches the Secret with our CA, recreates it, and presents a leaf that it signed.
//!
//! Every replica does this; the leader also renews the CA ([`Keeper::renew`]).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, PatchOperation};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, ResourceExt};
use rustls::pki_types::CertificateDer;
use serde_json::json;
use tokio::sync::watch as channel;
use tokio::time::{Instant, sleep};

use super::super::certificate::ServingCertificate;
use super::super::metrics::{Certificate, Metrics};
use super::super::registration::{Published, Registration};
use super::content::Unusable;
use super::plan::{self, Leaf, Plan, RememberedSecret, Step, Stored};
use super::{Authority, AuthorityError, Content, SECRET, Times};
use crate::cluster::{self, Feeds, Slice, Term, Watch, WriteError, Written, apply, failpoint};

/// Keeps the CA and the leaf of this replica.
pub struct Keeper {
    client: Client,
    api: Api<Secret>,
    /// Names and addresses of the leaf.
    names: Vec<String>,
    times: Times,
    serving: Arc<ServingCertificate>,
    registration: channel::Sender<Registration>,
    metrics: Arc<Metrics>,
    /// The Secret, as the watch reports it.
    seen: channel::Sender<WatchedSecret>,
    /// The usable Secret, for the leader.
    kept: channel::Sender<Option<Kept>>,
    /// The last good content of the Secret.
    good: Mutex<Option<Content>>,
    health: Mutex<Health>,
}

/// The last report of the watch.
#[derive(Clone, Debug, Default)]
enum WatchedSecret {
    /// There is none yet.
    #[default]
    Nothing,
    Absent,
    Present(Arc<Secret>),
}

/// A Secret and its content.
#[derive(Clone, Debug)]
struct Kept {
    secret: Arc<Secret>,
    memory: RememberedSecret,
}

/// The state of a replica between two checks.
#[derive(Default)]
struct Replica {
    memory: RememberedSecret,
    leaf: Option<Leaf>,
    /// The registered objects, as last checked because of another CA.
    registered: Published,
    /// When this replica last wrote the Secret.
    wrote: Option<Instant>,
}

/// The state for `/readyz`.
#[derive(Debug, Default)]
struct Health {
    bundle: Vec<CertificateDer<'static>>,
    /// Why the last attempt failed, if it did.
    problem: Option<String>,
}

/// Why a step was not taken.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// The pause after a failure. Everything is checked at least this often.
const RETRY: Duration = Duration::from_secs(5);
const LONGEST_REST: Duration = Duration::from_secs(60);

/// The pause between two writes of one replica, in case another client overwrites each of them.
const PACE: Duration = Duration::from_secs(1);

impl Keeper {
    /// Keeps the Secret [`SECRET`] of this namespace, and in `serving` a leaf for these names. `registration` receives
    /// the CAs to trust.
    pub fn new(
        client: Client,
        namespace: &str,
        names: Vec<String>,
        times: Times,
        serving: Arc<ServingCertificate>,
        registration: channel::Sender<Registration>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            api: Api::namespaced(client.clone(), namespace),
            client,
            names,
            times,
            serving,
            registration,
            metrics,
            seen: channel::Sender::default(),
            kept: channel::Sender::default(),
            good: Mutex::default(),
            health: Mutex::default(),
        }
    }

    /// Follows the Secret in this namespace. The CAs to trust are registered as soon as they are reported, so that
    /// after [`Watch::fresh`] they are not older than that.
    pub fn subscribe(self: &Arc<Self>, feeds: &mut Feeds, namespace: &str) -> Watch {
        let keeper = self.clone();
        feeds.subscribe_one(
            Slice::all::<Secret>("secrets").in_namespace(namespace),
            SECRET,
            move |now: Option<Secret>| {
                if let Some(content) = now.as_ref().and_then(|secret| Content::read(secret, Timestamp::now()).ok()) {
                    keeper.register(&content);
                }
                keeper
                    .seen
                    .send_replace(now.map_or(WatchedSecret::Absent, |secret| WatchedSecret::Present(Arc::new(secret))));
            },
        )
    }

    /// Keeps the CA in its Secret and renews the leaf. Never returns.
    pub async fn run(&self) {
        let mut seen = self.seen.subscribe();
        let mut replica = Replica::default();
        loop {
            let view = seen.borrow_and_update().clone();
            let rest = self.look(&view, &mut replica).await;
            tokio::select! {
                _ = seen.changed() => {} // the sender is ours, too
                () = sleep(rest) => {}
            }
        }
    }

    /// Renews the CA step by step while this replica leads.
    pub async fn renew(&self, term: Term, mut published: channel::Receiver<Published>) {
        let mut kept = self.kept.subscribe();
        loop {
            let (view, trusted) = (kept.borrow_and_update().clone(), published.borrow_and_update().clone());
            let now = Timestamp::now();
            let plan =
                view.as_ref().map_or(Plan::Rest(None), |kept| plan::renew(&kept.memory, &trusted, now, self.times));
            let rest = match (plan, view) {
                (Plan::Do(step), Some(kept)) if term.is_current() => {
                    let result = self.step(step, Some(&kept.secret), kept.memory.content.as_ref(), Vec::new()).await;
                    self.tell(result.as_ref().err(), step);
                    if result.is_ok() { PACE } else { RETRY }
                }
                (Plan::Rest(Some(due)), _) => until(due, now).min(LONGEST_REST),
                _ => LONGEST_REST,
            };
            tokio::select! {
                () = term.ended() => return,
                _ = kept.changed() => {}
                Ok(()) = published.changed() => {}
                () = sleep(rest) => {}
            }
        }
    }

    /// Checks for readiness that there is a leaf, that it is valid now, and that the CAs of the Secret verify it.
    ///
    /// # Errors
    /// One of these does not hold.
    pub fn check(&self, now: Timestamp) -> Result<String, String> {
        let health = self.lock_health();
        let with_problem = |text: String| match &health.problem {
            Some(problem) => format!("{text}: {problem}"),
            None => text,
        };
        let Some(pair) = self.serving.current() else {
            return Err(with_problem(format!("there is none yet, for want of the Secret {SECRET}")));
        };
        let detail = pair.check(now).map_err(with_problem)?;
        if pair.is_trusted_by(&health.bundle, now) {
            Ok(detail)
        } else {
            Err(with_problem(format!("it is not trusted by ca.crt of the Secret {SECRET}")))
        }
    }

    /// Registers the CAs of the Secret.
    fn register(&self, content: &Content) {
        let pem = plan::to_trust(content, self.lock_good().as_ref(), Timestamp::now()).bundle_pem();
        self.registration.send_if_modified(|registration| {
            let changed = registration.ca_bundle.as_ref() != Some(&pem);
            registration.ca_bundle = Some(pem);
            changed
        });
    }

    /// Takes the step that is due. Returns the time until the next one.
    async fn look(&self, seen: &WatchedSecret, replica: &mut Replica) -> Duration {
        let now = Timestamp::now();
        let (secret, read) = match seen {
            WatchedSecret::Nothing => return LONGEST_REST,
            WatchedSecret::Absent => (None, None),
            WatchedSecret::Present(secret) => (Some(secret), Some(Content::read(secret, now))),
        };
        let stored = match &read {
            None => Stored::Absent,
            Some(Err(_)) => Stored::Unusable,
            Some(Ok(content)) => Stored::Usable(content),
        };
        match plan::keep(stored, replica.memory.content.as_ref(), now) {
            Plan::Do(step) => {
                self.kept.send_replace(None);
                // The Secret may stay without a CA for long: writes are refused, or undone again and again.
                if let (Step::Restore, Some(content)) = (step, replica.memory.content.clone()) {
                    self.renew_leaf(&content, replica, now).await;
                }
                let pause = replica.wrote.map_or(Duration::ZERO, |wrote| PACE.saturating_sub(wrote.elapsed()));
                if !pause.is_zero() {
                    return pause;
                }
                replica.wrote = Some(Instant::now());
                let why = match &read {
                    None => replica.memory.content.as_ref().map(|_| "it was deleted".to_owned()),
                    Some(Err(Unusable { problem, .. })) => Some(problem.clone()),
                    Some(Ok(content)) if content.signing.is_expired(now) => {
                        Some(format!("its CA ended at {}", content.signing.not_after()))
                    }
                    Some(Ok(_)) => Some("somebody put another CA into it".to_owned()),
                };
                if let Some(why) = why {
                    tracing::warn!(secret = SECRET, why, "the Secret with the CA is written anew");
                }
                let trusted = match read {
                    None => Vec::new(),
                    Some(Err(unusable)) => unusable.bundle,
                    Some(Ok(content)) => content.bundle,
                };
                let result = self.step(step, secret.map(AsRef::as_ref), replica.memory.content.as_ref(), trusted).await;
                self.tell(result.as_ref().err(), step);
                // The watch reports the object that exists then.
                if result.is_ok() { PACE } else { RETRY }
            }
            Plan::Rest(due) => {
                let (Some(secret), Some(Ok(content))) = (secret, read) else { return LONGEST_REST };
                let leaf_due = self.take_up(secret, content, replica, now).await;
                due.map_or(LONGEST_REST, |due| until(due, now)).min(leaf_due).min(LONGEST_REST)
            }
        }
    }

    /// Trusts the CAs of the Secret, and signs a leaf when it is due. Returns the time until the next one.
    async fn take_up(&self, secret: &Arc<Secret>, content: Content, replica: &mut Replica, now: Timestamp) -> Duration {
        replica.memory.remember(&content, now);
        *self.lock_good() = Some(content.clone());
        self.metrics.certificates.expiration(Certificate::Authority).set(content.signing.not_after().as_second());
        let rest = self.renew_leaf(&content, replica, now).await;
        self.lock_health().bundle = content.bundle;
        self.kept.send_replace(Some(Kept { secret: secret.clone(), memory: replica.memory.clone() }));
        rest
    }

    /// Signs a leaf when it is due. Returns the time until the next one.
    async fn renew_leaf(&self, content: &Content, replica: &mut Replica, now: Timestamp) -> Duration {
        let trusted_since = replica.memory.trusted_since(content.signing.certificate());
        let is_of_another = replica.leaf.as_ref().is_some_and(|leaf| leaf.issuer != *content.signing.certificate());
        let is_looked_at = is_of_another && self.look_at_registered(&mut replica.registered).await;
        let registered = is_looked_at.then_some(&replica.registered);
        let due =
            |leaf: Option<&Leaf>| until(plan::sign_at(leaf, content, trusted_since, registered, now, self.times), now);
        let mut rest = due(replica.leaf.as_ref());
        if rest.is_zero() {
            rest = match self.sign(content, now) {
                Ok(leaf) => {
                    replica.leaf = Some(leaf);
                    due(replica.leaf.as_ref())
                }
                Err(problem) => {
                    self.tell_problem(Certificate::Serving, Some(problem));
                    RETRY
                }
            };
        } else if is_of_another {
            rest = rest.min(RETRY); // what is registered changes
        }
        rest
    }

    async fn look_at_registered(&self, registered: &mut Published) -> bool {
        let looked = registered.look(&self.client).await;
        if let Err(error) = &looked {
            let error = cluster::describe(error);
            tracing::warn!(error, "it cannot be seen whether another CA is registered: the present certificate stays");
        }
        looked.is_ok()
    }

    /// Signs a leaf and presents it.
    fn sign(&self, content: &Content, now: Timestamp) -> Result<Leaf, String> {
        let pair = content.signing.sign(&self.names, now, self.times.leaf).map_err(|error| error.to_string())?;
        if !pair.is_trusted_by(&content.bundle, now) {
            return Err(format!("a leaf signed by the CA of the Secret {SECRET} is not trusted by its ca.crt"));
        }
        let not_after = pair.not_after();
        tracing::info!(%not_after, "a new serving certificate is in use");
        self.metrics.certificates.expiration(Certificate::Serving).set(not_after.as_second());
        self.metrics.certificates.renewals(Certificate::Serving, true).inc();
        self.serving.replace(pair);
        self.lock_health().problem = None;
        Ok(Leaf { issuer: content.signing.certificate().clone(), signed: now, not_after, jitter: fastrand::f64() })
    }

    /// Takes a step from the Secret as it was seen. `content` is its content or its last good one; `trusted` are the
    /// CAs that stay trusted when there is none.
    async fn step(
        &self,
        step: Step,
        secret: Option<&Secret>,
        content: Option<&Content>,
        trusted: Vec<CertificateDer<'static>>,
    ) -> Result<(), StepError> {
        let now = Timestamp::now();
        let next = step.taken(content, trusted, now, || Authority::generate(now, self.times.authority))?;
        let written = match secret {
            None => failpoint::around("authority.create", apply::ensure(&self.api, &next.secret(), None)).await?,
            Some(secret) => {
                let mut annotations = secret.annotations().clone();
                annotations.extend(next.annotations());
                let set = |path, value| PatchOperation::Add(AddOperation { path, value });
                let changes = vec![
                    set(PointerBuf::from_tokens(["data"]), json!(next.data())),
                    set(PointerBuf::from_tokens(["metadata", "annotations"]), json!(annotations)),
                ];
                failpoint::around("authority.change", apply::patch(&self.api, secret, None, changes)).await?
            }
        };
        if matches!(written, Written::Done(_)) {
            if matches!(step, Step::Begin | Step::Switch) {
                self.metrics.certificates.renewals(Certificate::Authority, true).inc();
            }
            tracing::info!(secret = SECRET, trusted = next.bundle.len(), "{step}");
        }
        Ok(())
    }

    fn tell(&self, error: Option<&StepError>, step: Step) {
        self.tell_problem(Certificate::Authority, error.map(|error| format!("{step}: {error}")));
    }

    /// Logs a problem once while it stays the same.
    fn tell_problem(&self, certificate: Certificate, problem: Option<String>) {
        let mut health = self.lock_health();
        if let Some(problem) = &problem {
            self.metrics.certificates.renewals(certificate, false).inc();
            if health.problem.as_ref() != Some(problem) {
                tracing::error!(problem, "a certificate cannot be renewed");
            }
        }
        health.problem = problem;
    }

    fn lock_good(&self) -> MutexGuard<'_, Option<Content>> {
        self.good.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the time until then.
fn until(due: Timestamp, now: Timestamp) -> Duration {
    now.duration_until(due).try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::admission::registration::{FailurePolicy, Reach};
    use crate::cluster::tests::server::{Server, served};

    #[tokio::test]
    async fn a_leaf_is_signed_although_the_secret_cannot_be_restored() {
        let mut server = Server::default();
        server.refuses = Some("/api/v1/namespaces/ns/secrets");
        let (_, client) = served(server);
        let registration = channel::Sender::new(Registration {
            reach: Reach::Url("https://127.0.0.1:9443".to_owned()),
            ca_bundle: None,
            inject_ca_from: None,
            failure_policy: FailurePolicy::Fail,
            excluded_namespaces: BTreeSet::new(),
            owner: None,
        });
        let (serving, times, now) = (Arc::new(ServingCertificate::default()), Times::default(), Timestamp::now());
        let names = vec!["outrigger.example".to_owned()];
        let metrics = Arc::new(Metrics::default());
        let keeper = Keeper::new(client, "ns", names, times, serving.clone(), registration, metrics);
        let content = Content::begin(Authority::generate(now, times.authority).expect("a CA"), Vec::new(), now);
        let mut replica = Replica::default();
        replica.memory.remember(&content, now);

        assert_eq!(keeper.look(&WatchedSecret::Absent, &mut replica).await, RETRY, "the write is refused");
        let leaf = serving.current().expect("a leaf");
        assert!(leaf.is_trusted_by(&content.bundle, now));
    }
}
