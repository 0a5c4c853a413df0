//! Advice for the author of a valid SidecarSet: settings with no effect, or probably not the intended one.

use super::sentences::Sentences;
use super::{known_fields, syntax};
use crate::api::keys::{ENDS_WITH_JOB, JOB_SIDECARS, NATIVE};
use crate::api::sidecarset::{SidecarContainer, SidecarSet, TransferEnv, UpdateStrategy};
use crate::injection::finished_pod::GRACE_SECONDS;
use crate::injection::references::references;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;
use std::collections::BTreeSet;

/// Variables that make OpenKruise's daemon and webhooks treat a container specially. They have no effect here.
const WITHOUT_EFFECT: [(&str, &str); 2] = [
    (
        ENDS_WITH_JOB,
        "annotate the SidecarSet with outrigger.dev/job-sidecars: native, so that this container is a native sidecar of Jobs, which \
         ends with them",
    ),
    (
        "KRUISE_CONTAINER_PRIORITY",
        "outrigger does not order the start of containers: make it an init container with restartPolicy: Always",
    ),
];

/// Returns sentences that each begin with a field.
#[must_use]
pub fn advice(set: &SidecarSet) -> Vec<String> {
    let mut told = Sentences::default();
    let is_native =
        set.metadata.annotations.iter().flatten().any(|(key, value)| key == JOB_SIDECARS && value == NATIVE);
    let lists = [("spec.initContainers", &set.spec.init_containers), ("spec.containers", &set.spec.containers)];
    for (list, containers) in lists {
        for (index, container) in containers.iter().flatten().enumerate() {
            let place = format!("{list}[{index}]");
            known_fields::of_container(&container.template, &place, &mut told);
            of_variables(container, &place, is_native && list == "spec.containers", &mut told);
            of_user(container, &place, &mut told);
            of_hooks(container, &place, &mut told);
            of_policy(container, &place, &mut told);
            if list == "spec.initContainers" {
                of_transfers(container, &place, &mut told);
            }
        }
    }
    of_updates(&set.spec.update_strategy, &mut told);
    for (index, volume) in set.spec.volumes.iter().flatten().enumerate() {
        known_fields::of_volume(volume, &format!("spec.volumes[{index}]"), &mut told);
    }
    told.into_told()
}

/// `is_native`: whether it is a native sidecar in Jobs if it ends with them.
fn of_variables(container: &SidecarContainer, place: &str, is_native: bool, told: &mut Sentences) {
    let copied: BTreeSet<&str> = container.transfer_env.iter().flatten().flat_map(TransferEnv::names).collect();
    let env = container.template.get("env").and_then(Value::as_array).into_iter().flatten();
    let own: Vec<(&str, &str)> = env
        .map(|variable| {
            let text = |field: &str| variable.get(field).and_then(Value::as_str).unwrap_or_default();
            (text("name"), text("value"))
        })
        .collect();
    let names: BTreeSet<&str> = own.iter().map(|(name, _)| *name).collect();
    for (index, (name, value)) in own.iter().enumerate() {
        let without_effect = WITHOUT_EFFECT.iter().find(|(variable, _)| variable == name);
        if let Some((_, why)) = without_effect.filter(|_| !(is_native && *name == ENDS_WITH_JOB && *value == "true")) {
            told.add(|| format!("{place}.env[{index}]: {name} has no effect: {why}"));
        }
        let from_app = |reference: &&str| copied.contains(reference) && !names.contains(reference);
        if let Some(reference) = references(value).find(from_app) {
            told.add(|| {
                format!(
                    "{place}.env[{index}]: {name} names $({reference}), which transferEnv puts behind it: Kubernetes \
                     only expands earlier variables"
                )
            });
        }
    }
}

/// A user that must not be root, and is.
fn of_user(container: &SidecarContainer, place: &str, told: &mut Sentences) {
    let context = container.template.get("securityContext");
    let field = |name: &str| context.and_then(|context| context.get(name));
    if field("runAsUser").and_then(Value::as_i64) == Some(0)
        && field("runAsNonRoot").and_then(Value::as_bool) == Some(true)
    {
        told.add(|| {
            format!("{place}.securityContext: runAsUser is 0 under runAsNonRoot: true, so the container never starts")
        });
    }
}

/// Hooks that sleep longer than the grace period of most Pods.
fn of_hooks(container: &SidecarContainer, place: &str, told: &mut Sentences) {
    let Some(lifecycle) = container.template.get("lifecycle") else { return };
    for hook in ["postStart", "preStop"] {
        let field = format!("/{hook}/sleep/seconds");
        let seconds = lifecycle.pointer(&field).and_then(Value::as_i64);
        if let Some(seconds) = seconds.filter(|seconds| *seconds > GRACE_SECONDS) {
            told.add(|| {
                format!(
                    "{place}.lifecycle.{hook}.sleep.seconds: Kubernetes refuses Pods that have less than {seconds} seconds to end, \
                     and the default is {GRACE_SECONDS}: they need a terminationGracePeriodSeconds of at least {seconds}"
                )
            });
        }
    }
}

fn of_policy(container: &SidecarContainer, place: &str, told: &mut Sentences) {
    let Some(policy) = &container.resources_policy else { return };
    let mut all = [&policy.resources_expr.limits, &policy.resources_expr.requests].into_iter().flatten();
    if all.all(|expressions| expressions.cpu.is_empty() && expressions.memory.is_empty()) {
        told.add(|| {
            format!("{place}.resourcesPolicy.resourcesExpr: has no expression, so the container gets no resources")
        });
    }
}

/// Variable sources that no Pod has. They are rejected for app containers.
fn of_transfers(container: &SidecarContainer, place: &str, told: &mut Sentences) {
    let names_none = |entry: &TransferEnv| {
        let field = entry.source_container_name_from.as_ref().map(|from| from.field_ref.as_ref());
        field.is_some_and(|field| {
            let path = field.map(|field| field.field_path.as_str()).unwrap_or_default();
            !path.starts_with("metadata.labels['") && !path.starts_with("metadata.annotations['")
        })
    };
    for (index, _) in container.transfer_env.iter().flatten().enumerate().filter(|(_, entry)| names_none(entry)) {
        told.add(|| {
            format!(
                "{place}.transferEnv[{index}].sourceContainerNameFrom: copies nothing: use metadata.labels['key'] or \
                 metadata.annotations['key']"
            )
        });
    }
}

fn of_updates(strategy: &UpdateStrategy, told: &mut Sentences) {
    let place = "spec.updateStrategy";
    if let Some(IntOrString::String(text)) = &strategy.max_unavailable
        && syntax::percent(text).is_some_and(|percent| percent > 100)
    {
        told.add(|| format!("{place}.maxUnavailable: {text:?} is no more than \"100%\""));
    }
    let weights = strategy.priority_strategy.iter().flat_map(|priority| priority.weight_priority.iter().flatten());
    for (index, _) in weights.enumerate().filter(|(_, term)| term.weight == 0) {
        told.add(|| {
            format!(
                "{place}.priorityStrategy.weightPriority[{index}].weight: is 0, so the term moves no Pod to the front"
            )
        });
    }
    let scattered = strategy.scatter_strategy.iter().flatten().enumerate();
    for (index, term) in scattered.filter(|(_, term)| term.value.is_empty()) {
        told.add(|| {
            format!(
                "{place}.scatterStrategy[{index}].value: is empty, so only Pods whose label {:?} is empty are \
                 spread: \"*\" \
                 is any value",
                term.key
            )
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::sentences::TOLD;
    use super::super::tests::spec;
    use super::*;
    use serde_json::json;

    fn places(fields: &Value) -> Vec<String> {
        let mut container = json!({"name": "c", "image": "x:1"});
        container.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let set = spec(&json!({"containers": [container]}));
        advice(&set).iter().map(|line| line.split_once(": ").unwrap().0.to_owned()).collect()
    }

    #[test]
    fn ordinary_sets_need_no_advice() {
        for line in include_str!("../../../tests/data/sidecarset-hash-vectors.jsonl").lines() {
            let vector: Value = serde_json::from_str(line).unwrap();
            let set = crate::api::decode::sidecarset(vector["object"].clone()).unwrap();
            let case = vector["case"].as_str().unwrap_or_default();
            // One has fields that nobody knows, the other has a root user that must not be root.
            let expected = case.contains("unknown") || case == "security";
            assert_eq!(advice(&set).is_empty(), !expected, "{case}: {:?}", advice(&set));
        }
    }

    #[test]
    fn a_variable_that_names_one_which_is_copied_behind_it_is_told() {
        let transfer = json!([{"sourceContainerName": "app", "envNames": ["SERVICE", "ZONE"]}]);
        let of = |env: Value| places(&json!({"env": env, "transferEnv": transfer}));
        assert_eq!(
            of(json!([{"name": "A", "value": "/$(OTHER)"}, {"name": "B", "value": "/$(SERVICE)"}])),
            ["spec.containers[0].env[1]"]
        );
        assert_eq!(
            of(json!([{"name": "SERVICE", "value": "own"}, {"name": "B", "value": "/$(SERVICE)/$$(ZONE)"}])),
            [""; 0]
        );
    }

    #[test]
    fn variables_of_openkruises_daemon_and_a_root_that_must_not_be_are_told() {
        let env = json!([{"name": "KRUISE_TERMINATE_SIDECAR_WHEN_JOB_EXIT", "value": "true"}, {"name": "KRUISE_CONTAINER_PRIORITY", "value": "1"}]);
        assert_eq!(places(&json!({"env": env})), ["spec.containers[0].env[0]", "spec.containers[0].env[1]"]);
        let mut native = spec(&json!({"containers": [{"name": "c", "image": "x:1", "env": env}]}));
        native.metadata.annotations = Some([(JOB_SIDECARS.to_owned(), NATIVE.to_owned())].into());
        let told = advice(&native);
        assert!(told.len() == 1 && told[0].starts_with("spec.containers[0].env[1]: "), "{told:?}");
        assert_eq!(
            places(&json!({"securityContext": {"runAsUser": 0, "runAsNonRoot": true}})),
            ["spec.containers[0].securityContext"]
        );
        assert_eq!(places(&json!({"securityContext": {"runAsUser": 1, "runAsNonRoot": true}})), [""; 0]);
    }

    #[test]
    fn what_is_accepted_because_openkruise_does_and_is_of_no_use_is_told() {
        let expressions = |expressions: Value| json!({"resourcesPolicy": {"targetContainersMode": "sum", "resourcesExpr": expressions}});
        assert_eq!(places(&expressions(json!({"requests": {}}))), ["spec.containers[0].resourcesPolicy.resourcesExpr"]);
        assert_eq!(places(&expressions(json!({"requests": {"cpu": "cpu"}}))), [""; 0]);
        let of = |fields: Value| {
            let lines = advice(&spec(&fields));
            lines.iter().map(|line| line.split_once(": ").unwrap().0.to_owned()).collect::<Vec<_>>()
        };
        let of_updates = |fields: Value| of(json!({"updateStrategy": fields}));
        assert_eq!(of_updates(json!({"maxUnavailable": "101%"})), ["spec.updateStrategy.maxUnavailable"]);
        let terms = json!([{"weight": 1, "matchSelector": {}}, {"matchSelector": {"matchLabels": {"a": "b"}}}]);
        let field = "spec.updateStrategy.priorityStrategy.weightPriority[1].weight";
        assert_eq!(of_updates(json!({"priorityStrategy": {"weightPriority": terms}})), [field]);
        let terms = json!([{"key": "a", "value": "*"}, {"key": "a"}]);
        assert_eq!(of_updates(json!({"scatterStrategy": terms})), ["spec.updateStrategy.scatterStrategy[1].value"]);
        let transfer = |path: &str| {
            let from = json!({"fieldRef": {"fieldPath": path}});
            let entry = json!([{"sourceContainerNameFrom": from, "envName": "A"}]);
            of(json!({"initContainers": [{"name": "i", "image": "x", "transferEnv": entry}]}))
        };
        let field = "spec.initContainers[0].transferEnv[0].sourceContainerNameFrom";
        assert_eq!(transfer("metadata.name"), [field]);
        assert_eq!(transfer("metadata.labels['app']"), [""; 0]);
    }

    #[test]
    fn a_hook_that_sleeps_longer_than_pods_have_to_end_by_default_is_told() {
        let sleep = |seconds: i64| places(&json!({"lifecycle": {"preStop": {"sleep": {"seconds": seconds}}}}));
        assert_eq!(
            (sleep(30), sleep(31)),
            (vec![], vec!["spec.containers[0].lifecycle.preStop.sleep.seconds".to_owned()])
        );
    }

    #[test]
    fn of_very_much_the_first_is_told() {
        let fields: serde_json::Map<String, Value> = (0..30).map(|index| (format!("x{index}"), json!(1))).collect();
        let told = places(&json!(fields));
        assert_eq!((told.len(), told[TOLD].as_str()), (TOLD + 1, "spec"));
    }
}
