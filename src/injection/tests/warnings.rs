//! Warnings for a Pod's author. A second pass does not repeat what the first one settled.

use super::{bare, index, injected, patched, pod, set};
use crate::injection::Index;
use serde_json::{Value, json};
use std::collections::BTreeMap;

#[track_caller]
fn warns(sets: &[Value], pod: &Value, expected: &[&str]) {
    assert_eq!(injected(&index(sets), pod).warnings, expected);
}

/// Returns the warnings of a second call with the Pod that the first one returned.
#[track_caller]
fn warnings_again(sets: &[Value], pod: &Value) -> Vec<String> {
    let index = index(sets);
    let first = injected(&index, pod);
    let second = injected(&index, &patched(pod, &first));
    assert_eq!(second.patch, None);
    second.warnings
}

#[test]
fn an_ordinary_injection_has_no_warnings() {
    let logs = json!({
        "containers": [{"name": "logs", "image": "x:1", "volumeMounts": [{"name": "buffer", "mountPath": "/b"}]}],
        "volumes": [{"name": "buffer", "emptyDir": {}}]
    });
    warns(&[set("a", logs)], &bare(), &[]);
}

#[test]
fn a_container_of_the_pods_own_that_is_replaced_is_named() {
    let spec = json!({
        "containers": [{"name": "logs", "image": "x:1"}],
        "initContainers": [{"name": "prepare", "image": "x:1"}]
    });
    let sets = [set("a", spec)];
    let own = pod(&json!({
        "initContainers": [{"name": "prepare", "image": "own:1"}],
        "containers": [{"name": "app", "image": "nginx:1"}, {"name": "logs", "image": "own:1"}]
    }));
    warns(
        &sets,
        &own,
        &[
            "SidecarSet \"a\" replaces the Pod's own spec.initContainers[0] \"prepare\": rename that container if it is needed",
            "SidecarSet \"a\" replaces the Pod's own spec.containers[1] \"logs\": rename that container if it is needed",
        ],
    );
    assert_eq!(warnings_again(&sets, &own), [""; 0]);
}

#[test]
fn an_injected_container_that_is_brought_up_to_date_is_no_warning() {
    let outdated = pod(&json!({"containers": [
        {"name": "logs", "image": "x:0", "env": [{"name": "IS_INJECTED", "value": "true"}]}
    ]}));
    let sets = [set("a", json!({"containers": [{"name": "logs", "image": "x:1"}]}))];
    let injected = injected(&index(&sets), &outdated);
    assert_eq!(injected.warnings, [""; 0]);
    assert_eq!(patched(&outdated, &injected)["spec"]["containers"][0]["image"], "x:1");
}

/// A set with a container of the set's name that mounts a volume of the set.
fn with_volume(name: &str, volume: &Value) -> Value {
    let mount = json!({"name": volume["name"], "mountPath": "/v"});
    set(name, json!({"containers": [{"name": name, "image": "x:1", "volumeMounts": [mount]}], "volumes": [volume]}))
}

#[test]
fn a_volume_that_the_pod_has_otherwise_is_named() {
    let sets = [with_volume("a", &json!({"name": "v", "emptyDir": {}}))];
    let has = |volume: Value| pod(&json!({"containers": [{"name": "app"}], "volumes": [volume]}));
    let other = has(json!({"name": "v", "hostPath": {"path": "/"}}));
    warns(&sets, &other, &["SidecarSet \"a\" has a volume \"v\", but the Pod's own volume of that name is mounted"]);
    assert_eq!(patched(&other, &injected(&index(&sets), &other))["spec"]["volumes"], other["spec"]["volumes"]);
    assert_eq!(warnings_again(&sets, &other), [""; 0]);
    warns(&sets, &has(json!({"emptyDir": {}, "name": "v"})), &[]);
}

#[test]
fn a_volume_that_an_earlier_set_brings_otherwise_is_named() {
    let first = with_volume("a", &json!({"name": "v", "emptyDir": {}}));
    let other = with_volume("b", &json!({"name": "v", "hostPath": {"path": "/"}}));
    let sets = [first.clone(), other];
    let warning = "SidecarSet \"b\" has a volume \"v\", but another SidecarSet's volume of that name is mounted";
    warns(&sets, &bare(), &[warning]);
    let pod = patched(&bare(), &injected(&index(&sets), &bare()));
    assert_eq!(pod["spec"]["volumes"], json!([{"name": "v", "emptyDir": {}}]));
    assert_eq!(warnings_again(&sets, &bare()), [""; 0]);
    let same = with_volume("b", &json!({"emptyDir": {}, "name": "v"}));
    warns(&[first, same], &bare(), &[]);
}

#[test]
fn a_mount_without_a_volume_is_named_once_for_each_set_and_volume() {
    let mount = json!([{"name": "gone", "mountPath": "/a"}, {"name": "gone", "mountPath": "/b"}]);
    let spec = json!({
        "initContainers": [{"name": "prepare", "image": "x:1", "volumeMounts": mount}],
        "containers": [{"name": "logs", "image": "x:1", "volumeMounts": mount}]
    });
    let warning = "SidecarSet \"a\": Kubernetes will refuse this Pod: spec.initContainers \"prepare\" volumeMounts: neither the set nor the Pod has a volume \"gone\"";
    warns(&[set("a", spec.clone())], &bare(), &[warning]);
    let has = pod(&json!({"containers": [{"name": "app"}], "volumes": [{"name": "gone", "emptyDir": {}}]}));
    warns(&[set("a", spec)], &has, &[]);
}

fn transfers(entries: &Value) -> [Value; 1] {
    [set("a", json!({"containers": [{"name": "logs", "image": "x:1", "transferEnv": entries}]}))]
}

#[test]
fn a_variable_that_cannot_be_copied_is_named() {
    let app = pod(&json!({"containers": [{"name": "app", "env": [{"name": "LEVEL", "value": "info"}]}]}));
    warns(&transfers(&json!([{"sourceContainerName": "app", "envName": "LEVEL"}])), &app, &[]);
    let of = |what: &str| format!("SidecarSet \"a\", container \"logs\" copies no {what}");
    warns(
        &transfers(&json!([{"sourceContainerName": "app", "envNames": ["LEVEL", "TEAM"]}])),
        &app,
        &[&of("variable \"TEAM\": the Pod has no container \"app\" that sets it")],
    );
    warns(
        &transfers(&json!([{"sourceContainerName": "db", "envName": "LEVEL"}])),
        &app,
        &[&of("variable \"LEVEL\": the Pod has no container \"db\" that sets it")],
    );
    for (path, problem) in [
        ("metadata.labels['main']", "the Pod has no label \"main\""),
        ("metadata.annotations['main']", "the Pod has no annotation \"main\""),
        ("spec.nodeName", "\"spec.nodeName\" is not a label or annotation of the Pod, such as metadata.labels['key']"),
    ] {
        let from = json!([{"sourceContainerNameFrom": {"fieldRef": {"fieldPath": path}}, "envName": "LEVEL"}]);
        warns(&transfers(&from), &app, &[&of(&format!("variables with transferEnv: {problem}"))]);
    }
}

/// The sets in a cluster whose namespace `shop` enforces a Pod Security level.
fn enforcing(level: &str, sets: &[Value]) -> Index {
    let mut index = index(sets);
    let labels = BTreeMap::from([("pod-security.kubernetes.io/enforce".to_owned(), level.to_owned())]);
    index.apply_namespace("shop".to_owned(), labels);
    index
}

/// Three containers (one meets every level), a volume for each level, and one that nothing mounts.
fn risky() -> [Value; 1] {
    let mount = |name: &str| json!({"name": name, "mountPath": format!("/{name}")});
    let restricted = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
                            "runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}});
    let privileged = json!({"privileged": true, "seLinuxOptions": {"user": "u"}, "allowPrivilegeEscalation": false,
                            "capabilities": {"drop": ["ALL"]}});
    let net = json!({"name": "net", "image": "x:1", "volumeMounts": [mount("host"), mount("nfs"), mount("empty")]});
    [set(
        "a",
        json!({
            "initContainers": [{"name": "setup", "image": "x:1", "securityContext": privileged}],
            "containers": [net, {"name": "good", "image": "x:1", "securityContext": restricted}],
            "volumes": [{"name": "host", "hostPath": {"path": "/"}}, {"name": "nfs", "nfs": {}},
                        {"name": "empty", "emptyDir": {}}, {"name": "unused", "hostPath": {"path": "/"}}]
        }),
    )]
}

#[test]
fn what_breaks_an_enforced_pod_security_level_is_told_of_each_container_and_added_volume() {
    let told = |level: &str| {
        let injected = injected(&enforcing(level, &risky()), &bare());
        assert!(injected.warnings.len() <= 1, "a line for each set");
        injected.sets[0].forecasts.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(told("privileged"), [""; 0]);
    let selinux = "securityContext.seLinuxOptions must not set user, role or a special type";
    let inherited = "securityContext.runAsNonRoot must be true, securityContext.seccompProfile.type must be RuntimeDefault or Localhost";
    assert_eq!(
        told("baseline"),
        [
            format!(
                "spec.initContainers \"setup\": breaks Pod Security baseline: securityContext.privileged must not be true, {selinux}"
            ),
            "spec.volumes \"host\": breaks Pod Security baseline: hostPath is not allowed".to_owned(),
        ]
    );
    assert_eq!(
        told("restricted"),
        [
            format!(
                "spec.initContainers \"setup\": breaks Pod Security restricted: securityContext.privileged must not be true, {selinux}, {inherited}"
            ),
            format!(
                "spec.containers \"net\": breaks Pod Security restricted: securityContext.allowPrivilegeEscalation must be false, securityContext.capabilities must drop ALL and add at most NET_BIND_SERVICE, {inherited}"
            ),
            "spec.volumes \"host\": breaks Pod Security restricted: hostPath is not allowed".to_owned(),
            "spec.volumes \"nfs\": breaks Pod Security restricted: nfs is not allowed".to_owned(),
        ]
    );
}

#[test]
fn pod_security_is_judged_with_what_the_pod_sets_for_all_and_only_where_it_is_enforced() {
    let sets = risky();
    let mut pod = bare();
    pod["spec"]["securityContext"] = json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}});
    let warnings = injected(&enforcing("restricted", &sets), &pod).warnings;
    assert!(
        warnings.iter().all(|warning| !warning.contains("runAsNonRoot") && !warning.contains("seccomp")),
        "{warnings:?}"
    );
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let mut elsewhere = pod.clone();
    elsewhere["metadata"]["namespace"] = json!("elsewhere");
    assert_eq!(injected(&enforcing("restricted", &sets), &elsewhere).warnings, [""; 0]);
}

#[test]
fn a_volume_that_the_pod_has_itself_is_not_judged() {
    let mut pod = bare();
    pod["spec"]["volumes"] = json!([{"name": "host", "hostPath": {"path": "/"}}]);
    let warnings = injected(&enforcing("baseline", &risky()), &pod).warnings;
    assert!(warnings.iter().all(|warning| !warning.contains("spec.volumes \"host\"")), "{warnings:?}");
    let index = enforcing("baseline", &risky());
    let again = injected(&index, &patched(&bare(), &injected(&index, &bare()))).warnings;
    assert!(again.iter().all(|warning| !warning.contains("spec.volumes")), "the Pod has it by now: {again:?}");
}
