//! Pure: which statuses of an answer are good.

use std::fmt;
use std::ops::RangeInclusive;

use http::StatusCode;

/// Ranges of statuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statuses(&'static [RangeInclusive<u16>]);

impl Statuses {
    /// 200 only: the answer is the resource.
    pub const OK: Self = Self(&[200..=200]);

    /// 200 to 299: the request was executed.
    pub const SUCCESS: Self = Self(&[200..=299]);

    /// Creates statuses from ranges.
    #[must_use]
    pub const fn of(ranges: &'static [RangeInclusive<u16>]) -> Self {
        Self(ranges)
    }

    /// Whether it includes this status.
    #[must_use]
    pub fn has(self, status: StatusCode) -> bool {
        self.0.iter().any(|range| range.contains(&status.as_u16()))
    }
}

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, range) in self.0.iter().enumerate() {
            let separator = if number == 0 { "" } else { " or " };
            match (range.start(), range.end()) {
                (first, last) if first == last => write!(f, "{separator}{first}")?,
                (first, last) => write!(f, "{separator}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_those_of_their_ranges_and_shown_as_such() {
        let stored = Statuses::of(&[200..=299, 500..=500, 502..=504]);
        for (statuses, good, bad, shown) in [
            (Statuses::OK, vec![200], vec![199, 201, 304, 500], "200"),
            (Statuses::SUCCESS, vec![200, 201, 204, 299], vec![100, 199, 300, 404], "200-299"),
            (stored, vec![204, 500, 502, 504], vec![302, 501, 505], "200-299 or 500 or 502-504"),
            (Statuses::of(&[]), vec![], vec![200], ""),
        ] {
            let has = |status: &u16| statuses.has(StatusCode::from_u16(*status).expect("a status"));
            assert!(good.iter().all(has) && !bad.iter().any(has), "{statuses:?}");
            assert_eq!(statuses.to_string(), shown);
        }
    }
}
