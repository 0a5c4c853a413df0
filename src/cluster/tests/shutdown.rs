//! Tests of the shutdown.

use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::soon;
use crate::cluster::shutdown::{Shutdown, TaskError, Tasks};

const LIMIT: Duration = Duration::from_secs(8);

/// Records when it is dropped.
struct Noted(&'static str, Arc<Mutex<Vec<&'static str>>>);

impl Drop for Noted {
    fn drop(&mut self) {
        self.1.lock().unwrap().push(self.0);
    }
}

#[tokio::test(start_paused = true)]
async fn what_leads_ends_at_the_drain_and_what_answers_are_made_from_at_the_stop() {
    let (shutdown, ended) = (Shutdown::default(), Arc::new(Mutex::new(Vec::new())));
    let mut tasks = Tasks::new(shutdown.clone());
    let noted = |name| Noted(name, ended.clone());
    let (watch, leader) = (noted("watch"), noted("leader"));
    tasks.spawn_until_stop("watch", async move {
        let _watch = watch;
        pending::<()>().await;
    });
    let drain = shutdown.drain.clone();
    tasks.spawn_until_drain("leader", async move {
        let _leader = leader;
        drain.cancelled().await;
        sleep(Duration::from_secs(3)).await;
    });
    let start = Instant::now();
    let server = noted("server");
    tokio::spawn(async move {
        sleep(Duration::from_secs(100)).await;
        shutdown.drain.cancel();
        sleep(Duration::from_secs(10)).await;
        drop(server);
        shutdown.stop.cancel();
    });
    assert_eq!(soon("the end", tasks.run(LIMIT)).await, Ok(()));
    assert_eq!(start.elapsed().as_secs(), 110);
    assert_eq!(*ended.lock().unwrap(), ["leader", "server", "watch"]);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_does_not_stop_is_named_and_left_behind() {
    let shutdown = Shutdown::default();
    let mut tasks = Tasks::new(shutdown.clone());
    tasks.spawn_until_drain("stuck", pending());
    shutdown.drain.cancel();
    shutdown.stop.cancel();
    let start = Instant::now();
    assert_eq!(soon("the end", tasks.run(LIMIT)).await, Err(TaskError::Late(vec!["stuck"])));
    assert_eq!(start.elapsed(), LIMIT);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_ends_or_panics_by_itself_begins_the_drain_and_the_others_go_on_until_the_stop() {
    for panics in [false, true] {
        let shutdown = Shutdown::default();
        let mut tasks = Tasks::new(shutdown.clone());
        tasks.spawn_until_drain("brief", async move { assert!(!panics, "a fault of ours") });
        tasks.spawn_until_stop("watch", pending());
        tokio::spawn(async move {
            shutdown.drain.cancelled().await;
            sleep(Duration::from_secs(5)).await;
            shutdown.stop.cancel();
        });
        let start = Instant::now();
        let error = if panics { TaskError::Panicked("brief") } else { TaskError::Ended("brief") };
        assert_eq!(soon("the end", tasks.run(LIMIT)).await, Err(error));
        assert_eq!(start.elapsed().as_secs(), 5);
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_ends_while_the_server_drains_is_an_error() {
    let shutdown = Shutdown::default();
    let mut tasks = Tasks::new(shutdown.clone());
    shutdown.drain.cancel();
    tasks.spawn_until_stop("watch", async {});
    assert_eq!(soon("the end", tasks.run(LIMIT)).await, Err(TaskError::Ended("watch")));
}
