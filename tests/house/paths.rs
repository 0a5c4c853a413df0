//! Reads the paths that a Rust source writes, such as `crate::api::Pod`, and the module around each.

/// A path as some line of a file writes it, and the module around that line.
#[derive(Debug, PartialEq)]
pub struct Mention {
    pub line: usize,
    pub module: Vec<String>,
    pub path: Vec<String>,
}

impl Mention {
    /// The path from the crate's root, if it leads into this crate by `crate::`, `outrigger::`, `self::` or `super::`.
    pub fn inside(&self) -> Option<Vec<String>> {
        let mut base = self.module.clone();
        let mut rest = self.path.as_slice();
        match rest.first()?.as_str() {
            "crate" => base.clear(),
            "outrigger" if rest.len() > 1 => base.clear(),
            "self" if rest.len() > 1 => {}
            "super" => {
                base.pop();
                while rest.get(1).is_some_and(|next| next == "super") {
                    base.pop();
                    rest = &rest[1..];
                }
            }
            _ => return None,
        }
        base.extend_from_slice(&rest[1..]);
        Some(base)
    }
}

/// Words that may stand before a path with a leading `::`; any other word before `::` is part of the path.
const BEFORE_A_PATH: &[&str] =
    &["dyn", "else", "for", "if", "impl", "in", "match", "mut", "return", "use", "where", "while"];

/// A word, `::` or another mark of a source, and its line.
struct Token<'a> {
    line: usize,
    text: &'a str,
}

impl Token<'_> {
    fn is_word(&self) -> bool {
        self.text.starts_with(|c: char| c.is_alphabetic() || c == '_')
    }
}

/// Every path in `source`, a file that is the module `module`.
pub fn mentions(source: &str, module: &[String]) -> Vec<Mention> {
    let tokens = tokens(source);
    let mut found = Vec::new();
    let mut rest = tokens.as_slice();
    while !rest.is_empty() {
        rest = scope(rest, module, &[], &mut found);
    }
    found
}

/// The tokens of `source`, without its comments, strings and characters.
fn tokens(source: &str) -> Vec<Token<'_>> {
    let (mut tokens, mut line, mut rest) = (Vec::new(), 1, source);
    while let Some(first) = rest.chars().next() {
        let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let (length, kept) = match first {
            '/' if rest.starts_with("//") => (rest.find('\n').unwrap_or(rest.len()), false),
            '/' if rest.starts_with("/*") => (block_comment(rest), false),
            '"' => (quoted(rest), false),
            // Otherwise it is the tick of a lifetime.
            '\'' if rest[1..].starts_with('\\') || rest.chars().nth(2) == Some('\'') => (quoted(rest), false),
            'r' | 'b' | 'c' if matches!(&rest[..word], "r" | "br" | "cr") && is_raw(&rest[word..]) => {
                (word + raw_string(&rest[word..]), false)
            }
            _ if word > 0 => (word, true),
            ':' if rest.starts_with("::") => (2, true),
            _ => (first.len_utf8(), !first.is_whitespace()),
        };
        let (text, after) = rest.split_at(length);
        if kept {
            tokens.push(Token { line, text });
        }
        line += text.matches('\n').count();
        rest = after;
    }
    tokens
}

/// Length of the block comment, which may hold others, that `text` begins with.
fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while let Some(found) = text[at..].find(['/', '*']) {
        at += found;
        let step = match text.get(at..at + 2) {
            Some("/*") => 1,
            Some("*/") => -1,
            _ => 0,
        };
        depth += step;
        at += if step == 0 { 1 } else { 2 };
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

/// Length of the string or character that `text` begins with, its quotes included.
fn quoted(text: &str) -> usize {
    let quote = text.chars().next();
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if !escaped && Some(c) == quote {
            return at + 1;
        }
        escaped = !escaped && c == '\\';
    }
    text.len()
}

/// Whether a raw string goes on here, after its `r`; `r#type` is a word.
fn is_raw(text: &str) -> bool {
    text.trim_start_matches('#').starts_with('"')
}

/// Length of the raw string that `text` begins with, without its `r`.
fn raw_string(text: &str) -> usize {
    let hashes = text.len() - text.trim_start_matches('#').len();
    let end = format!("\"{}", &text[..hashes]);
    text[hashes + 1..].find(&end).map_or(text.len(), |at| hashes + 1 + at + end.len())
}

/// Adds every path up to the closing bracket to `found` and says what follows it. Within the braces of a `use` tree,
/// `prefix` is what stands before them.
fn scope<'a>(
    mut rest: &'a [Token<'a>],
    module: &[String],
    prefix: &[String],
    found: &mut Vec<Mention>,
) -> &'a [Token<'a>] {
    let is = |token: &Token, text: &str| token.text == text;
    loop {
        rest = match rest {
            [] => return rest,
            [end, after @ ..] if matches!(end.text, ")" | "]" | "}") => return after,
            [word, open, scope, close, after @ ..]
                if is(word, "pub") && is(open, "(") && is(close, ")") && scope.is_word() =>
            {
                after
            }
            [word, after @ ..] if BEFORE_A_PATH.contains(&word.text) => after,
            [word, _, after @ ..] if is(word, "as") && !prefix.is_empty() => after,
            [word, name, open, after @ ..] if is(word, "mod") && is(open, "{") => {
                scope(after, &[module, &[name.text.to_owned()]].concat(), &[], found)
            }
            [open, after @ ..] if matches!(open.text, "(" | "[" | "{") => scope(after, module, &[], found),
            [first, after @ ..] if first.is_word() => path_from(first, after, module, prefix, found),
            [_, after @ ..] => after,
        };
    }
}

/// Adds the path, or the `use` tree, that opens with `first` to `found` and says what follows it.
fn path_from<'a>(
    first: &Token<'a>,
    mut rest: &'a [Token<'a>],
    module: &[String],
    prefix: &[String],
    found: &mut Vec<Mention>,
) -> &'a [Token<'a>] {
    let mut path = [prefix, &[first.text.to_owned()]].concat();
    while let [colons, next, after @ ..] = rest
        && colons.text == "::"
    {
        if next.text == "{" {
            return scope(after, module, &path, found);
        }
        if !next.is_word() {
            break;
        }
        path.push(next.text.to_owned());
        rest = after;
    }
    found.push(Mention { line: first.line, module: module.to_vec(), path });
    rest
}

#[cfg(test)]
mod tests {
    use super::mentions;

    /// The paths of `source`, each as `line module: path`.
    #[track_caller]
    fn reads(source: &str, expected: &[&str]) {
        let found: Vec<_> = mentions(source, &["room".to_owned()])
            .into_iter()
            .filter(|mention| mention.path.len() > 1)
            .map(|mention| format!("{} {}: {}", mention.line, mention.module.join("::"), mention.path.join("::")))
            .collect();
        assert_eq!(found, expected, "{source}");
    }

    #[test]
    fn use_trees_are_spelled_out() {
        reads(
            "use ::a::{b::{c, d as e}, f::*};\nuse {g::h, i::j};",
            &["1 room: a::b::c", "1 room: a::b::d", "1 room: a::f", "2 room: g::h", "2 room: i::j"],
        );
    }

    #[test]
    fn paths_belong_to_the_module_around_them() {
        reads(
            "use a::b;\nmod inner {\n    mod tests { fn f() { c::d() } }\n    use e::f;\n}\nuse g::h;",
            &["1 room: a::b", "3 room::inner::tests: c::d", "4 room::inner: e::f", "6 room: g::h"],
        );
    }

    #[test]
    fn generics_casts_and_visibilities_do_not_hide_paths() {
        reads(
            "pub(crate) fn f(x: Vec<a::b::<c::D>>) -> impl ::e::F { <x as g::H>::i(x as j::K) }",
            &["1 room: a::b", "1 room: c::D", "1 room: e::F", "1 room: g::H", "1 room: j::K"],
        );
    }

    #[test]
    fn comments_strings_and_characters_hold_no_paths() {
        for text in [
            "/// See a::b.\n/* or /* c::d */ e::f */ fn f() {} // g::h",
            "const X: &str = \"\\\"a::b\";\nconst Y: &str = r#\"\" c::d\"#; const Z: &[u8] = br\"\\\";",
            "const A: char = '\"'; const B: char = '\\'';\nfn f<'a>(x: &'a str, r#type: u8) {} const C: &str = \"a::b\";",
        ] {
            reads(text, &[]);
            reads(&format!("{text}\nuse y::z;"), &["3 room: y::z"]);
        }
    }
}
