//! Probes and lifecycle hooks of a container.

use super::super::kind::ContainerKind;
use super::super::node::{Body, Node};
use super::super::syntax;
use serde_json::Value;

const HANDLERS: [&str; 5] = ["exec", "httpGet", "tcpSocket", "grpc", "sleep"];
/// Fields of a probe besides the handler.
const PROBE_SETTINGS: [&str; 6] = [
    "initialDelaySeconds",
    "timeoutSeconds",
    "periodSeconds",
    "successThreshold",
    "failureThreshold",
    "terminationGracePeriodSeconds",
];

pub(super) fn check(kind: ContainerKind, body: &Body<'_>) {
    let probes = ["livenessProbe", "readinessProbe", "startupProbe"].map(|name| (name, body.get(name)));
    let lifecycle = body.get("lifecycle");
    if kind == ContainerKind::Init {
        for node in probes.iter().map(|(_, node)| node).chain([&lifecycle]).filter(|node| node.is_set()) {
            node.forbidden("may not be set for init containers without restartPolicy=Always");
        }
        return;
    }
    for (name, probe) in probes.iter().filter(|(_, probe)| probe.is_set()) {
        check_probe(name, probe);
    }
    if lifecycle.is_set() {
        for hook in ["postStart", "preStop"].map(|name| lifecycle.get(name)).iter().filter(|hook| hook.is_set()) {
            check_handler(hook, &[]);
        }
    }
}

fn check_probe(name: &str, probe: &Node<'_>) {
    check_handler(probe, &PROBE_SETTINGS);
    for setting in &PROBE_SETTINGS[..5] {
        probe.get(setting).in_range(0..=i64::from(i32::MAX));
    }
    let threshold = probe.get("successThreshold");
    if name != "readinessProbe"
        && let Some(number) = threshold.integer()
        && number != 1
    {
        threshold.place.invalid(number, "must be 1");
    }
    let grace = probe.get("terminationGracePeriodSeconds");
    if name == "readinessProbe" {
        if let Some(number) = grace.integer() {
            grace.place.invalid(number, "must not be set for readinessProbes");
        }
    } else {
        grace.in_range(1..=i64::MAX);
    }
}

/// There must be exactly one handler, unless there is one that is newer than this program.
fn check_handler(node: &Node<'_>, settings: &[&str]) {
    let (handlers, newer) = node.alternatives(&HANDLERS, settings);
    if handlers.is_empty() && !newer {
        node.place.required("must specify a handler type");
    }
    for (_, handler) in handlers.iter().skip(1) {
        handler.forbidden("may not specify more than 1 handler type");
    }
    for (name, handler) in &handlers {
        match *name {
            "exec" => {
                let command = handler.get("command");
                if command.value.and_then(Value::as_array).is_none_or(Vec::is_empty) {
                    command.place.required("");
                }
            }
            "httpGet" => {
                handler.get("path").required_text();
                check_port(&handler.get("port"));
                handler.get("scheme").one_of(&["HTTP", "HTTPS"]);
                for header in handler.get("httpHeaders").items("name") {
                    if header.get("name").required_text().is_some() {
                        header.get("name").syntax(syntax::header_name);
                    }
                }
            }
            "tcpSocket" => check_port(&handler.get("port")),
            "grpc" => {
                let port = handler.get("port");
                if port.is_set() {
                    port.in_range(1..=65535);
                } else {
                    port.place.required("");
                }
            }
            // The Pod's grace period is the upper limit.
            _ => handler.get("seconds").in_range(0..=i64::MAX),
        }
    }
}

/// A number, or the name of a port.
fn check_port(port: &Node<'_>) {
    match port.value {
        None => port.place.required(""),
        Some(Value::String(name)) => port.place.syntax(name, syntax::port_name),
        Some(_) => port.in_range(1..=65535),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::{accepts_container, accepts_spec, rejects_container, rejects_spec};
    use serde_json::json;

    #[test]
    fn a_probe_need_not_be_written_out_in_full() {
        for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
            for handler in [
                json!({"httpGet": {"port": 80}}),
                json!({"httpGet": {"port": "http", "httpHeaders": [{"name": "X-A", "value": "b"}]}}),
                json!({"tcpSocket": {"port": 80}}),
                json!({"exec": {"command": ["true"]}}),
                json!({"grpc": {"port": 80}}),
            ] {
                accepts_container(&json!({probe: handler}));
            }
        }
    }

    #[test]
    fn a_probe_has_exactly_one_handler() {
        for (probe, field, reason) in [
            (json!({}), "", "FieldValueRequired"),
            (json!({"periodSeconds": 5}), "", "FieldValueRequired"),
            (json!({"tcpSocket": {"port": 80}, "grpc": {"port": 80}}), ".grpc", "FieldValueForbidden"),
            (json!({"exec": {}}), ".exec.command", "FieldValueRequired"),
            (json!({"exec": {"command": []}}), ".exec.command", "FieldValueRequired"),
            (json!({"tcpSocket": {}}), ".tcpSocket.port", "FieldValueRequired"),
            (json!({"tcpSocket": {"port": 0}}), ".tcpSocket.port", "FieldValueInvalid"),
            (json!({"tcpSocket": {"port": "Web"}}), ".tcpSocket.port", "FieldValueInvalid"),
            (json!({"grpc": {"port": "web"}}), ".grpc.port", "FieldValueTypeInvalid"),
            (json!({"httpGet": {"port": 80, "scheme": "FTP"}}), ".httpGet.scheme", "FieldValueNotSupported"),
            (
                json!({"httpGet": {"port": 80, "httpHeaders": [{"name": "a b", "value": ""}]}}),
                ".httpGet.httpHeaders[0].name",
                "FieldValueInvalid",
            ),
        ] {
            rejects_container(&json!({"livenessProbe": probe}), &format!("livenessProbe{field}"), reason);
        }
    }

    #[test]
    fn thresholds_and_periods_are_possible() {
        let probe = |setting: &str, number: i64| json!({"tcpSocket": {"port": 80}, setting: number});
        for setting in
            ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "failureThreshold", "successThreshold"]
        {
            rejects_container(
                &json!({"readinessProbe": probe(setting, -1)}),
                &format!("readinessProbe.{setting}"),
                "FieldValueInvalid",
            );
        }
        accepts_container(&json!({"readinessProbe": probe("successThreshold", 3)}));
        for name in ["livenessProbe", "startupProbe"] {
            rejects_container(
                &json!({name: probe("successThreshold", 2)}),
                &format!("{name}.successThreshold"),
                "FieldValueInvalid",
            );
            let grace = "terminationGracePeriodSeconds";
            accepts_container(&json!({name: probe(grace, 5)}));
            rejects_container(&json!({name: probe(grace, 0)}), &format!("{name}.{grace}"), "FieldValueInvalid");
        }
        let field = "readinessProbe.terminationGracePeriodSeconds";
        rejects_container(
            &json!({"readinessProbe": probe("terminationGracePeriodSeconds", 5)}),
            field,
            "FieldValueInvalid",
        );
    }

    #[test]
    fn hooks_have_exactly_one_handler() {
        accepts_container(
            &json!({"lifecycle": {"preStop": {"sleep": {"seconds": 5}}, "postStart": {"exec": {"command": ["a"]}}}}),
        );
        rejects_container(&json!({"lifecycle": {"preStop": {}}}), "lifecycle.preStop", "FieldValueRequired");
        rejects_container(
            &json!({"lifecycle": {"postStart": {"sleep": {"seconds": -1}}}}),
            "lifecycle.postStart.sleep.seconds",
            "FieldValueInvalid",
        );
    }

    #[test]
    fn init_containers_that_end_have_neither_probes_nor_hooks() {
        for (field, value) in [
            ("livenessProbe", json!({"tcpSocket": {"port": 80}})),
            ("lifecycle", json!({"preStop": {"exec": {"command": ["a"]}}})),
        ] {
            let init = json!({"initContainers": [{"name": "i", "image": "x", field: value}]});
            rejects_spec(&init, &format!("spec.initContainers[0].{field}"), "FieldValueForbidden");
            let native =
                json!({"initContainers": [{"name": "i", "image": "x", "restartPolicy": "Always", field: value}]});
            accepts_spec(&native);
        }
    }
}
