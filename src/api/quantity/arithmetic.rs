//! Arithmetic of quantities, as in Kubernetes' `resource.Quantity`: exact, and in the format of the left operand.
//!
//! An amount that does not fit is `None`, where Kubernetes wraps around (`MilliValue`) or has no limit.

use super::{Format, MILLI, NANO, Quantity};
use std::cmp::Ordering;

impl Quantity {
    /// An integral number of units.
    #[must_use]
    pub fn from_whole(units: i64, format: Format) -> Self {
        Self { nanos: i128::from(units) * NANO, format }
    }

    /// An integral number of thousandths (`NewMilliQuantity`).
    #[must_use]
    pub fn from_milli(milli: i64, format: Format) -> Self {
        Self { nanos: i128::from(milli) * MILLI, format }
    }

    /// Returns thousandths, rounded away from zero (`MilliValue`); `None` if they do not fit, which is above about 9 *
    /// 10^15 units (8191 Pi).
    #[must_use]
    pub fn milli_value(self) -> Option<i64> {
        i64::try_from(self.rounded_up_milli()).ok()
    }

    /// Returns the format.
    #[must_use]
    pub fn format(self) -> Format {
        self.format
    }

    /// Whether it is 0, in any format.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }

    /// Whether it is less than 0.
    #[must_use]
    pub fn is_negative(self) -> bool {
        self.nanos < 0
    }

    /// Compares amounts and ignores formats, unlike `==`.
    #[must_use]
    pub fn compare(self, other: Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }

    /// Whether it is a multiple of `size`, which must be positive.
    #[must_use]
    pub fn is_multiple_of(self, size: Self) -> bool {
        size.nanos > 0 && self.nanos % size.nanos == 0
    }

    /// Returns the sum, in this quantity's format, or in the format of `other` if this one is 0; `None` on overflow.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        Some(Self { nanos: self.nanos.checked_add(other.nanos)?, format: self.notation_with(other) })
    }

    /// Returns the difference, in this quantity's format, or in the format of `other` if this one is 0; `None` on
    /// overflow.
    #[must_use]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        Some(Self { nanos: self.nanos.checked_sub(other.nanos)?, format: self.notation_with(other) })
    }

    /// Returns the negated quantity; `None` on overflow.
    #[must_use]
    pub fn checked_neg(self) -> Option<Self> {
        Some(Self { nanos: self.nanos.checked_neg()?, ..self })
    }

    fn notation_with(self, other: Self) -> Format {
        if self.is_zero() { other.format } else { self.format }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Format::{BinarySi, DecimalExponent, DecimalSi};

    fn quantity(text: &str) -> Quantity {
        Quantity::parse(text).unwrap_or_else(|e| panic!("{e}"))
    }

    /// Expected values are from `k8s.io/apimachinery/pkg/api/resource` (`Add`, `Sub`, `Cmp`).
    #[test]
    fn sums_differences_and_order_equal_kubernetes() {
        use Ordering::{Equal, Greater, Less};
        for (left, right, sum, difference, order) in [
            ("1Gi", "512Mi", "1536Mi", "512Mi", Greater),
            ("1Gi", "500M", "1573741824", "573741824", Greater),
            ("500M", "1Gi", "1573741824", "-573741824", Less),
            ("1Gi", "1500m", "1073741825500m", "1073741822500m", Greater),
            ("0", "1Gi", "1Gi", "-1Gi", Less),
            ("1Gi", "0", "1Gi", "1Gi", Greater),
            ("0Mi", "5k", "5k", "-5k", Less),
            ("1e9", "1Gi", "2073741824", "-73741824", Less),
            ("1Gi", "1e9", "2073741824", "73741824", Greater),
            ("100m", "0.9", "1", "-800m", Less),
            ("1", "1", "2", "0", Equal),
            ("2e9", "500m", "2000000000500e-3", "1999999999500e-3", Greater),
            ("-1", "1", "0", "-2", Less),
            ("-500m", "100m", "-400m", "-600m", Less),
            ("0", "1e3", "1e3", "-1e3", Less),
            ("0", "0", "0", "0", Equal),
            ("1023", "1", "1024", "1022", Greater),
            ("512Mi", "-512Mi", "0", "1Gi", Greater),
            ("9223372036854775807", "1", "9223372036854775808", "9223372036854775806", Greater),
            ("8Ei", "8Ei", "18446744073709551614", "0", Equal),
            ("1n", "2n", "3n", "-1n", Less),
            ("1P", "1Pi", "2125899906842624", "-125899906842624", Less),
            ("1Ki", "1n", "1024000000001n", "1023999999999n", Greater),
            ("0.5Ki", "0.5Ki", "1Ki", "0", Equal),
            ("1e-3", "1m", "2e-3", "0", Equal),
            ("-5k", "3Ki", "-1928", "-8072", Less),
            ("1Ti", "1e18", "976563573741824Ki", "-976561426258176Ki", Less),
        ] {
            let (a, b) = (quantity(left), quantity(right));
            assert_eq!(a.checked_add(b).map(|q| q.to_string()).as_deref(), Some(sum), "{left} + {right}");
            assert_eq!(a.checked_sub(b).map(|q| q.to_string()).as_deref(), Some(difference), "{left} - {right}");
            assert_eq!(a.compare(b), order, "{left} and {right}");
        }
    }

    /// Expected values are from `MilliValue`.
    #[test]
    fn thousandths_are_rounded_up_as_kubernetes_does() {
        for (text, milli) in [
            ("1", 1000),
            ("100m", 100),
            ("0", 0),
            ("1u", 1),
            ("1.0001", 1001),
            ("-1.0001", -1001),
            ("-1u", -1),
            ("1Gi", 1_073_741_824_000),
            ("1e9", 1_000_000_000_000),
            ("0.1m", 1),
            ("-0.1m", -1),
            ("999999n", 1),
            ("1000001n", 2),
            ("9007199254740993m", 9_007_199_254_740_993),
            ("9223372036854775m", 9_223_372_036_854_775),
            ("8Pi", 9_007_199_254_740_992_000),
            ("9223372036854775.807", 9_223_372_036_854_775_807),
        ] {
            assert_eq!(quantity(text).milli_value(), Some(milli), "{text}");
        }
    }

    /// Kubernetes returns 0 or a wrapped number for them.
    #[test]
    fn thousandths_that_do_not_fit_are_none() {
        for text in ["9.3P", "16Pi", "8Ei", "-9223372036854775.809", "1e20", "9223372036854775.8071"] {
            assert_eq!(quantity(text).milli_value(), None, "{text}");
        }
    }

    /// Expected texts are from `NewMilliQuantity(…).String()`.
    #[test]
    fn thousandths_become_the_canonical_text_of_their_notation() {
        for (milli, format, text) in [
            (0, BinarySi, "0"),
            (1, BinarySi, "1m"),
            (500, BinarySi, "500m"),
            (1000, BinarySi, "1"),
            (1_024_000, BinarySi, "1Ki"),
            (1_610_612_736_500, BinarySi, "1610612736500m"),
            (1_818_181_818_181, BinarySi, "1818181818181m"),
            (193_462_272_000, BinarySi, "188928Ki"),
            (-1500, BinarySi, "-1500m"),
            (1_000_000_000_000, BinarySi, "1000000000"),
            (9_223_372_036_854_775_807, BinarySi, "9223372036854775807m"),
            (0, DecimalSi, "0"),
            (1, DecimalSi, "1m"),
            (500, DecimalSi, "500m"),
            (1000, DecimalSi, "1"),
            (1_024_000, DecimalSi, "1024"),
            (1_610_612_736_500, DecimalSi, "1610612736500m"),
            (1_818_181_818_181, DecimalSi, "1818181818181m"),
            (193_462_272_000, DecimalSi, "193462272"),
            (-1500, DecimalSi, "-1500m"),
            (1_000_000_000_000, DecimalSi, "1G"),
            (9_223_372_036_854_775_807, DecimalSi, "9223372036854775807m"),
            (0, DecimalExponent, "0"),
            (1, DecimalExponent, "1e-3"),
            (500, DecimalExponent, "500e-3"),
            (1000, DecimalExponent, "1"),
            (1_024_000, DecimalExponent, "1024"),
            (1_610_612_736_500, DecimalExponent, "1610612736500e-3"),
            (1_818_181_818_181, DecimalExponent, "1818181818181e-3"),
            (193_462_272_000, DecimalExponent, "193462272"),
            (-1500, DecimalExponent, "-1500e-3"),
            (1_000_000_000_000, DecimalExponent, "1e9"),
            (9_223_372_036_854_775_807, DecimalExponent, "9223372036854775807e-3"),
        ] {
            let quantity = Quantity::from_milli(milli, format);
            assert_eq!((quantity.to_string().as_str(), quantity.format()), (text, format));
        }
        assert_eq!(Quantity::from_whole(1536, BinarySi).to_string(), "1536");
        assert_eq!(Quantity::from_whole(2048, BinarySi).to_string(), "2Ki");
    }

    #[test]
    fn sign_and_zero_do_not_depend_on_notation() {
        assert!(quantity("0Mi").is_zero() && quantity("-0").is_zero() && !quantity("1n").is_zero());
        assert!(quantity("-1n").is_negative() && !quantity("0").is_negative());
        assert_eq!(quantity("1Gi").checked_neg().map(|q| q.to_string()).as_deref(), Some("-1Gi"));
    }

    #[test]
    fn overflow_is_none() {
        let mut large = quantity("10000000000E");
        while let Some(sum) = large.checked_add(large) {
            assert!(sum.compare(large).is_gt());
            large = sum;
        }
        let smallest = large.checked_neg().and_then(|q| q.checked_sub(large));
        assert_eq!(smallest, None);
        let least = Quantity { nanos: i128::MIN, format: BinarySi };
        assert_eq!((least.checked_neg(), least.milli_value()), (None, None));
        assert!(least.to_string().starts_with('-'));
    }
}
