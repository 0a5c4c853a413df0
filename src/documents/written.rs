//! The documents of a YAML text as written, so that unchanged ones can be copied byte for byte.

/// A document with everything that belongs to it: the `---` before it, comments, blank lines. All documents together
/// are the whole text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written<'t> {
    text: &'t str,
    /// Its first line, and the line after its last, counted from 1.
    lines: (usize, usize),
}

/// Splits a YAML text. `None` if it cannot be split by lines: JSON objects need no separator, and lines may end without a line
/// feed.
#[must_use]
pub fn written(text: &str) -> Option<Vec<Written<'_>>> {
    let bare_return = text.split('\r').skip(1).any(|rest| !rest.starts_with('\n'));
    if bare_return || text.trim_start_matches('\u{feff}').trim_start().starts_with('{') {
        return None;
    }
    let mut all = Vec::new();
    let (mut start, mut first, mut end, mut ended) = (0, 1, 0, false);
    let mut count = 0;
    for line in text.split_inclusive('\n') {
        count += 1;
        // No value contains such a line: YAML forbids it even in quotes and literal blocks.
        if (ended || is_marker(line, "---")) && end > start {
            all.push(Written { text: &text[start..end], lines: (first, count) });
            (start, first) = (end, count);
        }
        ended = is_marker(line, "...");
        end += line.len();
    }
    if end > start {
        all.push(Written { text: &text[start..], lines: (first, count + 1) });
    }
    Some(all)
}

/// Whether a line is the start (`---`) or the end (`...`) of a document.
fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// Whether a line contains no part of a value: it is blank, a comment, a directive, or a marker followed by at most a
/// comment.
fn is_around(line: &str) -> bool {
    let rest = if is_marker(line, "---") || is_marker(line, "...") { &line[3..] } else { line };
    let rest = rest.trim_start();
    rest.is_empty() || rest.starts_with('#') || line.starts_with('%')
}

impl<'t> Written<'t> {
    /// Returns its whole text.
    #[must_use]
    pub fn text(&self) -> &'t str {
        self.text
    }

    /// Whether a line of the text belongs to it.
    #[must_use]
    pub fn has_line(&self, line: usize) -> bool {
        (self.lines.0..self.lines.1).contains(&line)
    }

    /// Returns the lines before its value: marker, comments, directives.
    #[must_use]
    pub fn head(&self) -> &'t str {
        let lines = self.text.split_inclusive('\n').take_while(|line| is_around(line));
        &self.text[..lines.map(str::len).sum::<usize>()]
    }

    /// Returns the comments after its value, and its end marker. Indented comments may be text of the value, and blank lines may
    /// belong to it.
    #[must_use]
    pub fn foot(&self) -> &'t str {
        let value = &self.text[self.head().len()..];
        let is_behind = |line: &&str| line.trim().is_empty() || line.starts_with('#') || is_marker(line, "...");
        let lines = value.split_inclusive('\n').rev().take_while(is_behind);
        let blank = |line: &str| line.trim().is_empty();
        let behind = &value[value.len() - lines.map(str::len).sum::<usize>()..];
        let before = behind.split_inclusive('\n').take_while(|line| blank(line)).map(str::len).sum::<usize>();
        &behind[before..]
    }
}

/// A stream of YAML documents under construction.
#[derive(Debug, Default)]
pub struct Stream {
    text: String,
}

impl Stream {
    /// Adds a document, or text between documents.
    pub fn push(&mut self, document: &str) {
        let head = Written { text: document, lines: (1, 1) }.head();
        let mut head_lines = head.lines();
        let follows = !self.text.is_empty();
        if follows && !self.text.ends_with('\n') {
            self.text.push('\n');
        }
        let is_ended = self.text.lines().next_back().is_some_and(|line| is_marker(line, "..."));
        let has_directive = head_lines.clone().any(|line| line.starts_with('%'));
        let is_begun = head_lines.any(|line| is_marker(line, "---")) || is_marker(document, "---");
        if follows && has_directive && !is_ended {
            self.text.push_str("...\n");
        } else if follows && !is_begun && !is_ended && head.len() < document.len() {
            self.text.push_str("---\n");
        }
        self.text.push_str(document);
    }

    /// Returns everything that was added.
    #[must_use]
    pub fn into_text(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::documents::{parse, to_yaml};

    fn texts(text: &str) -> Vec<&str> {
        written(text).unwrap().iter().map(Written::text).collect()
    }

    #[test]
    fn markers_separate_documents_and_comments_stay_with_theirs() {
        assert_eq!(
            texts("# a\na: 1\n---\n# b\nb: |\n  ---\n  x\n--- # c\n"),
            ["# a\na: 1\n", "---\n# b\nb: |\n  ---\n  x\n", "--- # c\n"]
        );
        assert_eq!(texts("a: 1\n...\n# b\nb: 2\n"), ["a: 1\n...\n", "# b\nb: 2\n"]);
        assert_eq!(texts("---- a\n---b\n"), ["---- a\n---b\n"]);
        assert_eq!(texts("---\r\na: 1\r\n---"), ["---\r\na: 1\r\n", "---"]);
        assert_eq!(texts(""), [""; 0]);
    }

    #[test]
    fn json_and_other_ends_of_lines_are_not_taken_apart() {
        assert_eq!(written(" {\"a\": 1}{\"b\": 2}"), None);
        assert_eq!(written("a: 1\rb: 2\n"), None);
    }

    #[test]
    fn head_and_foot_are_what_stands_around_the_value() {
        let around = |text| {
            let all = written(text).unwrap();
            (all[0].head(), all[0].foot())
        };
        assert_eq!(around("# x\n--- # y\n"), ("# x\n", ""));
        assert_eq!(around("---\n# a\n\n# b\na: 1\n# c\n\n# d\n"), ("---\n# a\n\n# b\n", "# c\n\n# d\n"));
        assert_eq!(around("a: |+\n  x\n\n\n"), ("", ""), "these blank lines are the value's");
        assert_eq!(around("a: |+\n  x\n\n # y\n# z\n...\n"), ("", "# z\n...\n"));
        assert_eq!(around("--- {a: 1}\n"), ("", ""));
        assert_eq!(around("# only\n"), ("# only\n", ""));
    }

    #[test]
    fn documents_of_a_stream_are_apart_whatever_they_begin_and_end_with() {
        let stream = |documents: &[&str]| {
            let mut stream = Stream::default();
            for document in documents {
                stream.push(document);
            }
            stream.into_text()
        };
        assert_eq!(stream(&["a: 1", "b: 2\n"]), "a: 1\n---\nb: 2\n");
        assert_eq!(stream(&["a: 1\n", "---\nb: 2\n", "# end\n"]), "a: 1\n---\nb: 2\n# end\n");
        assert_eq!(stream(&["a: 1\n...\n", "b: 2\n"]), "a: 1\n...\nb: 2\n");
        assert_eq!(stream(&["a: 1\n", "%YAML 1.1\n", "---\nb: 2\n"]), "a: 1\n...\n%YAML 1.1\n---\nb: 2\n");
        assert_eq!(stream(&["a: 1\n", "--- {b: 2}\n"]), "a: 1\n--- {b: 2}\n");
    }

    proptest! {
        /// For any lines: nothing is lost, and each document is in the part that contains its line.
        #[test]
        fn the_parts_are_the_whole(lines in prop::collection::vec(prop::sample::select(vec![
            "---", "...", "# c", "", "kind: Pod", "apiVersion: v1", "  a: 1", "x: |", "  ---", "--- # d", "a: '", "'", "\r",
        ]), 0..16)) {
            let text = lines.join("\n");
            if let Some(parts) = written(&text) {
                prop_assert_eq!(parts.iter().map(Written::text).collect::<String>(), text.as_str());
                for document in parse("f.yaml", text.as_bytes()).unwrap_or_default() {
                    let around: Vec<_> = parts.iter().filter(|part| part.has_line(document.position.line)).collect();
                    prop_assert_eq!(around.len(), 1);
                    // A value serialized between head and foot is the same object.
                    let anew = format!("{}{}{}", around[0].head(), to_yaml(&document.value), around[0].foot());
                    let again = parse("f.yaml", anew.as_bytes()).unwrap();
                    prop_assert_eq!(&again[0].value, &document.value);
                }
            }
        }
    }
}
