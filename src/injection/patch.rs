//! A JSON Patch (RFC 6902) written directly as text, so that values keep their own text.

use super::go_json::write_text;
use json_patch::jsonptr::Token;

/// Operations in the order they apply.
#[derive(Debug, Default)]
pub struct PatchWriter {
    json: String,
}

/// Bytes of a common patch.
const COMMON: usize = 4096;

impl PatchWriter {
    /// `add`: `value` is JSON text.
    pub fn add<'t>(&mut self, path: impl IntoIterator<Item = &'t str>, value: &str) {
        self.operation("add", path, value);
    }

    /// `replace` of the container at `index`, after a `test` of the name it was seen with.
    pub fn replace_container(&mut self, list: &str, index: usize, name: &str, value: &str) {
        self.test_container(list, index, name);
        self.operation("replace", ["spec", list, &index.to_string()], value);
    }

    /// `test` that the container at `index` still has the name it was seen with.
    pub fn test_container(&mut self, list: &str, index: usize, name: &str) {
        let mut quoted = String::new();
        write_text(&mut quoted, name);
        self.operation("test", ["spec", list, &index.to_string(), "name"], &quoted);
    }

    fn operation<'t>(&mut self, op: &str, path: impl IntoIterator<Item = &'t str>, value: &str) {
        if self.json.is_empty() {
            self.json.reserve(COMMON);
        }
        self.json.push(if self.json.is_empty() { '[' } else { ',' });
        self.json.push_str("{\"op\":\"");
        self.json.push_str(op);
        self.json.push_str("\",\"path\":");
        self.json.push('"');
        for token in path {
            self.json.push('/');
            self.token(token);
        }
        self.json.push('"');
        self.json.push_str(",\"value\":");
        self.json.push_str(value);
        self.json.push('}');
    }

    /// Writes a token of a JSON Pointer, escaped as pointer and as JSON.
    fn token(&mut self, token: &str) {
        if token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
            self.json.push_str(token);
            return;
        }
        let mut quoted = String::new();
        write_text(&mut quoted, Token::new(token).encoded());
        self.json.push_str(&quoted[1..quoted.len() - 1]);
    }

    /// Returns the patch as JSON text; `None` if it is empty.
    #[must_use]
    pub fn finish(mut self) -> Option<String> {
        if self.json.is_empty() {
            return None;
        }
        self.json.push(']');
        Some(self.json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointer_tokens_and_texts_are_escaped() {
        let mut patch = PatchWriter::default();
        patch.add(["metadata", "annotations", "a/b~c\"d"], "1.10");
        patch.replace_container("containers", 2, "x\"y", "{}");
        let text = patch.finish().unwrap();
        assert!(text.contains(r#""path":"/metadata/annotations/a~1b~0c\"d","value":1.10}"#), "{text}");
        let operations: json_patch::Patch = serde_json::from_str(&text).unwrap();
        assert_eq!(operations.0.len(), 3);
    }

    #[test]
    fn nothing_to_do_is_no_patch() {
        assert_eq!(PatchWriter::default().finish(), None);
    }
}
