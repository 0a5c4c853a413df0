//! Which objects to look at next: each key at most once at a time, with a growing pause after failures.

use std::collections::hash_map::Entry as Slot;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt::Debug;
use std::hash::Hash;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// The longest pause after the first failure of a key; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// No pause is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Keys of objects to look at. A cheap clone is the same queue.
///
/// A key says only that there is something to look at, not what happened: adding it twice before it is worked on is one look.
#[derive(Debug)]
pub struct WorkQueue<K> {
    shared: Arc<Shared<K>>,
}

/// Is told what happens in a queue, for metrics. The queue is locked meanwhile: an observer counts, and does no more.
pub trait Observer: Debug + Send + Sync {
    /// A key came among those that wait to be worked on, which are now this many.
    fn added(&self, _waiting: usize) {}
    /// A key is to be worked on after a pause.
    fn delayed(&self) {}
    /// Work on a key begins; this many others wait.
    fn begun(&self, _waiting: usize) {}
    /// The work on a key ended, with this outcome and after this time.
    fn finished(&self, _outcome: Outcome, _took: Duration) {}
}

/// Nobody watches.
impl Observer for () {}

/// A key being worked on: nobody else gets it until this is finished. Dropping it counts as [`Outcome::Retry`].
#[derive(Debug)]
pub struct Work<K: Clone + Eq + Hash> {
    key: K,
    queue: WorkQueue<K>,
    begun: Instant,
    outcome: Outcome,
}

/// What became of the work on a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All is as it should be; the count of failures starts anew.
    Done,
    /// It failed: once more after a pause that grows with each failure (up to 0.5 s, doubling, up to 60 s).
    Retry,
    /// All is as it should be for now: once more after this time. The count of failures starts anew.
    RequeueAfter(Duration),
}

#[derive(Debug)]
struct Shared<K> {
    state: Mutex<QueueState<K>>,
    /// Someone who waits should look at the state anew.
    changed: Notify,
}

#[derive(Debug)]
struct QueueState<K> {
    ready: VecDeque<K>,
    timers: BTreeMap<Due, K>,
    entries: HashMap<K, Entry>,
    /// Makes timers of one moment differ.
    timers_set: u64,
    observer: Arc<dyn Observer>,
}

/// When a timer ends, and its number.
type Due = (Instant, u64);

/// What is known of a key; one of which nothing is known has no entry.
#[derive(Debug, Default, PartialEq)]
struct Entry {
    place: KeyPlace,
    timer: Option<Due>,
    failures: u32,
}

#[derive(Debug, Default, PartialEq)]
enum KeyPlace {
    #[default]
    Nowhere,
    Ready,
    Working {
        /// It was added meanwhile.
        again: bool,
    },
}

impl<K> Clone for WorkQueue<K> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<K: Clone + Eq + Hash> Default for WorkQueue<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Clone + Eq + Hash> WorkQueue<K> {
    /// An empty queue that nobody watches.
    #[must_use]
    pub fn new() -> Self {
        Self::observed(Arc::new(()))
    }

    /// An empty queue of which somebody is told.
    #[must_use]
    pub fn observed(observer: Arc<dyn Observer>) -> Self {
        let (ready, timers, entries) = (VecDeque::new(), BTreeMap::new(), HashMap::new());
        let state = QueueState { ready, timers, entries, timers_set: 0, observer };
        Self { shared: Arc::new(Shared { state: Mutex::new(state), changed: Notify::new() }) }
    }

    /// This key is to be looked at as soon as possible, also while it waits for a retry. If it is worked on now, it comes again
    /// afterwards.
    pub fn add(&self, key: K) {
        self.lock().add(key);
        self.shared.changed.notify_one();
    }

    /// This key is to be looked at after this time. Of several such times the earliest counts: work that still has to wait then
    /// says so by [`Outcome::RequeueAfter`].
    pub fn add_after(&self, key: K, pause: Duration) {
        if pause.is_zero() {
            return self.add(key);
        }
        self.lock().add_at(key, Instant::now() + pause);
        self.shared.changed.notify_waiters(); // all shall know how long to wait: any of them may give up waiting
    }

    /// The next key; waits for one. Safe to drop while waiting.
    pub async fn next(&self) -> Work<K> {
        loop {
            let changed = self.shared.changed.notified();
            let now = Instant::now();
            let (key, timer) = self.lock().take(now);
            if let Some(key) = key {
                return Work { key, queue: self.clone(), begun: now, outcome: Outcome::Retry };
            }
            match timer {
                Some(due) => tokio::select! {
                    () = changed => {}
                    () = sleep_until(due) => {}
                },
                None => changed.await,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, QueueState<K>> {
        // Nothing in here panics halfway.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Eq + Hash> QueueState<K> {
    fn add(&mut self, key: K) {
        let entry = self.entries.entry(key.clone()).or_default();
        match &mut entry.place {
            KeyPlace::Nowhere => {
                entry.place = KeyPlace::Ready;
                self.ready.push_back(key);
                self.observer.added(self.ready.len());
            }
            KeyPlace::Ready => {}
            KeyPlace::Working { again } => *again = true,
        }
    }

    fn add_at(&mut self, key: K, at: Instant) {
        self.observer.delayed();
        let entry = self.entries.entry(key.clone()).or_default();
        if entry.timer.is_some_and(|(earlier, _)| earlier <= at) {
            return;
        }
        if let Some(later) = entry.timer.take() {
            self.timers.remove(&later);
        }
        self.timers_set += 1;
        let due = (at, self.timers_set);
        entry.timer = Some(due);
        self.timers.insert(due, key);
    }

    /// The next key to work on, or else when the next timer ends.
    fn take(&mut self, now: Instant) -> (Option<K>, Option<Instant>) {
        while let Some(first) = self.timers.first_entry().filter(|first| first.key().0 <= now) {
            let key = first.remove();
            self.entries.entry(key.clone()).or_default().timer = None;
            self.add(key);
        }
        let key = self.ready.pop_front();
        if let Some(key) = &key {
            self.observer.begun(self.ready.len());
            self.entries.entry(key.clone()).or_default().place = KeyPlace::Working { again: false };
        }
        (key, self.timers.first_key_value().map(|((at, _), _)| *at))
    }

    fn finish(&mut self, key: &K, outcome: Outcome, begun: Instant, now: Instant) {
        self.observer.finished(outcome, now.saturating_duration_since(begun));
        let entry = self.entries.entry(key.clone()).or_default();
        let again = entry.place == KeyPlace::Working { again: true };
        entry.place = KeyPlace::Nowhere;
        let pause = match outcome {
            Outcome::Done => None,
            Outcome::RequeueAfter(pause) => Some(pause),
            Outcome::Retry => Some(pause_after(entry.failures)),
        };
        entry.failures = if outcome == Outcome::Retry { entry.failures.saturating_add(1) } else { 0 };
        if let Some(pause) = pause {
            self.add_at(key.clone(), now + pause);
        }
        if again {
            self.add(key.clone());
        }
        if let Slot::Occupied(entry) = self.entries.entry(key.clone())
            && *entry.get() == Entry::default()
        {
            entry.remove();
        }
    }
}

/// The pause after a failure that follows `earlier_failures` others: between half and all of the doubling time, so that what failed
/// together does not come back together.
fn pause_after(earlier_failures: u32) -> Duration {
    let longest = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(earlier_failures)).min(LONGEST_PAUSE);
    longest.mul_f64(0.5 + fastrand::f64() / 2.0)
}

impl<K: Clone + Eq + Hash> Work<K> {
    /// What to look at.
    #[must_use]
    pub fn key(&self) -> &K {
        &self.key
    }

    /// All is as it should be.
    pub fn done(self) {
        self.finish(Outcome::Done);
    }

    /// It failed: once more after a pause that grows with each failure.
    pub fn retry(self) {
        self.finish(Outcome::Retry);
    }

    /// Once more after this time.
    pub fn requeue_after(self, pause: Duration) {
        self.finish(Outcome::RequeueAfter(pause));
    }

    /// The work ends with this outcome.
    pub fn finish(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl<K: Clone + Eq + Hash> Drop for Work<K> {
    fn drop(&mut self) {
        self.queue.lock().finish(&self.key, self.outcome, self.begun, Instant::now());
        let changed = &self.queue.shared.changed;
        changed.notify_one();
        changed.notify_waiters();
    }
}

/// Works on the keys of a queue, `workers` at a time, until `shutdown` is cancelled; returns when the work begun then has ended.
/// When this is dropped earlier, the work is aborted. A panic ends the work on that key only: it is retried like any failure.
pub async fn run<K, H, F>(queue: &WorkQueue<K>, workers: usize, shutdown: &CancellationToken, handle: H)
where
    K: Clone + Debug + Eq + Hash + Send + 'static,
    H: Fn(K) -> F + Send + Sync + 'static,
    F: Future<Output = Outcome> + Send + 'static,
{
    let handle = Arc::new(handle);
    let mut tasks = JoinSet::new();
    for _ in 0..workers.max(1) {
        let (queue, shutdown, handle) = (queue.clone(), shutdown.clone(), handle.clone());
        tasks.spawn(async move {
            while let Some(work) = shutdown.run_until_cancelled(queue.next()).await {
                let key = work.key().clone();
                let begun = async { handle(key).await };
                let outcome = AssertUnwindSafe(begun).catch_unwind().await.unwrap_or_else(|_| {
                    tracing::error!(key = ?work.key(), "the work on an object panicked; it is retried");
                    Outcome::Retry
                });
                work.finish(outcome);
            }
        });
    }
    while tasks.join_next().await.is_some() {}
}
