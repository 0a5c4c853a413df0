//! Watches: every object of a kind, then every change of one, handed to an index in order; and what is wrong with that now.
//!
//! kube's own `watcher` does not tell when a broken watch is well again, hides the bookmarks that show a quiet one to be alive,
//! and lets one object that cannot be decoded spoil the list of all. So this lists and watches by itself.

mod decode;
mod follow;
mod installed;
mod pause;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use kube::runtime::watcher::Config;
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, watch as channel};
use tokio::time::Instant;

/// What the index of a kind is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<K> {
    /// These are all objects now, in place of whatever was known before.
    Reset(Vec<K>),
    /// This object is new or changed.
    Applied(K),
    /// This object is gone; its last state.
    Deleted(K),
}

impl<K> Event<K> {
    /// The same about other objects; those that have no counterpart are left out, and an event about only such is none.
    pub fn filter_map<T>(self, mut counterpart: impl FnMut(K) -> Option<T>) -> Option<Event<T>> {
        match self {
            Self::Reset(objects) => Some(Event::Reset(objects.into_iter().filter_map(counterpart).collect())),
            Self::Applied(object) => counterpart(object).map(Event::Applied),
            Self::Deleted(object) => counterpart(object).map(Event::Deleted),
        }
    }
}

/// What is known of a watch. A cheap clone is the same watch.
#[derive(Clone, Debug)]
pub struct Watch {
    shared: Arc<Shared>,
}

/// A list that was asked for by [`Watch::ask`].
#[derive(Clone, Debug)]
pub struct Ticket {
    watch: Watch,
    number: u64,
}

/// So many objects that cannot be decoded are remembered and logged; the counter counts all.
const MOST_REMEMBERED: usize = 100;

/// An object that cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Undecodable {
    /// Its namespace; empty if it has none.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What is wrong with it: field and problem, without values.
    pub problem: String,
}

#[derive(Debug)]
struct Shared {
    what: &'static str,
    state: channel::Sender<State>,
    /// Lists asked for by [`Watch::fresh`].
    wanted: AtomicU64,
    /// A list is wanted, or there is reason to believe that a pause can be cut short.
    wake: Notify,
    /// By namespace and name, what is wrong.
    undecodable: Mutex<BTreeMap<(String, String), String>>,
    decode_failures: AtomicU64,
}

#[derive(Debug)]
struct State {
    kind: Kind,
    /// How many of the lists wanted have been answered.
    answered: u64,
    problem: Option<String>,
    /// Whether the API server answered the last request at all.
    answers: bool,
    /// When the API server last showed that what we know is what there is.
    confirmed: Option<Instant>,
}

/// Whether the API server serves the kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Unknown,
    Present,
    Absent,
}

/// Watches the objects behind `api` for `sink`, which gets a whole list as one [`Event::Reset`] and then every change, one after
/// the other. The future does it, for ever: spawn it, and drop it at shutdown. `what` is the kind's name in messages
/// (`sidecarsets.apps.kruise.io`).
///
/// Of `config` count the selectors, the page size, and a timeout below 60 s, which is the default: a connection silent for that
/// long, and 5 s more, is given up. Lists are always quorum reads.
///
/// * The API server is away, or refuses: the sink keeps what it has; [`Watch::problem`] says why; tries go on with a pause that
///   grows to about 3 s, or ends with the outage: see [`recover_together`].
/// * The kind is not installed: [`Watch::is_absent`]; it is looked for every 5 s. When an installed kind vanishes, the sink gets
///   an empty list, but not before its `CustomResourceDefinition` and discovery are without it, too.
/// * An object cannot be decoded: it is logged, found in [`Watch::undecodable`] and left out. A change that cannot be decoded
///   leaves the object in the sink as it was until the next list.
pub fn watch<K>(
    what: &'static str,
    api: Api<K>,
    config: Config,
    sink: impl FnMut(Event<K>) + Send,
) -> (Watch, impl Future<Output = ()> + Send)
where
    K: Resource + DeserializeOwned + Send,
{
    watch_as(what, api, config, sink)
}

/// As [`watch`], with objects of another type than that of the `api`, which only says where they are: a slim type of the few
/// fields of interest. Decoding drops the others while it reads, so a list of many objects is no heavier than what is kept.
pub fn watch_as<K, R>(
    what: &'static str,
    api: Api<R>,
    config: Config,
    sink: impl FnMut(Event<K>) + Send,
) -> (Watch, impl Future<Output = ()> + Send)
where
    K: DeserializeOwned + Send,
    R: Resource,
{
    let shared = Arc::new(Shared {
        what,
        state: channel::Sender::new(State {
            kind: Kind::Unknown,
            answered: 0,
            problem: None,
            answers: true,
            confirmed: None,
        }),
        wanted: AtomicU64::new(0),
        wake: Notify::new(),
        undecodable: Mutex::default(),
        decode_failures: AtomicU64::new(0),
    });
    let follower = follow::Follower::new(api, config, shared.clone(), sink);
    (Watch { shared }, follower.run())
}

/// Whenever the API server answers one of these watches again after it was away, tries the others at once. For ever: spawn it.
pub async fn recover_together(watches: Vec<Watch>) {
    let recoveries = watches.iter().map(async |watch| {
        loop {
            watch.until(|state| !state.answers).await;
            watch.until(|state| state.answers).await;
            for other in watches.iter().filter(|other| !Arc::ptr_eq(&other.shared, &watch.shared)) {
                other.retry();
            }
        }
    });
    join_all(recoveries).await;
}

impl Watch {
    /// The kind's name in messages.
    #[must_use]
    pub fn what(&self) -> &'static str {
        self.shared.what
    }

    /// Whether the sink has had a first complete list, and the kind is still there.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.shared.state.borrow().kind == Kind::Present
    }

    /// Whether the API server said, at last, that it does not know the kind: its CRD is not installed.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        self.shared.state.borrow().kind == Kind::Absent
    }

    /// Returns when [`Watch::is_absent`] is this.
    pub async fn until_absent(&self, absent: bool) {
        self.until(|state| (state.kind == Kind::Absent) == absent).await;
    }

    /// Returns when the sink has had a complete list; waits while the kind is absent.
    pub async fn synced(&self) {
        self.until(|state| state.kind == Kind::Present).await;
    }

    /// Returns when the sink has had a complete list or the kind is known to be absent.
    pub async fn settled(&self) {
        self.until(|state| state.kind != Kind::Unknown).await;
    }

    /// Asks for a new quorum list and returns when the sink has had it, or when the API server says that the kind is not
    /// installed. What the sink knows then is at least as new as this call: a new leader waits for it before it plans. Waits as
    /// long as there is no answer, and for ever once the watch is dropped.
    pub async fn fresh(&self) {
        let Ticket { watch, number } = self.ask();
        watch.until(|state| state.answered >= number).await;
    }

    /// As [`Watch::fresh`], for those who do not wait.
    #[must_use]
    pub fn ask(&self) -> Ticket {
        let number = self.shared.wanted.fetch_add(1, Ordering::SeqCst) + 1;
        self.shared.wake.notify_one();
        Ticket { watch: self.clone(), number }
    }

    /// Where something is wrong it is tried again now, and not after a pause.
    pub fn retry(&self) {
        if self.shared.state.borrow().problem.is_some() {
            self.shared.wake.notify_one();
        }
    }

    /// What is wrong now, as a sentence; `None` while all is well. What the sink knows is then as old as [`Watch::age`] says.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.shared.state.borrow().problem.clone()
    }

    /// For how long the API server has not confirmed that what the sink knows is what there is; `None` before the first list.
    /// Up to a minute is usual where nothing changes.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        self.shared.state.borrow().confirmed.map(|confirmed| confirmed.elapsed())
    }

    /// What `/readyz` says after the kind's name: an error until the kind was listed or is known to be absent. A cache that was good once stays
    /// good enough to serve from, with its age told.
    ///
    /// # Errors
    /// While there was no complete list.
    pub fn check(&self) -> Result<String, String> {
        let (kind, answers, problem) = {
            let state = self.shared.state.borrow();
            (state.kind, state.answers, state.problem.clone())
        };
        match (kind, problem) {
            (Kind::Unknown, None) => Err("not listed yet".to_owned()),
            (Kind::Unknown, Some(problem)) => Err(format!("not listed yet: {problem}")),
            (Kind::Present, None) => Ok("in step with the cluster".to_owned()),
            (Kind::Absent, _) if answers => Ok("the kind is not installed: there are none".to_owned()),
            (Kind::Present | Kind::Absent, problem) => {
                let (seconds, problem) = (self.age().unwrap_or_default().as_secs(), problem.unwrap_or_default());
                Ok(format!("as of {seconds} s ago: {problem}"))
            }
        }
    }

    /// The objects that cannot be decoded now, at most 100 of them.
    #[must_use]
    pub fn undecodable(&self) -> Vec<Undecodable> {
        let as_told = |((namespace, name), problem): (&(String, String), &String)| Undecodable {
            namespace: namespace.clone(),
            name: name.clone(),
            problem: problem.clone(),
        };
        self.shared.lock_undecodable().iter().map(as_told).collect()
    }

    /// How often an object could not be decoded since the start; for a metric.
    #[must_use]
    pub fn decode_failures(&self) -> u64 {
        self.shared.decode_failures.load(Ordering::Relaxed)
    }

    async fn until(&self, condition: impl FnMut(&State) -> bool) {
        if self.shared.state.subscribe().wait_for(condition).await.is_err() {
            std::future::pending::<()>().await; // cannot be: the sender is ours, too
        }
    }
}

impl Ticket {
    /// Whether the sink has had a list that was begun after this was asked for.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.watch.shared.state.borrow().answered >= self.number
    }
}

impl Shared {
    /// These and no others are undecodable.
    fn set_undecodable(&self, undecodable: Vec<Undecodable>) {
        let before = std::mem::take(&mut *self.lock_undecodable());
        for object in undecodable {
            self.remember(object, &before);
        }
    }

    fn add_undecodable(&self, object: Undecodable) {
        let before = self.lock_undecodable().clone();
        self.remember(object, &before);
    }

    fn forget_undecodable(&self, namespace: String, name: String) {
        let mut undecodable = self.lock_undecodable();
        if !undecodable.is_empty() {
            undecodable.remove(&(namespace, name));
        }
    }

    /// Logs what was not known `before`.
    fn remember(&self, object: Undecodable, before: &BTreeMap<(String, String), String>) {
        self.decode_failures.fetch_add(1, Ordering::Relaxed);
        let Undecodable { namespace, name, problem } = object;
        let key = (namespace, name);
        let mut undecodable = self.lock_undecodable();
        if undecodable.len() >= MOST_REMEMBERED && !undecodable.contains_key(&key) {
            return;
        }
        if before.get(&key) != Some(&problem) {
            let (namespace, name) = &key;
            tracing::warn!(kind = self.what, namespace, name, problem, "an object cannot be read and is left out");
        }
        undecodable.insert(key, problem);
    }

    fn lock_undecodable(&self) -> MutexGuard<'_, BTreeMap<(String, String), String>> {
        self.undecodable.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
