//! Requirements of an object, and splitting of Lists into objects.

use serde_json::{Map, Value};

use super::{Document, ParseError, Position};
use crate::api::decode::type_of;

/// Reports the object at `position`, or the objects of the List at it. `kind: List` and every `kind: …List` with a
/// list in `items` is a List. Nested Lists are split too, as deep as values may nest.
///
/// Go servers omit `apiVersion` and `kind` of the items of a typed list, so an item of a `SidecarSetList` inherits
/// those of its list. An item of an untyped `List` must have its own.
pub(super) fn flatten(position: Position, value: Value, take: &mut dyn FnMut(Document)) -> Result<(), ParseError> {
    let mut object = match value {
        Value::Object(object) => object,
        other => return Err(ParseError::NotAnObject { position, found: type_of(&other) }),
    };
    let (api_version, kind) = match (text(&object, "apiVersion"), text(&object, "kind")) {
        (Ok(api_version), Ok(kind)) => (api_version.to_owned(), kind.to_owned()),
        (Err(problem), _) => return Err(ParseError::Field { position, field: "apiVersion", problem }),
        (_, Err(problem)) => return Err(ParseError::Field { position, field: "kind", problem }),
    };
    let items = match (kind.strip_suffix("List"), object.get_mut("items")) {
        (Some(_), Some(Value::Array(items))) => std::mem::take(items),
        // Go writes a list without items as `null`.
        (Some(_), Some(Value::Null)) | (Some(""), None) => return Ok(()),
        (Some(""), Some(_)) => return Err(ParseError::Field { position, field: "items", problem: "is not a list" }),
        _ => {
            take(Document { position, value: Value::Object(object) });
            return Ok(());
        }
    };
    let item_kind = kind.strip_suffix("List").filter(|kind| !kind.is_empty());
    for (index, mut item) in items.into_iter().enumerate() {
        if let (Some(item), Some(item_kind)) = (item.as_object_mut(), item_kind) {
            inherit(item, "kind", item_kind);
            inherit(item, "apiVersion", &api_version);
        }
        let mut position = position.clone();
        position.items.push(index);
        flatten(position, item, take)?;
    }
    Ok(())
}

fn text<'o>(object: &'o Map<String, Value>, field: &str) -> Result<&'o str, &'static str> {
    match object.get(field) {
        Some(Value::String(text)) if text.is_empty() => Err("is empty"),
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err("is not a string"),
        None => Err("is missing"),
    }
}

/// Inserts the field at the front, as in written objects, unless the item has it.
fn inherit(item: &mut Map<String, Value>, field: &str, text: &str) {
    if !item.contains_key(field) {
        item.shift_insert(0, field.to_owned(), text.into());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::documents::parse;

    fn objects(text: &str) -> Vec<(String, Value)> {
        let documents = parse("f.yaml", text.as_bytes()).unwrap();
        documents.into_iter().map(|document| (document.position.to_string(), document.value)).collect()
    }

    fn refusal(text: &str) -> String {
        parse("f.yaml", text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_list_stands_for_its_items_each_with_its_place() {
        let text = "\n\napiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Pod}\n\
                    - apiVersion: v1\n  kind: List\n  items:\n  - {apiVersion: v1, kind: Namespace}\n";
        assert_eq!(
            objects(text),
            [
                ("f.yaml:3 items[0]".into(), json!({"apiVersion": "v1", "kind": "Pod"})),
                ("f.yaml:3 items[1].items[0]".into(), json!({"apiVersion": "v1", "kind": "Namespace"})),
            ]
        );
    }

    #[test]
    fn items_of_a_typed_list_take_its_type_unless_they_have_their_own() {
        let text = "apiVersion: apps.kruise.io/v1alpha1\nkind: SidecarSetList\nitems:\n- metadata: {name: a}\n\
                    - {apiVersion: apps.kruise.io/v1beta1, kind: SidecarSet}\n";
        let objects = objects(text);
        assert_eq!(
            serde_json::to_string(&objects[0].1).unwrap(),
            r#"{"apiVersion":"apps.kruise.io/v1alpha1","kind":"SidecarSet","metadata":{"name":"a"}}"#
        );
        assert_eq!(objects[1].1["apiVersion"], "apps.kruise.io/v1beta1");
    }

    #[test]
    fn items_of_the_untyped_list_must_have_their_own_type() {
        let text = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1}\n";
        assert_eq!(refusal(text), "f.yaml:1 items[0]: `kind` is missing");
    }

    #[test]
    fn a_list_without_items_is_empty() {
        assert_eq!(objects("apiVersion: v1\nkind: List\n"), []);
        assert_eq!(objects("apiVersion: v1\nkind: PodList\nitems: null\n"), []);
        assert_eq!(objects("apiVersion: v1\nkind: PodList\nitems: []\n"), []);
    }

    #[test]
    fn the_untyped_list_needs_a_list_of_items() {
        assert_eq!(refusal("apiVersion: v1\nkind: List\nitems: {}\n"), "f.yaml:1: `items` is not a list");
    }

    #[test]
    fn a_kind_that_only_ends_with_list_is_an_object_like_any_other() {
        let text = "apiVersion: example.com/v1\nkind: AllowList\nspec: {}\n";
        assert_eq!(objects(text)[0].1["kind"], "AllowList");
    }

    #[test]
    fn a_document_without_its_type_is_refused_by_place_and_field() {
        assert_eq!(refusal("# sets\n---\nkind: Pod\n"), "f.yaml:3: `apiVersion` is missing");
        assert_eq!(refusal("apiVersion: 1\nkind: Pod\n"), "f.yaml:1: `apiVersion` is not a string");
        assert_eq!(refusal("apiVersion: v1\nkind: ''\n"), "f.yaml:1: `kind` is empty");
    }

    #[test]
    fn a_document_that_is_no_mapping_is_refused() {
        assert_eq!(
            refusal("apiVersion: v1\nkind: Pod\n---\n- a\n"),
            "f.yaml:4: a list where an object with `apiVersion` and `kind` is expected"
        );
        assert!(refusal("apiVersion: v1\nkind: List\nitems: [1]\n").starts_with("f.yaml:1 items[0]: a number"));
    }
}
