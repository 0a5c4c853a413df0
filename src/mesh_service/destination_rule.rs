//! The DestinationRule of a MeshService: its policy and its subsets.

use super::build::Builder;
use super::kind::MeshKind;
use crate::api::mesh_service::{MeshServiceSpec, Message};
use serde_json::{Value, json};

/// A subset, and the field that it comes from.
struct Subset {
    value: Message,
    field: String,
}

pub(super) fn build(builder: &mut Builder<'_>) {
    let MeshServiceSpec { traffic_policy, subsets, destination_rule, .. } = &builder.asked.spec;
    if traffic_policy.is_none() && subsets.is_empty() && destination_rule.is_none() {
        return;
    }
    if !builder.makes(MeshKind::DestinationRule) {
        return;
    }
    let rule = destination_rule.clone().unwrap_or_default();
    let subsets = all_subsets(&builder.asked.spec, &rule);
    let of_rule = message(rule.get("trafficPolicy"));
    let policy = merged(traffic_policy.clone().unwrap_or_default(), of_rule.clone().unwrap_or_default());
    let mut spec = json!({"host": builder.host()});
    if traffic_policy.is_some() || of_rule.is_some() {
        spec["trafficPolicy"] = policy.into();
    }
    if !subsets.is_empty() {
        spec["subsets"] = subsets.iter().map(|subset| Value::Object(subset.value.clone())).collect();
    }
    // All other fields are copied, except `host`, which is that of the Service.
    for (field, value) in
        rule.iter().filter(|(field, _)| !["host", "trafficPolicy", "subsets"].contains(&field.as_str()))
    {
        spec[field] = value.clone();
    }
    let field = |field: &str| {
        if let Some(below) = field.strip_prefix("spec.subsets[") {
            let (index, rest) = below.split_once(']')?;
            return Some(format!("{}{rest}", subsets.get(index.parse::<usize>().ok()?)?.field));
        }
        let Some(below) = field.strip_prefix("spec.trafficPolicy") else {
            let below = field.strip_prefix("spec.").filter(|below| *below != "host")?;
            return Some(format!("spec.destinationRule.{below}"));
        };
        let top = below.trim_start_matches('.').split(['.', '[']).next().unwrap_or_default();
        let is_of_rule = of_rule.as_ref().is_some_and(|policy| top.is_empty() || policy.contains_key(top));
        let whose = if is_of_rule { "spec.destinationRule.trafficPolicy" } else { "spec.trafficPolicy" };
        Some(format!("{whose}{below}"))
    };
    builder.add(MeshKind::DestinationRule, builder.key(""), spec, field);
}

/// Returns the subsets of the spec, then those of its `destinationRule`. If both have a subset of one name, the fields
/// of the latter win.
fn all_subsets(spec: &MeshServiceSpec, rule: &Message) -> Vec<Subset> {
    let own = spec.subsets.iter().enumerate().map(|(index, subset)| {
        let mut value = Message::new();
        value.insert("name".to_owned(), subset.name.clone().into());
        if !subset.labels.is_empty() {
            value.insert("labels".to_owned(), json!(subset.labels));
        }
        if let Some(policy) = &subset.traffic_policy {
            value.insert("trafficPolicy".to_owned(), policy.clone().into());
        }
        Subset { value, field: format!("spec.subsets[{index}]") }
    });
    let mut subsets: Vec<Subset> = own.collect();
    let of_rule = rule.get("subsets").and_then(Value::as_array).into_iter().flatten();
    for (index, more) in of_rule.enumerate() {
        let more = message(Some(more)).unwrap_or_default();
        let field = format!("spec.destinationRule.subsets[{index}]");
        match subsets.iter_mut().find(|subset| subset.value.get("name") == more.get("name")) {
            Some(subset) => {
                subset.value = merged(std::mem::take(&mut subset.value), more);
                subset.field = field;
            }
            None => subsets.push(Subset { value: more, field }),
        }
    }
    subsets
}

fn message(value: Option<&Value>) -> Option<Message> {
    value.and_then(Value::as_object).cloned()
}

/// Returns the fields of both messages. If both have a field, the second one wins.
fn merged(mut one: Message, other: Message) -> Message {
    one.extend(other);
    one
}
