//! Writes values as YAML in the layout of `kubectl get -o yaml`: block style, lists not indented, multi-line strings
//! as literal blocks, keys in order. Strings that YAML 1.1 would read as another type (`yes`, `0644`, `1e3`) are
//! quoted.

use serde::{Serialize, Serializer};
use serde_json::Value;
use serde_saphyr::DoubleQuoted;

/// A value with strings in a form that every YAML parser reads alike.
struct Written<'v>(&'v Value);

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Array(items) => serializer.collect_seq(items.iter().map(Written)),
            Value::Object(entries) => serializer.collect_map(entries.iter().map(|(key, value)| (key, Written(value)))),
            // kubectl's parser rejects a tab at the start of a literal block as indentation.
            Value::String(text) if text.trim_start_matches('\n').starts_with('\t') => {
                DoubleQuoted(text).serialize(serializer)
            }
            other => other.serialize(serializer),
        }
    }
}

/// Returns the value as one YAML document that ends with a line break.
#[must_use]
pub fn to_yaml(value: &Value) -> String {
    let options = serde_saphyr::ser_options! {
        // Long lines are not folded, as in kubectl, because a folded command is hard to read.
        folded_wrap_chars: usize::MAX,
    };
    // No JSON value fails to serialize. If one did, JSON is also YAML.
    serde_saphyr::to_string_with_options(&Written(value), options).unwrap_or_else(|_| format!("{value:#}\n"))
}

/// Returns the values as YAML documents, separated by `---`.
#[must_use]
pub fn to_yaml_stream<'a>(values: impl IntoIterator<Item = &'a Value>) -> String {
    values.into_iter().map(to_yaml).collect::<Vec<_>>().join("---\n")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::documents::parse;

    /// Returns the `value` fields of a text's documents.
    fn read(text: &str) -> Vec<Value> {
        let documents = parse("f.yaml", text.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{text}"));
        documents.into_iter().map(|mut document| document.value["value"].take()).collect()
    }

    fn object(value: &Value) -> Value {
        json!({"apiVersion": "v1", "kind": "Test", "value": value})
    }

    /// Any value that `parse` can return: integers and fractions.
    fn values() -> impl Strategy<Value = Value> {
        let awkward = prop::sample::select(vec![
            "yes",
            "No",
            "on",
            "y",
            "N",
            "true",
            "null",
            "~",
            "",
            " ",
            "0644",
            "0o7",
            "0x1F",
            "1e3",
            "1_000",
            "-",
            "1.0",
            ".inf",
            ".NaN",
            "2026-01-02",
            "12:30:45",
            "<<",
            "=",
            "!tag",
            "&a",
            "*a",
            "- a",
            "a: b",
            "a #b",
            "#",
            "|",
            ">",
            "%YAML",
            "---",
            "...",
            "\t",
            "a\n",
            "\na",
            "a\n\n",
            "  a\nb",
            "a\r\nb",
            "#!/bin/sh\nset -e\n\techo hi\n",
            "\u{feff}",
            "\u{85}",
            "a \nb",
            "{}",
            "[]",
            "'",
            "\"",
            "\\",
            "@",
            "`",
            "?",
            ",",
            "1:30",
            "a\n---\nb",
            "\u{0}",
            "\u{2028}",
            "\u{7f}",
        ]);
        let text =
            move || prop_oneof![awkward.clone().prop_map(str::to_owned), any::<String>(), "[ \\n\\ta:#|-]{0,12}"];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_filter("has a fraction", |float| float.fract() != 0.0).prop_map(Value::from),
            text().prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 48, 6, move |inner| {
            let entries = prop::collection::vec((text(), inner.clone()), 0..6);
            prop_oneof![
                prop::collection::vec(inner, 0..6).prop_map(Value::from),
                entries.prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_the_same_and_in_the_same_order(values in prop::collection::vec(values(), 1..4)) {
            let objects: Vec<_> = values.iter().map(object).collect();
            let text = to_yaml_stream(&objects);
            let back = read(&text);
            prop_assert_eq!(&back, &values, "{}", text);
            // Equality of values ignores the order of keys.
            prop_assert_eq!(json!(back).to_string(), json!(values).to_string());
        }
    }

    #[test]
    fn the_layout_is_the_one_kubectl_prints() {
        let pod = json!({
            "kind": "Pod",
            "apiVersion": "v1",
            "metadata": {"name": "a", "annotations": {}},
            "spec": {
                "containers": [{
                    "name": "main",
                    "args": ["yes", "0644", "1e3", "null", "~", "2026-01-02", "plain text"],
                    "command": ["sh", "-c", "set -e\necho hi\n", "a\nb"],
                    "ports": [{"containerPort": 80}],
                    "description": "word ".repeat(40).trim_end(),
                }],
            },
        });
        let long = "word ".repeat(40);
        let expected = format!(
            r#"kind: Pod
apiVersion: v1
metadata:
  name: a
  annotations: {{}}
spec:
  containers:
  - name: main
    args:
    - "yes"
    - "0644"
    - "1e3"
    - "null"
    - "~"
    - "2026-01-02"
    - plain text
    command:
    - sh
    - -c
    - |
      set -e
      echo hi
    - |-
      a
      b
    ports:
    - containerPort: 80
    description: {}
"#,
            long.trim_end()
        );
        assert_eq!(to_yaml(&pod), expected);
    }

    #[test]
    fn a_string_that_begins_with_a_tab_is_quoted_as_kubectl_refuses_it_in_a_block() {
        assert_eq!(to_yaml(&json!({"a": "\tb\n", "c": "d\n\te\n"})), "a: \"\\tb\\n\"\nc: |\n  d\n  \te\n");
    }

    #[test]
    fn documents_of_a_stream_are_separated() {
        assert_eq!(to_yaml_stream(&[json!({"a": 1}), json!({"b": 2})]), "a: 1\n---\nb: 2\n");
        assert_eq!(to_yaml_stream(&[]), "");
    }
}
