//! `transferEnv`, and references to fields of the Pod in general.
//!
//! Source: OpenKruise's rules, and `validateObjectFieldSelector` of Kubernetes, which lowers the case of annotation keys but
//! not of label keys.

use super::kind::ContainerKind;
use super::node::{FieldPlace, Node};
use super::syntax;
use crate::api::sidecarset::{FieldRef, SidecarContainer};

/// `metadata.labels['key']`, split.
struct Subscripted<'a> {
    map: &'a str,
    key: &'a str,
}

impl<'a> Subscripted<'a> {
    fn parse(path: &'a str) -> Option<Self> {
        let (map, rest) = path.split_once("['")?;
        Some(Self { map, key: rest.strip_suffix("']")? })
    }

    /// Whether the API server would accept it.
    fn check(&self) -> Result<(), &'static str> {
        match self.map {
            "metadata.labels" => syntax::qualified_name(self.key),
            "metadata.annotations" => syntax::annotation_key(self.key),
            _ => Err("only metadata.labels and metadata.annotations have keys"),
        }
    }
}

/// A `fieldRef` in a container or volume. `fields` are those it may refer to, besides single labels and annotations.
pub(super) fn check_field_ref(reference: &Node<'_>, fields: &[&str]) {
    check_version(reference.get("apiVersion").text_or_empty(), &reference.place);
    let path = reference.get("fieldPath");
    let Some(text) = path.required_text() else { return };
    match Subscripted::parse(text) {
        Some(subscripted) => path.place.syntax(text, |_| subscripted.check()),
        None if fields.contains(&text) => {}
        None => path.place.not_supported(text, fields),
    }
}

fn check_version(version: &str, place: &FieldPlace<'_>) {
    match version {
        "v1" => {}
        "" => place.field("apiVersion").required(""),
        other => place.field("apiVersion").invalid(other, "unsupported pod version"),
    }
}

/// OpenKruise checks those of app containers only, and none when a Pod is created. What cannot be found then is a
/// warning.
pub(super) fn check(kind: ContainerKind, container: &SidecarContainer, place: &FieldPlace<'_>) {
    if kind != ContainerKind::App {
        return;
    }
    for (index, source) in container.transfer_env.iter().flatten().enumerate() {
        let Some(from) = &source.source_container_name_from else { continue };
        let place = place.field("transferEnv").item(index, "").field("sourceContainerNameFrom").field("fieldRef");
        let Some(FieldRef { api_version, field_path }) = &from.field_ref else {
            place.required("");
            continue;
        };
        check_version(api_version, &place);
        let path = place.field("fieldPath");
        if field_path.is_empty() {
            path.required("");
            continue;
        }
        match Subscripted::parse(field_path) {
            Some(subscripted) => path.syntax(field_path, |_| subscripted.check()),
            None => path.invalid(
                field_path.as_str(),
                "field path not supported: use metadata.labels['key'] or metadata.annotations['key']",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepts_container, accepts_spec, rejects_container};
    use serde_json::{Value, json};

    fn from(from: &Value) -> Value {
        json!({"transferEnv": [{"sourceContainerNameFrom": from, "envName": "A"}]})
    }

    #[test]
    fn the_source_is_a_label_or_an_annotation() {
        accepts_container(&json!({"transferEnv": [{"sourceContainerName": "app", "envNames": ["A", "B"]}]}));
        for path in
            ["metadata.labels['app']", "metadata.annotations['example.com/app']", "metadata.annotations['UPPER/Ab']"]
        {
            accepts_container(&from(&json!({"fieldRef": {"fieldPath": path}})));
        }
        let place = "transferEnv[0].sourceContainerNameFrom.fieldRef";
        for path in
            ["metadata.name", "metadata.labels", "metadata.labels['a b']", "metadata.labels['UPPER/Ab']", "spec.x['a']"]
        {
            rejects_container(
                &from(&json!({"fieldRef": {"fieldPath": path}})),
                &format!("{place}.fieldPath"),
                "FieldValueInvalid",
            );
        }
        rejects_container(
            &from(&json!({"fieldRef": {"fieldPath": ""}})),
            &format!("{place}.fieldPath"),
            "FieldValueRequired",
        );
        rejects_container(
            &from(&json!({"fieldRef": {"fieldPath": "metadata.labels['a']", "apiVersion": "v2"}})),
            &format!("{place}.apiVersion"),
            "FieldValueInvalid",
        );
        rejects_container(&from(&json!({})), place, "FieldValueRequired");
    }

    #[test]
    fn of_init_containers_all_is_accepted() {
        for from in [json!({}), json!({"fieldRef": {"fieldPath": "metadata.name"}})] {
            let transfer = json!([{"sourceContainerNameFrom": from, "envName": "A"}]);
            accepts_spec(&json!({"initContainers": [{"name": "i", "image": "x", "transferEnv": transfer}]}));
        }
    }
}
