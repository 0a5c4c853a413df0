//! `patchPodMetadata`: the annotations that a set puts on Pods.
//!
//! Source: OpenKruise's rules. Rejecting unknown policies and texts that are not JSON is our addition: such a text would
//! refuse every Pod that has the annotation.

use super::metadata;
use super::node::{FieldPlace, Report};
use super::syntax;
use super::whitelist;
use super::world::World;
use crate::api::sidecarset::{PatchPolicy, SidecarSet, SidecarSetSpec};
use std::collections::BTreeSet;

pub(super) fn check(set: &SidecarSet, world: &World<'_>, report: &Report) {
    if set.spec.patch_pod_metadata.as_ref().is_some_and(|patches| !patches.is_empty()) {
        whitelist::check(set, world.whitelist, world.patch_without_whitelist, &place(report));
        check_patches(&set.spec, report);
    }
}

fn place(report: &Report) -> FieldPlace<'_> {
    report.root("spec").field("patchPodMetadata")
}

/// Checks the patches alone, without the whitelist.
pub(super) fn check_patches(spec: &SidecarSetSpec, report: &Report) {
    let list = place(report);
    let mut seen = BTreeSet::new();
    for (index, patch) in spec.patch_pod_metadata.iter().flatten().enumerate() {
        let place = list.item(index, "");
        if let Some(PatchPolicy::Other(unknown)) = &patch.patch_policy {
            place.field("patchPolicy").not_supported(unknown, &["Retain", "Overwrite", "MergePatchJson"]);
        }
        let annotations = patch.annotations.as_ref().filter(|annotations| !annotations.is_empty());
        let place = place.field("annotations");
        let Some(annotations) = annotations else {
            place.required("no annotations defined for SidecarSet");
            continue;
        };
        metadata::check_annotations(annotations, &place.of_pods());
        for (key, value) in annotations {
            if !seen.insert(key) {
                place.duplicate(key.as_str(), &format!("patch annotation[{key}] already exist"));
            }
            if patch.patch_policy == Some(PatchPolicy::MergePatchJson) {
                place.entry(key).syntax(value, syntax::json);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepts_spec, rejects_spec};
    use serde_json::{Value, json};

    fn patches(patches: &Value) -> Value {
        json!({"patchPodMetadata": patches})
    }

    #[test]
    fn each_patch_names_new_annotations() {
        accepts_spec(&patches(&json!([
            {"annotations": {"a": "x", "UPPER/b": ""}},
            {"annotations": {"c": "{\"n\": 1.10}"}, "patchPolicy": "MergePatchJson"}
        ])));
        for (patch, field, reason) in [
            (json!([{}]), "[0].annotations", "FieldValueRequired"),
            (json!([{"annotations": {}}]), "[0].annotations", "FieldValueRequired"),
            (json!([{"annotations": {"a b": ""}}]), "[0].annotations", "FieldValueInvalid"),
            (json!([{"annotations": {"a": ""}}, {"annotations": {"a": ""}}]), "[1].annotations", "FieldValueDuplicate"),
            (
                json!([{"annotations": {"a": ""}, "patchPolicy": "Replace"}]),
                "[0].patchPolicy",
                "FieldValueNotSupported",
            ),
            (
                json!([{"annotations": {"a": "{"}, "patchPolicy": "MergePatchJson"}]),
                "[0].annotations[a]",
                "FieldValueInvalid",
            ),
        ] {
            rejects_spec(&patches(&patch), &format!("spec.patchPodMetadata{field}"), reason);
        }
    }
}
