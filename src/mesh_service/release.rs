//! Pure: the patch that removes our marks from an object that was made for a MeshService.

use super::mark::{self, LABELS};
use super::seen::Seen;
use crate::api::keys;
use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, PatchOperation, RemoveOperation};
use serde_json::Value;

/// What happens to its spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Released {
    /// It stays as it is.
    AsItIs,
    /// It is restored to its state before the object was taken over.
    AsItWas,
}

/// Returns the patch.
#[must_use]
pub fn operations(seen: &Seen, released: Released) -> Vec<PatchOperation> {
    let Some(content) = &seen.content else { return Vec::new() };
    let metadata = &content["metadata"];
    let mut operations = Vec::new();
    let before = seen.annotation(keys::MESH_ADOPTED).and_then(|text| serde_json::from_str::<Value>(text).ok());
    if let Some(value) = before.filter(|spec| released == Released::AsItWas && spec.is_object()) {
        operations.push(PatchOperation::Add(AddOperation { path: PointerBuf::from_tokens(["spec"]), value }));
    }
    let named = [("labels", &LABELS[..]), ("annotations", &[keys::MESH_OBJECT, keys::MESH_ADOPTED][..])];
    for (field, names) in named {
        let there = names.iter().filter(|name| metadata[field].get(**name).is_some());
        operations.extend(there.map(|name| remove(["metadata", field, name])));
    }
    let owners = metadata["ownerReferences"].as_array().map(Vec::as_slice).unwrap_or_default().iter().enumerate();
    let ours = owners.filter(|(_, owner)| mark::is_mesh_service(owner));
    // In reverse, because each removal moves those behind it.
    operations.extend(ours.map(|(place, _)| remove(["metadata", "ownerReferences", &place.to_string()])).rev());
    operations
}

fn remove<const N: usize>(path: [&str; N]) -> PatchOperation {
    PatchOperation::Remove(RemoveOperation { path: PointerBuf::from_tokens(path) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh_service::mark::mark;
    use crate::mesh_service::watched::Watched;
    use crate::mesh_service::{Key, MeshKind, ObservedMeshService};
    use serde_json::json;

    /// Returns an object of `shop/web` after it was released.
    fn after(released: Released, namespace: &str, before: Option<&str>) -> Value {
        let web = ObservedMeshService::read(json!({"metadata": {"name": "web", "namespace": "shop", "uid": "u"}}));
        let name = if namespace == "shop" { "web" } else { "shop.web" };
        let mut object = json!({"metadata": mark(&web, &Key::new(namespace, name)), "spec": {"hosts": ["ours"]}});
        object["metadata"]["labels"]["team"] = json!("theirs");
        if let Some(before) = before {
            object["metadata"]["annotations"][keys::MESH_ADOPTED] = json!(before);
        }
        let seen = Seen::read(Watched::Made(MeshKind::VirtualService), object.clone());
        json_patch::patch(&mut object, &operations(&seen, released)).unwrap();
        object
    }

    #[test]
    fn what_is_released_has_nothing_of_ours_and_all_of_others() {
        for (namespace, before) in [("shop", None), ("edge", None), ("edge", Some("{}"))] {
            let after = after(Released::AsItIs, namespace, before);
            assert_eq!(after["metadata"]["labels"], json!({"team": "theirs"}));
            assert!(after["metadata"]["annotations"].as_object().is_none_or(serde_json::Map::is_empty), "{after}");
            assert!(after["metadata"]["ownerReferences"].as_array().is_none_or(Vec::is_empty), "{after}");
            assert_eq!(after["spec"], json!({"hosts": ["ours"]}));
        }
    }

    #[test]
    fn what_was_taken_over_is_given_back_as_it_was() {
        let given = after(Released::AsItWas, "shop", Some("{\"hosts\":[\"theirs\"]}"));
        assert_eq!(given["spec"], json!({"hosts": ["theirs"]}));
        assert!(!given.to_string().contains("outrigger"), "{given}");
        for unreadable in ["", "{", "5"] {
            let kept = after(Released::AsItWas, "shop", Some(unreadable));
            assert_eq!(kept["spec"], json!({"hosts": ["ours"]}), "{unreadable}");
        }
    }
}
