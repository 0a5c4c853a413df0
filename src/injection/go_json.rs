//! JSON as Go's `encoding/json` writes it for typed structs: fields in a fixed order, empty ones left out, texts escaped for
//! HTML, quantities canonical.

use crate::api::decode::{FieldError, type_of};
use crate::api::quantity::Quantity;
use serde_json::{Map, Number, Value};
use std::fmt::Write;

/// A Go type, as far as its JSON representation needs it.
pub(super) enum Type {
    Text,
    Bool,
    Int,
    Quantity,
    IntOrString,
    List(&'static Type),
    MapOf(&'static Type),
    Struct(&'static [Field]),
}

/// When a field is written.
#[derive(PartialEq)]
pub(super) enum Presence {
    /// Always. An absent field has its zero value.
    Always,
    /// If it does not have its zero value (`omitempty`).
    NotEmpty,
    /// If it is set, even to its zero value (a pointer with `omitempty`).
    Set,
    /// A pointer without `omitempty`: `null` if absent.
    OrNull,
}

/// A field of a struct.
pub(super) type Field = (&'static str, Type, Presence);

use Presence::{Always, NotEmpty, OrNull, Set};
use Type::{Bool, Int, IntOrString, List, MapOf, Struct, Text};

/// The current path, for errors.
pub(super) struct Path(pub String);

impl Path {
    /// Runs `write` one level deeper.
    fn step<T>(&mut self, step: impl FnOnce(&mut String), write: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.0.len();
        step(&mut self.0);
        let result = write(self);
        self.0.truncate(length);
        result
    }

    pub fn error(&self, problem: String) -> FieldError {
        FieldError { field: self.0.clone(), problem }
    }

    fn expected<T>(&self, what: &str, found: &Value) -> Result<T, FieldError> {
        Err(self.error(format!("expected {what}, found {}", type_of(found))))
    }
}

/// Writes a struct.
///
/// # Errors
/// When a field has the wrong type.
pub(super) fn write_struct(
    json: &mut String,
    path: &mut Path,
    fields: &[Field],
    values: Option<&Map<String, Value>>,
) -> Result<(), FieldError> {
    json.push('{');
    let mut first = true;
    for (name, field_type, presence) in fields {
        let value = values.and_then(|values| values.get(*name)).unwrap_or(&Value::Null);
        let written = match presence {
            Always | OrNull => true,
            NotEmpty => !is_zero(field_type, value),
            Set => !value.is_null(),
        };
        if !written {
            continue;
        }
        if !first {
            json.push(',');
        }
        first = false;
        write_text(json, name);
        json.push(':');
        if *presence == OrNull && value.is_null() {
            json.push_str("null");
            continue;
        }
        let step = |path: &mut String| {
            path.push('.');
            path.push_str(name);
        };
        path.step(step, |path| write_value(json, path, field_type, value))?;
    }
    json.push('}');
    Ok(())
}

/// Whether the value is a Go zero value, which `omitempty` leaves out.
fn is_zero(field_type: &Type, value: &Value) -> bool {
    match (field_type, value) {
        (_, Value::Null) | (Bool, Value::Bool(false)) => true,
        (Text, Value::String(text)) => text.is_empty(),
        (Int, Value::Number(number)) => number.as_i64() == Some(0),
        (List(_), Value::Array(items)) => items.is_empty(),
        (MapOf(_), Value::Object(entries)) => entries.is_empty(),
        _ => false,
    }
}

fn write_value(json: &mut String, path: &mut Path, value_type: &Type, value: &Value) -> Result<(), FieldError> {
    match (value_type, value) {
        (Text | IntOrString, Value::String(text)) => write_text(json, text),
        (Text, Value::Null) => json.push_str("\"\""),
        (Text, _) => return path.expected("a string", value),
        (Bool, Value::Bool(flag)) => json.push_str(if *flag { "true" } else { "false" }),
        (Bool, Value::Null) => json.push_str("false"),
        (Bool, _) => return path.expected("true or false", value),
        (Int | IntOrString, Value::Null) => json.push('0'),
        (Int | IntOrString, Value::Number(number)) if number.is_i64() => push_display(json, number),
        (Int, _) => return path.expected("a whole number", value),
        (IntOrString, _) => return path.expected("a whole number or a name", value),
        (Type::Quantity, _) => {
            let text = match value {
                Value::Null => "0".to_owned(),
                Value::String(text) => text.trim().to_owned(),
                Value::Number(number) => number.to_string(),
                _ => return path.expected("a quantity", value),
            };
            let quantity = Quantity::parse(&text).map_err(|e| path.error(e.to_string()))?;
            write_text(json, &quantity.to_string());
        }
        (List(items), Value::Array(values)) => {
            json.push('[');
            for (index, value) in values.iter().enumerate() {
                if index > 0 {
                    json.push(',');
                }
                path.step(
                    |path| push_display(path, format_args!("[{index}]")),
                    |path| write_value(json, path, items, value),
                )?;
            }
            json.push(']');
        }
        (List(_), _) => return path.expected("a list", value),
        (MapOf(values), Value::Object(map)) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            json.push('{');
            for (index, (key, value)) in entries.into_iter().enumerate() {
                if index > 0 {
                    json.push(',');
                }
                write_text(json, key);
                json.push(':');
                path.step(
                    |path| push_display(path, format_args!("[{key}]")),
                    |path| write_value(json, path, values, value),
                )?;
            }
            json.push('}');
        }
        (Struct(fields), Value::Object(values)) => write_struct(json, path, fields, Some(values))?,
        (Struct(fields), Value::Null) => write_struct(json, path, fields, None)?,
        (MapOf(_) | Struct(_), _) => return path.expected("an object", value),
    }
    Ok(())
}

fn push_display(out: &mut String, value: impl std::fmt::Display) {
    let _ = write!(out, "{value}"); // writing to a String cannot fail
}

/// The bytes that begin an escaped character. The last may also begin another one.
const MAY_BE_ESCAPED: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < table.len() {
        table[byte] = byte < 0x20 || matches!(byte, 0x22 | 0x26 | 0x3c | 0x3e | 0x5c | 0xe2); // " & < > \
        byte += 1;
    }
    table
};

/// Writes a string as Go's `encoding/json` does, which escapes for HTML.
pub(super) fn write_text(json: &mut String, text: &str) {
    json.reserve(text.len() + 2);
    json.push('"');
    let mut written = 0;
    for (at, byte) in text.bytes().enumerate().filter(|(_, byte)| MAY_BE_ESCAPED[usize::from(*byte)]) {
        let character = match byte {
            0xe2 => match text.get(at..at + 3) {
                Some(separator @ ("\u{2028}" | "\u{2029}")) => separator,
                _ => continue,
            },
            _ => &text[at..=at],
        };
        json.push_str(&text[written..at]);
        match byte {
            b'"' => json.push_str("\\\""),
            b'\\' => json.push_str("\\\\"),
            0x8 => json.push_str("\\b"),
            0xc => json.push_str("\\f"),
            b'\n' => json.push_str("\\n"),
            b'\r' => json.push_str("\\r"),
            b'\t' => json.push_str("\\t"),
            _ => character.chars().for_each(|c| push_display(json, format_args!("\\u{:04x}", u32::from(c)))),
        }
        written = at + character.len();
    }
    json.push_str(&text[written..]);
    json.push('"');
}

/// Writes an untyped value as Go does: all keys sorted.
pub(super) fn write_sorted(json: &mut String, value: &Value) {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by_key(|(key, _)| *key);
            json.push('{');
            for (index, (key, field)) in fields.into_iter().enumerate() {
                if index > 0 {
                    json.push(',');
                }
                write_text(json, key);
                json.push(':');
                write_sorted(json, field);
            }
            json.push('}');
        }
        Value::Array(items) => {
            json.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    json.push(',');
                }
                write_sorted(json, item);
            }
            json.push(']');
        }
        Value::String(text) => write_text(json, text),
        Value::Number(number) => write_number(json, number),
        other => push_display(json, other),
    }
}

/// Writes an untyped number as Go does: as `int64` if it is one, else as `float64`.
fn write_number(json: &mut String, number: &Number) {
    let Some(float) = number.as_f64().filter(|_| !number.is_i64()) else { return push_display(json, number) };
    let size = float.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{float:e}");
        match text.split_once('e') {
            Some((digits, exponent)) if !exponent.starts_with('-') => {
                push_display(json, format_args!("{digits}e+{exponent}"));
            }
            _ => json.push_str(&text),
        }
    } else {
        push_display(json, float);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Expected values were written by Go 1.25 after it read the same text into an `any`, with integers kept as the API
    /// server keeps them.
    #[test]
    fn numbers_of_no_known_type_are_those_of_go() {
        for (value, expected) in [
            (json!(0), "0"),
            (json!(-5), "-5"),
            (json!(i64::MAX), "9223372036854775807"),
            (json!(u64::MAX), "18446744073709552000"),
            (json!(1.0), "1"),
            (json!(0.1), "0.1"),
            (json!(-2.5), "-2.5"),
            (json!(1e20), "100000000000000000000"),
            (json!(1e21), "1e+21"),
            (json!(1.5e300), "1.5e+300"),
            (json!(0.000_001), "0.000001"),
            (json!(1.5e-7), "1.5e-7"),
            (json!(-1e-9), "-1e-9"),
        ] {
            let mut json = String::new();
            write_sorted(&mut json, &value);
            assert_eq!(json, expected);
        }
    }

    #[test]
    fn keys_are_sorted_and_texts_escaped_for_html() {
        let mut json = String::new();
        write_sorted(&mut json, &json!({"b": [true, null], "a&": {"z": "<\u{2028}>", "y": "\u{8}\u{1}\u{7f}ü\""}}));
        let expected = r#"{"a\u0026":{"y":"\b\u0001\u{7f}ü\"","z":"\u003c\u2028\u003e"},"b":[true,null]}"#;
        assert_eq!(json, expected.replace(r"\u{7f}", "\u{7f}"));
    }
}
