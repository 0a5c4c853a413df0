//! Text from outside on one line. Names of files, objects and hosts may contain line breaks, which would forge log
//! lines.

use std::fmt::{self, Debug, Display, Write};

use tracing::field::{Field, Visit};
use tracing_subscriber::field::{MakeVisitor, VisitFmt, VisitOutput};
use tracing_subscriber::fmt::format::{DefaultVisitor, Writer};

/// A text with escaped line breaks and other control characters, such as `\n` and `\u{1b}`.
pub(crate) struct OneLine<T>(pub T);

/// Formats the fields of text log lines as usual, but each on one line.
pub(super) struct Fields;

pub(super) struct FieldsVisitor<'w>(DefaultVisitor<'w>);

struct Escaping<'f, 'w>(&'f mut fmt::Formatter<'w>);

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some((start, character)) = rest.char_indices().find(|(_, character)| steers(*character)) {
            self.0.write_str(&rest[..start])?;
            write!(self.0, "{}", character.escape_default())?;
            rest = &rest[start + character.len_utf8()..];
        }
        self.0.write_str(rest)
    }
}

/// Whether a character ends a line, controls a terminal, or changes the direction of a text.
fn steers(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

impl<T: Display> Display for OneLine<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

impl<T: Debug> Debug for OneLine<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{:?}", self.0)
    }
}

impl<'w> MakeVisitor<Writer<'w>> for Fields {
    type Visitor = FieldsVisitor<'w>;

    fn make_visitor(&self, writer: Writer<'w>) -> Self::Visitor {
        FieldsVisitor(DefaultVisitor::new(writer, true))
    }
}

impl Visit for FieldsVisitor<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.record_debug(field, &OneLine(value));
    }
}

impl VisitOutput<fmt::Result> for FieldsVisitor<'_> {
    fn finish(self) -> fmt::Result {
        self.0.finish()
    }
}

impl VisitFmt for FieldsVisitor<'_> {
    fn writer(&mut self) -> &mut dyn Write {
        self.0.writer()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_a_line_or_steers_a_terminal_is_escaped_and_all_else_stays() {
        for (text, expected) in [
            ("sets/a.yaml", "sets/a.yaml"),
            ("a\nERROR forged\r\n", r"a\nERROR forged\r\n"),
            ("\u{1b}[2J\u{9b}31m\u{7f}", r"\u{1b}[2J\u{9b}31m\u{7f}"),
            ("a\u{2028}b\u{202e}c\u{2066}", r"a\u{2028}b\u{202e}c\u{2066}"),
            ("Ümläute, 汉字 \"and\" \\n", "Ümläute, 汉字 \"and\" \\n"),
            ("", ""),
        ] {
            assert_eq!(OneLine(text).to_string(), expected);
        }
        assert_eq!(format!("{:?}", OneLine("a\nb")), r#""a\nb""#);
    }
}
