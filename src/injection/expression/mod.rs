//! Expressions that compute a resource of a sidecar from the resources of the app containers, such as `max(cpu*50%, 50m)`.
//!
//! The language is that of OpenKruise's `resourcesPolicy`. An expression has numbers (`2`, `.5`, `1e3`, `50%`), quantities
//! (`100m`, `2Gi`; units `m k M G T P Ki Mi Gi Ti Pi`), one variable (`cpu` or `memory`, in any case), `+ - * /`, unary minus,
//! parentheses, `max(a, b)` and `min(a, b)`. The rules for mixing numbers and quantities are those of `value`.
//!
//! It is parsed once, into a flat list of steps for a stack, and evaluated for each Pod.
//!
//! What OpenKruise's grammar accepts is accepted here, nonsense included (`cpu/cpu`, `2--1`); [`Expression::check`] and
//! [`Expression::doubts`] tell the author of a `SidecarSet` about it. It differs from OpenKruise in these points:
//! * Names are read in any case everywhere. (There `Memory` passes validation and then fails for every Pod.)
//! * An amount that does not fit is an error. (There it wraps around, mostly to a negative one.)
//! * At most [`MAX_LENGTH`] bytes and [`MAX_DEPTH`] nested parentheses.
//! * A signed exponent is read as one number (`1e-3`).

mod parse;
mod value;

use crate::api::quantity::{Format, Quantity};
use std::fmt;
use thiserror::Error;
use value::Value;

pub use value::Operator;

/// The longest expression, in bytes.
pub const MAX_LENGTH: usize = 4096;
/// The deepest nesting of parentheses and functions.
pub const MAX_DEPTH: usize = 64;

/// The resource that an expression computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Where a plain number is one of cores: `0.5` is `500m`.
    Cpu,
    /// Where a plain number is one of bytes, its fraction cut off.
    Memory,
}

/// A parsed expression for one resource.
#[derive(Clone, Debug, PartialEq)]
pub struct Expression {
    text: String,
    resource: Resource,
    /// In the order of a stack machine: operands in front of their operator.
    steps: Vec<Step>,
    doubts: Vec<Doubt>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Push(Value),
    /// A literal too large to be kept.
    TooLarge,
    Variable,
    Negate,
    Apply(Operator),
}

/// Something that is allowed and most likely not meant.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Doubt {
    /// A literal that is neither number nor quantity.
    #[error("{0:?} is neither a number nor a quantity and counts as 0")]
    CountsAsZero(String),
    /// The variable of the other resource: OpenKruise gives it the value of this one.
    #[error("{variable:?} stands for the {resource} of the app containers here")]
    OtherVariable {
        /// The variable's name.
        variable: &'static str,
        /// The resource that it stands for.
        resource: Resource,
    },
}

/// An expression that cannot be parsed, or not be evaluated.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("expression {expression:?}: {problem}")]
pub struct ExpressionError {
    /// The expression; its beginning, where it is too long.
    pub expression: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with an expression.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Problem {
    /// See [`MAX_LENGTH`].
    #[error("it is longer than {MAX_LENGTH} bytes")]
    TooLong,
    /// See [`MAX_DEPTH`].
    #[error("it is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// Not what the grammar has at this place.
    #[error("unexpected {found:?} at byte {at}: {expected} should stand there")]
    Unexpected {
        /// The character.
        found: char,
        /// Its offset, in bytes.
        at: usize,
        /// What the grammar has there.
        expected: &'static str,
    },
    /// Something is missing behind the last character.
    #[error("it ends where {expected} should follow")]
    End {
        /// What the grammar has there.
        expected: &'static str,
    },
    /// A name that is no variable. Where `memory` occurs, `cpu` is none.
    #[error("undefined variable: {0}")]
    UndefinedVariable(String),
    /// A call of something other than `max` and `min`.
    #[error("unknown function: {0}")]
    UnknownFunction(String),
    /// `max` or `min` of one, or of three.
    #[error("{function} function requires exactly 2 arguments, got {got}")]
    Arguments {
        /// The function.
        function: Operator,
        /// How many arguments it was given.
        got: usize,
    },
    /// `cpu*cpu`, `cpu*2m`.
    #[error("multiplication of two quantities")]
    MultiplicationOfQuantities,
    /// `2/cpu`, `cpu/100m`.
    #[error("division by quantity")]
    DivisionByQuantity,
    /// `cpu/0`.
    #[error("division by zero")]
    DivisionByZero,
    /// A value between operand and result that does not fit.
    #[error("an amount is too large")]
    Overflow,
    /// No resource can be negative.
    #[error("the result {0} is negative")]
    Negative(String),
}

impl Expression {
    /// Parses an expression for `resource`.
    ///
    /// # Errors
    /// When the grammar does not have it, when a name is unknown, or when it is too long or nested too deep.
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

    /// The resource for a Pod whose app containers have `aggregate` of it.
    ///
    /// # Errors
    /// When quantities are multiplied or divided by, a divisor is 0, an amount does not fit, or the result is negative.
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

    /// Whether the expression makes sense for any Pod: an evaluation for the smallest amount there is, a thousandth.
    ///
    /// Whether a value is a number or a quantity does not depend on the Pod, and a divisor is a number, so a constant. Hence,
    /// when this is `Ok`, no Pod meets a multiplication of quantities, a division by a quantity or by zero; an expression
    /// without variable never fails. What is left are failures that some Pods meet: a negative result (`memory-2Gi`), and an
    /// overflow.
    ///
    /// # Errors
    /// When the expression fails for that amount, unless only because the result, with a variable in it, is negative.
    pub fn check(&self) -> Result<(), ExpressionError> {
        match self.evaluate(Quantity::from_milli(1, self.resource.format())) {
            Err(ExpressionError { problem: Problem::Negative(_), .. }) if self.steps.contains(&Step::Variable) => {
                Ok(())
            }
            result => result.map(drop),
        }
    }

    /// What is allowed and most likely not meant.
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

impl Resource {
    /// The name of the resource, and of its variable.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
        }
    }

    /// The notation of amounts that were computed from plain numbers only.
    #[must_use]
    pub fn format(self) -> Format {
        match self {
            Self::Cpu => Format::DecimalSi,
            Self::Memory => Format::BinarySi,
        }
    }
}

/// Its name.
impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests;
