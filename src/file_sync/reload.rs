//! Tells the app of changes: a script, then a request, once for each burst, and again until the app is up. No file waits for it.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Command;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::calls::Caller;
use super::metrics::SyncMetrics;
use super::options::{Reload, ReloadRequest};

/// At most this many files are named.
const MOST_NAMED: usize = 100;

/// What the first list brought is told when all lists are over, or this long after the start: one that is forbidden is never over.
const PATIENCE: Duration = Duration::from_secs(10);

/// The first pause of a request that failed in all its tries, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Changes that the app was not told of yet. A clone is the same.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    pending: Mutex<Pending>,
    changed: Notify,
    listed: Notify,
}

#[derive(Debug, Default)]
struct Pending {
    burst: Option<Burst>,
    is_listed: bool,
}

/// Changes that are told together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Burst {
    files: BTreeSet<String>,
    /// How many changes.
    pub count: usize,
    /// Whether some came after the first list.
    pub is_later: bool,
}

impl Changes {
    /// A file was written or removed; whether by a change that is none of the first list.
    pub fn add(&self, file: String, is_later: bool) {
        let mut pending = self.lock();
        let burst = pending.burst.get_or_insert_default();
        burst.count += 1;
        burst.is_later |= is_later;
        if burst.files.len() < MOST_NAMED {
            burst.files.insert(file);
        }
        drop(pending);
        self.shared.changed.notify_one();
    }

    /// All has been listed once.
    pub fn first_list_is_over(&self) {
        self.lock().is_listed = true;
        self.shared.listed.notify_one();
    }

    /// What changed since the last time.
    pub fn take(&self) -> Option<Burst> {
        self.lock().burst.take()
    }

    /// Returns once something changed.
    async fn some(&self) {
        while self.lock().burst.is_none() {
            self.shared.changed.notified().await;
        }
    }

    async fn listed(&self) {
        while !self.lock().is_listed {
            self.shared.listed.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.shared.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Burst {
    /// Its files, as far as they are named.
    pub fn files(&self, separator: &str) -> String {
        self.files.iter().map(String::as_str).collect::<Vec<_>>().join(separator)
    }

    fn join(&mut self, other: Self) {
        self.count += other.count;
        self.is_later |= other.is_later;
        let free = MOST_NAMED.saturating_sub(self.files.len());
        self.files.extend(other.files.into_iter().take(free));
    }
}

/// Tells the app.
#[derive(Debug)]
pub struct Reloader {
    /// What is to be done.
    pub reload: Reload,
    /// What changed.
    pub changes: Changes,
    /// Who calls.
    pub caller: Arc<Caller>,
    /// What is counted.
    pub metrics: SyncMetrics,
}

impl Reloader {
    /// Tells of changes, for ever.
    pub async fn run(&self) {
        let _ = timeout(PATIENCE, self.changes.listed()).await;
        let mut burst = Burst::default();
        let mut pause = PAUSES.0;
        loop {
            self.changes.some().await;
            sleep(self.reload.window).await;
            burst.join(self.changes.take().unwrap_or_default());
            self.script(&burst).await;
            let Some(request) = self.request(&burst) else {
                burst = Burst::default();
                continue;
            };
            let is_told = loop {
                if self.call(request, &burst).await {
                    break true;
                }
                tokio::select! {
                    () = sleep(pause) => pause = (pause * 2).min(PAUSES.1),
                    () = self.changes.some() => break false,
                }
            };
            if is_told {
                (burst, pause) = (Burst::default(), PAUSES.0);
            }
        }
    }

    /// Tells of what changed, once.
    pub async fn once(&self) {
        if let Some(burst) = self.changes.take() {
            self.script(&burst).await;
            if let Some(request) = &self.reload.request {
                self.call(request, &burst).await;
            }
        }
    }

    fn request(&self, burst: &Burst) -> Option<&ReloadRequest> {
        self.reload.request.as_ref().filter(|_| burst.is_later || !self.reload.skip_first)
    }

    async fn call(&self, request: &ReloadRequest, burst: &Burst) -> bool {
        let called = self.caller.reload(request, &burst.files(","), burst.count).await;
        self.metrics.reloaded(called.is_ok());
        match &called {
            Ok(status) => tracing::info!("Request sent to {}. Response: {status}", request.target),
            Err(error) => tracing::warn!("Max retries exceeded for URL {error}"),
        }
        called.is_ok()
    }

    async fn script(&self, burst: &Burst) {
        let Some(script) = &self.reload.script else { return };
        let ended = timeout(self.reload.script_timeout, run(script, burst)).await;
        let problem = match ended {
            Ok(Ok(status)) if status.success() => None,
            Ok(Ok(status)) => Some(format!("it ended with {status}")),
            Ok(Err(error)) => Some(format!("it cannot be run: {error}")),
            Err(_) => Some(format!("it was ended after {} s", self.reload.script_timeout.as_secs_f64())),
        };
        self.metrics.scripted(problem.is_none());
        match problem {
            None => tracing::info!("the script {} was run", script.display()),
            Some(problem) => tracing::warn!("the script {}: {problem}", script.display()),
        }
    }
}

async fn run(script: &Path, burst: &Burst) -> std::io::Result<std::process::ExitStatus> {
    let is_executable = std::fs::metadata(script)?.permissions().mode() & 0o111 != 0;
    let mut command = if is_executable { Command::new(script) } else { Command::new("sh") };
    if !is_executable {
        command.arg(script);
    }
    command.env("OUTRIGGER_CHANGED_FILES", burst.files("\n")).stdin(Stdio::null()).kill_on_drop(true).process_group(0);
    let mut script = command.spawn()?;
    let mut group = Group(script.id().and_then(|id| Pid::from_raw(id.try_into().ok()?)));
    let status = script.wait().await;
    group.0 = None; // what it left running may be meant to run
    status
}

/// A script with all that it started; dropped, they are ended.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}
