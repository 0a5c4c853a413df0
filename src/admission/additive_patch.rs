//! The JSON Patch that merges a value into a received one: it adds and replaces fields, and removes nothing.

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, PatchOperation, ReplaceOperation};
use serde_json::Value;

/// Returns the operations that give `received` everything that `wanted` has. Other fields of `received` stay. A field
/// that is `null` may be filled in. Lists are compared item by item.
pub(super) fn additive_patch(received: &Value, wanted: &Value) -> Vec<PatchOperation> {
    let mut operations = Vec::new();
    lay(received, wanted, &mut PointerBuf::new(), &mut operations);
    operations
}

fn lay(received: &Value, wanted: &Value, path: &mut PointerBuf, operations: &mut Vec<PatchOperation>) {
    match (received, wanted) {
        (Value::Object(received), Value::Object(wanted)) => {
            for (key, wanted) in wanted {
                path.push_back(key);
                match received.get(key) {
                    Some(Value::Null) if wanted.is_null() => {}
                    None | Some(Value::Null) => {
                        let (path, value) = (path.clone(), wanted.clone());
                        operations.push(PatchOperation::Add(AddOperation { path, value }));
                    }
                    Some(received) => lay(received, wanted, path, operations),
                }
                path.pop_back();
            }
        }
        (Value::Array(received), Value::Array(wanted)) if received.len() == wanted.len() => {
            for (index, (received, wanted)) in received.iter().zip(wanted).enumerate() {
                path.push_back(index);
                lay(received, wanted, path, operations);
                path.pop_back();
            }
        }
        _ if received == wanted => {}
        _ => {
            let (path, value) = (path.clone(), wanted.clone());
            operations.push(PatchOperation::Replace(ReplaceOperation { path, value }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn lays(received: &Value, wanted: &Value, patch: &Value) {
        assert_eq!(serde_json::to_value(additive_patch(received, wanted)).unwrap(), *patch);
    }

    #[test]
    fn what_is_there_already_needs_nothing() {
        let value = json!({"a": [1, {"b": null}], "c": {}});
        lays(&value, &value, &json!([]));
        lays(&json!({"a": 1, "more": [2], "null": null}), &json!({"a": 1, "null": null}), &json!([]));
    }

    #[test]
    fn absent_fields_are_added_whole_and_null_ones_filled_in() {
        let add = |path: &str, value: Value| json!({"op": "add", "path": path, "value": value});
        lays(
            &json!({"a": null, "l": [{"x": 1}]}),
            &json!({"a": {"b": 1}, "l": [{"y~/": 2}], "n": [], "null": null}),
            &json!([
                add("/a", json!({"b": 1})),
                add("/l/0/y~0~1", json!(2)),
                add("/n", json!([])),
                add("/null", json!(null)),
            ]),
        );
    }

    #[test]
    fn what_differs_is_replaced_at_the_deepest_place() {
        let replace = |path: &str, value: Value| json!({"op": "replace", "path": path, "value": value});
        lays(
            &json!({"a": {"b": 1, "c": 2}, "l": [1]}),
            &json!({"a": {"b": 3}, "l": [1, 2]}),
            &json!([replace("/a/b", json!(3)), replace("/l", json!([1, 2]))]),
        );
    }
}
