//! `ports` of a container.

use super::super::node::Body;
use super::super::syntax;
use std::collections::BTreeSet;

/// Checks the ports. `host_ports` are those already taken by containers that run at the same time.
pub(super) fn check(body: &Body<'_>, host_ports: &mut BTreeSet<String>) {
    let mut names = BTreeSet::new();
    for port in body.get("ports").items("containerPort") {
        let name = port.get("name");
        if let Some(text) = name.text().filter(|text| !text.is_empty()) {
            name.syntax(syntax::port_name);
            if !names.insert(text) {
                name.place.duplicate(text, "");
            }
        }
        let number = port.get("containerPort");
        if !number.is_set() || number.value.and_then(serde_json::Value::as_i64) == Some(0) {
            number.place.required("");
        } else {
            number.in_range(1..=65535);
        }
        port.get("protocol").one_of(&["TCP", "UDP", "SCTP"]);
        let host_port = port.get("hostPort");
        if let Some(number) = host_port.integer().filter(|number| *number != 0) {
            host_port.in_range(1..=65535);
            let protocol = port.get("protocol").text().unwrap_or("TCP");
            let taken = format!("{protocol}/{}/{number}", port.get("hostIP").text_or_empty());
            if !host_ports.insert(taken.clone()) {
                host_port.place.duplicate(taken, "");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::{accepts_container, rejects_container, rejects_spec};
    use serde_json::json;

    #[test]
    fn ports_follow_kubernetes() {
        accepts_container(&json!({"ports": [
            {"containerPort": 80, "name": "http"}, {"containerPort": 80, "protocol": "UDP", "hostPort": 0},
            {"containerPort": 81, "hostPort": 81}, {"containerPort": 82, "hostPort": 81, "protocol": "UDP"}
        ]}));
        for (ports, field, reason) in [
            (json!([{}]), "ports[0].containerPort", "FieldValueRequired"),
            (json!([{"containerPort": 0}]), "ports[0].containerPort", "FieldValueRequired"),
            (json!([{"containerPort": 65536}]), "ports[0].containerPort", "FieldValueInvalid"),
            (json!([{"containerPort": "http"}]), "ports[0].containerPort", "FieldValueTypeInvalid"),
            (json!([{"containerPort": 1, "hostPort": -1}]), "ports[0].hostPort", "FieldValueInvalid"),
            (json!([{"containerPort": 1, "protocol": "tcp"}]), "ports[0].protocol", "FieldValueNotSupported"),
            (json!([{"containerPort": 1, "name": "Web"}]), "ports[0].name", "FieldValueInvalid"),
            (
                json!([{"containerPort": 1, "name": "a"}, {"containerPort": 2, "name": "a"}]),
                "ports[1].name",
                "FieldValueDuplicate",
            ),
            (
                json!([{"containerPort": 1, "hostPort": 9}, {"containerPort": 2, "hostPort": 9}]),
                "ports[1].hostPort",
                "FieldValueDuplicate",
            ),
            (json!({"containerPort": 1}), "ports", "FieldValueTypeInvalid"),
        ] {
            rejects_container(&json!({"ports": ports}), field, reason);
        }
    }

    #[test]
    fn host_ports_are_unique_over_the_containers_that_run_together() {
        let container = |name| json!({"name": name, "image": "x", "ports": [{"containerPort": 1, "hostPort": 9}]});
        rejects_spec(
            &json!({"containers": [container("a"), container("b")]}),
            "spec.containers[1].ports[0].hostPort",
            "FieldValueDuplicate",
        );
        super::super::super::tests::accepts_spec(
            &json!({"initContainers": [container("a")], "containers": [container("b")]}),
        );
    }
}
