//! Name, labels and annotations of a SidecarSet.
//!
//! Source: OpenKruise's name rule and Kubernetes' `ValidateObjectMeta`. The rest of the latter is left to the API server,
//! which applies it to every object.

use super::node::{FieldPlace, Report};
use super::syntax;
use crate::api::keys;
use crate::api::sidecarset::SidecarSet;
use crate::injection::verify::Verification;
use std::collections::BTreeMap;

/// The maximum bytes of all annotations of an object.
const ANNOTATIONS_LIMIT: usize = 256 * 1024;

pub(super) fn check(set: &SidecarSet, report: &Report) {
    let metadata = report.root("metadata");
    let name = set.metadata.name.as_deref().unwrap_or_default();
    if name.is_empty() {
        metadata.field("name").required("");
    } else {
        // OpenKruise allows letters, digits and '-', at most 63. The API server allows neither upper case nor '-' at
        // the ends.
        metadata.field("name").syntax(name, syntax::dns_label);
    }
    if let Some(labels) = &set.metadata.labels {
        check_labels(labels, &metadata.field("labels"));
    }
    if let Some(annotations) = &set.metadata.annotations {
        let place = metadata.field("annotations");
        check_annotations(annotations, &place);
        if let Some(value) =
            annotations.get(keys::VERIFY).filter(|value| !Verification::VALUES.contains(&value.as_str()))
        {
            place.entry(keys::VERIFY).not_supported(value, &Verification::VALUES);
        }
        for (key, only) in [
            (keys::POD_LEVEL_RESOURCES, keys::GROW),
            (keys::JOB_SIDECARS, keys::NATIVE),
            (keys::RESIZE, keys::IN_PLACE),
        ] {
            if let Some(value) = annotations.get(key).filter(|value| *value != only) {
                place.entry(key).not_supported(value, &[only]);
            }
        }
    }
}

/// Keys and values of labels.
pub(super) fn check_labels(labels: &BTreeMap<String, String>, place: &FieldPlace<'_>) {
    for (key, value) in labels {
        place.syntax(key, syntax::qualified_name);
        place.entry(key).syntax(value, syntax::label_value);
    }
}

/// Keys of annotations, and their total size.
pub(super) fn check_annotations(annotations: &BTreeMap<String, String>, place: &FieldPlace<'_>) {
    for key in annotations.keys() {
        place.syntax(key, syntax::annotation_key);
    }
    let size: usize = annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
    if size > ANNOTATIONS_LIMIT {
        place.too_long(&format!("keys and values may have {ANNOTATIONS_LIMIT} bytes together"));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepts, rejects, set};
    use serde_json::json;

    #[test]
    fn the_name_is_a_dns_label() {
        for (name, reason) in [
            ("A", "FieldValueInvalid"),
            ("a.b", "FieldValueInvalid"),
            ("a_b", "FieldValueInvalid"),
            ("", "FieldValueRequired"),
        ] {
            rejects(&set(&json!({"name": name}), &json!({})), "metadata.name", reason);
        }
        accepts(&set(&json!({"name": "log-agent-2"}), &json!({})));
    }

    #[test]
    fn verification_is_one_of_two() {
        let with = |value: &str| set(&json!({"name": "s", "annotations": {"outrigger.dev/verify": value}}), &json!({}));
        accepts(&with("enforce"));
        accepts(&with("warn"));
        for wrong in ["", "true", "Enforce"] {
            rejects(&with(wrong), "metadata.annotations[outrigger.dev/verify]", "FieldValueNotSupported");
        }
    }

    #[test]
    fn switches_have_one_value() {
        for (key, value) in [("pod-level-resources", "grow"), ("job-sidecars", "native")] {
            let key = format!("outrigger.dev/{key}");
            let with = |value: &str| set(&json!({"name": "s", "annotations": {&key: value}}), &json!({}));
            accepts(&with(value));
            rejects(&with("true"), &format!("metadata.annotations[{key}]"), "FieldValueNotSupported");
        }
    }

    #[test]
    fn labels_and_annotations_are_those_of_kubernetes() {
        accepts(&set(
            &json!({"name": "s", "labels": {"example.com/a": "B"}, "annotations": {"UPPER/Ab": "any text\n"}}),
            &json!({}),
        ));
        rejects(&set(&json!({"name": "s", "labels": {"a b": ""}}), &json!({})), "metadata.labels", "FieldValueInvalid");
        rejects(
            &set(&json!({"name": "s", "labels": {"a": "b c"}}), &json!({})),
            "metadata.labels[a]",
            "FieldValueInvalid",
        );
        rejects(
            &set(&json!({"name": "s", "annotations": {"a b": ""}}), &json!({})),
            "metadata.annotations",
            "FieldValueInvalid",
        );
        rejects(
            &set(&json!({"name": "s", "annotations": {"a": "x".repeat(300_000)}}), &json!({})),
            "metadata.annotations",
            "FieldValueTooLong",
        );
    }
}
