//! Parses the bytes of a file into documents.
//!
//! YAML is read as kubectl reads it, including YAML 1.1 booleans (`yes`, `on`, `y`) and octal numbers (`0644` is 420). Known
//! differences: `yEs` and other unusual casings are booleans too, and `1_0.5` is a string. In a file with merge keys, a quoted
//! key `"<<"` is a merge key too, and a merge key may refer to an alias of a list. Duplicate keys, including two merge keys in
//! one mapping, are rejected, where kubectl uses the last one.

use std::{fmt::Display, sync::Arc};

use serde::de::IgnoredAny;
use serde_json::Value;
use serde_saphyr::{MergeKeyPolicy, Options, Spanned, UserMessageFormatter};

use super::{
    Document, Position,
    error::{MAX_FILE_BYTES, ParseError},
    list::flatten,
    value::{MAX_DEPTH, MAX_MEMORY, Root, out_of_memory},
};

/// Reads the objects of a file in order. `file` is its name in positions and errors.
///
/// YAML documents are separated by `---`, JSON objects by optional white space. Empty documents are skipped, and a
/// `List` is replaced by its objects.
///
/// # Errors
/// The file's first problem. Messages contain keys of the file but no values, which may be secret.
pub fn parse(file: &str, text: &[u8]) -> Result<Vec<Document>, ParseError> {
    parse_with(file, text, |document| document)
}

/// Like [`parse()`], with the results of `read` for each object, so that only the values of one document are in memory.
/// Results before a problem are dropped.
///
/// # Errors
/// As [`parse()`].
pub fn parse_with<T>(file: &str, text: &[u8], mut read: impl FnMut(Document) -> T) -> Result<Vec<T>, ParseError> {
    let mut all = Vec::new();
    let name: Arc<str> = file.into();
    parse_roots(file, text, &mut |line, value| {
        let position = Position { file: name.clone(), line, items: Vec::new() };
        flatten(position, value, &mut |document| all.push(read(document)))
    })?;
    Ok(all)
}

/// The result for a document or an item of a List.
#[derive(Debug)]
pub enum Part {
    /// An object.
    Object(Document),
    /// Not an object, although it has a field that only objects have. The rest of its List is skipped.
    Faulty(ParseError),
    /// YAML without any field of an object, such as values of a chart.
    Foreign(Position),
}

/// Like [`parse_with()`], but reports anything that is not an object instead of failing.
///
/// # Errors
/// When the text is not YAML or JSON, or exceeds a limit. Earlier results have already been reported.
pub fn parse_each(file: &str, text: &[u8], take: &mut dyn FnMut(Part)) -> Result<(), ParseError> {
    let name: Arc<str> = file.into();
    parse_roots(file, text, &mut |line, value| {
        let position = Position { file: name.clone(), line, items: Vec::new() };
        let fields = ["apiVersion", "kind", "metadata"];
        if !value.is_null() && !fields.iter().any(|field| value.get(field).is_some()) {
            take(Part::Foreign(position));
        } else if let Err(error) = flatten(position, value, &mut |document| take(Part::Object(document))) {
            take(Part::Faulty(error));
        }
        Ok(())
    })
}

/// Reads a text with one value of any kind, such as a program's configuration. An empty text is `null`.
///
/// # Errors
/// The text's first problem, as in [`parse()`]. A second document is a problem.
pub fn parse_value(file: &str, text: &[u8]) -> Result<Value, ParseError> {
    let mut only = None;
    parse_roots(file, text, &mut |line, value| match (&only, value) {
        (_, Value::Null) => Ok(()),
        (None, value) => {
            only = Some(value);
            Ok(())
        }
        (Some(_), _) => Err(syntax_error(&file.into(), line as u64, 1, &"a second document, where one is expected")),
    })?;
    Ok(only.unwrap_or_default())
}

/// Reports the value of each document in a text, with its line.
fn parse_roots(
    file: &str,
    text: &[u8],
    take: &mut dyn FnMut(usize, Value) -> Result<(), ParseError>,
) -> Result<(), ParseError> {
    let file: Arc<str> = file.into();
    if text.len() > MAX_FILE_BYTES {
        return Err(ParseError::TooLarge { file });
    }
    let text = match str::from_utf8(text) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
        Err(source) => return Err(ParseError::NotUtf8 { file, source }),
    };
    Roots { file: &file, take, memory: 0 }.read(text)
}

/// Receives the values of a file's documents. They share one memory limit.
struct Roots<'f> {
    file: &'f Arc<str>,
    take: &'f mut dyn FnMut(usize, Value) -> Result<(), ParseError>,
    memory: usize,
}

/// How far a text was read.
enum RootsRead {
    All,
    /// The next document has a merge key.
    UpToMergeKey,
}

impl Roots<'_> {
    /// Like kubectl, tries JSON first for a text that begins with `{`, where objects need no separator. It may also be a
    /// YAML flow mapping.
    fn read(&mut self, text: &str) -> Result<(), ParseError> {
        if !text.trim_start().starts_with('{') {
            return self.read_yaml(text);
        }
        let mut values = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
        match values.find_map(Result::err) {
            None => self.read_json(text),
            Some(error) => self.read_yaml(text).map_err(|_| self.json_error(&error)),
        }
    }

    fn read_json(&mut self, text: &str) -> Result<(), ParseError> {
        let mut stream = serde_json::Deserializer::from_str(text).into_iter::<Root<false>>();
        let (mut line, mut counted) = (1, 0);
        loop {
            let rest = text.get(stream.byte_offset()..).unwrap_or_default();
            let start = text.len() - rest.trim_start().len();
            line += text[counted..start].matches('\n').count();
            counted = start;
            match stream.next() {
                None => return Ok(()),
                Some(Ok(root)) => self.push(line, root)?,
                Some(Err(error)) => return Err(self.json_error(&error)),
            }
        }
    }

    /// The parser's own merge keys never replace earlier keys, unlike kubectl's. So the few files with merge keys are read again
    /// with these keys as values.
    fn read_yaml(&mut self, text: &str) -> Result<(), ParseError> {
        let mut read = 0;
        match self.read_roots::<false>(text, MergeKeyPolicy::Error, &mut read)? {
            RootsRead::All => Ok(()),
            RootsRead::UpToMergeKey => self.read_roots::<true>(text, MergeKeyPolicy::AsOrdinary, &mut read).map(|_| ()),
        }
    }

    /// Reads the remaining documents.
    fn read_roots<const MERGES: bool>(
        &mut self,
        text: &str,
        merge_keys: MergeKeyPolicy,
        read: &mut usize,
    ) -> Result<RootsRead, ParseError> {
        let mut text = text.as_bytes();
        let roots = serde_saphyr::read_with_options::<_, Spanned<Root<MERGES>>>(&mut text, options(merge_keys));
        for root in roots.skip(*read) {
            let root = match root {
                Ok(root) => root,
                Err(error) if is_merge_key(&error) => return Ok(RootsRead::UpToMergeKey),
                Err(error) => {
                    let (line, column) =
                        error.location().map_or((1, 1), |location| (location.line(), location.column()));
                    let message = error.render_with_formatter(&UserMessageFormatter);
                    return Err(syntax_error(self.file, line, column, &message));
                }
            };
            *read += 1;
            self.push(usize::try_from(root.referenced.line()).unwrap_or(usize::MAX), root.value)?;
        }
        Ok(RootsRead::All)
    }

    fn push<const MERGES: bool>(&mut self, line: usize, root: Root<MERGES>) -> Result<(), ParseError> {
        self.memory = self.memory.saturating_add(root.memory);
        if self.memory > MAX_MEMORY {
            return Err(syntax_error(self.file, line as u64, 1, &out_of_memory()));
        }
        (self.take)(line, root.value)
    }

    fn json_error(&self, error: &serde_json::Error) -> ParseError {
        syntax_error(self.file, error.line() as u64, error.column() as u64, error)
    }
}

/// Returns YAML options that match kubectl, with limits.
pub(super) fn options(merge_keys: MergeKeyPolicy) -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            // The memory of values, with aliases expanded, is limited where they are created. These limits must
            // only not reject a single document that fills the file.
            max_nodes: MAX_FILE_BYTES,
            max_events: MAX_FILE_BYTES,
            enforce_alias_anchor_ratio: false,
        },
        // What aliases add for each document. Anchors in real files are few and small.
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 100_000 },
        legacy_octal_numbers: true,
        merge_keys: merge_keys,
        // A snippet would show values, which may be secret.
        with_snippet: false,
    }
}

fn is_merge_key(error: &serde_saphyr::Error) -> bool {
    matches!(error.without_snippet(), serde_saphyr::Error::MergeKeyNotAllowed { .. })
}

/// Both parsers end their messages with the position, which is already at the beginning of ours.
fn syntax_error(file: &Arc<str>, line: u64, column: u64, error: &dyn Display) -> ParseError {
    let message = error.to_string();
    let message = message.split(" at line ").next().unwrap_or(&message).to_owned();
    ParseError::Syntax { file: file.clone(), line, column, message }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// Returns the value of YAML text as the value of a key.
    fn value(text: &str) -> Value {
        let text = format!("apiVersion: v1\nkind: Test\nvalue: {text}\n");
        parse("f.yaml", text.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{text}")).remove(0).value["value"]
            .take()
    }

    fn refusal(text: impl AsRef<[u8]>) -> String {
        parse("f.yaml", text.as_ref()).unwrap_err().to_string()
    }

    fn positions(text: &str) -> Vec<String> {
        parse("f.yaml", text.as_bytes()).unwrap().iter().map(|document| document.position.to_string()).collect()
    }

    fn kind(kind: &str) -> String {
        format!("apiVersion: v1\nkind: {kind}\n")
    }

    #[test]
    fn scalars_mean_what_kubectl_makes_of_them() {
        // Expected values are from sigs.k8s.io/yaml v1.6.
        for (text, expected) in [
            ("y", json!(true)),
            ("yes", json!(true)),
            ("on", json!(true)),
            ("ON", json!(true)),
            ("N", json!(false)),
            ("off", json!(false)),
            ("'yes'", json!("yes")),
            ("~", json!(null)),
            ("Null", json!(null)),
            ("nULL", json!("nULL")),
            ("2026-01-02", json!("2026-01-02")),
            ("1:30", json!("1:30")),
            ("089", json!(89)),
            ("1_000", json!(1000)),
            ("0x1F", json!(31)),
            ("0b11", json!(3)),
            ("0o644", json!(420)),
            ("+1", json!(1)),
            ("-0", json!(0)),
            ("1e3", json!(1000)),
            ("1.0", json!(1)),
            (".5", json!(0.5)),
            ("0.10", json!(0.1)),
            ("infinity", json!("infinity")),
            ("nan", json!("nan")),
            ("=", json!("=")),
            ("!!str 12", json!("12")),
            ("!foo bar", json!("bar")),
            ("!!binary aGVsbG8=", json!("hello")),
            ("18446744073709551615", json!(u64::MAX)),
            ("-9223372036854775808", json!(i64::MIN)),
        ] {
            assert_eq!(value(text), expected, "{text}");
        }
    }

    #[test]
    fn a_number_with_a_leading_zero_is_octal() {
        assert_eq!(value("0644"), json!(420));
        assert_eq!(value("-0644"), json!(-420));
        assert_eq!(value("'0644'"), json!("0644"));
    }

    #[test]
    fn numbers_that_would_lose_digits_or_are_none_are_refused() {
        for text in
            ["123456789012345678901234", "18446744073709551616", "-9223372036854775809", ".inf", ".nan", "1e999"]
        {
            let error = refusal(format!("{}value: {text}\n", kind("Test")));
            assert!(error.starts_with("f.yaml:3:"), "{text}: {error}");
        }
        let json = refusal(r#"{"apiVersion": "v1", "kind": "Test", "value": 18446744073709551616}"#);
        assert!(json.starts_with("f.yaml:1:") && json.contains("64 bits"), "{json}");
    }

    #[test]
    fn keys_become_the_strings_that_kubectl_makes_of_them() {
        for (text, expected) in [
            ("{1: a}", json!({"1": "a"})),
            ("{0x10: a}", json!({"16": "a"})),
            ("{true: a}", json!({"true": "a"})),
            ("{yes: a}", json!({"true": "a"})),
            ("{'yes': a}", json!({"yes": "a"})),
            ("{2026-01-02: a}", json!({"2026-01-02": "a"})),
        ] {
            assert_eq!(value(text), expected, "{text}");
        }
    }

    #[test]
    fn keys_that_no_string_stands_for_are_refused() {
        for text in ["{~: a}", "{1.10: a}", "{[a]: b}", "{{a: b}: c}"] {
            let error = refusal(format!("{}value: {text}\n", kind("Test")));
            assert!(error.starts_with("f.yaml:3:"), "{text}: {error}");
        }
    }

    #[test]
    fn a_key_that_stands_twice_is_refused_with_its_line() {
        for (text, line) in [
            ("apiVersion: v1\nkind: A\nkind: B\n", 3),
            ("apiVersion: v1\nkind: A\nx: {1: a, '1': b}\n", 3),
            ("{\"apiVersion\": \"v1\",\n\"kind\": \"A\",\n\"kind\": \"B\"}", 3),
        ] {
            let error = refusal(text);
            assert!(error.starts_with(&format!("f.yaml:{line}:")), "{error}");
            assert!(error.contains("kind") || error.contains('1'), "{error}");
        }
    }

    #[test]
    fn merge_keys_and_aliases_are_expanded() {
        assert_eq!(value("{a: &a {b: 1}, c: {<<: *a, d: *a}}")["c"], json!({"b": 1, "d": {"b": 1}}));
    }

    /// Expected values are from sigs.k8s.io/yaml 1.6.0, which kubectl uses.
    #[test]
    fn a_merge_key_takes_effect_where_it_stands() {
        for (text, expected) in [
            ("{c: 1, <<: {c: 2, d: 3}}", json!({"c": 2, "d": 3})),
            ("{<<: {c: 2, d: 3}, c: 1}", json!({"c": 1, "d": 3})),
            ("{c: 1, <<: [{c: 2}, {c: 3, d: 4}]}", json!({"c": 2, "d": 4})),
            ("{c: 1, <<: [{d: 2}, {d: 3}], d: 5}", json!({"c": 1, "d": 5})),
            ("{c: 1, <<: {<<: {c: 2}, c: 3}}", json!({"c": 3})),
            ("{c: 1, <<: {c: 3, <<: {c: 2}}}", json!({"c": 2})),
            ("{c: {d: 1}, <<: {c: {e: 2}}}", json!({"c": {"e": 2}})),
            ("{c: 1, '<<': {c: 2}}", json!({"c": 1, "<<": {"c": 2}})),
            ("{c: 1, <<: []}", json!({"c": 1})),
        ] {
            assert_eq!(value(text), expected, "{text}");
        }
        let text = format!("{0}v: 1\n---\n{0}a: &a {{v: 2}}\nb: {{v: 1, <<: *a}}\n---\n{0}v: 3\n", kind("A"));
        let documents = parse("f.yaml", text.as_bytes()).unwrap();
        let lines: Vec<usize> = documents.iter().map(|document| document.position.line).collect();
        assert_eq!((lines, &documents[1].value["b"]), (vec![1, 5, 10], &json!({"v": 2})));
    }

    #[test]
    fn a_merge_key_that_kubectl_would_refuse_is_refused() {
        for text in ["{<<: 1}", "{<<: ~}", "{<<: [1]}", "{<<: [[{a: 1}]]}", "{c: 1, c: 2, <<: {c: 3}}"] {
            let error = refusal(format!("{}value: {text}\n", kind("Test")));
            assert!(error.starts_with("f.yaml:3:"), "{text}: {error}");
        }
        assert!(refusal(format!("{}value: {{<<: 1}}\n", kind("T"))).contains("a mapping or a list of mappings"));
    }

    #[test]
    fn aliases_that_multiply_are_refused() {
        let level = |level: usize| {
            let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
            format!("a{level}: &a{level} [{aliases}]\n")
        };
        let levels: String = (1..10).map(level).collect();
        let bomb = kind("Test") + "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + &levels;
        assert!(refusal(bomb).starts_with("f.yaml:"));
    }

    #[test]
    fn one_long_text_aliased_often_is_refused() {
        let aliases = "- *a\n".repeat(1000);
        let bomb = format!("{}a: &a {}\nb:\n{aliases}", kind("Test"), "x".repeat(1024 * 1024));
        let error = refusal(bomb);
        assert!(error.starts_with("f.yaml:") && error.contains("ScalarBytes"), "{error}");
    }

    #[test]
    fn documents_that_only_together_take_too_much_are_refused() {
        let aliases = "- *a\n".repeat(400);
        let document = format!("---\n{}a: &a {}\nb:\n{aliases}", kind("Test"), "x".repeat(128 * 1024));
        assert!(parse("f.yaml", document.as_bytes()).is_ok());
        let error = refusal(document.repeat(6));
        assert!(error.starts_with("f.yaml:") && error.contains("memory"), "{error}");
    }

    #[test]
    fn nesting_is_bounded_however_it_is_written() {
        let nested = |levels: usize| format!("{}value: {}{}\n", kind("Test"), "[".repeat(levels), "]".repeat(levels));
        assert!(parse("f.yaml", nested(MAX_DEPTH - 1).as_bytes()).is_ok());
        assert!(refusal(nested(MAX_DEPTH)).starts_with("f.yaml:3:"));
        assert!(refusal(nested(100_000)).starts_with("f.yaml:3:"));
        let level = |level| format!("a{level}: &a{level} {}*a{}{}\n", "[".repeat(40), level - 1, "]".repeat(40));
        let levels: String = (1..60).map(level).collect();
        let aliased = kind("Test") + "a0: &a0 x\n" + &levels;
        assert!(refusal(aliased).starts_with("f.yaml:"));
        let json = format!(r#"{{"apiVersion": "v1", "kind": "T", "value": {}{}}}"#, "[".repeat(500), "]".repeat(500));
        assert!(refusal(json).starts_with("f.yaml:1:"));
    }

    #[test]
    fn documents_keep_their_lines_and_empty_ones_are_skipped() {
        let text = format!("# nothing\n---\n---\n{}---\n# more\n\n{}...\n---\n", kind("A"), kind("B"));
        assert_eq!(positions(&text), ["f.yaml:4", "f.yaml:9"]);
        assert_eq!(positions(""), [""; 0]);
        assert_eq!(positions("# only a comment\n"), [""; 0]);
    }

    #[test]
    fn a_file_may_hold_thousands_of_documents() {
        let text = format!("---\n{}", kind("A")).repeat(3000);
        assert_eq!(positions(&text).last().map(String::as_str), Some("f.yaml:8999"));
    }

    #[test]
    fn json_objects_may_follow_each_other_with_nothing_between() {
        let object = r#"{"apiVersion": "v1", "kind": "A"}"#;
        assert_eq!(positions(&format!("\n{object}{object}\n\n{object}\n")), ["f.yaml:2", "f.yaml:2", "f.yaml:4"]);
    }

    #[test]
    fn a_text_that_opens_like_json_may_be_yaml() {
        assert_eq!(positions("{apiVersion: v1, kind: A}\n---\n{\"apiVersion\": \"v1\", \"kind\": \"B\"}\n").len(), 2);
    }

    #[test]
    fn broken_json_is_named_with_line_and_column() {
        let error = refusal("{\"apiVersion\": \"v1\",\n \"kind\" \"A\"}");
        assert_eq!(error, "f.yaml:2:9: expected `:`");
    }

    #[test]
    fn the_order_of_keys_is_kept() {
        let text = "kind: A\nzeta: 1\napiVersion: v1\nalpha: 2\n";
        let value = &parse("f.yaml", text.as_bytes()).unwrap()[0].value;
        assert_eq!(value.to_string(), r#"{"kind":"A","zeta":1,"apiVersion":"v1","alpha":2}"#);
    }

    #[test]
    fn bytes_that_are_not_utf8_are_refused_with_their_offset() {
        assert_eq!(refusal(b"apiVersion: \xff\n"), "f.yaml: byte 12 is not UTF-8; save the file as UTF-8");
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_text() {
        assert_eq!(positions(&format!("\u{feff}{}", kind("A"))), ["f.yaml:1"]);
        assert_eq!(positions("\u{feff}{\"apiVersion\": \"v1\", \"kind\": \"A\"}"), ["f.yaml:1"]);
    }

    #[test]
    fn yaml_faults_are_named_with_line_and_column_and_without_values() {
        for text in
            ["\tkind: B\n", "password: 'hunter2\n", "password: [hunter2\n", "a: b: hunter2\n", "  a: hunter2\n b: c\n"]
        {
            let error = refusal(format!("{}{text}", kind("A")));
            assert!(error.starts_with("f.yaml:"), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_input_panics(bytes in prop::collection::vec(any::<u8>(), 0..64), text in "[-a:{}\\[\\]\"'&*!|>%@#,0-9\n \t~<]{0,48}") {
            _ = parse("f.yaml", &bytes);
            _ = parse("f.yaml", text.as_bytes());
        }
    }

    #[test]
    fn a_text_of_one_value_needs_no_kind() {
        let read = |text: &str| parse_value("config.yaml", text.as_bytes());
        assert_eq!(read("a: yes\nb: [1]\n").unwrap(), json!({"a": true, "b": [1]}));
        assert_eq!(read("{\"a\": 1}").unwrap(), json!({"a": 1}));
        for empty in ["", "\n# nothing\n", "---\n"] {
            assert_eq!(read(empty).unwrap(), Value::Null, "{empty:?}");
        }
        assert_eq!(
            read("a: 1\n---\nb: 2\n").unwrap_err().to_string(),
            "config.yaml:3:1: a second document, where one is expected"
        );
        assert!(read("a: [").unwrap_err().to_string().starts_with("config.yaml:"));
    }
}
