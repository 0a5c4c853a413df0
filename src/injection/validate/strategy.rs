//! `spec.updateStrategy`: how running Pods are upgraded.
//!
//! Source: OpenKruise's rules. Rejecting unknown types and a partition above 100 % is our addition: OpenKruise accepts them
//! and then never upgrades, or refuses Pods.

use super::node::{FieldPlace, Report};
use super::selectors;
use super::syntax;
use crate::api::sidecarset::{
    PriorityStrategy, RevisionPolicy, ScatterTerm, SidecarSetSpec, UpdateStrategy, UpdateStrategyType,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::collections::BTreeSet;

pub(super) fn check(spec: &SidecarSetSpec, report: &Report) {
    let place = report.root("spec").field("updateStrategy");
    let strategy = &spec.update_strategy;
    if let Some(UpdateStrategyType::Other(unknown)) = &strategy.strategy {
        place.field("type").not_supported(unknown, &["RollingUpdate", "NotUpdate"]);
    }
    let rolling = strategy.strategy == Some(UpdateStrategyType::RollingUpdate);
    let revision = spec.injection_strategy.revision.as_ref();
    // A partial revision reads the partition, regardless of the strategy's type.
    if rolling || revision.is_some_and(|revision| revision.policy == RevisionPolicy::Partial) {
        check_amount(strategy.partition.as_ref(), syntax::share, &place.field("partition"));
    }
    if rolling {
        check_rolling(strategy, &place);
    }
}

fn check_rolling(strategy: &UpdateStrategy, place: &FieldPlace<'_>) {
    check_amount(strategy.max_unavailable.as_ref(), syntax::percentage, &place.field("maxUnavailable"));
    if let Some(selector) = &strategy.selector {
        selectors::check_not_empty(selector, &place.field("selector"));
        let partition = place.field("partition");
        let together = "Partition and Selector cannot be used together";
        match &strategy.partition {
            None | Some(IntOrString::Int(0)) => {}
            Some(IntOrString::Int(number)) => partition.invalid(*number, together),
            Some(IntOrString::String(text)) => partition.invalid(text.as_str(), together),
        }
    }
    if let Some(priority) = &strategy.priority_strategy {
        check_priority(priority, &place.field("priorityStrategy"));
    }
    check_scatter(strategy.scatter_strategy.as_deref().unwrap_or_default(), &place.field("scatterStrategy"));
}

fn check_amount(
    amount: Option<&IntOrString>,
    percentage: impl Fn(&str) -> Result<(), &'static str>,
    place: &FieldPlace<'_>,
) {
    match amount {
        Some(IntOrString::Int(number)) if *number < 0 => place.invalid(*number, "must be at least 0"),
        Some(IntOrString::String(text)) => place.syntax(text, percentage),
        _ => {}
    }
}

fn check_priority(priority: &PriorityStrategy, place: &FieldPlace<'_>) {
    let weights = priority.weight_priority.as_deref().unwrap_or_default();
    let orders = priority.order_priority.as_deref().unwrap_or_default();
    if !weights.is_empty() && !orders.is_empty() {
        place.forbidden(None, "only one of weightPriority and orderPriority can be used");
    }
    for (index, term) in weights.iter().enumerate() {
        let place = place.field("weightPriority").item(index, "");
        // OpenKruise also accepts 0.
        if !(0..=100).contains(&term.weight) {
            place.field("weight").invalid(term.weight, "weight must be valid number in the range 1-100");
        }
        selectors::check_not_empty(&term.match_selector, &place.field("matchSelector"));
    }
    for (index, term) in orders.iter().enumerate() {
        if term.ordered_key.is_empty() {
            place.field("orderPriority").item(index, "").field("orderedKey").required("order key can not be empty");
        }
    }
}

fn check_scatter(terms: &[ScatterTerm], place: &FieldPlace<'_>) {
    let mut seen = BTreeSet::new();
    for (index, ScatterTerm { key, value }) in terms.iter().enumerate() {
        let place = place.item(index, "");
        if key.is_empty() {
            place.field("key").required("key should not be empty");
        }
        if !seen.insert((key, value)) {
            place.duplicate(format!("{key}={value}"), &format!("duplicated key={key} value={value}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepts_spec, rejects_spec};
    use serde_json::json;

    const PLACE: &str = "spec.updateStrategy.priorityStrategy";

    #[test]
    fn the_type_is_known() {
        accepts_spec(&json!({"updateStrategy": {"type": "NotUpdate"}}));
        let wrong = json!({"updateStrategy": {"type": "OnDelete"}});
        rejects_spec(&wrong, "spec.updateStrategy.type", "FieldValueNotSupported");
    }

    #[test]
    fn partition_and_max_unavailable_are_amounts() {
        for amount in [json!(0), json!(5), json!("0%"), json!("100%")] {
            accepts_spec(&json!({"updateStrategy": {"partition": amount, "maxUnavailable": amount}}));
        }
        accepts_spec(&json!({"updateStrategy": {"maxUnavailable": "101%"}}));
        rejects_spec(
            &json!({"updateStrategy": {"partition": "101%"}}),
            "spec.updateStrategy.partition",
            "FieldValueInvalid",
        );
        for amount in [json!(-1), json!("-5%"), json!("5"), json!("%"), json!("ten")] {
            for field in ["partition", "maxUnavailable"] {
                let field_path = format!("spec.updateStrategy.{field}");
                rejects_spec(&json!({"updateStrategy": {field: amount}}), &field_path, "FieldValueInvalid");
            }
            accepts_spec(&json!({"updateStrategy": {"type": "NotUpdate", "partition": amount}}));
            let partial = json!({"revision": {"revisionName": "r", "policy": "Partial"}});
            let read =
                json!({"updateStrategy": {"type": "NotUpdate", "partition": amount}, "injectionStrategy": partial});
            rejects_spec(&read, "spec.updateStrategy.partition", "FieldValueInvalid");
        }
    }

    #[test]
    fn partition_and_selector_exclude_each_other() {
        let selector = json!({"matchLabels": {"a": "b"}});
        accepts_spec(&json!({"updateStrategy": {"selector": selector, "partition": 0}}));
        for partition in [json!(1), json!("0%")] {
            rejects_spec(
                &json!({"updateStrategy": {"selector": selector, "partition": partition}}),
                "spec.updateStrategy.partition",
                "FieldValueInvalid",
            );
        }
        rejects_spec(&json!({"updateStrategy": {"selector": {}}}), "spec.updateStrategy.selector", "FieldValueInvalid");
    }

    #[test]
    fn priorities_are_by_weight_or_by_order() {
        let weight = |weight| json!({"weight": weight, "matchSelector": {"matchLabels": {"a": "b"}}});
        let priority = |priority| json!({"updateStrategy": {"priorityStrategy": priority}});
        accepts_spec(&priority(json!({"weightPriority": [weight(0), weight(100)]})));
        accepts_spec(&priority(json!({"weightPriority": [{"matchSelector": {"matchLabels": {"a": "b"}}}]})));
        accepts_spec(&priority(json!({"orderPriority": [{"orderedKey": "a"}]})));
        let both = json!({"weightPriority": [weight(1)], "orderPriority": [{"orderedKey": "a"}]});
        rejects_spec(&priority(both), PLACE, "FieldValueForbidden");
        let rejects = |wrong, field: &str, reason| rejects_spec(&priority(wrong), &format!("{PLACE}.{field}"), reason);
        rejects(json!({"weightPriority": [weight(101)]}), "weightPriority[0].weight", "FieldValueInvalid");
        rejects(
            json!({"weightPriority": [{"weight": 1, "matchSelector": {}}]}),
            "weightPriority[0].matchSelector",
            "FieldValueInvalid",
        );
        rejects(json!({"orderPriority": [{"orderedKey": ""}]}), "orderPriority[0].orderedKey", "FieldValueRequired");
    }

    #[test]
    fn scatter_terms_are_unique() {
        let scatter = |terms| json!({"updateStrategy": {"scatterStrategy": terms}});
        accepts_spec(&scatter(json!([{"key": "a", "value": "b"}, {"key": "a", "value": "c"}, {"key": "a"}])));
        rejects_spec(
            &scatter(json!([{"key": "a", "value": "b"}, {"key": "a", "value": "b"}])),
            "spec.updateStrategy.scatterStrategy[1]",
            "FieldValueDuplicate",
        );
        rejects_spec(
            &scatter(json!([{"key": "", "value": "b"}])),
            "spec.updateStrategy.scatterStrategy[0].key",
            "FieldValueRequired",
        );
    }
}
