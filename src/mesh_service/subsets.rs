//! Pure: the subsets that a DestinationRule keeps while existing routes use them.

use super::index::MeshIndex;
use super::key::Key;
use super::kind::MeshKind;
use super::watched::{ObjectKey, Watched};
use kube::api::DynamicObject;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeSet;

/// Returns an object as it must be now. Rules are written before routes, so that a subset exists before a route uses
/// it. A subset is removed only after its routes.
pub(super) fn until_rerouted<'o>(
    index: &MeshIndex,
    mesh_service: &Key,
    key: &ObjectKey,
    object: &'o DynamicObject,
) -> Cow<'o, DynamicObject> {
    if key.kind != Watched::Made(MeshKind::DestinationRule) {
        return Cow::Borrowed(object);
    }
    let spec_of = |key: &ObjectKey| index.object(key)?.content.as_deref()?.get("spec");
    let wanted: Vec<&Value> = names(&object.data["spec"]).collect();
    let mut routed = BTreeSet::new();
    for seen in index.owned_by(mesh_service) {
        if seen.key.kind == Watched::Made(MeshKind::VirtualService)
            && let Some(spec) = spec_of(&seen.key)
        {
            collect(spec, &object.data["spec"]["host"], &mut routed);
        }
    }
    let present = spec_of(key).and_then(|spec| spec["subsets"].as_array()).into_iter().flatten();
    let stay = present.filter(|subset| {
        let is_routed = subset["name"].as_str().is_some_and(|name| routed.contains(name));
        is_routed && !wanted.contains(&&subset["name"])
    });
    let stay: Vec<Value> = stay.cloned().collect();
    if stay.is_empty() {
        return Cow::Borrowed(object);
    }
    let mut object = object.clone();
    if let Some(spec) = object.data.get_mut("spec").and_then(Value::as_object_mut) {
        let subsets = spec.entry("subsets").or_insert_with(|| Value::Array(Vec::new()));
        if let Some(subsets) = subsets.as_array_mut() {
            subsets.extend(stay);
        }
    }
    Cow::Owned(object)
}

fn names(spec: &Value) -> impl Iterator<Item = &Value> {
    spec["subsets"].as_array().into_iter().flatten().map(|subset| &subset["name"])
}

/// Collects the subsets of a host that routes name anywhere.
fn collect<'v>(value: &'v Value, host: &Value, found: &mut BTreeSet<&'v str>) {
    match value {
        Value::Object(fields) => {
            if fields.get("host") == Some(host) {
                found.extend(fields.get("subset").and_then(Value::as_str));
            }
            fields.values().for_each(|value| collect(value, host, found));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, host, found)),
        _ => {}
    }
}
