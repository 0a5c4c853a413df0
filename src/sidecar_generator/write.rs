//! Pure: the Sidecar to write, as a whole or as changes to the existing one.

use super::answer::Good;
use super::generator::ObservedGenerator;
use super::sidecar::{ObservedSidecar, owner, resource};
use crate::api::keys;
use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, PatchOperation};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::DynamicObject;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The write.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// Create it. It does not exist.
    Create(Box<DynamicObject>),
    /// Change the existing one at this resourceVersion.
    Change(String, Vec<PatchOperation>),
}

/// Returns the write that makes the Sidecar match the last good answer; `None` if it does. Metadata set by others
/// stays.
#[must_use]
pub fn write(generator: &ObservedGenerator, sidecar: Option<&ObservedSidecar>, good: &Good) -> Option<Write> {
    let Some(sidecar) = sidecar else {
        return Some(Write::Create(Box::new(object(generator, good))));
    };
    let mut changes = Vec::new();
    if sidecar.spec_hash.as_ref() != Some(&good.hash) {
        changes.push(add(&["spec"], good.spec()));
    }
    if sidecar.claimed_hash.as_ref() != Some(&good.hash) {
        changes.push(if sidecar.has_annotations {
            add(&["metadata", "annotations", keys::SIDECAR_SPEC_HASH], good.hash.clone().into())
        } else {
            add(&["metadata", "annotations"], json!({keys::SIDECAR_SPEC_HASH: good.hash}))
        });
    }
    if let Some(owners) = sidecar.owners_to_set(generator) {
        let owners: Vec<Value> = owners.iter().map(reference).collect();
        changes.push(add(&["metadata", "ownerReferences"], owners.into()));
    }
    (!changes.is_empty()).then(|| Write::Change(sidecar.resource_version.clone(), changes))
}

/// Returns the whole Sidecar, in the format of sidecar-generator-operator.
fn object(generator: &ObservedGenerator, good: &Good) -> DynamicObject {
    let mut object = DynamicObject::new(&generator.key.name, &resource()).within(&generator.key.namespace);
    object.metadata.annotations = Some(BTreeMap::from([(keys::SIDECAR_SPEC_HASH.to_owned(), good.hash.clone())]));
    object.metadata.owner_references = Some(vec![owner(generator)]);
    object.data(json!({"spec": good.spec()}))
}

fn add(path: &[&str], value: Value) -> PatchOperation {
    PatchOperation::Add(AddOperation { path: PointerBuf::from_tokens(path.iter().copied()), value })
}

fn reference(owner: &OwnerReference) -> Value {
    serde_json::to_value(owner).unwrap_or_default() // texts and booleans cannot fail
}
