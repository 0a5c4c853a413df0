//! Expressions that compute a resource of a sidecar from the resources of the app containers, such as `max(cpu*50%, 50m)`.
//!
//! The language is that of OpenKruise's `resourcesPolicy`. An expression has numbers (`2`, `.5`, `1e3`, `50%`), quantities
//! (`100m`, `2Gi`; units `m k M G T P Ki Mi Gi Ti Pi`), one variable (`cpu` or `memory`, case-insensitive), `+ - * /`, unary
//! minus, parentheses, `max(a, b)` and `min(a, b)`. Module `value` has the rules for mixing numbers and quantities.
//!
//! An expression is parsed once into a flat list of stack machine steps, and evaluated for each Pod.
//!
//! Everything that OpenKruise's grammar accepts is accepted here, including nonsense (`cpu/cpu`, `2--1`).
//! [`Expression::check`] and [`Expression::doubts`] tell the author of a `SidecarSet` about it. The differences from
//! OpenKruise are:
//! * Names are case-insensitive everywhere. (In OpenKruise, `Memory` passes validation and then fails for every Pod.)
//! * An amount that does not fit is an error. (In OpenKruise it wraps around, usually to a negative amount.)
//! * The limits are [`MAX_LENGTH`] bytes and [`MAX_DEPTH`] nested parentheses.
//! * A signed exponent is read as one number (`1e-3`).

mod bounds;
mod operator;
mod parse;
mod problem;
mod resource;
mod value;

use crate::api::quantity::Quantity;
use bounds::Bounds;
use parse::Step;
use std::fmt;
use value::Value;

pub use operator::Operator;
pub use problem::{Doubt, ExpressionError, MAX_DEPTH, MAX_LENGTH, Problem};
pub use resource::Resource;

/// A parsed expression for one resource.
#[derive(Clone, Debug, PartialEq)]
pub struct Expression {
    text: String,
    resource: Resource,
    /// In stack machine order: operands before their operator.
    steps: Vec<Step>,
    doubts: Vec<Doubt>,
}

impl Expression {
    /// Parses an expression for `resource`.
    ///
    /// # Errors
    /// When the text does not match the grammar, uses an unknown name, is too long, or is nested too deep.
    pub fn parse(resource: Resource, text: &str) -> Result<Self, ExpressionError> {
        let error = |text, problem| ExpressionError { expression: text, problem };
        if text.len() > MAX_LENGTH {
            return Err(error(text.chars().take(64).chain(['…']).collect(), Problem::TooLong));
        }
        let text = text.to_owned();
        match parse::parse(resource, &text) {
            Ok((steps, doubts)) => Ok(Self { text, resource, steps, doubts }),
            Err(problem) => Err(error(text, problem)),
        }
    }

    /// Computes the resource for a Pod whose app containers have `aggregate` of it.
    ///
    /// # Errors
    /// When quantities are multiplied or used as a divisor, a divisor is 0, an amount does not fit, or the result is
    /// negative.
    pub fn evaluate(&self, aggregate: Quantity) -> Result<Quantity, ExpressionError> {
        let problem = match self.run(aggregate) {
            Ok(value) if value.is_negative() => Problem::Negative(value.to_string()),
            Ok(value) => match value.into_resource(self.resource) {
                Some(quantity) => return Ok(quantity),
                None => Problem::Overflow,
            },
            Err(problem) => problem,
        };
        Err(ExpressionError { expression: self.text.clone(), problem })
    }

    /// Checks that the expression makes sense for some Pod, by evaluating it for the smallest amount, a thousandth.
    ///
    /// The type of a value (number or quantity) does not depend on the Pod, and a divisor is a number, so a constant. If this
    /// returns `Ok`, no Pod can cause a multiplication of quantities or a division by a quantity or by zero, and an
    /// expression without a variable never fails. Two failures remain that depend on the Pod: a negative result
    /// (`memory-2Gi`) and an overflow.
    ///
    /// # Errors
    /// When the expression fails for that amount, except for a negative result that may be positive for another amount.
    pub fn check(&self) -> Result<(), ExpressionError> {
        let of_milli = |milli| self.evaluate(Quantity::from_milli(milli, self.resource.format()));
        let is_negative = |result: &Result<_, ExpressionError>| {
            matches!(result, Err(ExpressionError { problem: Problem::Negative(_), .. }))
        };
        let least = of_milli(1);
        if !self.steps.contains(&Step::Variable) || !(least.is_ok() || is_negative(&least)) {
            return least.map(drop);
        }
        // The smallest amounts round down to zero thousandths.
        if Bounds::of(&self.steps).most < 0.0 && is_negative(&of_milli(1000)) {
            return Err(ExpressionError { expression: self.text.clone(), problem: Problem::AlwaysNegative });
        }
        Ok(())
    }

    /// Returns what is allowed but most likely a mistake.
    #[must_use]
    pub fn doubts(&self) -> &[Doubt] {
        &self.doubts
    }

    fn run(&self, variable: Quantity) -> Result<Value, Problem> {
        let mut stack = Vec::with_capacity(8);
        for step in &self.steps {
            let value = match step {
                Step::Push(value) => *value,
                Step::TooLarge => return Err(Problem::Overflow),
                Step::Variable => Value::Quantity(variable),
                Step::Negate => pop(&mut stack).negated().ok_or(Problem::Overflow)?,
                Step::Apply(operator) => {
                    let right = pop(&mut stack);
                    let left = pop(&mut stack);
                    operator.apply(left, right)?
                }
            };
            stack.push(value);
        }
        Ok(pop(&mut stack))
    }
}

fn pop(stack: &mut Vec<Value>) -> Value {
    stack.pop().expect("the parser writes every operator behind its operands")
}

/// The text that was parsed.
impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests;
