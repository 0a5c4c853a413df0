//! `env` and `envFrom` of a container. Values never appear in messages: they may be secrets.

use super::super::node::{Body, Node};
use super::super::{resource_field, syntax, transfer};

/// Fields of a Pod that an environment variable may take its value from, besides single labels and annotations.
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
const SOURCES: [&str; 4] = ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef"];
const ENVIRONMENTS: [&str; 2] = ["configMapRef", "secretRef"];

pub(super) fn check(body: &Body<'_>) {
    for variable in body.get("env").items("name") {
        if variable.get("name").required_text().is_some() {
            variable.get("name").syntax(syntax::env_name);
        }
        let from = variable.get("valueFrom");
        if from.is_set() {
            check_source(&from, !variable.get("value").text_or_empty().is_empty());
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

fn check_source(from: &Node<'_>, has_value: bool) {
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
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::{accepts_container, causes, rejects_container, set};
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
