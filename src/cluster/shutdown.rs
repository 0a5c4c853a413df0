//! The shutdown of a process in two steps, drain and stop, with a time limit. Leaders end first, the data for answers last, and no
//! task ends unnoticed.

use std::collections::HashMap;
use std::pin::pin;
use std::time::Duration;

use thiserror::Error;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// The two steps of a shutdown. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    /// The process was asked to end. Leaders stop leading; the server continues to answer for a while.
    pub drain: CancellationToken,
    /// The server no longer answers. Its data need not be kept up to date.
    pub stop: CancellationToken,
}

/// Tasks that run as long as the process.
#[derive(Debug)]
pub struct Tasks {
    running: JoinSet<()>,
    /// Each task's name by id, and the step after which it may end.
    known: HashMap<Id, (&'static str, CancellationToken)>,
    shutdown: Shutdown,
}

/// Why tasks did not end as expected.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TaskError {
    /// A task ended while it was still needed.
    #[error("the task {0:?} ended by itself; the process cannot work without it")]
    Ended(&'static str),
    /// A task panicked.
    #[error("the task {0:?} panicked; the log says where")]
    Panicked(&'static str),
    /// Tasks were still running at the end of the shutdown's time limit.
    #[error("not stopped in time: {}", .0.join(", "))]
    Late(Vec<&'static str>),
}

impl Tasks {
    /// Creates an empty set of tasks.
    #[must_use]
    pub fn new(shutdown: Shutdown) -> Self {
        Self { running: JoinSet::new(), known: HashMap::new(), shutdown }
    }

    /// Starts a task that ends by itself soon after the drain begins.
    pub fn spawn_until_drain(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let drain = self.shutdown.drain.clone();
        self.spawn(name, drain, task);
    }

    /// Starts a task that is dropped at the stop, such as feeds.
    pub fn spawn_until_stop(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.shutdown.stop.clone();
        self.spawn(name, stop.clone(), async move {
            stop.run_until_cancelled(task).await;
        });
    }

    fn spawn(&mut self, name: &'static str, until: CancellationToken, task: impl Future<Output = ()> + Send + 'static) {
        let id = self.running.spawn(task).id();
        self.known.insert(id, (name, until));
    }

    /// Waits until all tasks have ended, up to `limit` after the stop, and then aborts the rest. A task that ends too early begins
    /// the drain; the others continue until the stop.
    ///
    /// # Errors
    /// The first problem.
    pub async fn run(mut self, limit: Duration) -> Result<(), TaskError> {
        let Shutdown { drain, stop } = self.shutdown.clone();
        let mut deadline = pin!(async {
            stop.cancelled().await;
            sleep(limit).await;
        });
        let mut first_error = None;
        loop {
            tokio::select! {
                ended = self.next() => match ended {
                    None => break,
                    Some(Ok(())) => {}
                    Some(Err(error)) => {
                        first_error.get_or_insert(error);
                        drain.cancel();
                    }
                },
                () = &mut deadline => {
                    let late = self.known.values().map(|(name, _)| *name).collect();
                    first_error.get_or_insert(TaskError::Late(late));
                    break;
                }
            }
        }
        first_error.map_or(Ok(()), Err)
    }

    /// Returns the next task that ends, and whether it may end; `None` if there are no more.
    async fn next(&mut self) -> Option<Result<(), TaskError>> {
        let ended = self.running.join_next_with_id().await?;
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, ())| *id);
        let (name, until) = self.known.remove(&id).unwrap_or_default();
        Some(match ended {
            Err(_) => Err(TaskError::Panicked(name)),
            Ok(_) if until.is_cancelled() => Ok(()),
            Ok(_) => Err(TaskError::Ended(name)),
        })
    }
}
