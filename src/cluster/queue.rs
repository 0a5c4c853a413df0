//! Which objects to examine next: each key at most once at a time, with increasing pauses after failures.

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

/// The maximum pause after the first failure of a key. It doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// The maximum pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Keys of objects to examine. Clones share the queue.
///
/// A key only says that there is something to examine, not what happened. Adding it twice before it is worked on has
/// the effect of adding it once.
#[derive(Debug)]
pub struct WorkQueue<K> {
    shared: Arc<Shared<K>>,
}

/// Observes a queue for metrics. The queue is locked during calls, so an observer should only count.
pub trait Observer: Debug + Send + Sync {
    /// A key was added to the waiting keys, which are now this many.
    fn added(&self, _waiting: usize) {}
    /// A key will be worked on after a pause.
    fn delayed(&self) {}
    /// Work on a key begins. This many others are waiting.
    fn begun(&self, _waiting: usize) {}
    /// Work on a key ended, with this outcome after this time.
    fn finished(&self, _outcome: Outcome, _took: Duration) {}
}

/// No observer.
impl Observer for () {}

/// A key being worked on. No other worker gets it until this is finished. Dropping it counts as [`Outcome::Retry`].
#[derive(Debug)]
pub struct Work<K: Clone + Eq + Hash> {
    key: K,
    queue: WorkQueue<K>,
    begun: Instant,
    outcome: Outcome,
}

/// The outcome of work on a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything is up to date. Resets the failure count.
    Done,
    /// It failed. It is retried after a pause that doubles with each failure, from 0.5 s to 60 s.
    Retry,
    /// Everything is up to date for now. It is repeated after this time. Resets the failure count.
    RequeueAfter(Duration),
}

#[derive(Debug)]
struct Shared<K> {
    state: Mutex<QueueState<K>>,
    /// Wakes waiting workers to look at the state again.
    changed: Notify,
}

#[derive(Debug)]
struct QueueState<K> {
    ready: VecDeque<K>,
    timers: BTreeMap<Due, K>,
    entries: HashMap<K, Entry>,
    /// Distinguishes timers that end at the same time.
    timers_set: u64,
    observer: Arc<dyn Observer>,
}

/// The end of a timer, and its number.
type Due = (Instant, u64);

/// The state of a key. A key without state has no entry.
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
        /// It was added again in the meantime.
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
    /// Creates an empty queue without an observer.
    #[must_use]
    pub fn new() -> Self {
        Self::observed(Arc::new(()))
    }

    /// Creates an empty queue with an observer.
    #[must_use]
    pub fn observed(observer: Arc<dyn Observer>) -> Self {
        let (ready, timers, entries) = (VecDeque::new(), BTreeMap::new(), HashMap::new());
        let state = QueueState { ready, timers, entries, timers_set: 0, observer };
        Self { shared: Arc::new(Shared { state: Mutex::new(state), changed: Notify::new() }) }
    }

    /// Queues this key as soon as possible, even if it is waiting for a retry. If it is being worked on, it is queued again
    /// afterwards.
    pub fn add(&self, key: K) {
        self.lock().add(key);
        self.shared.changed.notify_one();
    }

    /// Queues this key after this time. The earliest of several times counts. Work that still has to wait then returns
    /// [`Outcome::RequeueAfter`].
    pub fn add_after(&self, key: K, pause: Duration) {
        if pause.is_zero() {
            return self.add(key);
        }
        self.lock().add_at(key, Instant::now() + pause);
        self.shared.changed.notify_waiters(); // all waiters need the time, because any of them may stop waiting
    }

    /// Waits for the next key. Safe to drop while waiting.
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
        // Nothing panics while the lock is held.
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

    /// Returns the next key, or the time when the next timer ends.
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

/// Returns the pause after a failure that follows `earlier_failures` others: between half and all of the doubling time, so that
/// keys that failed together are not retried together.
fn pause_after(earlier_failures: u32) -> Duration {
    let longest = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(earlier_failures)).min(LONGEST_PAUSE);
    longest.mul_f64(0.5 + fastrand::f64() / 2.0)
}

impl<K: Clone + Eq + Hash> Work<K> {
    /// Returns the key.
    #[must_use]
    pub fn key(&self) -> &K {
        &self.key
    }

    /// Ends the work: everything is up to date.
    pub fn done(self) {
        self.finish(Outcome::Done);
    }

    /// Ends the work with a failure. It is retried after a growing pause.
    pub fn retry(self) {
        self.finish(Outcome::Retry);
    }

    /// Ends the work. It is repeated after this time.
    pub fn requeue_after(self, pause: Duration) {
        self.finish(Outcome::RequeueAfter(pause));
    }

    /// Ends the work with this outcome.
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

/// Works on the keys of a queue, `workers` at a time, until `shutdown` is cancelled. Returns when the work in progress has
/// ended. Dropping the future aborts the work. A panic ends only the work on that key, which is retried like any failure.
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
