//! Errors and likely mistakes in an expression.

use super::operator::Operator;
use super::resource::Resource;
use thiserror::Error;

/// The longest expression, in bytes.
pub const MAX_LENGTH: usize = 4096;
/// The deepest nesting of parentheses and functions.
pub const MAX_DEPTH: usize = 64;

/// Something that is allowed but most likely a mistake.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Doubt {
    /// A literal that is neither a number nor a quantity.
    #[error("{0:?} is neither a number nor a quantity and counts as 0")]
    CountsAsZero(String),
    /// The variable of the other resource. OpenKruise gives it the value of this one.
    #[error("{variable:?} stands for the {resource} of the app containers here")]
    OtherVariable {
        /// The variable's name.
        variable: &'static str,
        /// The resource that its name suggests.
        resource: Resource,
    },
}

/// An expression that cannot be parsed or evaluated.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("expression {expression:?}: {problem}")]
pub struct ExpressionError {
    /// The expression, or its beginning if it is too long.
    pub expression: String,
    /// The error.
    pub problem: Problem,
}

/// An error in an expression.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Problem {
    /// See [`MAX_LENGTH`].
    #[error("it is longer than {MAX_LENGTH} bytes")]
    TooLong,
    /// See [`MAX_DEPTH`].
    #[error("it is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// A character that the grammar does not allow here.
    #[error("unexpected {found:?} at byte {at}: expected {expected}")]
    Unexpected {
        /// The character.
        found: char,
        /// Its offset, in bytes.
        at: usize,
        /// What the grammar expects.
        expected: &'static str,
    },
    /// The text ends too early.
    #[error("it ends too early: expected {expected}")]
    End {
        /// What the grammar expects.
        expected: &'static str,
    },
    /// A name that is not a variable. `cpu` is not a variable where `memory` occurs.
    #[error("undefined variable: {0}")]
    UndefinedVariable(String),
    /// A call of a function other than `max` and `min`.
    #[error("unknown function: {0}")]
    UnknownFunction(String),
    /// `max` or `min` with other than two arguments.
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
    /// An intermediate value that does not fit.
    #[error("an amount is too large")]
    Overflow,
    /// The result is negative, and no resource can be.
    #[error("the result {0} is negative")]
    Negative(String),
    /// `-cpu`.
    #[error("the result is negative whatever the app containers have")]
    AlwaysNegative,
}
