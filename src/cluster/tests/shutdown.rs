//! The rules of ending.

use std::future::pending;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::soon;
use crate::cluster::shutdown::{TaskError, Tasks};

const LIMIT: Duration = Duration::from_secs(8);

#[tokio::test(start_paused = true)]
async fn all_tasks_stop_together_at_the_shutdown() {
    let shutdown = CancellationToken::new();
    let mut tasks = Tasks::new(shutdown.clone());
    tasks.spawn_until_shutdown("watch", pending());
    let token = shutdown.clone();
    tasks.spawn("workers", async move {
        token.cancelled().await;
        sleep(Duration::from_secs(3)).await;
    });
    let start = Instant::now();
    tokio::spawn(async move {
        sleep(Duration::from_secs(100)).await;
        shutdown.cancel();
    });
    assert_eq!(soon("the end", tasks.run(LIMIT)).await, Ok(()));
    assert_eq!(start.elapsed().as_secs(), 103);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_does_not_stop_is_named_and_left_behind() {
    let shutdown = CancellationToken::new();
    let mut tasks = Tasks::new(shutdown.clone());
    tasks.spawn("stuck", pending());
    shutdown.cancel();
    let start = Instant::now();
    assert_eq!(soon("the end", tasks.run(LIMIT)).await, Err(TaskError::Late(vec!["stuck"])));
    assert_eq!(start.elapsed(), LIMIT);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_ends_or_panics_by_itself_stops_the_others() {
    for panics in [false, true] {
        let shutdown = CancellationToken::new();
        let mut tasks = Tasks::new(shutdown.clone());
        tasks.spawn("brief", async move { assert!(!panics, "a fault of ours") });
        tasks.spawn_until_shutdown("watch", pending());
        let error = if panics { TaskError::Panicked("brief") } else { TaskError::Ended("brief") };
        assert_eq!(soon("the end", tasks.run(LIMIT)).await, Err(error));
        assert!(shutdown.is_cancelled());
    }
}
