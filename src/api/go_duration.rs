//! Durations as Go writes them: `2m`, `1h30m`, `1.5s`.

use std::time::Duration;

/// Go's longest duration, 2^63 - 1 nanoseconds.
const LONGEST: Duration = Duration::from_nanos(i64::MAX.cast_unsigned());

/// Parses a duration that is not negative: <https://pkg.go.dev/time#ParseDuration>. `None` if Go would not parse it
/// either.
#[must_use]
pub fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let is_number = |character: char| character.is_ascii_digit() || character == '.';
    let mut total = Duration::ZERO;
    loop {
        let (number, after) = rest.split_at(rest.find(|character| !is_number(character))?);
        let (unit, next) = after.split_at(after.find(is_number).unwrap_or(after.len()));
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        let part = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
        total = total.checked_add(part).filter(|total| *total <= LONGEST)?;
        if next.is_empty() {
            return Some(total);
        }
        rest = next;
    }
}

/// Parses a positive duration of a flag.
///
/// # Errors
/// When it is not a positive duration.
pub fn positive(text: &str) -> Result<Duration, String> {
    let duration = parse(text).filter(|duration| !duration.is_zero());
    duration.ok_or_else(|| "must be a duration above 0 such as 10s, 1m30s or 500ms".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, milliseconds) in [
            ("2m", 120_000),
            ("1h30m", 5_400_000),
            ("1.5h0.5m", 5_430_000),
            ("+5s", 5_000),
            (".5s", 500),
            ("1.s", 1_000),
            ("250ms", 250),
            ("3000us", 3),
            ("3000µs4000000ns", 7),
            ("0", 0),
            ("0s", 0),
        ] {
            assert_eq!(parse(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn what_go_does_not_take_is_no_duration() {
        for text in [
            "",
            "+",
            "abc",
            "3",
            "-5s",
            "5",
            "s",
            ".s",
            "1.2.3s",
            "1e3s",
            "infs",
            "NaNs",
            "1d",
            "5s ",
            "5 s",
            "5s3",
            "1s-1s",
            "2562048h",
            "99999999999999999999h",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
