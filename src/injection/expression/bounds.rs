//! The range of an expression's value over all amounts that the app containers may have.

use super::operator::Operator;
use super::parse::Step;
use super::value::Value;

/// A range that contains every value of a part of an expression, in cores or bytes. It may be wider than needed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bounds {
    pub least: f64,
    pub most: f64,
}

/// Any amount above zero. Zero is left out because every multiple of it is zero, which says nothing about an
/// expression.
const VARIABLE: Bounds = Bounds { least: 0.001, most: f64::INFINITY };
const ANYTHING: Bounds = Bounds { least: f64::NEG_INFINITY, most: f64::INFINITY };

impl Bounds {
    /// Returns the range of an expression that [can be evaluated](super::Expression::check).
    pub fn of(steps: &[Step]) -> Self {
        let mut stack = Vec::with_capacity(8);
        for step in steps {
            let bounds = match step {
                Step::Push(value) => Self::constant(value),
                Step::TooLarge => ANYTHING,
                Step::Variable => VARIABLE,
                Step::Negate => pop(&mut stack).negated(),
                Step::Apply(operator) => {
                    let right = pop(&mut stack);
                    pop(&mut stack).joined(*operator, right)
                }
            };
            stack.push(bounds);
        }
        pop(&mut stack)
    }

    fn constant(value: &Value) -> Self {
        let number = match value {
            Value::Number(number) => *number,
            #[expect(clippy::cast_precision_loss, reason = "a bound need not be exact")]
            Value::Quantity(quantity) => match quantity.milli_value() {
                Some(milli) => milli as f64 / 1000.0,
                None => return ANYTHING,
            },
        };
        Self { least: number, most: number }
    }

    fn negated(self) -> Self {
        Self { least: -self.most, most: -self.least }
    }

    fn joined(self, operator: Operator, right: Self) -> Self {
        match operator {
            Operator::Add => Self { least: self.least + right.least, most: self.most + right.most },
            Operator::Subtract => self.joined(Operator::Add, right.negated()),
            Operator::Multiply => self.corners(right, |a, b| a * b),
            Operator::Divide => self.corners(right, |a, b| a / b),
            Operator::Max => Self { least: self.least.max(right.least), most: self.most.max(right.most) },
            Operator::Min => Self { least: self.least.min(right.least), most: self.most.min(right.most) },
        }
    }

    /// One operand is a constant and a divisor is never zero, so the extremes are at the ends.
    fn corners(self, right: Self, join: impl Fn(f64, f64) -> f64) -> Self {
        // Joining zero and infinity gives NaN.
        let join = |a, b| Some(join(a, b)).filter(|number: &f64| !number.is_nan()).unwrap_or_default();
        let all =
            [(self.least, right.least), (self.least, right.most), (self.most, right.least), (self.most, right.most)];
        let all = all.map(|(a, b)| join(a, b));
        Self {
            least: all.into_iter().fold(f64::INFINITY, f64::min),
            most: all.into_iter().fold(f64::NEG_INFINITY, f64::max),
        }
    }
}

fn pop(stack: &mut Vec<Bounds>) -> Bounds {
    stack.pop().unwrap_or(ANYTHING)
}
