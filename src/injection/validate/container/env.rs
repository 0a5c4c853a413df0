//! `env` and `envFrom` of a container. Values never appear in messages, because they may be secrets.

use super::super::node::{Body, Node};
use super::super::volumes::Volumes;
use super::super::{resource_field, syntax, transfer};

/// Fields of a Pod that an environment variable may refer to, besides single labels and annotations.
const POD_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
const SOURCES: [&str; 5] = ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];
const ENVIRONMENTS: [&str; 2] = ["configMapRef", "secretRef"];

pub(super) fn check(body: &Body<'_>, volumes: &Volumes<'_>) {
    for variable in body.get("env").items("name") {
        if variable.get("name").required_text().is_some() {
            variable.get("name").syntax(syntax::env_name);
        }
        let from = variable.get("valueFrom");
        if from.is_set() {
            check_source(&from, !variable.get("value").text_or_empty().is_empty(), volumes);
        } else {
            variable.get("value").text();
        }
    }
    for source in body.get("envFrom").items("") {
        source.get("prefix").syntax(syntax::env_name);
        check_exclusive(&source, &ENVIRONMENTS, &["prefix"]);
        for reference in ENVIRONMENTS.map(|name| source.get(name)).iter().filter(|node| node.is_set()) {
            if reference.get("name").required_text().is_some() {
                reference.get("name").syntax(syntax::dns_subdomain);
            }
        }
    }
}

fn check_exclusive(node: &Node<'_>, sources: &[&str], settings: &[&str]) {
    let (known, newer) = node.alternatives(sources, settings);
    if known.is_empty() && !newer {
        node.place.invalid("", &format!("must specify one of: {}", sources.join(", ")));
    } else if known.len() > 1 {
        node.place.invalid("", "may not have more than one field specified at a time");
    }
}

fn check_source(from: &Node<'_>, has_value: bool, volumes: &Volumes<'_>) {
    if has_value {
        from.place.invalid("", "may not be specified when `value` is not empty");
    }
    check_exclusive(from, &SOURCES, &[]);
    let field = from.get("fieldRef");
    if field.is_set() {
        transfer::check_field_ref(&field, &POD_FIELDS);
    }
    resource_field::check(&from.get("resourceFieldRef"));
    for reference in ["configMapKeyRef", "secretKeyRef"].map(|name| from.get(name)).iter().filter(|node| node.is_set())
    {
        if reference.get("name").required_text().is_some() {
            reference.get("name").syntax(syntax::dns_subdomain);
        }
        if reference.get("key").required_text().is_some() {
            reference.get("key").syntax(syntax::config_key);
        }
    }
    let file = from.get("fileKeyRef");
    if file.is_set() {
        check_file(&file, volumes);
    }
}

/// A file of an `emptyDir` with variables.
fn check_file(file: &Node<'_>, volumes: &Volumes<'_>) {
    if file.get("key").required_text().is_some() {
        file.get("key").syntax(syntax::env_name);
    }
    if file.get("path").required_text().is_some() {
        file.get("path").syntax(syntax::no_backsteps);
    }
    let volume = file.get("volumeName");
    if let Some(name) = volume.required_text() {
        if !volumes.has(name) {
            volume.place.not_found(name, "");
        } else if !volumes.may_have_variables(name) {
            volume.place.invalid(name, "must be an emptyDir");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::{accepts_container, accepts_spec, causes, rejects_container, rejects_spec, set};
    use serde_json::{Value, json};

    fn variable(from: &Value) -> Value {
        json!({"env": [{"name": "A", "valueFrom": from}]})
    }

    #[test]
    fn variables_have_a_name_and_one_source() {
        accepts_container(&json!({"env": [
            {"name": "A"}, {"name": "b.c-D", "value": ""},
            {"name": "E", "value": "", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
        ]}));
        for (container, field, reason) in [
            (json!({"env": [{"value": "x"}]}), "env[0].name", "FieldValueRequired"),
            (json!({"env": [{"name": "a=b"}]}), "env[0].name", "FieldValueInvalid"),
            (json!({"env": [{"name": "A", "value": 1}]}), "env[0].value", "FieldValueTypeInvalid"),
            (variable(&json!({})), "env[0].valueFrom", "FieldValueInvalid"),
            (
                variable(
                    &json!({"secretKeyRef": {"name": "s", "key": "k"}, "fieldRef": {"fieldPath": "metadata.name"}}),
                ),
                "env[0].valueFrom",
                "FieldValueInvalid",
            ),
            (
                json!({"env": [{"name": "A", "value": "x", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}),
                "env[0].valueFrom",
                "FieldValueInvalid",
            ),
            (
                variable(&json!({"secretKeyRef": {"name": "s"}})),
                "env[0].valueFrom.secretKeyRef.key",
                "FieldValueRequired",
            ),
            (
                variable(&json!({"configMapKeyRef": {"key": "k"}})),
                "env[0].valueFrom.configMapKeyRef.name",
                "FieldValueRequired",
            ),
            (
                variable(&json!({"configMapKeyRef": {"name": "C", "key": "k"}})),
                "env[0].valueFrom.configMapKeyRef.name",
                "FieldValueInvalid",
            ),
        ] {
            rejects_container(&container, field, reason);
        }
    }

    #[test]
    fn references_to_fields_of_the_pod_are_known() {
        let field = |path: &str| variable(&json!({"fieldRef": {"fieldPath": path}}));
        for path in ["status.podIP", "metadata.labels['a.b/c']", "metadata.annotations['UPPER/Ab']"] {
            accepts_container(&field(path));
        }
        let place = "env[0].valueFrom.fieldRef.fieldPath";
        rejects_container(&field("status.phase"), place, "FieldValueNotSupported");
        rejects_container(&field("metadata.labels['UPPER/Ab']"), place, "FieldValueInvalid");
        rejects_container(&field(""), place, "FieldValueRequired");
        accepts_container(&variable(&json!({"resourceFieldRef": {"resource": "limits.cpu"}})));
        rejects_container(
            &variable(&json!({"resourceFieldRef": {"resource": "limits.gpu"}})),
            "env[0].valueFrom.resourceFieldRef.resource",
            "FieldValueNotSupported",
        );
    }

    #[test]
    fn a_divisor_is_one_of_those_that_kubernetes_takes() {
        let of = |resource: &str, divisor: Value| {
            variable(&json!({"resourceFieldRef": {"resource": resource, "divisor": divisor}}))
        };
        for (resource, divisor) in [
            ("limits.cpu", json!("1m")),
            ("limits.cpu", json!(1)),
            ("requests.cpu", json!("0")),
            ("limits.memory", json!("1Mi")),
            ("limits.memory", json!("1024Ki")),
            ("requests.ephemeral-storage", json!("1k")),
        ] {
            accepts_container(&of(resource, divisor));
        }
        let field = "env[0].valueFrom.resourceFieldRef.divisor";
        for (resource, divisor) in [
            ("limits.cpu", json!(2)),
            ("limits.memory", json!("1m")),
            ("limits.memory", json!("2Mi")),
            ("limits.cpu", json!("x")),
        ] {
            rejects_container(&of(resource, divisor), field, "FieldValueInvalid");
        }
    }

    #[test]
    fn a_file_with_variables_is_in_an_empty_dir_of_the_set() {
        let with = |reference: Value, volume: Value| {
            let env = json!([{"name": "A", "valueFrom": {"fileKeyRef": reference}}]);
            json!({"containers": [{"name": "c", "image": "x", "env": env}], "volumes": [volume]})
        };
        let (good, empty) = (json!({"volumeName": "v", "path": "a.env", "key": "K"}), json!({"name": "v"}));
        accepts_spec(&with(good.clone(), empty.clone()));
        for (reference, volume, field, reason) in [
            (good.clone(), json!({"name": "w"}), "volumeName", "FieldValueNotFound"),
            (good, json!({"name": "v", "secret": {"secretName": "s"}}), "volumeName", "FieldValueInvalid"),
            (json!({"path": "a", "key": "K"}), empty.clone(), "volumeName", "FieldValueRequired"),
            (json!({"volumeName": "v", "path": "../a", "key": "K"}), empty.clone(), "path", "FieldValueInvalid"),
            (json!({"volumeName": "v", "key": "K"}), empty.clone(), "path", "FieldValueRequired"),
            (json!({"volumeName": "v", "path": "a"}), empty, "key", "FieldValueRequired"),
        ] {
            let field = format!("spec.containers[0].env[0].valueFrom.fileKeyRef.{field}");
            rejects_spec(&with(reference, volume), &field, reason);
        }
    }

    #[test]
    fn environments_come_from_one_source() {
        accepts_container(
            &json!({"envFrom": [{"prefix": "A_", "configMapRef": {"name": "c"}}, {"secretRef": {"name": "s"}}]}),
        );
        for (source, field, reason) in [
            (json!({}), "envFrom[0]", "FieldValueInvalid"),
            (json!({"configMapRef": {"name": "c"}, "secretRef": {"name": "s"}}), "envFrom[0]", "FieldValueInvalid"),
            (json!({"secretRef": {}}), "envFrom[0].secretRef.name", "FieldValueRequired"),
            (json!({"prefix": "=", "secretRef": {"name": "s"}}), "envFrom[0].prefix", "FieldValueInvalid"),
        ] {
            rejects_container(&json!({"envFrom": [source]}), field, reason);
        }
    }

    #[test]
    fn values_of_variables_are_never_shown() {
        let source = json!({"secretKeyRef": {"name": "s", "key": "k"}});
        let env = json!([{"name": "a=", "value": "secret-text", "valueFrom": source}]);
        let set = set(&json!({"name": "s"}), &json!({"containers": [{"name": "c", "image": "x", "env": env}]}));
        let causes = causes(&set);
        assert_eq!(causes.len(), 2);
        assert!(causes.iter().all(|cause| !cause.to_string().contains("secret-text")), "{causes:?}");
    }
}
