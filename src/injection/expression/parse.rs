//! The grammar of expressions: from text to the steps of a stack machine.
//!
//! ```text
//! sum     = product { ("+" | "-") product }
//! product = factor { ("*" | "/") factor }
//! factor  = { "-" } ( literal | "(" sum ")" | name [ "(" [ sum { "," sum } ] ")" ] )
//! literal = (digit | ".") { digit | letter | "." | "%" }     a sign may follow the e of an exponent
//! name    = (letter | "_") { letter | digit | "_" }
//! ```
//!
//! White space is allowed between all tokens.

use super::operator::Operator;
use super::problem::{Doubt, MAX_DEPTH, Problem};
use super::resource::Resource;
use super::value::Value;
use crate::api::quantity::{Quantity, QuantityError};

const OPERAND: &str = "a number, a quantity, a variable or an opening parenthesis";
const OPERATOR: &str = "an operator";
const CLOSING: &str = "an operator or a closing parenthesis";
const ARGUMENT_END: &str = "an operator, a comma or a closing parenthesis";

/// Units of the quantities in expressions. `E` and `Ei` are missing because `E` starts an exponent.
const UNITS: [&str; 11] = ["m", "k", "M", "G", "T", "P", "Ki", "Mi", "Gi", "Ti", "Pi"];

/// A step of the stack machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Step {
    Push(Value),
    /// A literal that is too large.
    TooLarge,
    Variable,
    Negate,
    Apply(Operator),
}

pub(super) fn parse(resource: Resource, text: &str) -> Result<(Vec<Step>, Vec<Doubt>), Problem> {
    let mut parser = Parser { text, at: 0, depth: 0, steps: Vec::new(), doubts: Vec::new(), cpu: None, memory: false };
    parser.sum()?;
    if let Some(found) = parser.peek() {
        return Err(parser.unexpected(found, OPERATOR));
    }
    let variable = match parser.cpu {
        Some(name) if parser.memory => return Err(Problem::UndefinedVariable(name.to_owned())),
        Some(_) => Some(Resource::Cpu),
        None => parser.memory.then_some(Resource::Memory),
    };
    if let Some(variable) = variable.filter(|variable| *variable != resource) {
        parser.doubts.push(Doubt::OtherVariable { variable: variable.name(), resource });
    }
    Ok((parser.steps, parser.doubts))
}

struct Parser<'a> {
    text: &'a str,
    /// Offset of the unread text, in bytes.
    at: usize,
    /// The number of open parentheses.
    depth: usize,
    steps: Vec<Step>,
    doubts: Vec<Doubt>,
    /// The variable `cpu` as written, if it occurs.
    cpu: Option<&'a str>,
    /// Whether the variable `memory` occurs.
    memory: bool,
}

impl<'a> Parser<'a> {
    fn sum(&mut self) -> Result<(), Problem> {
        self.chain(Self::product, &[('+', Operator::Add), ('-', Operator::Subtract)])
    }

    fn product(&mut self) -> Result<(), Problem> {
        self.chain(Self::factor, &[('*', Operator::Multiply), ('/', Operator::Divide)])
    }

    /// Parses operands with left-associative operators between them.
    fn chain(
        &mut self,
        operand: fn(&mut Self) -> Result<(), Problem>,
        operators: &[(char, Operator)],
    ) -> Result<(), Problem> {
        operand(self)?;
        while let Some((_, operator)) = operators.iter().find(|(sign, _)| self.skip(*sign)) {
            operand(self)?;
            self.steps.push(Step::Apply(*operator));
        }
        Ok(())
    }

    fn factor(&mut self) -> Result<(), Problem> {
        let mut negative = false;
        while self.skip('-') {
            negative = !negative;
        }
        match self.peek() {
            Some(c) if c.is_ascii_digit() || c == '.' => self.literal(),
            Some(c) if c.is_ascii_alphabetic() || c == '_' => self.name()?,
            Some('(') => {
                self.open()?;
                self.sum()?;
                self.close(CLOSING)?;
            }
            Some(c) => return Err(self.unexpected(c, OPERAND)),
            None => return Err(Problem::End { expected: OPERAND }),
        }
        if negative {
            self.steps.push(Step::Negate);
        }
        Ok(())
    }

    fn literal(&mut self) {
        let mut word = self.take_while(|c| c.is_ascii_alphanumeric() || c == '.' || c == '%');
        let exponent =
            self.text[self.at..].strip_prefix(['+', '-']).filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        let mantissa = word.strip_suffix(['e', 'E']).filter(|mantissa| mantissa.parse::<f64>().is_ok());
        if exponent.is_some() && mantissa.is_some() {
            let begin = self.at - word.len();
            self.at += 1;
            self.take_while(|c| c.is_ascii_alphanumeric() || c == '.' || c == '%');
            word = &self.text[begin..self.at];
        }
        let step = read_literal(word).unwrap_or_else(|| {
            self.doubts.push(Doubt::CountsAsZero(word.to_owned()));
            Step::Push(Value::Number(0.0))
        });
        self.steps.push(step);
    }

    fn name(&mut self) -> Result<(), Problem> {
        let name = self.take_while(|c| c.is_ascii_alphanumeric() || c == '_');
        if self.peek() == Some('(') {
            return self.call(name);
        }
        match name.to_ascii_lowercase().as_str() {
            "cpu" => self.cpu = Some(name),
            "memory" => self.memory = true,
            _ => return Err(Problem::UndefinedVariable(name.to_owned())),
        }
        self.steps.push(Step::Variable);
        Ok(())
    }

    fn call(&mut self, name: &str) -> Result<(), Problem> {
        let function = match name.to_ascii_lowercase().as_str() {
            "max" => Operator::Max,
            "min" => Operator::Min,
            _ => return Err(Problem::UnknownFunction(name.to_owned())),
        };
        self.open()?;
        let mut arguments = 0;
        if self.peek() != Some(')') {
            self.sum()?;
            arguments += 1;
            while self.skip(',') {
                self.sum()?;
                arguments += 1;
            }
        }
        self.close(ARGUMENT_END)?;
        if arguments != 2 {
            return Err(Problem::Arguments { function, got: arguments });
        }
        self.steps.push(Step::Apply(function));
        Ok(())
    }

    fn open(&mut self) -> Result<(), Problem> {
        self.skip('(');
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err(Problem::TooDeep) } else { Ok(()) }
    }

    fn close(&mut self, expected: &'static str) -> Result<(), Problem> {
        self.depth -= 1;
        match self.peek() {
            Some(')') => self.at += 1,
            Some(found) => return Err(self.unexpected(found, expected)),
            None => return Err(Problem::End { expected }),
        }
        Ok(())
    }

    /// Returns the next character after white space.
    fn peek(&mut self) -> Option<char> {
        self.take_while(char::is_whitespace);
        self.text[self.at..].chars().next()
    }

    fn skip(&mut self, sign: char) -> bool {
        let found = self.peek() == Some(sign);
        if found {
            self.at += sign.len_utf8();
        }
        found
    }

    fn take_while(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let rest = &self.text[self.at..];
        let end = rest.find(|c| !belongs(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn unexpected(&self, found: char, expected: &'static str) -> Problem {
        Problem::Unexpected { found, at: self.at, expected }
    }
}

/// Returns `None` for text that is neither a number nor a quantity.
fn read_literal(word: &str) -> Option<Step> {
    let (number, divisor) = word.strip_suffix('%').map_or((word, 1.0), |number| (number, 100.0));
    if let Ok(number) = number.parse::<f64>() {
        let number = number / divisor;
        return Some(if number.is_finite() { Step::Push(Value::Number(number)) } else { Step::TooLarge });
    }
    let unit = word.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    match Quantity::parse(word) {
        _ if !UNITS.contains(&unit) => None,
        Ok(quantity) => Some(Step::Push(Value::Quantity(quantity))),
        Err(QuantityError::Range(_)) => Some(Step::TooLarge),
        Err(QuantityError::Syntax(_)) => None,
    }
}
