//! Access to JSON.

use serde_json::{Value, json};

pub fn name(object: &Value) -> &str {
    text(object, "/name")
}

/// Returns the string at `pointer`, or an empty one.
pub fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Returns the list at `pointer`, or an empty one.
pub fn items<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Returns the member of an object, which is created if it is missing or `null`.
pub fn member<'a>(object: &'a mut Value, key: &str) -> &'a mut Value {
    if !object.is_object() {
        *object = json!({});
    }
    &mut object[key]
}

/// Returns the elements of a list, which is created if it is missing or `null`.
pub fn elements(list: &mut Value) -> &mut Vec<Value> {
    if !list.is_array() {
        *list = json!([]);
    }
    list.as_array_mut().expect("made a list above")
}

/// Go's `encoding/json` escapes these in strings for HTML.
pub fn html_escaped(json: &str) -> String {
    json.replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

/// Whether a container is marked as injected by a `SidecarSet`.
pub fn is_injected(container: &Value) -> bool {
    items(container, "/env").iter().any(|variable| name(variable) == "IS_INJECTED" && variable["value"] == "true")
}

/// Returns an annotation's text, if it exists. `null` is an empty text, as in the API server.
pub fn annotation<'a>(pod: &'a Value, key: &str) -> Option<&'a str> {
    pod["metadata"]["annotations"].get(key).map(|text| text.as_str().unwrap_or_default())
}

pub fn set_annotation(pod: &mut Value, key: &str, text: &str) {
    *member(member(member(pod, "metadata"), "annotations"), key) = text.into();
}
