//! `resourcesPolicy` of a container.
//!
//! Source: OpenKruise's rules. An empty regex is accepted: it matches every name, as the default `.*` does, and the API
//! server replaces it by that.

use super::kind::ContainerKind;
use super::node::{FieldPlace, Node};
use crate::api::re2::Re2Error;
use crate::api::sidecarset::{ResourceExpressions, SidecarContainer};
use crate::injection::expression::{Expression, Resource};
use crate::injection::patterns::Patterns;

/// `patterns` holds the expressions of the set's earlier containers.
pub(super) fn check(
    kind: ContainerKind,
    container: &SidecarContainer,
    place: &FieldPlace<'_>,
    patterns: &mut Patterns,
) {
    let Some(policy) = &container.resources_policy else { return };
    let resources = Node::new(place.field("resources"), container.template.get("resources"));
    let place = place.field("resourcesPolicy");
    if resources.fields().any(|(_, amounts)| !is_empty(&amounts)) {
        place.forbidden(None, "resourcesPolicy and resources cannot be configured together");
    }
    if kind == ContainerKind::Init {
        place.forbidden(None, "resourcesPolicy is only supported for containers with RestartPolicy Always");
    }
    let regex = &policy.target_containers_name_regex;
    if let Err(Re2Error { problem, .. }) = patterns.compile(regex) {
        let detail = format!("invalid regex pattern: {problem}");
        place.field("targetContainersNameRegex").of_pods().invalid(regex.as_str(), &detail);
    }
    let place = place.field("resourcesExpr");
    let (limits, requests) = (&policy.resources_expr.limits, &policy.resources_expr.requests);
    if limits.is_none() && requests.is_none() {
        place.required("at least one of limits or requests must be configured");
    }
    for (list, expressions) in [("limits", limits), ("requests", requests)] {
        let Some(ResourceExpressions { cpu, memory }) = expressions else { continue };
        for (resource, text) in [(Resource::Cpu, cpu), (Resource::Memory, memory)] {
            if text.is_empty() {
                continue;
            }
            let place = place.field(list).field(resource.name());
            let invalid = |place: &FieldPlace<'_>, problem: String| {
                place.invalid(text.as_str(), &format!("invalid expression: {problem}"));
            };
            match Expression::parse(resource, text) {
                Err(error) => invalid(&place.of_pods(), error.problem.to_string()),
                Ok(expression) => {
                    // An expression fails only for Pods that have the containers it is about.
                    if let Some(problem) = fault_of(&expression) {
                        invalid(&place, problem);
                    }
                }
            }
        }
    }
}

/// Returns the problem of an expression that fails for every Pod, or most likely does not say what was meant.
fn fault_of(expression: &Expression) -> Option<String> {
    let fails = expression.check().err().map(|error| error.problem.to_string());
    fails.or_else(|| expression.doubts().first().map(ToString::to_string))
}

fn is_empty(node: &Node<'_>) -> bool {
    match node.value {
        None => true,
        Some(serde_json::Value::Object(map)) => map.is_empty(),
        Some(serde_json::Value::Array(list)) => list.is_empty(),
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepts_container, rejects_container, rejects_spec, spec};
    use super::super::{World, validate};
    use serde_json::{Value, json};

    fn policy(expressions: &Value) -> Value {
        json!({"resourcesPolicy": {"targetContainersMode": "sum", "resourcesExpr": expressions}})
    }

    #[test]
    fn a_policy_stands_alone_and_says_something() {
        let good = policy(&json!({"limits": {"cpu": "cpu*50%"}}));
        accepts_container(&good);
        let mut both = good.clone();
        both["resources"] = json!({"limits": {}, "claims": []});
        accepts_container(&both);
        both["resources"] = json!({"requests": {"cpu": "1"}});
        rejects_container(&both, "resourcesPolicy", "FieldValueForbidden");
        rejects_container(&policy(&json!({})), "resourcesPolicy.resourcesExpr", "FieldValueRequired");
        for useless in [json!({"limits": {}}), json!({"limits": {"cpu": ""}, "requests": {}})] {
            accepts_container(&policy(&useless));
        }
        let mut init = good;
        init["name"] = json!("i");
        init["image"] = json!("x");
        rejects_spec(
            &json!({"initContainers": [init]}),
            "spec.initContainers[0].resourcesPolicy",
            "FieldValueForbidden",
        );
    }

    #[test]
    fn expressions_and_regexes_are_checked() {
        let mut container =
            policy(&json!({"limits": {"cpu": "cpu*50%"}, "requests": {"cpu": "cpu*cpu", "memory": "100mi"}}));
        container["resourcesPolicy"]["targetContainersNameRegex"] = json!("a**");
        container["name"] = json!("c");
        container["image"] = json!("x");
        let set = spec(&json!({"containers": [container]}));
        let found: Vec<_> = validate(&set, None, &World::default()).iter().map(ToString::to_string).collect();
        let place = "spec.containers[0].resourcesPolicy";
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].starts_with(&format!(
            "{place}.targetContainersNameRegex: Invalid value: \"a**\": invalid regex pattern: "
        )));
        assert!(found[1].starts_with(&format!(
            "{place}.resourcesExpr.requests.cpu: Invalid value: \"cpu*cpu\": invalid expression: "
        )));
        assert!(found[2].starts_with(&format!(
            "{place}.resourcesExpr.requests.memory: Invalid value: \"100mi\": invalid expression: "
        )));
        for never in ["-memory", "memory*-1", "0-max(memory, 1Gi)", "min(memory, 1Gi)-2Gi", "-memory-1"] {
            let field = "resourcesPolicy.resourcesExpr.limits.memory";
            rejects_container(&policy(&json!({"limits": {"memory": never}})), field, "FieldValueInvalid");
        }
        for valid in [
            "memory-2Gi",
            "min(memory-1Gi, 3Gi-memory)",
            "-memory*-1",
            "max(memory*50%, 64Mi)",
            "0.5*memory + max(0, memory-2Gi)",
        ] {
            accepts_container(&policy(&json!({"limits": {"memory": valid}})));
        }
    }
}
