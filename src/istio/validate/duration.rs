//! Go's durations.

/// Parses a Go duration (`1h30m`, `0.5s`) into microseconds.
pub(super) fn micros(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let unit = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let micros = match unit {
            "h" => 3_600e6,
            "m" => 60e6,
            "s" => 1e6,
            "ms" => 1e3,
            "us" | "µs" => 1.0,
            "ns" => 1e-3,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * micros;
        rest = after;
    }
    // At most a few centuries, and not negative.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    (0.0..1e16).contains(&total).then_some(total.round() as u64)
}
