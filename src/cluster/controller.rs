//! The skeleton of a controller: what watches reported, which objects that affects, and the work on them during a term.
//!
//! A job has `plan.rs`, which decides what should be, and a [`Reconciler`] that plans for one object and writes. Its watches update
//! the [`IndexedQueue`] in every replica, so that a new leader knows everything already. In the leader, [`IndexedQueue::run`] works
//! on the affected objects. A term begins with [`fresh`].

use std::fmt::Debug;
use std::hash::Hash;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use super::lease::Term;
use super::queue::{self, Observer, Outcome, WorkQueue};
use super::watch::Watch;

/// Reconciles one object.
pub trait Reconciler<K>: Send + Sync + 'static {
    /// Examines an object, and writes if something differs. It checks before each write that the term is current. Each write
    /// carries the resourceVersion that was seen ([`super::Objects`]); a conflict is [`Outcome::Retry`].
    ///
    /// A panic ends only the work on this object, which is retried.
    fn reconcile(&self, key: &K, term: &Term) -> impl Future<Output = Outcome> + Send;
}

/// The state of a controller (the index `I`) with the keys of the objects that changes affect.
#[derive(Debug)]
pub struct IndexedQueue<K, I> {
    index: Mutex<I>,
    queue: WorkQueue<K>,
    /// Only the leader takes from the queue, so nothing is added in other replicas.
    is_worked_on: AtomicBool,
}

/// Closes a queue at the end of a term.
struct Closing<'a>(&'a AtomicBool);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

impl<K, I> IndexedQueue<K, I>
where
    K: Clone + Debug + Eq + Hash + Send + 'static,
{
    /// Creates a queue with this index and this observer.
    #[must_use]
    pub fn new(index: I, observer: Arc<dyn Observer>) -> Self {
        Self { index: Mutex::new(index), queue: WorkQueue::observed(observer), is_worked_on: AtomicBool::new(false) }
    }

    /// Locks the index.
    pub fn lock(&self) -> MutexGuard<'_, I> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Updates the index. The objects whose keys `change` returns are queued if this replica leads.
    pub fn change<T: IntoIterator<Item = K>>(&self, change: impl FnOnce(&mut I) -> T) {
        let touched = change(&mut self.lock());
        if self.is_worked_on.load(Ordering::SeqCst) {
            self.add(touched);
        }
    }

    /// Does the work of a term: examines all objects, whose keys `all` returns, and then those affected by changes, at most `workers`
    /// at a time. `beside` runs at the same time. It lasts as long as the term; if it ends earlier, so does the work.
    ///
    /// Call it after [`fresh`].
    pub async fn run<R, T>(
        &self,
        workers: usize,
        term: &Term,
        all: impl FnOnce(&mut I) -> T,
        beside: impl Future<Output = ()>,
        reconciler: Arc<R>,
    ) where
        R: Reconciler<K>,
        T: IntoIterator<Item = K>,
    {
        let _closing = self.open(all);
        run(&self.queue, workers, term, beside, reconciler).await;
    }

    /// Opens the queue for changes. Earlier changes are covered by all keys.
    fn open<T: IntoIterator<Item = K>>(&self, all: impl FnOnce(&mut I) -> T) -> Closing<'_> {
        self.is_worked_on.store(true, Ordering::SeqCst);
        self.change(all);
        Closing(&self.is_worked_on)
    }

    fn add(&self, keys: impl IntoIterator<Item = K>) {
        for key in keys {
            self.queue.add(key);
        }
    }
}

#[cfg(test)]
impl<K, I> IndexedQueue<K, I>
where
    K: Clone + Debug + Eq + Hash + Send + 'static,
{
    /// Opens the queue as if a term had begun with no objects. The test takes from the queue.
    pub(crate) fn opened(&self) -> &WorkQueue<K> {
        self.is_worked_on.store(true, Ordering::SeqCst);
        &self.queue
    }
}

/// Waits for lists of all these kinds that begin now or later. A plan from older lists might undo writes of an earlier leader.
/// Returns false if the term ended first.
pub async fn fresh(watches: &[Watch], term: &Term) -> bool {
    tokio::select! {
        _ = join_all(watches.iter().map(Watch::fresh)) => true,
        () = term.ended() => false,
    }
}

/// Works on the keys of a queue, at most `workers` at a time, until the term ends, and then waits for the work in progress. `beside` runs
/// at the same time, as in [`IndexedQueue::run`]. For jobs with another kind of index.
pub async fn run<K, R>(
    queue: &WorkQueue<K>,
    workers: usize,
    term: &Term,
    beside: impl Future<Output = ()>,
    reconciler: Arc<R>,
) where
    K: Clone + Debug + Eq + Hash + Send + 'static,
    R: Reconciler<K>,
{
    let (of_term, stop) = (term.clone(), CancellationToken::new());
    let handle = move |key: K| {
        let (reconciler, term) = (Arc::clone(&reconciler), of_term.clone());
        async move { reconciler.reconcile(&key, &term).await }
    };
    let mut work = pin!(queue::run(queue, workers, &stop, handle));
    tokio::select! {
        () = &mut work => return,
        () = beside => {}
        () = term.ended() => {}
    }
    stop.cancel();
    work.await;
}

/// Acts now, and then once each period, forever.
pub async fn every(period: Duration, mut act: impl FnMut()) {
    let mut ticks = interval(period);
    loop {
        ticks.tick().await;
        act();
    }
}
