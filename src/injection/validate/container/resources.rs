//! `resources` and `resizePolicy` of a container.

use super::super::node::{Body, Node};
use super::super::syntax;
use super::ContainerKind;
use crate::api::quantity::Quantity;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn check(kind: ContainerKind, body: &Body<'_>) {
    let resources = body.get("resources");
    if resources.is_set() {
        let limits = check_amounts(&resources.get("limits"));
        let requests = check_amounts(&resources.get("requests"));
        compare(&limits, &requests, &resources);
    }
    let mut claims = BTreeSet::new();
    for claim in resources.get("claims").items("name") {
        let name = claim.get("name");
        if let Some(text) = name.required_text() {
            let request = claim.get("request").text_or_empty();
            let known = |request: &str| claims.contains(&(text, request));
            if known(request) || known("") || request.is_empty() && claims.iter().any(|(name, _)| *name == text) {
                name.place.duplicate(text, "");
            }
            claims.insert((text, request));
        }
    }
    let mut resized = BTreeSet::new();
    for policy in body.get("resizePolicy").items("resourceName") {
        let resource = policy.get("resourceName");
        if let Some(name) = resource.required_text() {
            resource.one_of(&["cpu", "memory"]);
            if !resized.insert(name) {
                resource.place.duplicate(name, "");
            }
        }
        if policy.get("restartPolicy").required_text().is_some() {
            let restart = policy.get("restartPolicy");
            restart.one_of(&["NotRequired", "RestartContainer"]);
            if kind == ContainerKind::Init && restart.text() == Some("RestartContainer") {
                restart.place.invalid("RestartContainer", "must not be set for init containers that end");
            }
        }
    }
}

/// An amount as written (for messages) and its value.
type Amounts<'a> = BTreeMap<&'a str, (Quantity, Node<'a>)>;

fn check_amounts<'a>(amounts: &Node<'a>) -> Amounts<'a> {
    let mut known = Amounts::new();
    for (name, node) in amounts.entries() {
        check_name(name, &node);
        let text = match node.value {
            Some(Value::String(text)) => text.trim().to_owned(),
            Some(Value::Number(number)) => number.to_string(),
            _ => {
                node.text();
                continue;
            }
        };
        match Quantity::parse(&text) {
            Err(error) => node.place.invalid(text, &error.to_string()),
            Ok(amount) => {
                if amount.is_negative() {
                    node.place.invalid(text.as_str(), "must be at least 0");
                }
                if let Some(size) = name.strip_prefix("hugepages-")
                    && !Quantity::parse(size).is_ok_and(|size| size.is_whole() && amount.is_multiple_of(size))
                {
                    node.place.invalid(text.as_str(), &format!("must be a multiple of {size}"));
                }
                if is_extended(name) && !amount.is_whole() {
                    node.place.invalid(text.as_str(), "must be an integer");
                }
                known.insert(name, (amount, node));
            }
        }
    }
    known
}

/// A resource name that containers may request: a standard one, or one with a prefix.
fn check_name(name: &str, node: &Node<'_>) {
    if let Err(problem) = syntax::qualified_name(name) {
        node.place.invalid(name, problem);
    } else if !name.contains('/')
        && !matches!(name, "cpu" | "memory" | "ephemeral-storage")
        && !name.starts_with("hugepages-")
    {
        node.place.invalid(name, "must be cpu, memory, ephemeral-storage, hugepages-… or have a prefix");
    } else if is_extended(name) && name.starts_with("requests.") {
        node.place.invalid(name, "must not begin with \"requests.\"");
    }
}

/// Extended resources, such as devices, are counted and never shared.
fn is_extended(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/")
}

fn compare(limits: &Amounts<'_>, requests: &Amounts<'_>, resources: &Node<'_>) {
    for (name, (request, node)) in requests {
        let shared = !is_extended(name) && !name.starts_with("hugepages-");
        let shown = || request.to_string();
        match limits.get(name) {
            Some((limit, _)) if !shared && !request.compare(*limit).is_eq() => {
                node.place.invalid(shown(), &format!("must be equal to {name} limit of {limit}"));
            }
            Some((limit, _)) if request.compare(*limit).is_gt() => {
                node.place.invalid(shown(), &format!("must be less than or equal to {name} limit of {limit}"));
            }
            None if !shared => {
                resources
                    .place
                    .field("limits")
                    .entry(name)
                    .required("Limit must be set for non overcommitable resources");
            }
            _ => {}
        }
    }
    let mut names = limits.keys().chain(requests.keys());
    let huge = names.clone().any(|name| name.starts_with("hugepages-"));
    if huge && !names.any(|name| matches!(*name, "cpu" | "memory")) {
        resources.place.forbidden(None, "HugePages require cpu or memory");
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::{accepts_container, accepts_spec, rejects_container, rejects_spec};
    use serde_json::{Value, json};

    fn resources(limits: &Value, requests: &Value) -> Value {
        json!({"resources": {"limits": limits, "requests": requests}})
    }

    #[test]
    fn amounts_are_quantities() {
        accepts_container(&resources(
            &json!({"cpu": 1, "memory": "1Gi", "ephemeral-storage": "1e3"}),
            &json!({"cpu": 0.5}),
        ));
        for amount in [json!("1 Gi"), json!("-1"), json!(-1), json!("")] {
            rejects_container(
                &resources(&json!({"cpu": amount}), &json!({})),
                "resources.limits[cpu]",
                "FieldValueInvalid",
            );
        }
        let wrong = resources(&json!({}), &json!({"cpu": true}));
        rejects_container(&wrong, "resources.requests[cpu]", "FieldValueTypeInvalid");
    }

    #[test]
    fn requests_do_not_exceed_limits() {
        accepts_container(&resources(
            &json!({"cpu": "1", "memory": "1Gi"}),
            &json!({"cpu": "1000m", "memory": "1073741824"}),
        ));
        rejects_container(
            &resources(&json!({"cpu": "1"}), &json!({"cpu": "1001m"})),
            "resources.requests[cpu]",
            "FieldValueInvalid",
        );
    }

    #[test]
    fn devices_are_whole_and_not_shared() {
        let device = "example.com/gpu";
        accepts_container(&resources(&json!({device: 2}), &json!({device: "2"})));
        rejects_container(
            &resources(&json!({device: "1500m"}), &json!({})),
            "resources.limits[example.com/gpu]",
            "FieldValueInvalid",
        );
        rejects_container(
            &resources(&json!({device: 2}), &json!({device: 1})),
            "resources.requests[example.com/gpu]",
            "FieldValueInvalid",
        );
        rejects_container(
            &resources(&json!({}), &json!({device: 1})),
            "resources.limits[example.com/gpu]",
            "FieldValueRequired",
        );
        rejects_container(&resources(&json!({"gpu": 1}), &json!({})), "resources.limits[gpu]", "FieldValueInvalid");
        rejects_container(&resources(&json!({"hugepages-2Mi": "2Mi"}), &json!({})), "resources", "FieldValueForbidden");
    }

    #[test]
    fn huge_pages_are_whole() {
        let pages =
            |size: &str, amount: &str| resources(&json!({"cpu": 1, format!("hugepages-{size}"): amount}), &json!({}));
        accepts_container(&pages("2Mi", "4Mi"));
        for (size, amount) in [("2Mi", "3Mi"), ("1Gi", "2Mi"), ("much", "2Mi"), ("0", "2Mi")] {
            let field = format!("resources.limits[hugepages-{size}]");
            rejects_container(&pages(size, amount), &field, "FieldValueInvalid");
        }
    }

    #[test]
    fn a_claim_is_used_once() {
        let claims = |claims: Value| json!({"resources": {"claims": claims}});
        accepts_container(&claims(
            json!([{"name": "a", "request": "x"}, {"name": "a", "request": "y"}, {"name": "b"}]),
        ));
        for twice in [
            json!([{"name": "a"}, {"name": "a"}]),
            json!([{"name": "a", "request": "x"}, {"name": "a", "request": "x"}]),
            json!([{"name": "a", "request": "x"}, {"name": "a"}]),
            json!([{"name": "a"}, {"name": "a", "request": "x"}]),
        ] {
            rejects_container(&claims(twice), "resources.claims[1].name", "FieldValueDuplicate");
        }
        rejects_container(&claims(json!([{}])), "resources.claims[0].name", "FieldValueRequired");
    }

    #[test]
    fn an_init_container_that_ends_does_not_restart_to_resize() {
        let resize = json!([{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]);
        let init = |restart: &str| json!({"initContainers": [{"name": "i", "image": "x", "restartPolicy": restart, "resizePolicy": resize}]});
        accepts_spec(&init("Always"));
        let field = "spec.initContainers[0].resizePolicy[0].restartPolicy";
        rejects_spec(&init("Never"), field, "FieldValueInvalid");
    }

    #[test]
    fn resize_policies_are_known_and_unique() {
        let policy = |resource, restart| json!({"resourceName": resource, "restartPolicy": restart});
        accepts_container(
            &json!({"resizePolicy": [policy("cpu", "NotRequired"), policy("memory", "RestartContainer")]}),
        );
        for (policies, field, reason) in [
            (json!([policy("disk", "NotRequired")]), "[0].resourceName", "FieldValueNotSupported"),
            (json!([policy("cpu", "Maybe")]), "[0].restartPolicy", "FieldValueNotSupported"),
            (
                json!([policy("cpu", "NotRequired"), policy("cpu", "NotRequired")]),
                "[1].resourceName",
                "FieldValueDuplicate",
            ),
        ] {
            rejects_container(&json!({"resizePolicy": policies}), &format!("resizePolicy{field}"), reason);
        }
    }
}
