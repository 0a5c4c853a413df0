//! `restartPolicy` and `restartPolicyRules` of a container. Since Kubernetes 1.35 any container may have them; an init container is
//! a native sidecar only with the policy `Always`.

use super::super::node::{Body, Node};
use serde_json::Value;

const POLICIES: [&str; 3] = ["Always", "OnFailure", "Never"];
const ACTIONS: [&str; 2] = ["Restart", "RestartAllContainers"];
const OPERATORS: [&str; 2] = ["In", "NotIn"];
const MOST_RULES: usize = 20;
const MOST_VALUES: usize = 255;
/// The conditions of a rule.
const CONDITIONS: [&str; 1] = ["exitCodes"];

pub(super) fn check(body: &Body<'_>) {
    let (policy, rules) = (body.get("restartPolicy"), body.get("restartPolicyRules"));
    policy.one_of(&POLICIES);
    let count = length(&rules);
    if count > 0 && !policy.is_set() {
        policy.place.required("must specify restartPolicy when restart rules are used");
    }
    if count > MOST_RULES {
        rules.place.too_long(&format!("must have at most {MOST_RULES} items"));
    }
    for rule in rules.items("") {
        check_rule(&rule);
    }
}

fn check_rule(rule: &Node<'_>) {
    if rule.get("action").required_text().is_some() {
        rule.get("action").one_of(&ACTIONS);
    }
    let (known, newer) = rule.alternatives(&CONDITIONS, &["action"]);
    if known.is_empty() && !newer {
        rule.place.field("exitCodes").required("must be specified");
    }
    for (_, codes) in &known {
        if codes.get("operator").required_text().is_some() {
            codes.get("operator").one_of(&OPERATORS);
        }
        let values = codes.get("values");
        if length(&values) > MOST_VALUES {
            values.place.too_long(&format!("must have at most {MOST_VALUES} items"));
        }
        for value in values.items("") {
            value.integer();
        }
    }
}

fn length(list: &Node<'_>) -> usize {
    list.value.and_then(Value::as_array).map_or(0, Vec::len)
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::{accepts_container, accepts_spec, rejects_container, rejects_spec};
    use serde_json::{Value, json};

    fn rules(rules: &Value) -> Value {
        json!({"restartPolicy": "Never", "restartPolicyRules": rules})
    }

    /// On by default since 1.35 (`kube_features.go` of 1.37.2: `ContainerRestartRules`).
    #[test]
    fn any_container_may_have_a_restart_policy() {
        for policy in super::POLICIES {
            accepts_container(&json!({"restartPolicy": policy}));
            accepts_spec(&json!({"initContainers": [{"name": "i", "image": "x", "restartPolicy": policy}]}));
        }
        rejects_container(&json!({"restartPolicy": "Sometimes"}), "restartPolicy", "FieldValueNotSupported");
        rejects_spec(
            &json!({"initContainers": [{"name": "i", "image": "x", "restartPolicy": "Sometimes"}]}),
            "spec.initContainers[0].restartPolicy",
            "FieldValueNotSupported",
        );
    }

    #[test]
    fn rules_stand_beside_a_policy_and_are_complete() {
        let code = json!({"operator": "In", "values": [42]});
        let rule = json!({"action": "Restart", "exitCodes": code});
        accepts_container(&rules(&json!([rule])));
        accepts_container(&rules(&json!([{"action": "RestartAllContainers", "exitCodes": code}])));
        accepts_container(&rules(&json!([{"action": "Restart", "futureCondition": {}}])));
        accepts_container(&rules(&json!([])));
        rejects_container(&json!({"restartPolicyRules": [rule]}), "restartPolicy", "FieldValueRequired");
        for (wrong, field, reason) in [
            (json!(vec![rule; 21]), "", "FieldValueTooLong"),
            (json!([{"exitCodes": code}]), "[0].action", "FieldValueRequired"),
            (json!([{"action": "Stop", "exitCodes": code}]), "[0].action", "FieldValueNotSupported"),
            (json!([{"action": "Restart"}]), "[0].exitCodes", "FieldValueRequired"),
            (
                json!([{"action": "Restart", "exitCodes": {"operator": "Is", "values": [1]}}]),
                "[0].exitCodes.operator",
                "FieldValueNotSupported",
            ),
            (
                json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": vec![1; 256]}}]),
                "[0].exitCodes.values",
                "FieldValueTooLong",
            ),
            (
                json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": ["1"]}}]),
                "[0].exitCodes.values[0]",
                "FieldValueTypeInvalid",
            ),
        ] {
            rejects_container(&rules(&wrong), &format!("restartPolicyRules{field}"), reason);
        }
    }
}
