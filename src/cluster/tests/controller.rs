//! Tests of the controller skeleton.

use std::collections::BTreeSet;
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::script::Script;
use super::soon;
use super::things::Watched;
use crate::cluster::controller::{every, fresh, run};
use crate::cluster::{IndexedQueue, Outcome, Reconciler, Slice, Term, WorkQueue};
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::Value;

/// A worker that records its keys and takes a second for each.
#[derive(Default)]
struct Worker {
    /// The key, and whether the term was current at the end of the work.
    ended: Mutex<Vec<(&'static str, bool)>>,
    begun: Notify,
}

impl Reconciler<&'static str> for Worker {
    async fn reconcile(&self, key: &&'static str, term: &Term) -> Outcome {
        self.begun.notify_one();
        let is_bad = *key == "bad";
        assert!(!is_bad || self.looked_at("bad") > 0 || self.note(key, term), "a fault of ours");
        sleep(Duration::from_secs(1)).await;
        self.note(key, term);
        Outcome::Done
    }
}

impl Worker {
    /// Always returns false.
    fn note(&self, key: &'static str, term: &Term) -> bool {
        self.ended.lock().unwrap().push((key, term.is_current()));
        false
    }

    fn looked_at(&self, key: &str) -> usize {
        self.ended.lock().unwrap().iter().filter(|(other, _)| *other == key).count()
    }

    fn keys(&self) -> BTreeSet<&'static str> {
        self.ended.lock().unwrap().iter().map(|(key, _)| *key).collect()
    }
}

fn term(seconds: u64) -> Term {
    Term::new(Instant::now() + Duration::from_secs(seconds))
}

type Queue = IndexedQueue<&'static str, Vec<&'static str>>;

fn queue(known: &[&'static str]) -> Arc<Queue> {
    Arc::new(IndexedQueue::new(known.to_vec(), Arc::new(())))
}

#[tokio::test(start_paused = true)]
async fn a_term_begins_with_all_objects_and_goes_on_with_what_changes() {
    let (queue, worker) = (queue(&["a", "b"]), Arc::new(Worker::default()));
    let changes = async {
        sleep(Duration::from_secs(5)).await;
        assert_eq!(worker.keys(), BTreeSet::from(["a", "b"]));
        queue.change(|known| {
            known.push("c");
            ["c"]
        });
        pending::<()>().await;
    };
    let term = term(10);
    soon("the end", queue.run(2, &term, |known| known.clone(), changes, Arc::clone(&worker))).await;
    assert_eq!(worker.keys(), BTreeSet::from(["a", "b", "c"]));
    assert!(!term.is_current(), "it lasts as long as the term");
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_does_not_lead_queues_nothing_and_misses_nothing() {
    let (queue, worker) = (queue(&[]), Arc::new(Worker::default()));
    for _ in 0..2 {
        queue.change(|_| ["gone by then"]);
        soon("the end", queue.run(1, &term(10), |_| ["there"], pending(), Arc::clone(&worker))).await;
    }
    assert_eq!((worker.keys(), worker.looked_at("there")), (BTreeSet::from(["there"]), 2));
    assert!(queue.opened().next().now_or_never().is_none());
}

#[tokio::test(start_paused = true)]
async fn at_the_end_of_a_term_what_is_begun_is_ended_and_nothing_else_begun() {
    let (queue, worker) = (WorkQueue::new(), Arc::new(Worker::default()));
    queue.add("begun");
    queue.add("waiting");
    let term = Term::new(Instant::now() + Duration::from_millis(500));
    soon("the end", run(&queue, 1, &term, pending(), Arc::clone(&worker))).await;
    assert_eq!(*worker.ended.lock().unwrap(), [("begun", false)], "and it can see that the term is over");
}

#[tokio::test(start_paused = true)]
async fn what_is_done_beside_ends_with_the_term_before_the_work_that_is_under_way() {
    let (queue, worker) = (WorkQueue::new(), Arc::new(Worker::default()));
    let acts = Mutex::new(0);
    queue.add("a");
    let term = Term::new(Instant::now() + Duration::from_millis(950));
    let beside = every(Duration::from_millis(100), || *acts.lock().unwrap() += 1);
    soon("the end", run(&queue, 1, &term, beside, Arc::clone(&worker))).await;
    assert_eq!((*acts.lock().unwrap(), worker.looked_at("a")), (10, 1));
}

#[tokio::test(start_paused = true)]
async fn a_panic_hurts_no_other_object_and_is_tried_again() {
    let (queue, worker) = (queue(&["bad", "good"]), Arc::new(Worker::default()));
    soon("the end", queue.run(1, &term(10), |known| known.clone(), pending(), Arc::clone(&worker))).await;
    assert_eq!((worker.looked_at("bad"), worker.looked_at("good")), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_planned_before_lists_that_were_begun_in_the_term() {
    let (client, mut script) = Script::new();
    let Watched { watch, .. } = Watched::<Value>::start(client, Slice::all::<ConfigMap>("things"));
    script.list().await.objects("10", &[]);
    let stream = script.watch("10").await.stream();
    soon("a first list", watch.synced()).await;

    assert!(!fresh(std::slice::from_ref(&watch), &term(5)).await, "the API server does not answer, and the term ends");
    let waiting = tokio::spawn(async move { fresh(&[watch], &term(60)).await });
    script.list().await.objects("11", &[]);
    let second = script.list().await;
    assert!(!waiting.is_finished(), "the first of these was begun before");
    second.objects("12", &[]);
    assert!(soon("a fresh list", waiting).await.unwrap());
    drop(stream);
}
