//! Notifies the app of changes: a script, then a request, once for each burst, with retries until the app is up. Files
//! do not wait for it.

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

/// The first list is reported when all lists are complete, or after this time: a forbidden list is never complete.
const PATIENCE: Duration = Duration::from_secs(10);

/// The first and the maximum pause after a request whose attempts all failed.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Changes that have not been reported to the app. Clones share them.
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

/// Changes that are reported together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Burst {
    files: BTreeSet<String>,
    /// The number of changes.
    pub count: usize,
    /// Whether some came after the first list.
    pub is_later: bool,
}

impl Changes {
    /// A file was written or removed. `is_later` tells whether the change is not part of the first list.
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

    /// All lists are complete.
    pub fn first_list_is_over(&self) {
        self.lock().is_listed = true;
        self.shared.listed.notify_one();
    }

    /// Takes the changes since the last call.
    pub fn take(&self) -> Option<Burst> {
        self.lock().burst.take()
    }

    /// Waits for a change.
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
    /// Returns the named files.
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

/// Notifies the app.
#[derive(Debug)]
pub struct Reloader {
    /// The configuration.
    pub reload: Reload,
    /// The changes.
    pub changes: Changes,
    /// Sends requests.
    pub caller: Arc<Caller>,
    /// The metrics.
    pub metrics: SyncMetrics,
}

impl Reloader {
    /// Reports changes forever.
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

    /// Reports the current changes once.
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
    group.0 = None; // processes that it left running may be intended
    status
}

/// A script with all processes that it started. Dropping it kills them.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}
