//! The regular expressions of one SidecarSet, with a common size limit.

use crate::api::re2::{Re2, Re2Error};
use std::collections::HashMap;
use std::sync::Arc;

/// The maximum size of a set's compiled expressions, in bytes.
pub const SET_LIMIT: usize = 16 << 20;

/// Compiles the expressions of a set. Equal expressions are compiled once.
#[derive(Debug, Default)]
pub struct Patterns {
    compiled: HashMap<String, Arc<Re2>>,
    memory: usize,
}

impl Patterns {
    /// Compiles the next pattern.
    ///
    /// # Errors
    /// When it cannot be compiled ([`Re2::new`]), or when all expressions together exceed [`SET_LIMIT`] bytes.
    pub fn compile(&mut self, pattern: &str) -> Result<Arc<Re2>, Re2Error> {
        if let Some(known) = self.compiled.get(pattern) {
            return Ok(known.clone());
        }
        let compiled = Arc::new(Re2::new(pattern)?);
        let memory = self.memory.saturating_add(compiled.memory());
        if memory > SET_LIMIT {
            let problem = format!(
                "the expressions of this SidecarSet compile to more than {SET_LIMIT} bytes together: repeat less in them, or use \
                 one for several containers"
            );
            return Err(Re2Error { pattern: pattern.to_owned(), problem });
        }
        self.memory = memory;
        self.compiled.insert(pattern.to_owned(), compiled.clone());
        Ok(compiled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_expressions_of_a_set_are_bounded_together_and_equal_ones_count_once() {
        let large = |number: usize| format!(r"^{number}\pL{{50}}$");
        let mut patterns = Patterns::default();
        assert!((0..1000).all(|_| patterns.compile(&large(0)).is_ok()));
        let refused = (0..100).map(|number| patterns.compile(&large(number))).find_map(Result::err).unwrap();
        assert!(refused.problem.starts_with("the expressions of this SidecarSet compile to more than"), "{refused}");
        assert!(patterns.memory <= SET_LIMIT);
        assert!(patterns.compile("^app-[0-9]+$").is_ok(), "a small one still finds room");
    }

    #[test]
    fn a_hundred_usual_expressions_are_far_from_the_bound() {
        let mut patterns = Patterns::default();
        for number in 0..100 {
            let pattern = format!("^(app|web|worker)-{number}-[a-z0-9]([-a-z0-9]{{0,61}}[a-z0-9])?$");
            patterns.compile(&pattern).unwrap();
        }
        assert!(patterns.memory < SET_LIMIT / 2, "{}", patterns.memory);
    }
}
