//! The skeleton of a controller: what watches told, which objects that makes it look at, and the work on those for a term.
//!
//! A job has `plan.rs`, which says what should be, and a [`Reconciler`] that plans for one object and writes. Its watches change the
//! [`IndexedQueue`] in every replica, so that a new leader knows everything already; in the replica that leads, [`IndexedQueue::run`]
//! works on what they touch. A term begins with [`fresh`].

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

/// Makes one object as it should be.
pub trait Reconciler<K>: Send + Sync + 'static {
    /// Looks at an object, and writes where it is not as it should be. Before each write it asks whether the term is current, and
    /// each write carries the resourceVersion that was seen ([`super::Objects`]): a conflict is [`Outcome::Retry`].
    ///
    /// A panic ends the work on this object only, which is tried again.
    fn reconcile(&self, key: &K, term: &Term) -> impl Future<Output = Outcome> + Send;
}

/// What a controller knows (the index `I`), with the keys of the objects that it has to look at because of what changed.
#[derive(Debug)]
pub struct IndexedQueue<K, I> {
    index: Mutex<I>,
    queue: WorkQueue<K>,
    /// Nobody takes from the queue of a replica that does not lead, so nothing is put there.
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
    /// This index, and a queue that this observer is told of.
    #[must_use]
    pub fn new(index: I, observer: Arc<dyn Observer>) -> Self {
        Self { index: Mutex::new(index), queue: WorkQueue::observed(observer), is_worked_on: AtomicBool::new(false) }
    }

    /// What is known.
    pub fn lock(&self) -> MutexGuard<'_, I> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is known. The objects whose keys this returns are looked at, while this replica leads.
    pub fn change<T: IntoIterator<Item = K>>(&self, change: impl FnOnce(&mut I) -> T) {
        let touched = change(&mut self.lock());
        if self.is_worked_on.load(Ordering::SeqCst) {
            self.add(touched);
        }
    }

    /// The work of a term: looks at the objects whose keys `all` returns, which are all there are, and then at those that changes
    /// touch, at most `workers` of them at a time. `beside` is done meanwhile: it goes on as long as the term, or the term's work ends
    /// with it.
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

    /// From now on what changes is put into the queue. What changed before is among all keys.
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
    /// As if a term had begun with nothing to look at. The test takes from the queue.
    pub(crate) fn opened(&self) -> &WorkQueue<K> {
        self.is_worked_on.store(true, Ordering::SeqCst);
        &self.queue
    }
}

/// Waits for lists of all these kinds that are begun from now on: what was planned from older ones may be undone by what an earlier
/// leader has written. False: the term ended before.
pub async fn fresh(watches: &[Watch], term: &Term) -> bool {
    tokio::select! {
        _ = join_all(watches.iter().map(Watch::fresh)) => true,
        () = term.ended() => false,
    }
}

/// Works on the keys of a queue, at most `workers` of them at a time, until the term ends, and then waits for the work that is under way.
/// `beside` is done meanwhile, as in [`IndexedQueue::run`]. For a job whose index is of another kind.
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

/// Does something now, and then once each period, for ever.
pub async fn every(period: Duration, mut act: impl FnMut()) {
    let mut ticks = interval(period);
    loop {
        ticks.tick().await;
        act();
    }
}
