//! What is wrong with an expression, or most likely not meant.

use super::operator::Operator;
use super::resource::Resource;
use thiserror::Error;

/// The longest expression, in bytes.
pub const MAX_LENGTH: usize = 4096;
/// The deepest nesting of parentheses and functions.
pub const MAX_DEPTH: usize = 64;

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
    /// `-cpu`.
    #[error("the result is negative whatever the app containers have")]
    AlwaysNegative,
}
