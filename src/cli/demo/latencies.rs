//! The latencies of the demo's reviews: a histogram and quantiles.

use crate::cli::output::Paint;
use std::io::{self, Write};
use std::time::Duration;

/// The limits of the histogram's rows, in microseconds, with a factor of about 1.5 between them.
const BOUNDS: [u64; 20] = [
    20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1_000, 1_500, 2_000, 3_000, 5_000, 7_000, 10_000, 20_000, 50_000,
    100_000,
];

/// The length of the longest bar.
const WIDTH: usize = 40;

/// Prints the times of reviews.
pub(super) fn write(out: &mut impl Write, paint: Paint, mut times: Vec<Duration>) -> io::Result<()> {
    times.sort_unstable();
    let Some(longest) = times.last().copied() else { return Ok(()) };
    writeln!(out, "{} reviews over TLS on one connection, one after the other:\n", times.len())?;
    let rows = rows(&times);
    let most = rows.iter().map(|row| row.reviews).max().unwrap_or(1);
    for Row { below, reviews } in rows {
        let bar = if reviews == 0 { String::new() } else { "█".repeat((reviews * WIDTH / most).max(1)) };
        let label = below.map_or("or more".to_owned(), |bound| format!("< {}", milliseconds(bound)));
        writeln!(out, "  {label:>10}  {} {reviews}", paint.cyan(&bar))?;
    }
    let told = [("p50", quantile(&times, 50)), ("p90", quantile(&times, 90)), ("p99", quantile(&times, 99))];
    let told = told.into_iter().chain([("longest", longest)]);
    let told: Vec<String> = told.map(|(name, time)| format!("{name} {}", paint.bold(&milliseconds(time)))).collect();
    writeln!(out, "\n  {}", told.join(", "))?;
    writeln!(out, "  {}", paint.dim("These are the times of this build; make bench measures a release."))?;
    writeln!(out)
}

/// A row of the histogram.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    /// The row's limit; `None` for latencies above the last limit.
    below: Option<Duration>,
    reviews: usize,
}

/// Returns the rows from the shortest to the longest latency.
fn rows(sorted: &[Duration]) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut rest = sorted;
    for below in BOUNDS.map(Duration::from_micros).map(Some).into_iter().chain([None]) {
        let reviews = below.map_or(rest.len(), |bound| rest.partition_point(|time| *time < bound));
        if reviews > 0 || !rows.is_empty() {
            rows.push(Row { below, reviews });
        }
        rest = &rest[reviews..];
        if rest.is_empty() {
            break;
        }
    }
    rows
}

fn quantile(sorted: &[Duration], percent: usize) -> Duration {
    let index = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(index).copied().unwrap_or_default()
}

fn milliseconds(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(micros: &[u64]) -> Vec<Duration> {
        micros.iter().copied().map(Duration::from_micros).collect()
    }

    #[test]
    fn rows_reach_from_the_shortest_time_to_the_longest_and_count_each_once() {
        let row = |below: Option<u64>, reviews| Row { below: below.map(Duration::from_micros), reviews };
        assert_eq!(
            rows(&times(&[99, 100, 149, 310])),
            [row(Some(100), 1), row(Some(150), 2), row(Some(200), 0), row(Some(300), 0), row(Some(500), 1)]
        );
        assert_eq!(rows(&times(&[200_000])), [row(None, 1)]);
        assert_eq!(rows(&[]), []);
    }

    #[test]
    fn the_median_is_in_the_middle_and_the_last_quantile_within() {
        let times = times(&[1, 2, 3]);
        assert_eq!((quantile(&times, 50), quantile(&times, 99)), (times[1], times[2]));
    }
}
