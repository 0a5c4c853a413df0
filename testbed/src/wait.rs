//! Waits for a condition with a time limit.

use std::time::Duration;

use anyhow::{Result, anyhow};
use tokio::time::{Instant, sleep, timeout_at};

/// The time between two attempts.
const INTERVAL: Duration = Duration::from_millis(50);

/// Calls `look` repeatedly until it returns a value. `Ok(None)` means not yet, and so does an error. The last error
/// is reported at the time limit, so `bail!("the Pod is {phase}")` is a good way to report what was seen.
///
/// # Errors
/// After `timeout`, with `what` and the last error.
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

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[tokio::test]
    async fn errors_mean_not_yet() {
        let mut looks = 0;
        let value = wait_for("the third look", Duration::from_secs(20), async || {
            looks += 1;
            match looks {
                1 => bail!("once"),
                2 => Ok(None),
                n => Ok(Some(n)),
            }
        });
        assert_eq!(value.await.unwrap(), 3);
    }

    #[tokio::test]
    async fn the_error_says_what_was_waited_for_and_seen_last() {
        let waited =
            wait_for("the Pod", Duration::from_millis(120), async || -> Result<Option<()>> { bail!("it is Pending") });
        let error = format!("{:#}", waited.await.unwrap_err());
        assert_eq!(error, "waited 120ms for the Pod; seen last: it is Pending");
    }

    #[tokio::test]
    async fn a_look_that_hangs_is_bounded_too() {
        let waited = wait_for("an answer", Duration::from_millis(50), async || {
            std::future::pending::<Result<Option<()>>>().await
        });
        assert!(format!("{:#}", waited.await.unwrap_err()).ends_with("seen last: no answer"));
    }
}
