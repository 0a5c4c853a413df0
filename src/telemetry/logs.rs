//! Log lines on standard error, as text for people or JSON for machines. Panics are logged too.

use std::ffi::OsStr;
use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use super::text::Fields;

/// The format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One line of text, coloured on a terminal unless `NO_COLOR` is set.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A filter that cannot be parsed.
    #[error(
        "{origin} {filter:?} is not a log filter: {source}; write a level (error, warn, info, debug, trace) or target=level pairs"
    )]
    Filter {
        /// The source of the filter.
        origin: &'static str,
        /// The filter as given.
        filter: String,
        /// The problem.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Logging has already been set up in this process.
    #[error("logging is already set up")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// Starts logging to standard error for the whole process, including panics.
///
/// `level` (the flag `--log-level`) takes precedence over the environment variable `RUST_LOG`. The default is `info`.
///
/// # Errors
/// When a filter cannot be parsed, or on a second call.
pub fn init(format: LogFormat, level: Option<&str>) -> Result<(), LogError> {
    let filter = filter(level, std::env::var("RUST_LOG").ok().as_deref())?;
    // kube's client logs each failed call as an error, even if it is retried or expected. It logs the whole body of an answer that
    // it cannot parse, which may contain Secrets. Callers report failures instead.
    let filter = ["kube_client::client=off", "kube_client::client::tls=warn"]
        .iter()
        .filter_map(|directive| directive.parse().ok())
        .fold(filter, EnvFilter::add_directive);
    let ansi = colour(std::io::stderr().is_terminal(), std::env::var_os("NO_COLOR").as_deref());
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => logs.with_ansi(ansi).fmt_fields(Fields).finish().try_init()?,
        LogFormat::Json => logs.json().flatten_event(true).finish().try_init()?,
    }
    // Only the location is logged, because the message of a panic may quote data such as a Secret.
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string);
        tracing::error!(location, "a thread panicked");
    }));
    Ok(())
}

/// According to <https://no-color.org>, an empty variable does not count.
fn colour(terminal: bool, no_color: Option<&OsStr>) -> bool {
    terminal && no_color.is_none_or(OsStr::is_empty)
}

fn filter(level: Option<&str>, environment: Option<&str>) -> Result<EnvFilter, LogError> {
    let (origin, filter) = match (level, environment) {
        (Some(level), _) => ("--log-level", level),
        (None, Some(environment)) if !environment.is_empty() => ("RUST_LOG", environment),
        (None, _) => ("the default", "info"),
    };
    EnvFilter::try_new(filter).map_err(|source| LogError::Filter { origin, filter: filter.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::{Arc, Mutex};

    #[test]
    fn the_command_line_wins_over_the_environment() {
        let filter = filter(Some("debug"), Some("error")).expect("a filter");
        assert_eq!(filter.to_string(), "debug");
    }

    #[test]
    fn without_any_filter_the_level_is_info() {
        assert_eq!(filter(None, None).expect("a filter").to_string(), "info");
        assert_eq!(filter(None, Some("")).expect("a filter").to_string(), "info");
        assert_eq!(filter(None, Some("hyper=warn")).expect("a filter").to_string(), "hyper=warn");
    }

    #[test]
    fn colour_needs_a_terminal_and_no_wish_against_it() {
        assert!(colour(true, None) && colour(true, Some(OsStr::new(""))));
        assert!(!colour(false, None) && !colour(true, Some(OsStr::new("1"))));
    }

    #[test]
    fn a_wrong_filter_is_an_error_that_names_its_origin() {
        let error = filter(None, Some("outrigger=loud")).expect_err("not a level").to_string();
        assert!(error.starts_with("RUST_LOG \"outrigger=loud\""), "{error}");
    }

    #[test]
    fn text_from_outside_forges_no_line() {
        let lines = Lines::default();
        let writer = lines.clone();
        let logs = tracing_subscriber::fmt().with_ansi(false).without_time().with_target(false).fmt_fields(Fields);
        let logs = logs.with_writer(move || writer.clone()).finish();
        let forged = "a\n ERROR forged";
        tracing::subscriber::with_default(logs, || {
            tracing::warn!("{forged}");
            tracing::warn!(name = forged, shown = %forged, debug = ?Some(forged), number = 5, "told");
        });
        let text = String::from_utf8(std::mem::take(&mut *lines.0.lock().expect("unharmed"))).expect("text");
        let expected = [
            r" WARN a\n ERROR forged",
            r#" WARN told name="a\n ERROR forged" shown=a\n ERROR forged debug=Some("a\n ERROR forged") number=5"#,
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    }

    /// The written lines.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("unharmed").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}
