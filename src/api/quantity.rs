//! `resource.Quantity` of Kubernetes: parsing, rounding and the canonical text.
//!
//! A quantity is an integral number of billionths with the format it was written in. Kubernetes is not more precise
//! either: it rounds smaller amounts up on parsing.

mod arithmetic;

use serde::{Serialize, Serializer};
use std::fmt;
use thiserror::Error;

const NANO: i128 = 1_000_000_000;
/// Billionths in a thousandth.
const MILLI: i128 = 1_000_000;
/// The largest amount with a binary suffix. Larger amounts are capped.
const BINARY_MAX: i128 = i64::MAX as i128 * NANO;

/// The largest amount that is parsed. It still fits after rounding up to thousandths.
const MAX: i128 = i128::MAX - MILLI;

/// The format in which a quantity was written. Arithmetic keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `1e3`
    DecimalExponent,
    /// `1k`, `100m`
    DecimalSi,
    /// `1Ki`
    BinarySi,
}

/// An amount of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

/// Why a text is not a quantity.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum QuantityError {
    /// Not a number with a suffix of Kubernetes.
    #[error(
        "{0:?} is not a quantity: write a number with one of the suffixes n u m k M G T P E Ki Mi Gi Ti Pi Ei, or an exponent"
    )]
    Syntax(String),
    /// The amount is too large.
    #[error("{0:?} is out of range for a quantity")]
    Range(String),
}

impl Quantity {
    /// Parses what Kubernetes accepts in a manifest.
    ///
    /// # Errors
    /// When `text` is not a quantity, or is larger than any real resource (about 10^29).
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        let syntax = || QuantityError::Syntax(text.to_owned());
        let range = || QuantityError::Range(text.to_owned());
        let (negative, unsigned) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let number_end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(number_end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(syntax());
        }
        let (format, binary_shift, exponent) = interpret_suffix(suffix).ok_or_else(syntax)?;

        let digits = format!("{whole}{}", fraction.trim_end_matches('0'));
        let digits = digits.trim_start_matches('0');
        if digits.is_empty() {
            return Ok(Self { nanos: 0, format });
        }
        let places = i32::try_from(fraction.trim_end_matches('0').len()).map_err(|_| range())?;
        let mantissa: i128 = digits.parse().map_err(|_| range())?;
        let mantissa = mantissa.checked_mul(1_i128 << binary_shift).ok_or_else(range)?;
        let nanos = scale_up(mantissa, exponent.saturating_sub(places).saturating_add(9))
            .filter(|nanos| *nanos <= MAX)
            .ok_or_else(range)?;
        let nanos = if format == Format::BinarySi { nanos.min(BINARY_MAX) } else { nanos };
        let format = if format == Format::BinarySi && nanos < NANO { Format::DecimalSi } else { format };
        Ok(Self { nanos: if negative { -nanos } else { nanos }, format })
    }

    /// Rounds away from zero to thousandths, as Kubernetes' defaulting does with resources.
    #[must_use]
    pub fn round_up_to_milli(self) -> Self {
        Self { nanos: self.rounded_up_milli().saturating_mul(MILLI), ..self }
    }

    /// Returns thousandths, rounded away from zero.
    fn rounded_up_milli(self) -> i128 {
        self.nanos / MILLI + (self.nanos % MILLI).signum()
    }

    /// Whether it has no fraction.
    #[must_use]
    pub fn is_whole(self) -> bool {
        self.nanos % NANO == 0
    }
}

/// The canonical text: no fraction, and the largest suffix that leaves an integer.
impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
        if self.nanos == 0 {
            return f.write_str("0");
        }
        if self.format == Format::BinarySi
            && self.nanos % NANO == 0
            && !(1 - 1024 * NANO..1024 * NANO).contains(&self.nanos)
        {
            let mut amount = self.nanos / NANO;
            let mut suffix = 0;
            while amount % 1024 == 0 && suffix + 1 < BINARY.len() {
                amount /= 1024;
                suffix += 1;
            }
            return write!(f, "{amount}{}", BINARY[suffix]);
        }
        let mut amount = self.nanos;
        let mut exponent = -9;
        while amount % 1000 == 0 && (exponent < 18 || self.format == Format::DecimalExponent) {
            amount /= 1000;
            exponent += 3;
        }
        match (self.format, exponent) {
            (_, 0) => write!(f, "{amount}"),
            (Format::DecimalExponent, _) => write!(f, "{amount}e{exponent}"),
            (_, exponent) => {
                let suffix = match exponent {
                    -9 => "n",
                    -6 => "u",
                    -3 => "m",
                    3 => "k",
                    6 => "M",
                    9 => "G",
                    12 => "T",
                    15 => "P",
                    _ => "E",
                };
                write!(f, "{amount}{suffix}")
            }
        }
    }
}

/// As its canonical text.
impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Returns format, power of two and power of ten of a suffix.
fn interpret_suffix(suffix: &str) -> Option<(Format, u32, i32)> {
    let decimal = |exponent| Some((Format::DecimalSi, 0, exponent));
    let binary = |shift| Some((Format::BinarySi, shift, 0));
    match suffix {
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "" => decimal(0),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(10),
        "Mi" => binary(20),
        "Gi" => binary(30),
        "Ti" => binary(40),
        "Pi" => binary(50),
        "Ei" => binary(60),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?;
            Some((Format::DecimalExponent, 0, exponent.parse().ok()?))
        }
    }
}

/// Returns `mantissa * 10^exponent`, rounded up if `exponent` is negative; `None` if it is too large.
fn scale_up(mantissa: i128, exponent: i32) -> Option<i128> {
    match u32::try_from(exponent) {
        Ok(exponent) => mantissa.checked_mul(10_i128.checked_pow(exponent)?),
        Err(_) => Some(match 10_i128.checked_pow(exponent.unsigned_abs()) {
            Some(divisor) => mantissa / divisor + i128::from(mantissa % divisor != 0),
            None => 1,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected texts are from `k8s.io/apimachinery/pkg/api/resource` (`ParseQuantity`, `RoundUp(Milli)`, `String`).
    #[test]
    fn canonical_text_equals_kubernetes() {
        for (written, canonical) in [
            ("0", "0"),
            ("0Mi", "0"),
            ("1", "1"),
            ("0.5", "500m"),
            (".5", "500m"),
            ("500m", "500m"),
            ("1000m", "1"),
            ("1500m", "1500m"),
            ("100M", "100M"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("1000Ki", "1000Ki"),
            ("1023", "1023"),
            ("1e3", "1e3"),
            ("12e2", "1200"),
            ("1e9", "1e9"),
            ("1e-3", "1e-3"),
            ("0.1m", "1m"),
            ("0.0001", "1m"),
            ("-0.5", "-500m"),
            ("-1.0001", "-1001m"),
            ("0.5Ki", "512"),
            ("0.3Ki", "307200m"),
            ("1.0001Ki", "1024103m"),
            ("123456789k", "123456789k"),
            ("16Ei", "9223372036854775807"),
            ("9223372036854775807", "9223372036854775807"),
            ("1Pi", "1Pi"),
            ("1P", "1P"),
            ("1u", "1m"),
        ] {
            let quantity = Quantity::parse(written).unwrap_or_else(|e| panic!("{e}")).round_up_to_milli();
            assert_eq!(quantity.to_string(), canonical, "{written}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_an_error() {
        for text in ["", ".", "Mi", "1 Mi", "1mi", "1KiB", "1e", "1e1.5", "1..2", "--1", "1.2.3", "NaN", "0x10", "１"]
        {
            assert!(Quantity::parse(text).is_err(), "{text}");
        }
        assert_eq!(Quantity::parse("1e1000"), Err(QuantityError::Range("1e1000".to_owned())));
        assert!(Quantity::parse(&"9".repeat(60)).is_err());
        let largest = format!("{}n", i128::MAX);
        assert_eq!(Quantity::parse(&largest), Err(QuantityError::Range(largest)));
        assert_eq!(Quantity::parse("1e-1000").map(|q| q.to_string()), Ok("1e-9".to_owned()));
    }
}
