//! Waits for a condition, bounded.

use std::time::Duration;

use anyhow::{Result, anyhow};
use tokio::time::{Instant, sleep, timeout_at};

/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(50);

/// Looks again and again until `look` gives a value. `Ok(None)` means not yet; so does an error, and the last one is
/// told when time is up: `bail!("the Pod is {phase}")` is a fine way of saying what was seen.
///
/// # Errors
/// After `timeout`, with `what` was waited for and what was seen last.
pub async fn wait_for<T>(what: &str, timeout: Duration, mut look: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + timeout;
    let mut seen = None;
    loop {
        match timeout_at(deadline, look()).await {
            Ok(Ok(Some(value))) => return Ok(value),
            Ok(Ok(None)) => seen = None,
            Ok(Err(error)) => seen = Some(error),
            Err(_) => seen = seen.or_else(|| Some(anyhow!("no answer"))),
        }
        if Instant::now() + INTERVAL >= deadline {
            return Err(seen.unwrap_or_else(|| anyhow!("not yet")))
                .map_err(|seen| seen.context(format!("waited {timeout:?} for {what}; seen last")));
        }
        sleep(INTERVAL).await;
    }
}
