//! Label selectors: of Pods and of Namespaces.
//!
//! Source: OpenKruise's rules, and Kubernetes' `ValidateLabelSelector` for their syntax.

use super::metadata;
use super::node::{FieldPlace, Report};
use super::overlap;
use super::syntax;
use crate::api::sidecarset::SidecarSetSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::json;

pub(super) fn check(spec: &SidecarSetSpec, report: &Report) {
    let place = report.root("spec");
    match &spec.selector {
        None => place.field("selector").required("no selector defined for SidecarSet"),
        Some(selector) => check_not_empty(selector, &place.field("selector")),
    }
    if let Some(selector) = &spec.namespace_selector {
        let place = place.field("namespaceSelector");
        check_not_empty(selector, &place);
        if overlap::matches_nothing(selector) {
            place.invalid(
                json!(selector),
                "no Namespace can match: its requirements exclude each other (v1alpha1's spec.namespace is one of them)",
            );
        }
    }
}

/// The selector must name a label, because an empty one would match everything.
pub(super) fn check_not_empty(selector: &LabelSelector, place: &FieldPlace<'_>) {
    let labels = selector.match_labels.as_ref().is_none_or(std::collections::BTreeMap::is_empty);
    if labels && selector.match_expressions.as_ref().is_none_or(Vec::is_empty) {
        place.invalid(json!({}), "empty selector is not valid for sidecarset.");
    }
    check_syntax(selector, place);
}

/// Keys, operators and values.
pub(super) fn check_syntax(selector: &LabelSelector, place: &FieldPlace<'_>) {
    if let Some(labels) = &selector.match_labels {
        metadata::check_labels(labels, &place.field("matchLabels"));
    }
    for (index, expression) in selector.match_expressions.iter().flatten().enumerate() {
        let place = place.field("matchExpressions").item(index, "");
        place.field("key").syntax(&expression.key, syntax::qualified_name);
        let values = expression.values.as_deref().unwrap_or_default();
        match expression.operator.as_str() {
            "In" | "NotIn" if values.is_empty() => {
                place.field("values").required("In and NotIn need at least one value");
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                place.field("values").forbidden(Some(&json!(values)), "Exists and DoesNotExist take no values");
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            operator => {
                place.field("operator").invalid(operator, "is not an operator: use In, NotIn, Exists or DoesNotExist");
            }
        }
        for (index, value) in values.iter().enumerate() {
            place.field("values").item(index, "").syntax(value, syntax::label_value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepts_spec, rejects_spec};
    use serde_json::json;

    #[test]
    fn selectors_are_required_and_not_empty() {
        rejects_spec(&json!({"selector": null}), "spec.selector", "FieldValueRequired");
        rejects_spec(&json!({"selector": {}}), "spec.selector", "FieldValueInvalid");
        rejects_spec(
            &json!({"selector": {"matchLabels": {}, "matchExpressions": []}}),
            "spec.selector",
            "FieldValueInvalid",
        );
        rejects_spec(&json!({"namespaceSelector": {}}), "spec.namespaceSelector", "FieldValueInvalid");
        accepts_spec(&json!({"namespaceSelector": {"matchLabels": {"team": "a"}}}));
    }

    #[test]
    fn a_set_that_can_reach_no_namespace_is_refused() {
        let name = |operator: &str, values: &[&str]| json!({"key": "kubernetes.io/metadata.name", "operator": operator, "values": values});
        let selector = |expression| json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "a"}, "matchExpressions": [expression]}});
        accepts_spec(&selector(name("NotIn", &["v1alpha1.spec.namespace"])));
        rejects_spec(
            &selector(name("In", &["b", "v1alpha1.spec.namespace"])),
            "spec.namespaceSelector",
            "FieldValueInvalid",
        );
    }

    #[test]
    fn selectors_have_the_syntax_of_kubernetes() {
        let expression = |expression| json!({"selector": {"matchExpressions": [expression]}});
        accepts_spec(&expression(json!({"key": "a", "operator": "In", "values": ["", "b"]})));
        accepts_spec(&expression(json!({"key": "example.com/a", "operator": "DoesNotExist"})));
        for (wrong, field, reason) in [
            (json!({"key": "a", "operator": "In"}), "values", "FieldValueRequired"),
            (json!({"key": "a", "operator": "NotIn", "values": []}), "values", "FieldValueRequired"),
            (json!({"key": "a", "operator": "Exists", "values": ["b"]}), "values", "FieldValueForbidden"),
            (json!({"key": "a", "operator": "in", "values": ["b"]}), "operator", "FieldValueInvalid"),
            (json!({"key": "", "operator": "Exists"}), "key", "FieldValueInvalid"),
            (json!({"key": "a", "operator": "In", "values": ["b c"]}), "values[0]", "FieldValueInvalid"),
        ] {
            rejects_spec(&expression(wrong), &format!("spec.selector.matchExpressions[0].{field}"), reason);
        }
        rejects_spec(
            &json!({"selector": {"matchLabels": {"a": "b c"}}}),
            "spec.selector.matchLabels[a]",
            "FieldValueInvalid",
        );
    }
}
