//! Tests of the work queue.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::soon;
use crate::cluster::queue::{Outcome, Work, WorkQueue, run};

async fn next(queue: &WorkQueue<&'static str>) -> Work<&'static str> {
    soon("a key", queue.next()).await
}

/// Returns the key that can be worked on now.
fn now(queue: &WorkQueue<&'static str>) -> Option<&'static str> {
    queue.next().now_or_never().map(|work| {
        let key = *work.key();
        work.done();
        key
    })
}

#[tokio::test(start_paused = true)]
async fn a_key_added_twice_is_one_look_and_keys_come_in_order() {
    let queue = WorkQueue::new();
    for key in ["a", "b", "a", "c", "b"] {
        queue.add(key);
    }
    assert_eq!([now(&queue), now(&queue), now(&queue), now(&queue)], [Some("a"), Some("b"), Some("c"), None]);
}

#[tokio::test(start_paused = true)]
async fn a_key_added_while_it_is_worked_on_comes_again_afterwards_and_not_before() {
    let queue = WorkQueue::new();
    queue.add("a");
    let work = next(&queue).await;
    queue.add("a");
    queue.add("a");
    assert!(queue.next().now_or_never().is_none(), "never two at once");
    work.done();
    assert_eq!([now(&queue), now(&queue)], [Some("a"), None]);
}

#[tokio::test(start_paused = true)]
async fn the_pause_grows_with_failures_up_to_a_minute_and_starts_anew_after_a_success() {
    let queue = WorkQueue::new();
    queue.add("a");
    let mut work = next(&queue).await;
    for longest in [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0] {
        let failed = Instant::now();
        work.retry();
        work = next(&queue).await;
        let pause = failed.elapsed().as_secs_f64();
        assert!((longest / 2.0..=longest + 0.01).contains(&pause), "{pause} of {longest}");
    }
    work.done();
    queue.add("a");
    let failed = Instant::now();
    next(&queue).await.retry();
    drop(next(&queue).await);
    assert!(failed.elapsed() <= Duration::from_millis(501), "{:?}", failed.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_key_that_waits_for_a_retry_is_looked_at_when_it_is_added() {
    let queue = WorkQueue::new();
    queue.add("a");
    next(&queue).await.retry();
    assert_eq!(now(&queue), None);
    queue.add("a");
    assert_eq!(now(&queue), Some("a"));
}

#[tokio::test(start_paused = true)]
async fn work_that_is_dropped_without_an_outcome_is_retried() {
    let queue = WorkQueue::new();
    queue.add("a");
    drop(next(&queue).await);
    assert_eq!(now(&queue), None);
    sleep(Duration::from_millis(500)).await;
    assert_eq!(now(&queue), Some("a"));
}

#[tokio::test(start_paused = true)]
async fn of_several_times_the_earliest_counts() {
    let queue = WorkQueue::new();
    let start = Instant::now();
    for seconds in [50, 20, 70] {
        queue.add_after("a", Duration::from_secs(seconds));
    }
    let work = next(&queue).await;
    assert_eq!(start.elapsed().as_secs(), 20);
    work.requeue_after(Duration::from_secs(5));
    next(&queue).await.done();
    assert_eq!(start.elapsed().as_secs(), 25);
    sleep(Duration::from_secs(100)).await;
    assert_eq!(now(&queue), None, "later times are forgotten");
    queue.add_after("a", Duration::ZERO);
    assert_eq!(now(&queue), Some("a"));
}

#[tokio::test(start_paused = true)]
async fn a_timer_set_while_all_wait_is_not_forgotten_when_some_give_up() {
    for keeps in 0..3 {
        let queue = WorkQueue::new();
        let wait = |queue: WorkQueue<&'static str>| async move {
            queue.next().await.done();
            Instant::now()
        };
        let mut waiters: Vec<_> = (0..3).map(|_| tokio::spawn(wait(queue.clone()))).collect();
        sleep(Duration::from_millis(1)).await;
        let start = Instant::now();
        queue.add_after("late", Duration::from_secs(10));
        sleep(Duration::from_millis(1)).await;
        let last = waiters.remove(keeps);
        for waiter in waiters {
            waiter.abort();
        }
        assert_eq!((soon("the last", last).await.expect("no panic") - start).as_secs(), 10, "waiter {keeps}");
    }
}

/// The work done by a test's workers.
#[derive(Default)]
struct WorkDone {
    in_work: Vec<usize>,
    most_at_once: usize,
    ended: Vec<usize>,
}

#[tokio::test(start_paused = true)]
async fn so_many_workers_work_at_once_and_no_two_on_one_key() {
    let (queue, shutdown) = (WorkQueue::new(), CancellationToken::new());
    let keys: Vec<usize> = (0..20).collect();
    for key in &keys {
        queue.add(*key);
    }
    let seen = Arc::new(Mutex::new(WorkDone::default()));
    let running = tokio::spawn({
        let (queue, shutdown, seen) = (queue.clone(), shutdown.clone(), seen.clone());
        async move {
            let again = queue.clone();
            let handle = move |key: usize| {
                let (queue, seen) = (again.clone(), seen.clone());
                async move {
                    {
                        let mut seen = seen.lock().unwrap();
                        assert!(!seen.in_work.contains(&key));
                        seen.in_work.push(key);
                        seen.most_at_once = seen.most_at_once.max(seen.in_work.len());
                        if !seen.ended.contains(&key) {
                            queue.add(key);
                        }
                    }
                    sleep(Duration::from_secs(1)).await;
                    let mut seen = seen.lock().unwrap();
                    seen.in_work.retain(|other| *other != key);
                    seen.ended.push(key);
                    Outcome::Done
                }
            };
            run(&queue, 4, &shutdown, handle).await;
        }
    });
    sleep(Duration::from_secs(100)).await;
    shutdown.cancel();
    soon("the end", running).await.expect("no panic");
    let mut seen = seen.lock().unwrap();
    assert_eq!(seen.most_at_once, 4);
    seen.ended.sort_unstable();
    assert_eq!(seen.ended, keys.iter().flat_map(|key| [*key, *key]).collect::<Vec<_>>(), "each, and once more");
}

#[tokio::test(start_paused = true)]
async fn a_panic_ends_the_work_on_its_key_only() {
    let (queue, shutdown) = (WorkQueue::new(), CancellationToken::new());
    let tries = Arc::new(AtomicUsize::new(0));
    let (counted, token) = (tries.clone(), shutdown.clone());
    queue.add("bad");
    let handle = move |_| {
        let (tries, shutdown) = (counted.clone(), token.clone());
        async move {
            assert_eq!(tries.fetch_add(1, Ordering::SeqCst), 2, "a fault of ours");
            shutdown.cancel();
            Outcome::Done
        }
    };
    soon("the third try", run(&queue, 1, &shutdown, handle)).await;
    assert_eq!(tries.load(Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn at_shutdown_what_is_begun_is_ended_and_nothing_else_begun() {
    let (queue, shutdown) = (WorkQueue::new(), CancellationToken::new());
    queue.add("begun");
    queue.add("waiting");
    let ended = Arc::new(Mutex::new(Vec::new()));
    let (seen, token) = (ended.clone(), shutdown.clone());
    let handle = move |key| {
        let (ended, shutdown) = (seen.clone(), token.clone());
        async move {
            shutdown.cancel();
            sleep(Duration::from_secs(3)).await;
            ended.lock().unwrap().push(key);
            Outcome::Done
        }
    };
    soon("the end", run(&queue, 1, &shutdown, handle)).await;
    assert_eq!(*ended.lock().unwrap(), ["begun"]);
}
