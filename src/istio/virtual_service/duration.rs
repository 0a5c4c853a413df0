//! Durations as Istio takes them: at least a millisecond, and whole milliseconds.

use crate::api::go_duration;
use std::time::Duration;

/// Whether a text is a duration that Istio takes.
///
/// # Errors
/// What it must be.
pub fn check(text: &str) -> Result<(), &'static str> {
    // protobuf's own form (`1.5s`) is one of Go's.
    let Some(duration) = go_duration::parse(text) else {
        return Err("must be a duration such as 1.5s, 500ms or 1m30s");
    };
    if duration < Duration::from_millis(1) {
        return Err("must be at least 1ms");
    }
    if duration.subsec_nanos() % 1_000_000 != 0 {
        return Err("must be whole milliseconds");
    }
    Ok(())
}
