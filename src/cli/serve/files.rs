//! SidecarSets from files: the webhook server with no cluster.

use super::job::Job;
use crate::admission::{Handler, Metrics, Webhook, mutate_pod};
use crate::cli::injection_args::InjectionArgs;
use crate::cli::source::{Loaded, Source};
use crate::injection::Snapshot;
use crate::telemetry::Readiness;
use anyhow::{Context, Result};
use arc_swap::ArcSwap;
use jiff::Timestamp;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// How often the files are read. A large number of files that takes long is read less often.
const POLL: Duration = Duration::from_secs(1);

/// The pause after reading is this many times as long as reading, so that it takes at most a few per cent of a core ...
const REST: u32 = 20;

/// ... but at most this long.
const LONGEST_REST: Duration = Duration::from_secs(30);

/// At most this many problems are reported. Others are counted.
const TOLD: usize = 100;

/// The state shared by handlers and checks.
struct ServedFiles {
    snapshot: ArcSwap<Snapshot>,
    /// The text of `/readyz` about the files: not ready until all of them were usable once.
    files: Mutex<Result<String, String>>,
}

/// Reads the files, and returns how to serve their content.
pub(super) fn job(
    from: &Path,
    injection: &InjectionArgs,
    metrics: &Arc<Metrics>,
    stop: CancellationToken,
) -> Result<Job> {
    let mut source = Source::open(from, injection.options()).context("--from")?;
    let state = Arc::new(ServedFiles::default());
    if let Some(loaded) = source.refresh() {
        state.take(loaded, metrics);
    }
    let files = state.clone();
    let readiness =
        Readiness::new().check("files", move || files.files.lock().unwrap_or_else(PoisonError::into_inner).clone());
    let webhooks = vec![(Webhook::MutatePod, handler(&state, metrics))];
    let refresh = refresh(source, state, metrics.clone());
    let background = Box::pin(async move { stop.run_until_cancelled(refresh).await.unwrap_or(Ok(())) });
    Ok(Job { webhooks, readiness, background })
}

impl Default for ServedFiles {
    fn default() -> Self {
        let files = Mutex::new(Err("not read yet".to_owned()));
        Self { snapshot: ArcSwap::default(), files }
    }
}

impl ServedFiles {
    fn take(&self, loaded: &Loaded, metrics: &Metrics) {
        self.snapshot.store(loaded.snapshot.clone());
        metrics.sidecarsets.set(i64::try_from(loaded.sets).unwrap_or(i64::MAX));
        metrics.source_errors.set(i64::try_from(loaded.problems.len()).unwrap_or(i64::MAX));
        for problem in told(&loaded.problems) {
            tracing::error!("{problem}");
        }
        for warning in told(&loaded.warnings) {
            tracing::warn!("{warning}");
        }
        self.set_files(loaded);
        tracing::info!(
            sidecarsets = loaded.sets,
            ignored = loaded.ignored,
            problems = loaded.problems.len(),
            "files read"
        );
    }

    /// Sets the text of `/readyz` about the files.
    fn set_files(&self, loaded: &Loaded) {
        let problems: Vec<String> = told(&loaded.problems).collect();
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let in_use = format!("SidecarSets in use: {}", loaded.sets);
        *files = match problems.as_slice() {
            [] => Ok(in_use),
            // The content in use stays in use. At the start there is none, and a missing set must not go unnoticed.
            problems if files.is_ok() => Ok(format!("{in_use}; {}", problems.join("; "))),
            problems => Err(problems.join("; ")),
        };
    }
}

fn handler(state: &Arc<ServedFiles>, metrics: &Arc<Metrics>) -> Handler {
    let (state, metrics) = (state.clone(), metrics.clone());
    Arc::new(move |body, abandoned| {
        mutate_pod::answer(body, abandoned, &state.snapshot.load(), Timestamp::now(), &metrics).into()
    })
}

/// Returns the first items, and the number of others.
fn told<T: ToString>(all: &[T]) -> impl Iterator<Item = String> {
    let more = all.len().saturating_sub(TOLD);
    all.iter().take(TOLD).map(ToString::to_string).chain((more > 0).then(|| format!("and {more} more")))
}

/// Reads the files repeatedly.
async fn refresh(mut source: Source, state: Arc<ServedFiles>, metrics: Arc<Metrics>) -> Result<()> {
    let mut rest = POLL;
    loop {
        sleep(rest).await;
        let (state, metrics) = (state.clone(), metrics.clone());
        let begun = Instant::now();
        source = tokio::task::spawn_blocking(move || {
            if let Some(loaded) = source.refresh() {
                state.take(loaded, &metrics);
            }
            source
        })
        .await
        .context("reading the files failed")?;
        rest = rest_after(begun.elapsed());
    }
}

/// Returns the pause after reading the files took this long.
fn rest_after(look: Duration) -> Duration {
    look.saturating_mul(REST).clamp(POLL, LONGEST_REST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_at_very_many_files_take_a_few_per_cent_of_a_core() {
        assert_eq!(rest_after(Duration::from_millis(2)), POLL);
        assert_eq!(rest_after(Duration::from_millis(500)), Duration::from_secs(10));
        assert_eq!(rest_after(Duration::from_secs(60)), LONGEST_REST);
    }

    #[test]
    fn of_many_problems_the_first_are_told_and_the_others_counted() {
        let told = |number: usize| told(&(0..number).collect::<Vec<_>>()).collect::<Vec<_>>();
        assert_eq!(told(2), ["0", "1"]);
        assert_eq!(told(TOLD).len(), TOLD);
        assert_eq!(told(100_000).last().unwrap(), &format!("and {} more", 100_000 - TOLD));
    }
}
