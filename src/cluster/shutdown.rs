//! The end of a process with many tasks: all stop together, in bounded time, and none ends alone unseen.

use std::collections::HashMap;
use std::time::Duration;

use thiserror::Error;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

/// Tasks that run as long as the process.
#[derive(Debug)]
pub struct Tasks {
    running: JoinSet<()>,
    names: HashMap<Id, &'static str>,
    shutdown: CancellationToken,
}

/// Why tasks did not end as they should.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TaskError {
    /// A task ended while it was still needed.
    #[error("the task {0:?} ended by itself; without it the process is of no use")]
    Ended(&'static str),
    /// A task panicked.
    #[error("the task {0:?} panicked; the log says where")]
    Panicked(&'static str),
    /// Tasks were still running when the time for the shutdown was over.
    #[error("not stopped in time: {}", .0.join(", "))]
    Late(Vec<&'static str>),
}

impl Tasks {
    /// No tasks yet; those to come end when `shutdown` is cancelled.
    #[must_use]
    pub fn new(shutdown: CancellationToken) -> Self {
        Self { running: JoinSet::new(), names: HashMap::new(), shutdown }
    }

    /// Starts a task that heeds the shutdown by itself.
    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let id = self.running.spawn(task).id();
        self.names.insert(id, name);
    }

    /// Starts a task that is dropped at the shutdown: a watch, for one.
    pub fn spawn_until_shutdown(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let shutdown = self.shutdown.clone();
        self.spawn(name, async move {
            shutdown.run_until_cancelled(task).await;
        });
    }

    /// Waits for the shutdown, then for all tasks, up to `limit`; what runs then is aborted. A task that ends before the shutdown
    /// begins it.
    ///
    /// # Errors
    /// The first thing that went wrong.
    pub async fn run(mut self, limit: Duration) -> Result<(), TaskError> {
        let shutdown = self.shutdown.clone();
        let ended_early = tokio::select! {
            biased; // a task may have heard of the shutdown before this did
            () = shutdown.cancelled() => None,
            ended = self.next() => ended.map(|ended| ended.map_or_else(|panicked| panicked, TaskError::Ended)),
        };
        shutdown.cancel();
        let deadline = Instant::now() + limit;
        let mut panicked = None;
        let late = loop {
            match timeout_at(deadline, self.next()).await {
                Ok(Some(ended)) => panicked = panicked.or(ended.err()),
                Ok(None) => break None,
                Err(_) => break Some(TaskError::Late(self.names.into_values().collect())),
            }
        };
        ended_early.or(panicked).or(late).map_or(Ok(()), Err)
    }

    /// The next task that ends; none when there are no more.
    async fn next(&mut self) -> Option<Result<&'static str, TaskError>> {
        let ended = self.running.join_next_with_id().await?;
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, ())| *id);
        let name = self.names.remove(&id).unwrap_or_default();
        Some(ended.map(|_| name).map_err(|_| TaskError::Panicked(name)))
    }
}
