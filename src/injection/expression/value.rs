//! The values of expressions, numbers and quantities, and the rules for mixing them.
//!
//! | left, right | `+` `-` | `*` | `/` | `max` `min` |
//! |---|---|---|---|---|
//! | number, number | number | number | number | number |
//! | quantity, number (or reverse) | quantity | quantity | quantity (reverse: error) | quantity |
//! | quantity, quantity | quantity | error | error | quantity |
//!
//! A number is an `f64`. Next to a quantity it takes that quantity's format and is truncated to thousandths (`0.0015` is `1m`).
//! `*` and `/` convert the thousandths of the quantity, rounded up to a whole number, to an `f64`. Beyond 2^53 thousandths (8 Ti)
//! this is not exact for every value; the result is truncated to whole thousandths again. Everything else is exact. These are
//! OpenKruise's rules, and the results of existing `SidecarSets` depend on them.

use super::operator::Operator;
use super::problem::Problem;
use super::resource::Resource;
use crate::api::quantity::{Format, Quantity};
use std::fmt;

/// A value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value {
    /// A finite number.
    Number(f64),
    Quantity(Quantity),
}

impl Operator {
    pub(super) fn apply(self, left: Value, right: Value) -> Result<Value, Problem> {
        match (left, right) {
            (Value::Number(left), Value::Number(right)) => self.join_numbers(left, right),
            (Value::Number(left), Value::Quantity(right)) => match self {
                Self::Multiply => Self::Multiply.scale(right, left),
                Self::Divide => Err(Problem::DivisionByQuantity),
                _ => self.join_quantities(quantity_beside(left, right)?, right),
            },
            (Value::Quantity(left), Value::Number(right)) => match self {
                Self::Multiply | Self::Divide => self.scale(left, right),
                _ => self.join_quantities(left, quantity_beside(right, left)?),
            },
            (Value::Quantity(left), Value::Quantity(right)) => self.join_quantities(left, right),
        }
    }

    fn join_numbers(self, left: f64, right: f64) -> Result<Value, Problem> {
        let number = match self {
            Self::Add => left + right,
            Self::Subtract => left - right,
            Self::Multiply => left * right,
            Self::Divide if right == 0.0 => return Err(Problem::DivisionByZero),
            Self::Divide => left / right,
            Self::Max => left.max(right),
            Self::Min => left.min(right),
        };
        if number.is_finite() { Ok(Value::Number(number)) } else { Err(Problem::Overflow) }
    }

    fn join_quantities(self, left: Quantity, right: Quantity) -> Result<Value, Problem> {
        let quantity = match self {
            Self::Add => left.checked_add(right).ok_or(Problem::Overflow)?,
            Self::Subtract => left.checked_sub(right).ok_or(Problem::Overflow)?,
            Self::Multiply => return Err(Problem::MultiplicationOfQuantities),
            Self::Divide => return Err(Problem::DivisionByQuantity),
            Self::Max => [left, right][usize::from(left.compare(right).is_lt())],
            Self::Min => [left, right][usize::from(left.compare(right).is_gt())],
        };
        Ok(Value::Quantity(quantity))
    }

    /// Multiplies or divides a quantity by a number.
    fn scale(self, quantity: Quantity, number: f64) -> Result<Value, Problem> {
        let milli = quantity.milli_value().ok_or(Problem::Overflow)?;
        #[expect(clippy::cast_precision_loss, reason = "as OpenKruise calculates")]
        let milli = milli as f64;
        let milli = match self {
            Self::Divide if number == 0.0 => return Err(Problem::DivisionByZero),
            Self::Divide => milli / number,
            _ => milli * number,
        };
        from_milli(milli, quantity.format()).map(Value::Quantity).ok_or(Problem::Overflow)
    }
}

impl Value {
    pub(super) fn is_negative(self) -> bool {
        match self {
            Self::Number(number) => number < 0.0,
            Self::Quantity(quantity) => quantity.is_negative(),
        }
    }

    /// Returns `None` on overflow.
    pub(super) fn negated(self) -> Option<Self> {
        match self {
            Self::Number(number) => Some(Self::Number(-number)),
            Self::Quantity(quantity) => quantity.checked_neg().map(Self::Quantity),
        }
    }

    /// Converts a plain number to cores, truncated to thousandths, or to bytes, truncated to whole bytes. `None` on
    /// overflow.
    pub(super) fn into_resource(self, resource: Resource) -> Option<Quantity> {
        match (self, resource) {
            (Self::Quantity(quantity), _) => Some(quantity),
            (Self::Number(number), Resource::Cpu) => from_milli(number * 1000.0, resource.format()),
            (Self::Number(number), Resource::Memory) => Some(Quantity::from_whole(whole(number)?, resource.format())),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Quantity(quantity) => quantity.fmt(f),
        }
    }
}

fn quantity_beside(number: f64, quantity: Quantity) -> Result<Quantity, Problem> {
    from_milli(number * 1000.0, quantity.format()).ok_or(Problem::Overflow)
}

fn from_milli(milli: f64, format: Format) -> Option<Quantity> {
    Some(Quantity::from_milli(whole(milli)?, format))
}

/// Truncates the number to an integer; `None` if it does not fit.
fn whole(number: f64) -> Option<i64> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0; // 2^63
    #[expect(clippy::cast_possible_truncation, reason = "cut off, and within the range")]
    (-LIMIT..LIMIT).contains(&number).then_some(number as i64)
}
