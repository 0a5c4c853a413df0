//! A watch: every object of a slice, then every change of one, handed to sinks in order; and what is wrong with that now.
//!
//! kube's own `watcher` does not tell when a broken watch is well again, hides the bookmarks that show a quiet one to be alive,
//! and lets one object that cannot be decoded spoil the list of all. So this lists and watches by itself.

mod decode;
mod event;
mod follow;
mod installed;
mod pause;
mod slice;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::{Notify, watch as channel};
use tokio::time::Instant;

pub(super) use decode::decode;
pub use event::Event;
pub(super) use follow::Follower;
pub use slice::{Pace, Slice};

/// What is known of a watch. A cheap clone is the same watch.
#[derive(Clone, Debug)]
pub struct Watch {
    shared: Arc<SharedWatch>,
}

/// A list that was asked for by [`Watch::ask`].
#[derive(Clone, Debug)]
pub struct Ticket {
    watch: Watch,
    number: u64,
}

/// At most this many objects that cannot be decoded are remembered and told.
const MOST_REMEMBERED: usize = 100;

/// At most this many of them are told by `/readyz`.
const MOST_TOLD: usize = 3;

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
struct SharedWatch {
    what: &'static str,
    state: channel::Sender<WatchState>,
    /// Lists asked for by [`Watch::fresh`].
    wanted: AtomicU64,
    /// A list is wanted, or there is reason to believe that a pause can be cut short.
    wake: Notify,
    /// By namespace and name, what is wrong.
    undecodable: Mutex<BTreeMap<(String, String), String>>,
}

#[derive(Debug)]
struct WatchState {
    kind: KindPresence,
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
enum KindPresence {
    Unknown,
    Present,
    Absent,
}

/// Whenever the API server answers one of these watches again after it was away, tries the others at once. For ever.
pub(super) async fn recover_together(watches: Vec<Watch>) {
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
        self.shared.state.borrow().kind == KindPresence::Present
    }

    /// Whether the API server said, at last, that it does not know the kind: its CRD is not installed.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        self.shared.state.borrow().kind == KindPresence::Absent
    }

    /// Returns when [`Watch::is_absent`] is this.
    pub async fn until_absent(&self, absent: bool) {
        self.until(|state| (state.kind == KindPresence::Absent) == absent).await;
    }

    /// Returns when the sink has had a complete list; waits while the kind is absent.
    pub async fn synced(&self) {
        self.until(|state| state.kind == KindPresence::Present).await;
    }

    /// Returns when the sink has had a complete list or the kind is known to be absent.
    pub async fn settled(&self) {
        self.until(|state| state.kind != KindPresence::Unknown).await;
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
    /// good enough to serve from, with its age told. So does one that objects are left out of.
    ///
    /// # Errors
    /// While there was no complete list.
    pub fn check(&self) -> Result<String, String> {
        let (kind, answers, problem) = {
            let state = self.shared.state.borrow();
            (state.kind, state.answers, state.problem.clone())
        };
        let told = match (kind, problem) {
            (KindPresence::Unknown, None) => return Err("not listed yet".to_owned()),
            (KindPresence::Unknown, Some(problem)) => return Err(format!("not listed yet: {problem}")),
            (KindPresence::Present, None) => "in step with the cluster".to_owned(),
            (KindPresence::Absent, _) if answers => "the kind is not installed: there are none".to_owned(),
            (KindPresence::Present | KindPresence::Absent, problem) => {
                let (seconds, problem) = (self.age().unwrap_or_default().as_secs(), problem.unwrap_or_default());
                format!("as of {seconds} s ago: {problem}")
            }
        };
        let left_out = self.undecodable();
        if left_out.is_empty() {
            return Ok(told);
        }
        let first: Vec<_> = left_out.iter().take(MOST_TOLD).map(ToString::to_string).collect();
        Ok(format!("{told}; {} cannot be read and left out: {}", left_out.len(), first.join("; ")))
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

    async fn until(&self, condition: impl FnMut(&WatchState) -> bool) {
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

impl fmt::Display for Undecodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = if self.namespace.is_empty() { "" } else { "/" };
        write!(f, "\"{}{slash}{}\": {}", self.namespace, self.name, self.problem)
    }
}

impl SharedWatch {
    fn new(what: &'static str) -> Self {
        let state =
            WatchState { kind: KindPresence::Unknown, answered: 0, problem: None, answers: true, confirmed: None };
        Self {
            what,
            state: channel::Sender::new(state),
            wanted: AtomicU64::new(0),
            wake: Notify::new(),
            undecodable: Mutex::default(),
        }
    }

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
