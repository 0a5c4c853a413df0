//! Parses a pattern by RE2's rules and writes an equivalent one for `regex-automata`.
//!
//! Every construct is written in a form without extensions: special characters as `\u{…}`, Perl classes as ASCII ranges (they
//! are Unicode classes in `regex`), ASCII word boundaries, and groups that do not capture.

use regex_automata::meta::Regex;
use thiserror::Error;

/// RE2's maximum number of repetitions; those of nested operators are multiplied.
const MAX_REPEAT: u32 = 1000;

const POSIX_CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "word",
    "xdigit",
];

/// What RE2 does not accept, and its position.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{what} at byte {at}")]
pub(super) struct SyntaxError {
    what: &'static str,
    at: usize,
}

pub(super) fn translate(pattern: &str) -> Result<String, SyntaxError> {
    let mut translator = Translator {
        rest: pattern,
        written: String::with_capacity(pattern.len()),
        before: Before::Nothing,
        repetitions: 1,
        outer_repetitions: Vec::new(),
    };
    match translator.pattern() {
        Ok(()) => Ok(translator.written),
        Err(what) => Err(SyntaxError { what, at: pattern.len() - translator.rest.len() }),
    }
}

struct Translator<'a> {
    /// The unread text.
    rest: &'a str,
    written: String,
    before: Before,
    /// The most repetitions of anything in the innermost open group; those of nested operators are multiplied.
    repetitions: u32,
    /// The same for the groups around it.
    outer_repetitions: Vec<u32>,
}

/// What comes before the current position.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    /// Nothing that can be repeated.
    Nothing,
    /// Something that can be repeated, with this number of repetitions inside it.
    Atom(u32),
    Repetition,
}

type Read<T = ()> = Result<T, &'static str>;

impl Translator<'_> {
    fn pattern(&mut self) -> Read {
        while let Some(next) = self.rest.chars().next() {
            match next {
                '\\' => self.backslash()?,
                '[' => {
                    self.class()?;
                    self.before = Before::Atom(1);
                }
                '(' => self.open()?,
                ')' => {
                    let outer = self.outer_repetitions.pop().ok_or("unexpected )")?;
                    self.take(1);
                    self.written.push(')');
                    self.before = Before::Atom(self.repetitions);
                    self.repetitions = self.repetitions.max(outer);
                }
                '|' => {
                    self.take(1);
                    self.written.push('|');
                    self.before = Before::Nothing;
                }
                '^' | '$' | '.' => {
                    self.take(1);
                    self.written.push(next);
                    self.before = Before::Atom(1);
                }
                '*' | '+' | '?' => {
                    let atom = self.repeatable()?;
                    self.take(1);
                    self.repeat(&next.to_string(), atom);
                }
                '{' => match read_bounds(self.rest) {
                    Some(bounds) => self.repeat_between(bounds)?,
                    None => self.literal(next),
                },
                _ => self.literal(next),
            }
        }
        if self.outer_repetitions.is_empty() { Ok(()) } else { Err("missing closing )") }
    }

    fn take(&mut self, bytes: usize) -> &str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.rest = rest;
        taken
    }

    fn literal(&mut self, c: char) {
        self.take(c.len_utf8());
        write_char(&mut self.written, c);
        self.before = Before::Atom(1);
    }

    fn repeatable(&self) -> Read<u32> {
        match self.before {
            Before::Nothing => Err("missing argument to repetition operator"),
            Before::Repetition => Err("invalid nested repetition operator"),
            Before::Atom(repetitions) => Ok(repetitions),
        }
    }

    fn repeat(&mut self, operator: &str, repetitions: u32) {
        if self.rest.starts_with('?') {
            self.take(1); // lazy or greedy: the same texts match
        }
        self.written.push_str(operator);
        self.repetitions = self.repetitions.max(repetitions);
        self.before = Before::Repetition;
    }

    fn repeat_between(&mut self, Bounds { text, min, max }: Bounds) -> Read {
        const INVALID: &str = "invalid repeat count";
        let inside = self.repeatable()?;
        let repetitions = max.saturating_mul(inside).max(inside);
        if min > max || max > MAX_REPEAT || (max > 1 && repetitions > MAX_REPEAT) {
            return Err(INVALID);
        }
        let operator = self.take(text.len()).to_owned();
        self.repeat(&operator, repetitions);
        Ok(())
    }

    /// Opens a group, or sets flags for the rest of the enclosing group.
    fn open(&mut self) -> Read {
        let name = ["(?P<", "(?<"].iter().find_map(|begin| self.rest.strip_prefix(begin));
        if let Some(name) = name {
            let end = name.find('>').ok_or("invalid named capture")?;
            if end == 0 || !name[..end].bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                return Err("invalid named capture");
            }
            self.take(self.rest.len() - name.len() + end + 1);
            self.open_group("(?:");
        } else if self.rest.starts_with("(?") {
            self.flags()?;
        } else {
            self.take(1);
            self.open_group("(?:");
        }
        Ok(())
    }

    fn open_group(&mut self, written: &str) {
        self.written.push_str(written);
        self.outer_repetitions.push(self.repetitions);
        self.repetitions = 1;
        self.before = Before::Nothing;
    }

    fn flags(&mut self) -> Read {
        const INVALID: &str = "invalid or unsupported Perl syntax";
        let (length, end) =
            self.rest.char_indices().skip(2).find(|(_, c)| !matches!(c, 'i' | 'm' | 's' | 'U' | '-')).ok_or(INVALID)?;
        let (on, off) = match self.rest[2..length].split_once('-') {
            Some((_, off)) if off.is_empty() || off.contains('-') => return Err(INVALID),
            Some(flags) => flags,
            None => (&self.rest[2..length], ""),
        };
        // The last setting of a flag counts. `U`, which swaps lazy and greedy, changes no match.
        let set: String = "ims".chars().filter(|flag| on.contains(*flag) && !off.contains(*flag)).collect();
        let cleared: String = "ims".chars().filter(|flag| off.contains(*flag)).collect();
        let minus = if cleared.is_empty() { "" } else { "-" };
        let flags = ["(?", &set, minus, &cleared].concat();
        match end {
            ':' => {
                self.take(length + 1);
                self.open_group(&(flags + ":"));
            }
            ')' => {
                self.take(length + 1);
                if flags.len() > 2 {
                    self.written.extend([&flags, ")"]);
                }
                self.before = Before::Nothing;
            }
            _ => return Err(INVALID),
        }
        Ok(())
    }

    fn backslash(&mut self) -> Read {
        let fixed = match self.rest.as_bytes().get(1) {
            Some(b'A') => Some(r"\A"),
            Some(b'z') => Some(r"\z"),
            Some(b'b') => Some(r"(?-u:\b)"),
            Some(b'B') => Some(r"(?-u:\B)"),
            Some(b'Q') => {
                self.take(2);
                self.before = Before::Nothing;
                let (quoted, rest) = self.rest.split_once(r"\E").unwrap_or((self.rest, ""));
                for c in quoted.chars() {
                    self.literal(c);
                }
                self.rest = rest;
                return Ok(());
            }
            _ => None,
        };
        if let Some(fixed) = fixed {
            self.take(2);
            self.written.push_str(fixed);
        } else if !self.predefined_class()? {
            let c = self.escape()?;
            write_char(&mut self.written, c);
        }
        self.before = Before::Atom(1);
        Ok(())
    }

    /// Parses `\d`, `\pL` and the like, which mean the same inside and outside of brackets.
    fn predefined_class(&mut self) -> Read<bool> {
        let perl = match self.rest.as_bytes().get(..2) {
            Some(br"\d") => "[0-9]",
            Some(br"\D") => "[^0-9]",
            Some(br"\s") => r"[\t\n\f\r\x20]",
            Some(br"\S") => r"[^\t\n\f\r\x20]",
            Some(br"\w") => "[0-9A-Za-z_]",
            Some(br"\W") => "[^0-9A-Za-z_]",
            Some(br"\p" | br"\P") => return self.unicode_class().map(|()| true),
            _ => return Ok(false),
        };
        self.take(2);
        self.written.push_str(perl);
        Ok(true)
    }

    fn unicode_class(&mut self) -> Read {
        const INVALID: &str = "invalid character class range";
        let mut negated = self.rest.starts_with(r"\P");
        let after = &self.rest[2..];
        let (name, length) = match after.strip_prefix('{') {
            Some(braced) => braced.find('}').map(|end| (&braced[..end], end + 2)).ok_or(INVALID)?,
            None => after.chars().next().map(|c| (&after[..c.len_utf8()], c.len_utf8())).ok_or(INVALID)?,
        };
        let name = match name.strip_prefix('^') {
            Some(name) => {
                negated = !negated;
                name
            }
            None => name,
        };
        // The plain name is never used, because in `regex` it may also be a property that is neither category nor
        // script.
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b' ' | b'_' | b'-'));
        let class = [r"{gc=", r"{sc="]
            .map(|table| [table, name, "}"].concat())
            .into_iter()
            .find(|class| plain && Regex::new(&[r"\p", class].concat()).is_ok())
            .ok_or("unknown Unicode category or script")?;
        self.written.extend([if negated { r"\P" } else { r"\p" }, &class]);
        self.take(2 + length);
        Ok(())
    }

    /// Parses `[…]`. RE2 has no operations on classes: `&&` and `--` are characters.
    fn class(&mut self) -> Read {
        self.take(1);
        self.written.push('[');
        if self.rest.starts_with('^') {
            self.take(1);
            self.written.push('^');
        }
        let mut first = true;
        while first || !self.rest.starts_with(']') {
            first = false;
            if self.posix_class()? || self.predefined_class()? {
                continue;
            }
            let low = self.class_char()?;
            let mut high = low;
            if self.rest.starts_with('-') && !self.rest.starts_with("-]") && self.rest.len() > 1 {
                self.take(1);
                high = self.class_char()?;
            }
            if high < low {
                return Err("invalid character class range");
            }
            self.written.extend(low.escape_unicode().chain(['-']).chain(high.escape_unicode()));
        }
        self.take(1);
        self.written.push(']');
        Ok(())
    }

    /// Parses `[:alpha:]` and `[:^alpha:]`.
    fn posix_class(&mut self) -> Read<bool> {
        let Some(name) = self.rest.strip_prefix("[:").and_then(|after| Some(&after[..after.find(":]")?])) else {
            return Ok(false);
        };
        if !POSIX_CLASSES.contains(&name.strip_prefix('^').unwrap_or(name)) {
            return Err("invalid character class range");
        }
        let class = self.rest[..name.len() + 4].to_owned();
        self.take(class.len());
        self.written.push_str(&class);
        Ok(true)
    }

    fn class_char(&mut self) -> Read<char> {
        let c = self.rest.chars().next().ok_or("missing closing ]")?;
        if c == '\\' {
            return self.escape();
        }
        self.take(c.len_utf8());
        Ok(c)
    }

    /// Parses a backslash and the rest of an escaped character.
    fn escape(&mut self) -> Read<char> {
        const INVALID: &str = "invalid escape sequence";
        let after = &self.rest[1..];
        let c = after.chars().next().ok_or("trailing backslash at end of expression")?;
        let (escaped, length) = match c {
            'a' => ('\x07', 1),
            'f' => ('\x0c', 1),
            'n' => ('\n', 1),
            'r' => ('\r', 1),
            't' => ('\t', 1),
            'v' => ('\x0b', 1),
            'x' => {
                let (digits, length) = match after[1..].strip_prefix('{') {
                    Some(braced) => braced.find('}').map(|end| (&braced[..end], end + 3)).ok_or(INVALID)?,
                    None => (after.get(1..3).ok_or(INVALID)?, 3),
                };
                (read_code(digits, 16).ok_or(INVALID)?, length)
            }
            // A single digit other than 0 would be a back-reference.
            '0'..='7' => {
                let digits = after.bytes().take(3).take_while(|b| matches!(b, b'0'..=b'7')).count();
                if c != '0' && digits == 1 {
                    return Err(INVALID);
                }
                (read_code(&after[..digits], 8).ok_or(INVALID)?, digits)
            }
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => (c, 1),
            _ => return Err(INVALID),
        };
        self.take(1 + length);
        Ok(escaped)
    }
}

/// `{2}`, `{2,}` or `{2,3}`.
struct Bounds<'a> {
    text: &'a str,
    min: u32,
    /// Equal to `min` if there is none.
    max: u32,
}

/// Returns `None` if it is not a repetition, and so plain text.
fn read_bounds(rest: &str) -> Option<Bounds<'_>> {
    let text = &rest[..=rest.find('}')?];
    let inside = &text[1..text.len() - 1];
    let (min, max) = inside.split_once(',').unwrap_or((inside, ""));
    let max = if max.is_empty() { min } else { max };
    Some(Bounds { text, min: read_bound(min)?, max: read_bound(max)? })
}

/// Parses a number without leading zeros.
fn read_bound(digits: &str) -> Option<u32> {
    let number = digits.bytes().all(|b| b.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    (number && !digits.is_empty()).then(|| digits.parse().unwrap_or(u32::MAX))
}

fn read_code(digits: &str, radix: u32) -> Option<char> {
    let valid = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
    valid.then(|| u32::from_str_radix(digits, radix).ok()).flatten().and_then(char::from_u32)
}

fn write_char(written: &mut String, c: char) {
    if c.is_ascii_alphanumeric() || !c.is_ascii() {
        written.push(c);
    } else {
        written.extend(c.escape_unicode());
    }
}
