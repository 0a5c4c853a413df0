//! Containers: the two lists of a SidecarSet, and Kubernetes' rules for each container.
//!
//! Source: `validateContainers` and `validateInitContainers` of `k8s.io/kubernetes/pkg/apis/core/validation`.

mod env;
mod image;
mod mounts;
mod ports;
mod probes;
mod resources;
mod restart;
mod security;
mod sidecar;

use super::kind::{ContainerKind, all, has_twins, injected_names};
use super::node::{Body, FieldPlace, Report};
use super::syntax;
use super::volumes::Volumes;
use crate::api::sidecarset::{SidecarContainer, SidecarSetSpec};
use crate::injection::patterns::Patterns;
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn check(spec: &SidecarSetSpec, volumes: &Volumes<'_>, report: &Report) {
    if all(spec, report).next().is_none() {
        report
            .root("spec")
            .field("containers")
            .of_pods()
            .required("no initContainer or container defined for SidecarSet");
    }
    let mut names = BTreeMap::new();
    let mut host_ports = BTreeSet::new();
    let mut patterns = Patterns::default();
    for (kind, container, place) in all(spec, report) {
        let body = Body { place: place.of_pods(), fields: &container.template };
        check_name(kind, container, &body.place, &mut names);
        check_body(kind, &body, volumes);
        // Kubernetes compares only the ports of app containers.
        let mut own_ports = BTreeSet::new();
        let host_ports = if kind == ContainerKind::App { &mut host_ports } else { &mut own_ports };
        ports::check(&body, host_ports);
        if has_twins(kind, container) {
            // The twin has the same ports. Kubernetes accepts both for native sidecars, and then one of them cannot
            // run.
            let place = if kind == ContainerKind::App { body.place.clone() } else { body.place.of_set() };
            ports::check(&Body { place, fields: body.fields }, host_ports);
        }
        sidecar::check(kind, container, &body.place.of_set(), &mut patterns);
    }
}

/// `names` are those of the earlier containers, each with whether Pods have it.
fn check_name(
    kind: ContainerKind,
    container: &SidecarContainer,
    place: &FieldPlace<'_>,
    names: &mut BTreeMap<String, bool>,
) {
    let name = container.name();
    let place = place.field("name");
    if name.is_empty() {
        return; // check_body reports it
    }
    let mut all: Vec<(String, bool)> = injected_names(kind, container).into_iter().map(|name| (name, true)).collect();
    if !all.iter().any(|(injected, _)| injected == name) {
        all.push((name.to_owned(), false));
    }
    for (taken, in_pods) in all {
        if taken != name && taken.len() > 63 {
            place.invalid(name, "must have at most 61 characters: a hot upgrade adds -1 and -2");
        }
        match names.get(&taken) {
            None => _ = names.insert(taken, in_pods),
            Some(before_in_pods) => {
                let place = if in_pods && *before_in_pods { place.clone() } else { place.of_set() };
                let detail = if taken == name { "" } else { "a hot upgrade adds -1 and -2 to the container's name" };
                place.duplicate(taken, detail);
            }
        }
    }
}

/// Kubernetes' rules for a single container.
fn check_body(kind: ContainerKind, body: &Body<'_>, volumes: &Volumes<'_>) {
    if body.get("name").required_text().is_some() {
        body.get("name").syntax(syntax::dns_label);
    }
    let image = body.get("image");
    if let Some(text) = image.required_text() {
        image::check(text, &image.place);
    }
    body.get("imagePullPolicy").one_of(&["Always", "IfNotPresent", "Never"]);
    body.get("terminationMessagePolicy").one_of(&["File", "FallbackToLogsOnError"]);
    restart::check(body);
    env::check(body, volumes);
    mounts::check(body, volumes);
    resources::check(kind, body);
    security::check(&body.get("securityContext"));
    probes::check(kind, body);
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepts_spec, rejects_spec};
    use serde_json::{Value, json};

    fn both(init: &Value, app: &Value) -> Value {
        json!({"initContainers": init, "containers": app})
    }

    #[test]
    fn a_set_needs_a_container() {
        rejects_spec(&json!({"containers": null}), "spec.containers", "FieldValueRequired");
        accepts_spec(&both(&json!([{"name": "i", "image": "x"}]), &json!(null)));
    }

    #[test]
    fn names_are_dns_labels_and_unique_over_both_lists() {
        let named = |names: &[&str]| names.iter().map(|name| json!({"name": name, "image": "x"})).collect::<Vec<_>>();
        let field = "spec.containers[0].name";
        accepts_spec(&both(&json!(named(&["a"])), &json!(named(&["b", "c"]))));
        rejects_spec(&json!({"containers": [{"image": "x"}]}), field, "FieldValueRequired");
        rejects_spec(&json!({"containers": [{"name": 5, "image": "x"}]}), field, "FieldValueTypeInvalid");
        rejects_spec(&json!({"containers": named(&["A_b"])}), field, "FieldValueInvalid");
        rejects_spec(&json!({"containers": named(&["a", "a"])}), "spec.containers[1].name", "FieldValueDuplicate");
        rejects_spec(&both(&json!(named(&["a"])), &json!(named(&["a"]))), field, "FieldValueDuplicate");
    }

    #[test]
    fn the_names_of_a_hot_upgrade_are_valid_and_unique_too() {
        let hot = |name: &str| {
            let strategy = json!({"upgradeType": "HotUpgrade", "hotUpgradeEmptyImage": "empty:1"});
            json!({"name": name, "image": "x:1", "upgradeStrategy": strategy})
        };
        accepts_spec(&json!({"containers": [hot("c"), {"name": "c-3", "image": "x"}]}));
        rejects_spec(
            &json!({"containers": [hot("c"), {"name": "c-2", "image": "x"}]}),
            "spec.containers[1].name",
            "FieldValueDuplicate",
        );
        rejects_spec(&json!({"containers": [hot(&"c".repeat(62))]}), "spec.containers[0].name", "FieldValueInvalid");
    }

    #[test]
    fn twins_of_a_hot_upgrade_cannot_have_one_port_of_the_node() {
        let hot = |more: Value| {
            let mut container = json!({
                "name": "c", "image": "x:1", "ports": [{"containerPort": 1, "hostPort": 9}],
                "upgradeStrategy": {"upgradeType": "HotUpgrade", "hotUpgradeEmptyImage": "empty:1"}
            });
            container.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!([container])
        };
        let field = "ports[0].hostPort";
        rejects_spec(
            &json!({"containers": hot(json!({}))}),
            &format!("spec.containers[0].{field}"),
            "FieldValueDuplicate",
        );
        rejects_spec(
            &json!({"initContainers": hot(json!({"restartPolicy": "Always"})), "containers": null}),
            &format!("spec.initContainers[0].{field}"),
            "FieldValueDuplicate",
        );
        accepts_spec(&json!({"initContainers": hot(json!({})), "containers": null}));
    }

    #[test]
    fn an_image_is_required_and_can_be_pulled() {
        let field = "spec.containers[0].image";
        rejects_spec(&json!({"containers": [{"name": "c"}]}), field, "FieldValueRequired");
        rejects_spec(&json!({"containers": [{"name": "c", "image": ""}]}), field, "FieldValueRequired");
        rejects_spec(&json!({"containers": [{"name": "c", "image": "x y"}]}), field, "FieldValueInvalid");
    }

    #[test]
    fn enumerations_are_those_of_kubernetes() {
        for (field, good) in
            [("imagePullPolicy", ["Always", "Never"]), ("terminationMessagePolicy", ["File", "FallbackToLogsOnError"])]
        {
            for value in good {
                accepts_spec(&json!({"containers": [{"name": "c", "image": "x", field: value}]}));
            }
            let wrong = json!({"containers": [{"name": "c", "image": "x", field: "Sometimes"}]});
            rejects_spec(&wrong, &format!("spec.containers[0].{field}"), "FieldValueNotSupported");
        }
    }

    #[test]
    fn fields_newer_than_this_program_are_accepted() {
        accepts_spec(&json!({"containers": [{
            "name": "c", "image": "x", "restartDelayRules": [{"action": "Restart"}],
            "env": [{"name": "A", "valueFrom": {"futureKeyRef": {"volumeName": "v", "path": "p", "key": "k"}}}],
            "lifecycle": {"stopSignal": "SIGUSR1", "preStop": {"future": {}}},
            "securityContext": {"future": 1}
        }]}));
    }
}
