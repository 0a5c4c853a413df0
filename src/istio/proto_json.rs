//! Messages as proto-JSON: reads all accepted forms, and writes the one that Istio's Go types write.
//!
//! Source: `jsonpb` of `github.com/golang/protobuf`, which Istio's types use.

use crate::api::decode::{FieldError, type_of};
use crate::api::istio::message::{Field, Type};
use serde_json::{Map, Value};
use std::fmt::Display;

/// How to treat a field that the message does not have.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Unknown {
    Ignored,
    Refused,
}

/// Returns a message in canonical form: fields in the order of declaration, zero values removed, keys of maps sorted.
///
/// `null` is a message without fields. Durations must be whole or decimal seconds (`"90s"`).
///
/// # Errors
/// When a field cannot be read: its path and the reason, without its value.
pub(super) fn canonical(fields: &'static [Field], value: &Value, unknown: Unknown) -> Result<Value, FieldError> {
    let value = if value.is_null() { &Value::Object(Map::new()) } else { value };
    read(&Type::Message(fields), value, unknown).map_err(|mut error| {
        error.field = error.field.trim_start_matches('.').to_owned();
        error
    })
}

/// Returns a canonical message as Go writes it: without white space, escaped for HTML.
pub(super) fn go_text(canonical: &Value) -> String {
    // In JSON, these occur only within texts.
    [('<', "\\u003c"), ('>', "\\u003e"), ('&', "\\u0026"), ('\u{2028}', "\\u2028"), ('\u{2029}', "\\u2029")]
        .into_iter()
        .fold(
            canonical.to_string(),
            |json, (character, escape)| {
                if json.contains(character) { json.replace(character, escape) } else { json }
            },
        )
}

fn read(value_type: &Type, value: &Value, unknown: Unknown) -> Result<Value, FieldError> {
    let expected = |what: &str| FieldError::new("", format!("expected {what}, found {}", type_of(value)));
    match (value_type, value) {
        (Type::Text, Value::String(_))
        | (Type::Bool | Type::OptionalBool, Value::Bool(_))
        | (Type::Double, Value::Number(_)) => Ok(value.clone()),
        (Type::Text, _) => Err(expected("a string")),
        (Type::Bool | Type::OptionalBool, _) => Err(expected("true or false")),
        (Type::Signed, _) => {
            let number = whole_number(value).ok_or_else(|| expected("a whole number"))?;
            let number = i32::try_from(number).map_err(|_| FieldError::new("", "must have at most 32 bits"))?;
            Ok(number.into())
        }
        (Type::Unsigned, _) => {
            let number = whole_number(value).ok_or_else(|| expected("a whole number"))?;
            let number = u32::try_from(number).map_err(|_| FieldError::new("", "must be 0 to 4294967295"))?;
            Ok(number.into())
        }
        (Type::Double, _) => Err(expected("a number")),
        (Type::Enum(names), _) => {
            let name = match value {
                Value::String(name) => names.iter().find(|known| *known == name),
                Value::Number(number) => {
                    number.as_u64().and_then(|place| names.get(usize::try_from(place).unwrap_or(usize::MAX)))
                }
                _ => return Err(expected("a string")),
            };
            let name = name.ok_or_else(|| FieldError::new("", format!("must be one of {}", names.join(", "))))?;
            Ok((*name).into())
        }
        (Type::Duration, Value::String(text)) => {
            let text = seconds(text).ok_or_else(|| FieldError::new("", "must be seconds such as \"1.5s\""))?;
            Ok(text.into())
        }
        (Type::Duration, _) => Err(expected("a duration")),
        (Type::List(items), Value::Array(values)) => {
            let item = |(index, value)| read(items, value, unknown).map_err(below(format_args!("[{index}]")));
            values.iter().enumerate().map(item).collect()
        }
        (Type::List(_), _) => Err(expected("a list")),
        (Type::Labels, Value::Object(values)) => {
            let mut entries: Vec<_> = values.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            let entry = |(key, value): (&String, &Value)| {
                let value = read(&Type::Text, value, unknown).map_err(below(format_args!("[{key}]")))?;
                Ok((key.clone(), value))
            };
            Ok(Value::Object(entries.into_iter().map(entry).collect::<Result<_, FieldError>>()?))
        }
        (Type::Map(values), Value::Object(entries)) => {
            let entry = |(key, value): (&String, &Value)| {
                Ok((key.clone(), read(values, value, unknown).map_err(below(format_args!("[{key}]")))?))
            };
            Ok(Value::Object(entries.iter().map(entry).collect::<Result<_, FieldError>>()?))
        }
        (Type::Message(fields), Value::Object(values)) => message(fields, values, unknown).map(Value::Object),
        (Type::Labels | Type::Map(_) | Type::Message(_), _) => Err(expected("an object")),
    }
}

fn message(
    fields: &'static [Field],
    values: &Map<String, Value>,
    unknown: Unknown,
) -> Result<Map<String, Value>, FieldError> {
    if unknown == Unknown::Refused {
        let known = |key: &String| fields.iter().any(|(name, _)| key == name || *key == snake_case(name));
        if let Some(key) = values.keys().find(|key| !known(key)) {
            return Err(FieldError::new(format!(".{key}"), "is not known"));
        }
    }
    let mut canonical = Map::new();
    for (name, field_type) in fields {
        // The JSON spelling has precedence over the other.
        let Some(value) = values.get(*name).or_else(|| values.get(&snake_case(name))) else { continue };
        if value.is_null() {
            continue;
        }
        let value = read(field_type, value, unknown).map_err(below(format_args!(".{name}")))?;
        if !is_zero(field_type, &value) {
            canonical.insert((*name).to_owned(), value);
        }
    }
    Ok(canonical)
}

/// Whether a canonical value equals an absent one.
fn is_zero(value_type: &Type, value: &Value) -> bool {
    match value_type {
        Type::Text => value == "",
        Type::Bool => *value == false,
        Type::Signed | Type::Unsigned | Type::Double => value.as_f64() == Some(0.0),
        Type::Enum(names) => names.first().is_some_and(|zero| value == zero),
        Type::List(_) => value.as_array().is_some_and(Vec::is_empty),
        Type::Labels | Type::Map(_) => value.as_object().is_some_and(Map::is_empty),
        Type::OptionalBool | Type::Duration | Type::Message(_) => false,
    }
}

/// Returns a field's name in its `.proto` file.
fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for character in name.chars() {
        if character.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(character.to_ascii_lowercase());
    }
    snake
}

/// Parses an integer, or a text with an integer as JSON would write it.
fn whole_number(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.parse().ok().filter(|number: &i64| number.to_string() == *text),
        _ => None,
    }
}

/// Formats seconds with no, 3, 6 or 9 decimals, as needed.
fn seconds(text: &str) -> Option<String> {
    let number = text.strip_suffix('s')?;
    let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.len() <= 9 && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(decimals) {
        return None;
    }
    let whole: u32 = whole.parse().ok()?;
    let mut decimals = format!("{decimals:0<9}");
    while decimals.ends_with("000") {
        decimals.truncate(decimals.len() - 3);
    }
    Some(if decimals.is_empty() { format!("{whole}s") } else { format!("{whole}.{decimals}s") })
}

/// Prefixes the path of an error with a step.
fn below(step: impl Display) -> impl FnOnce(FieldError) -> FieldError {
    move |error| FieldError { field: format!("{step}{}", error.field), ..error }
}
