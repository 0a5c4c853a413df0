//! Admits SidecarSets once the API server sends their Pods.
//!
//! Every replica does this in the review that allows a set. A registration that is too wide only costs calls, so it
//! does no harm when another webhook refuses the set. With many sets a write takes the API server long, so sets that
//! arrive during one share the next.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::api::GetParams;
use kube::core::DynamicObject;
use kube::discovery::ApiResource;
use kube::{Api, Client, ResourceExt};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep, timeout};

use super::break_glass::BreakGlass;
use super::desired::{MUTATING, Registration, registered_scope, rescope};
use super::registrar::ScopeMode;
use super::scope::Scope;
use crate::admission::metrics::{Metrics, WideningResult};
use crate::admission::validate_sidecarset::{Allowed, Decision};
use crate::admission::{Answer, Cache, Reply};
use crate::api::sidecarset::SidecarSet;
use crate::cluster::{self, WriteError, Written, apply, failpoint};
use crate::injection::Selector;
use crate::telemetry::seldom;

/// How long the writer of a SidecarSet waits; the API server waits for 10 s.
const PATIENCE: Duration = Duration::from_secs(6);

/// Sets that are written at the same time share writes. If the last write was for several sets and ended less than
/// `BUSY` ago, or several wait already, more are gathered for as long as that write took, within these bounds. Other
/// replicas can write meanwhile, because each write is a conflict for them. A single set does not wait: its writer may
/// have the next one ready.
const BUSY: Duration = Duration::from_secs(1);
const SHORTEST_GATHERING: Duration = Duration::from_millis(25);
const LONGEST_GATHERING: Duration = Duration::from_millis(300);

/// After this many writes in quick succession, an expression with this many values or more is replaced with one that
/// sends all Pods, until no set came for a while ([`super::narrowing`]). The API server compiles the expression with
/// each write, which takes longer with more values, and a cluster's sets are then applied one after the other.
const IN_A_ROW: usize = 16;
const MANY_VALUES: usize = 64;

/// Widens the registration.
pub struct Widening {
    configurations: Api<DynamicObject>,
    mode: ScopeMode,
    registration: watch::Receiver<Registration>,
    cache: Arc<Cache>,
    break_glass: BreakGlass,
    metrics: Arc<Metrics>,
    waiting: Mutex<Vec<Waiting>>,
    /// The holder of this writes, so that this process has no conflicts with itself.
    turn: tokio::sync::Mutex<Turn>,
}

/// The state after the last write.
#[derive(Default)]
struct Turn {
    /// The configuration.
    written: Option<DynamicObject>,
    /// When it ended, and how long it took.
    took: Option<(Instant, Duration)>,
    /// The number of sets it was for.
    sets: usize,
    /// The number of writes in quick succession until it.
    in_a_row: usize,
}

impl Turn {
    /// Returns how long to gather more sets before the next one, when this many wait.
    fn gathering(&self, waiting: usize) -> Duration {
        let busy = self.took.filter(|_| self.is_busy() && self.sets.max(waiting) > 1);
        busy.map_or(Duration::ZERO, |(_, took)| took.clamp(SHORTEST_GATHERING, LONGEST_GATHERING))
    }

    fn is_busy(&self) -> bool {
        self.took.is_some_and(|(ended, _)| ended.elapsed() < BUSY)
    }

    /// Returns what to write when this is needed.
    fn rounded(&self, scope: Scope) -> Scope {
        if self.is_busy() && self.in_a_row >= IN_A_ROW && scope.values() >= MANY_VALUES { Scope::Broad } else { scope }
    }
}

/// A set whose Pods must be sent.
struct Waiting {
    name: String,
    selector: Selector,
    answer: oneshot::Sender<Result<(), WideningError>>,
}

/// Why Pods of a set may not be sent yet.
#[derive(Clone, Debug, thiserror::Error)]
enum WideningError {
    #[error("there is no MutatingWebhookConfiguration {MUTATING}")]
    Absent,
    #[error("{0}")]
    Read(String),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("it took longer than {} s", PATIENCE.as_secs())]
    Slow,
    #[error("the write was given up")]
    GivenUp,
}

impl Widening {
    /// Returns the widening of this registration. With [`ScopeMode::Broad`] there is nothing to widen.
    #[must_use]
    pub fn new(
        client: Client,
        mode: ScopeMode,
        registration: watch::Receiver<Registration>,
        cache: Arc<Cache>,
        break_glass: BreakGlass,
        metrics: Arc<Metrics>,
    ) -> Self {
        let kind = ApiResource::erase::<MutatingWebhookConfiguration>(&());
        let configurations = Api::all_with(client, &kind);
        let (waiting, turn) = (Mutex::default(), tokio::sync::Mutex::default());
        Self { configurations, mode, registration, cache, break_glass, metrics, waiting, turn }
    }

    /// Returns the answer for a decision about a SidecarSet, with the work before the set is stored.
    #[must_use]
    pub fn answer(self: &Arc<Self>, decision: Decision) -> Answer {
        match decision {
            Decision::Final(reply) => reply.into(),
            Decision::Allowed(allowed) if allowed.dry_run => allowed.reply(None).into(),
            Decision::Allowed(allowed) => {
                let widening = self.clone();
                Answer::Later(Box::pin(async move { widening.let_in(*allowed).await }))
            }
        }
    }

    async fn let_in(self: Arc<Self>, allowed: Allowed) -> Reply {
        let covered = timeout(PATIENCE, self.cover(&allowed.set)).await.unwrap_or(Err(WideningError::Slow));
        let warning = covered.err().map(|error| {
            self.metrics.registration.widenings(WideningResult::Failed).inc();
            let set = allowed.set.metadata.name.as_deref().unwrap_or_default();
            seldom!(warn, set, %error, "the registration could not be widened for a SidecarSet");
            format!("its Pods may be created without it for a while: outrigger's registration was not widened for it: {error}")
        });
        self.cache.expect(&allowed.set);
        allowed.reply(warning)
    }

    /// Returns when the Pods of this set are sent.
    async fn cover(self: &Arc<Self>, set: &SidecarSet) -> Result<(), WideningError> {
        if self.mode == ScopeMode::Broad {
            return Ok(());
        }
        // A set with an unreadable selector was stored like this before, and is injected nowhere.
        let selector = set.spec.selector.as_ref().map(|selector| Selector::parse(selector, "spec.selector"));
        let Some(Ok(selector)) = selector else { return Ok(()) };
        let (answer, answered) = oneshot::channel();
        let name = set.metadata.name.clone().unwrap_or_default();
        self.lock_waiting().push(Waiting { name, selector, answer });
        // This is a separate task: other sets wait for it even if this set's writer has left.
        let widening = self.clone();
        tokio::spawn(async move { widening.widen().await });
        answered.await.unwrap_or(Err(WideningError::GivenUp))
    }

    /// Widens for all waiting sets when it is our turn, and answers them.
    async fn widen(&self) {
        let mut sets = Vec::new();
        let widened = {
            let mut turn = self.turn.lock().await;
            let waiting = self.lock_waiting().len();
            if waiting == 0 {
                return; // an earlier write took them all
            }
            sleep(turn.gathering(waiting)).await;
            timeout(PATIENCE, self.write(&mut sets, &mut turn)).await.unwrap_or(Err(WideningError::Slow))
        };
        let heard = match widened {
            Ok(Some(version)) => self.heard_of(version).await,
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        for set in sets {
            _ = set.answer.send(heard.clone()); // the caller may have left
        }
    }

    /// Takes the waiting sets until the registration covers them. Returns the version of the configuration to wait for,
    /// if a write was needed.
    async fn write(&self, sets: &mut Vec<Waiting>, turn: &mut Turn) -> Result<Option<String>, WideningError> {
        loop {
            sets.append(&mut self.lock_waiting());
            if sets.is_empty() || self.break_glass.allows() == Some(false) {
                return Ok(None);
            }
            let (present, is_read) = match turn.written.take() {
                Some(written) => (written, false),
                None => (self.read().await?, true),
            };
            let json = serde_json::to_value(&present).map_err(|error| WideningError::Read(error.to_string()))?;
            let registered = registered_scope(&json);
            let open: Vec<&Waiting> = sets
                .iter()
                .filter(|set| !registered.as_ref().is_some_and(|scope| scope.covers(&set.selector)))
                .collect();
            if open.is_empty() && is_read {
                return Ok(None);
            }
            if open.is_empty() {
                continue; // our write may be narrowed by now
            }
            let scope = match registered {
                Some(scope) => scope.extended(open.iter().map(|set| &set.selector)),
                None => self.needed(&open),
            };
            let scope = turn.rounded(scope);
            let operations = rescope(&self.registration.borrow(), &scope, &json);
            let begun = Instant::now();
            // Another client's write is a conflict: read again.
            let write = apply::patch(&self.configurations, &present, None, operations);
            if let Written::Done(now) = failpoint::around("widening.configuration", write).await? {
                self.metrics.registration.widenings(WideningResult::Widened).inc();
                let of_all_pods = scope == Scope::Broad;
                tracing::info!(
                    sets = open.len(),
                    first = open[0].name,
                    of_all_pods,
                    "the registration is widened for SidecarSets"
                );
                turn.in_a_row = if turn.is_busy() { turn.in_a_row + 1 } else { 1 };
                turn.took = Some((Instant::now(), begun.elapsed()));
                turn.sets = open.len();
                return Ok(turn.written.insert(now).resource_version());
            }
        }
    }

    async fn read(&self) -> Result<DynamicObject, WideningError> {
        let read = self.configurations.get_opt(MUTATING).await;
        read.map_err(|error| WideningError::Read(cluster::describe(&error)))?.ok_or(WideningError::Absent)
    }

    /// Returns what all known sets and these need.
    fn needed(&self, sets: &[&Waiting]) -> Scope {
        let snapshot = self.cache.snapshot();
        let known = snapshot.sets().map(|known| (&*known.name, &known.selector));
        let others = known.filter(|(name, _)| sets.iter().all(|set| set.name != *name));
        Scope::of(others.chain(sets.iter().map(|set| (&*set.name, &set.selector)))).unwrap_or(Scope::Broad)
    }

    /// Waits until the API server knows this version. It learns of its objects by a watch, and answers this request
    /// from that.
    async fn heard_of(&self, version: String) -> Result<(), WideningError> {
        let params = GetParams { resource_version: Some(version) };
        let read = self.configurations.get_metadata_with(MUTATING, &params).await;
        read.map(|_| ()).map_err(|error| WideningError::Read(cluster::describe(&error)))
    }

    fn lock_waiting(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use futures::future::join_all;
    use serde_json::{Value, json};

    use super::super::desired::{FailurePolicy, Reach};
    use super::super::scope::tests::labels;
    use super::*;
    use crate::api::decode;
    use crate::cluster::Feeds;
    use crate::cluster::tests::server::{Server, served};
    use crate::injection::Options;

    const PATH: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/outrigger-mutating";

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

    fn set(app: usize) -> SidecarSet {
        let object = json!({
            "apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet", "metadata": {"name": format!("s-{app}")},
            "spec": {"selector": {"matchLabels": {"app": app.to_string()}}, "containers": [{"name": "c", "image": "x:1"}]}
        });
        decode::sidecarset(object).expect("a set")
    }

    fn of(client: Client) -> Arc<Widening> {
        let metrics = Arc::new(Metrics::default());
        let cache = Arc::new(Cache::new(Options::default(), true, metrics.clone()));
        let break_glass = BreakGlass::subscribe(&mut Feeds::new(client.clone()), "ns", metrics.clone());
        let registration = watch::channel(registration()).1;
        Arc::new(Widening::new(client, ScopeMode::Sets, registration, cache, break_glass, metrics))
    }

    fn scope(object: &Value) -> Option<Scope> {
        registered_scope(object)
    }

    #[tokio::test]
    async fn sets_that_come_together_take_one_write() {
        let mut server = Server::default();
        server.put(PATH, registration().mutating(&Scope::default()));
        let (server, client) = served(server);
        let widening = of(client);
        let sets: Vec<SidecarSet> = (0..32).map(set).collect();
        let covered = join_all(sets.iter().map(|set| widening.cover(set))).await;
        assert!(covered.iter().all(Result::is_ok), "{covered:?}");
        let server = server.lock().expect("not poisoned");
        assert_eq!(server.writes.len(), 1, "{:?}", server.writes);
        let apps: Vec<String> = (0..32).map(|app| app.to_string()).collect();
        assert_eq!(scope(&server.objects[PATH]), Some(labels(json!({"app": apps}))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_set_that_comes_alone_does_not_wait_for_others() {
        let mut server = Server::default();
        server.put(PATH, registration().mutating(&Scope::default()));
        let (server, client) = served(server);
        let widening = of(client);
        let begun = Instant::now();
        for app in 0..8 {
            widening.cover(&set(app)).await.expect("widened");
        }
        assert!(begun.elapsed() < SHORTEST_GATHERING, "{:?}", begun.elapsed());
        assert_eq!(server.lock().expect("not poisoned").writes.len(), 8);
    }

    #[tokio::test(start_paused = true)]
    async fn where_there_are_many_sets_and_more_come_in_a_row_all_pods_are_sent() {
        for (values, is_broad) in [(MANY_VALUES - 3 * IN_A_ROW, false), (MANY_VALUES, true)] {
            let mut server = Server::default();
            let known: Vec<String> = (0..values).map(|value| format!("known-{value}")).collect();
            server.put(PATH, registration().mutating(&labels(json!({"app": known}))));
            let (server, client) = served(server);
            let widening = of(client);
            for app in 0..2 * IN_A_ROW {
                widening.cover(&set(app)).await.expect("widened");
            }
            let server = server.lock().expect("not poisoned");
            assert_eq!(scope(&server.objects[PATH]) == Some(Scope::Broad), is_broad, "{values}");
            assert_eq!(server.writes.len(), if is_broad { IN_A_ROW + 1 } else { 2 * IN_A_ROW }, "{values}");
        }
    }

    #[tokio::test]
    async fn what_was_narrowed_or_edited_since_our_last_write_is_seen() {
        let mut server = Server::default();
        server.put(PATH, registration().mutating(&Scope::default()));
        let (server, client) = served(server);
        let widening = of(client);
        widening.cover(&set(1)).await.expect("widened");
        server.lock().expect("not poisoned").put(PATH, registration().mutating(&Scope::default()));
        widening.cover(&set(1)).await.expect("widened again");
        server.lock().expect("not poisoned").put(PATH, registration().mutating(&labels(json!({"app": ["9"]}))));
        widening.cover(&set(2)).await.expect("widened over what is there");
        let server = server.lock().expect("not poisoned");
        assert_eq!(scope(&server.objects[PATH]), Some(labels(json!({"app": ["2", "9"]}))));
    }

    #[tokio::test]
    async fn without_a_configuration_all_that_wait_are_told() {
        let (_server, client) = served(Server::default());
        let widening = of(client);
        let sets: Vec<SidecarSet> = (0..3).map(set).collect();
        let covered = join_all(sets.iter().map(|set| widening.cover(set))).await;
        assert!(covered.iter().all(Result::is_err), "{covered:?}");
    }
}
