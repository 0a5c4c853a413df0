//! A watch: all objects of a slice, then every change, delivered to sinks in order; and its current problem.
//!
//! kube's own `watcher` does not report when a failed watch recovers, hides the bookmarks that show that a quiet watch is
//! alive, and fails a whole list because of one object that cannot be decoded. So this module lists and watches itself.

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

/// The state of a watch. Clones share it.
#[derive(Clone, Debug)]
pub struct Watch {
    shared: Arc<SharedWatch>,
}

/// A list requested by [`Watch::ask`].
#[derive(Clone, Debug)]
pub struct Ticket {
    watch: Watch,
    number: u64,
}

/// At most this many objects that cannot be decoded are kept and reported.
const MOST_REMEMBERED: usize = 100;

/// At most this many of them are reported by `/readyz`.
const MOST_TOLD: usize = 3;

/// An object that cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Undecodable {
    /// Its namespace; empty if it has none.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The field and its problem, without values.
    pub problem: String,
}

#[derive(Debug)]
struct SharedWatch {
    what: &'static str,
    state: channel::Sender<WatchState>,
    /// The number of lists requested by [`Watch::fresh`].
    wanted: AtomicU64,
    /// A list is requested, or there is a reason to end a pause early.
    wake: Notify,
    /// Problems by namespace and name.
    undecodable: Mutex<BTreeMap<(String, String), String>>,
}

#[derive(Debug)]
struct WatchState {
    kind: KindPresence,
    /// The number of requested lists that were completed.
    answered: u64,
    problem: Option<String>,
    /// Whether the API server answered the last request at all.
    answers: bool,
    /// When the API server last confirmed that the known state is current.
    confirmed: Option<Instant>,
}

/// Whether the API server serves the kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KindPresence {
    Unknown,
    Present,
    Absent,
}

/// Whenever the API server answers one of these watches after an outage, retries the others at once. Never returns.
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
    /// Returns the kind's name for messages.
    #[must_use]
    pub fn what(&self) -> &'static str {
        self.shared.what
    }

    /// Whether the sink has received a complete list, and the kind still exists.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.shared.state.borrow().kind == KindPresence::Present
    }

    /// Whether the API server's last answer was that it does not know the kind: its CRD is not installed.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        self.shared.state.borrow().kind == KindPresence::Absent
    }

    /// Waits until [`Watch::is_absent`] has this value.
    pub async fn until_absent(&self, absent: bool) {
        self.until(|state| (state.kind == KindPresence::Absent) == absent).await;
    }

    /// Waits until the sink has received a complete list. Also waits while the kind is absent.
    pub async fn synced(&self) {
        self.until(|state| state.kind == KindPresence::Present).await;
    }

    /// Waits until the sink has received a complete list, or the kind is known to be absent.
    pub async fn settled(&self) {
        self.until(|state| state.kind != KindPresence::Unknown).await;
    }

    /// Requests a new quorum list, and waits until the sink has received it or the API server says that the kind is not
    /// installed. The sink's state is then at least as new as this call, which a new leader needs before it plans. Waits as
    /// long as there is no answer, and forever once the watch is dropped.
    pub async fn fresh(&self) {
        let Ticket { watch, number } = self.ask();
        watch.until(|state| state.answered >= number).await;
    }

    /// Like [`Watch::fresh`], without waiting.
    #[must_use]
    pub fn ask(&self) -> Ticket {
        let number = self.shared.wanted.fetch_add(1, Ordering::SeqCst) + 1;
        self.shared.wake.notify_one();
        Ticket { watch: self.clone(), number }
    }

    /// Retries a failed watch now, instead of after its pause.
    pub fn retry(&self) {
        if self.shared.state.borrow().problem.is_some() {
            self.shared.wake.notify_one();
        }
    }

    /// Returns the current problem as a sentence; `None` if there is none. [`Watch::age`] tells how old the sink's
    /// state is.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.shared.state.borrow().problem.clone()
    }

    /// Returns the time since the API server last confirmed that the sink's state is current; `None` before the first list.
    /// Up to a minute is normal if nothing changes.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        self.shared.state.borrow().confirmed.map(|confirmed| confirmed.elapsed())
    }

    /// Returns the text of `/readyz` after the kind's name: an error until the kind was listed or is known to be absent. After that a stale
    /// cache is still good enough to serve from, and its age is reported. So is one with undecodable objects.
    ///
    /// # Errors
    /// Until there was a complete list.
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
        Ok(format!("{told}; {} cannot be read and are skipped: {}", left_out.len(), first.join("; ")))
    }

    /// Returns the objects that cannot be decoded now, at most 100 of them.
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
            std::future::pending::<()>().await; // impossible: this struct holds the sender
        }
    }
}

impl Ticket {
    /// Whether the sink has received a list that began after this was requested.
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

    /// Replaces the undecodable objects.
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

    /// Logs a problem unless it was known `before`.
    fn remember(&self, object: Undecodable, before: &BTreeMap<(String, String), String>) {
        let Undecodable { namespace, name, problem } = object;
        let key = (namespace, name);
        let mut undecodable = self.lock_undecodable();
        if undecodable.len() >= MOST_REMEMBERED && !undecodable.contains_key(&key) {
            return;
        }
        if before.get(&key) != Some(&problem) {
            let (namespace, name) = &key;
            tracing::warn!(kind = self.what, namespace, name, problem, "an object cannot be read and is skipped");
        }
        undecodable.insert(key, problem);
    }

    fn lock_undecodable(&self) -> MutexGuard<'_, BTreeMap<(String, String), String>> {
        self.undecodable.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
