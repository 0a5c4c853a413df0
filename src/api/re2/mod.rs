//! Regular expressions with the syntax and semantics of RE2 (Go's `regexp`), run by the engine of the `regex` crate.
//!
//! The two languages are close but not equal, so a pattern is parsed by RE2's rules and rewritten for `regex`. What RE2
//! rejects is rejected (`a**`, `a{1001}`, `(?x)`, look-around, back-references and so on). Only whether a text matches can be
//! asked, so groups do not capture, and lazy operators are equal to greedy ones.
//!
//! Differences from Go:
//! * rejected here: surrogates (`\x{D800}`), which no text contains; a repetition right after a flag group or an empty `\Q\E` (`a(?i)*`); more than
//!   1000 repetitions in total inside a `{0}`; groups nested deeper than about a hundred; patterns longer than [`MAX_LENGTH`] bytes, or that
//!   compile to more than [`SIZE_LIMIT`] bytes;
//! * accepted here: the short names of scripts and an `Is` prefix of names (`\p{Grek}`, `\p{IsGreek}`);
//! * the Unicode version is that of the `regex` crate.

mod translate;

use regex_automata::meta::Regex;
use regex_automata::nfa::thompson::WhichCaptures;
use thiserror::Error;

/// The longest pattern, in bytes.
pub const MAX_LENGTH: usize = 4096;
/// The largest compiled expression, in bytes.
pub const SIZE_LIMIT: usize = 4 << 20;

/// A compiled expression. It is not anchored, so it matches anywhere in a text.
#[derive(Clone, Debug)]
pub struct Re2 {
    pattern: String,
    regex: Regex,
}

/// A pattern that is not RE2 or is too large.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("invalid regex pattern {pattern:?}: {problem}")]
pub struct Re2Error {
    /// The pattern.
    pub pattern: String,
    /// The problem and its position.
    pub problem: String,
}

impl Re2 {
    /// Compiles a pattern. An empty pattern matches everything.
    ///
    /// # Errors
    /// When RE2 rejects the pattern, or in the cases that the [module](self) lists.
    pub fn new(pattern: &str) -> Result<Self, Re2Error> {
        let error = |problem| Re2Error { pattern: pattern.to_owned(), problem };
        if pattern.len() > MAX_LENGTH {
            let pattern = pattern.chars().take(64).chain(['…']).collect();
            return Err(Re2Error { pattern, problem: format!("it is longer than {MAX_LENGTH} bytes") });
        }
        let translated = translate::translate(pattern).map_err(|problem| error(problem.to_string()))?;
        let config = Regex::config()
            .nfa_size_limit(Some(SIZE_LIMIT))
            .which_captures(WhichCaptures::None)
            // The lazy DFA caches for each thread, in memory that is not counted.
            .hybrid(false)
            .dfa(false);
        let regex = Regex::builder().configure(config).build(&translated).map_err(|problem| {
            if problem.size_limit().is_some() {
                return error(format!("it compiles to more than {SIZE_LIMIT} bytes"));
            }
            let problem = problem.syntax_error().map_or_else(|| problem.to_string(), ToString::to_string);
            // The last line has the problem. The others show the translated pattern, which the user has never seen.
            error(problem.lines().last().unwrap_or_default().to_owned())
        })?;
        Ok(Self { pattern: pattern.to_owned(), regex })
    }

    /// Returns its size in bytes, including what one thread needs for matching.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.regex.memory_usage() + self.regex.create_cache().memory_usage()
    }

    /// Whether it matches some part of `text`.
    #[must_use]
    pub fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    /// Returns the original pattern.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.pattern
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::Deserialize;

    /// What Go 1.26 reports about a pattern.
    #[derive(Deserialize)]
    struct Vector {
        pattern: String,
        valid: bool,
        /// The texts that match.
        #[serde(default)]
        matches: Vec<String>,
    }

    /// The differences that the module's documentation lists.
    const REFUSED_HERE: [&str; 5] =
        [r"\x{D800}", r"[\x{D800}-\x{E000}]", r"a\Q\E*b", r"a*\Q\E*", "((a{1000}){0}){1000}"];
    const ACCEPTED_HERE: [&str; 2] = [r"\p{Grek}", r"\p{IsGreek}"];

    /// The first line of the table holds the texts, each further line a pattern.
    #[test]
    fn validity_and_matches_equal_go() {
        let mut lines = include_str!("../../../tests/data/re2-vectors.jsonl").lines();
        let texts: Vec<String> =
            serde_json::from_str(lines.next().unwrap_or_default()).unwrap_or_else(|e| panic!("{e}"));
        let mut wrong = Vec::new();
        for line in lines {
            let vector: Vector = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
            let pattern = vector.pattern.as_str();
            let valid = vector.valid && !REFUSED_HERE.contains(&pattern) || ACCEPTED_HERE.contains(&pattern);
            match Re2::new(pattern) {
                Ok(_) if !valid => wrong.push(format!("{pattern}: accepted")),
                Err(e) if valid => wrong.push(e.to_string()),
                Ok(re2) if vector.valid => {
                    for text in &texts {
                        if re2.is_match(text) != vector.matches.contains(text) {
                            wrong.push(format!("{pattern} on {text:?}: {}", re2.is_match(text)));
                        }
                    }
                }
                _ => {}
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn errors_show_the_pattern_and_the_place() {
        for (pattern, message) in [
            ("a**", r#"invalid regex pattern "a**": invalid nested repetition operator at byte 2"#),
            ("(a", r#"invalid regex pattern "(a": missing closing ) at byte 2"#),
            (r"\p{Foo}", r#"invalid regex pattern "\\p{Foo}": unknown Unicode category or script at byte 0"#),
            (
                r"\pL{1000}",
                &format!(r#"invalid regex pattern "\\pL{{1000}}": it compiles to more than {SIZE_LIMIT} bytes"#),
            ),
        ] {
            assert_eq!(Re2::new(pattern).map(drop).map_err(|e| e.to_string()), Err(message.to_owned()), "{pattern}");
        }
    }

    #[test]
    fn large_but_sensible_patterns_compile() {
        for pattern in ["^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$", ".{0,1000}", "(?i)[a-z]{1000}", r"\w{1000}", r"\pL{50}"]
        {
            assert!(Re2::new(pattern).is_ok(), "{pattern}");
        }
    }

    #[test]
    fn length_and_depth_are_bounded() {
        assert!(Re2::new(&"{".repeat(MAX_LENGTH)).is_ok());
        let problem = |pattern: &str| Re2::new(pattern).map(drop).map_err(|e| e.problem);
        assert_eq!(problem(&"a".repeat(MAX_LENGTH + 1)), Err("it is longer than 4096 bytes".to_owned()));
        assert!(problem(&["(".repeat(100), ")".repeat(100)].concat()).is_ok());
        assert!(problem(&["(".repeat(2000), ")".repeat(2000)].concat()).is_err_and(|e| e.contains("nest")));
    }

    proptest! {
        #[test]
        fn no_pattern_panics(pattern in prop_oneof![any::<String>(), r"[-\[\]\\()|*+?{},:^$.a-dipsxQEPN<>&0-9]{0,24}"], text in any::<String>()) {
            if let Ok(re2) = Re2::new(&pattern) {
                let _ = re2.is_match(&text);
            }
        }

        #[test]
        fn a_quoted_text_matches_itself(text in any::<String>().prop_filter("ends the quotation", |text| !text.contains(r"\E"))) {
            let re2 = Re2::new(&format!(r"^\Q{text}\E$")).unwrap_or_else(|e| panic!("{e}"));
            prop_assert!(re2.is_match(&text));
        }
    }
}
