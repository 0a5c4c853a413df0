//! `outrigger explain`: why each SidecarSet is or is not injected into the Pods of files.

use serde_json::{Value, json};

use crate::harness::{Files, Output, assert_says, command, run};
use crate::objects::{SEED_POD, namespace, set};

/// Explains `input` with the sets in these files.
fn explain(files: &Files, args: &[&str], input: &str) -> Output {
    run(command(["explain", "-f", "-", "--from"]).arg(files.path()).args(args), input)
}

/// A set for each outcome: two that are injected, one for another app, one for another namespace, one that its canary
/// replaces.
fn each_fate() -> Files {
    let canary = "  name: next\n  annotations: {apps.kruise.io/sidecarset-canary: 'true', apps.kruise.io/sidecarset-base: base}\n";
    let next = set("next").replace("  name: next\nspec", &format!("{canary}spec"));
    let revision = json!({
        "apiVersion": "apps/v1", "kind": "ControllerRevision", "revision": 3,
        "metadata": {"name": "logs-3", "namespace": "anywhere", "labels": {"kruise.io/sidecarset-name": "logs"}},
        "data": {"spec": {"containers": [{"name": "logs", "image": "busybox:1.36.1"}]}},
    });
    Files::new([
        ("logs.yaml", set("logs").as_str()),
        ("logs-3.json", &revision.to_string()),
        ("database.yaml", &set("database").replace("app: nginx", "app: postgres")),
        ("blue.yaml", &set("blue").replace("spec:\n", "spec:\n  namespaceSelector: {matchLabels: {team: blue}}\n")),
        ("namespace.yaml", &namespace("default", "green")),
        ("base.yaml", &set("base")),
        ("next.yaml", &next.replace("spec:\n", "spec:\n  updateStrategy: {type: NotUpdate}\n")),
    ])
}

#[test]
fn every_set_is_a_line_with_its_reason_down_to_the_label() {
    let text = explain(&each_fate(), &[], SEED_POD).ok();
    assert_eq!(
        text,
        "\
Pod/test-pod (standard input:2)
  base      not injected: its canary \"next\" is
  logs      injected: logs (revision logs-3)
  next      injected: next
  blue      not injected: spec.namespaceSelector wants the Namespace's label team=blue; it is \"green\"
  database  not injected: spec.selector wants the Pod's label app=postgres; it is \"nginx\"

"
    );
}

#[test]
fn json_has_a_word_and_a_reason_for_each_set() {
    let list: Value = serde_json::from_str(&explain(&each_fate(), &["-o", "json"], SEED_POD).ok()).expect("JSON");
    let sets = json!([
        {"set": "base", "verdict": "replaced-by-canary", "reason": "not injected: its canary \"next\" is"},
        {"set": "blue", "verdict": "not-matched",
         "reason": "not injected: spec.namespaceSelector wants the Namespace's label team=blue; it is \"green\""},
        {"set": "database", "verdict": "not-matched",
         "reason": "not injected: spec.selector wants the Pod's label app=postgres; it is \"nginx\""},
        {"set": "logs", "verdict": "injected", "reason": "injected: logs (revision logs-3)"},
        {"set": "next", "verdict": "injected", "reason": "injected: next"},
    ]);
    assert_eq!(
        list,
        json!([{
            "object": "Pod/test-pod (standard input:2)", "kind": "Pod", "namespace": null, "name": "test-pod",
            "file": "standard input", "line": 2, "excluded": null, "sets": sets, "warnings": [],
        }])
    );
}

#[test]
fn of_many_sets_that_do_not_match_the_first_are_told() {
    let sets = (0..13).map(|n| set(&format!("other-{n:02}")).replace("app: nginx", "app: postgres"));
    let sets: Vec<String> = sets.chain([set("logs")]).collect();
    let files = Files::new([("sets.yaml", sets.join("---\n").as_str())]);
    let text = explain(&files, &[], SEED_POD).ok();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 1 + 1 + 10 + 1 + 1, "{text}");
    assert_eq!((lines[1], lines[12]), ("  logs      injected: logs", "  and 3 others do not match (--all says why)"));
    assert_eq!(explain(&files, &["--all"], SEED_POD).ok().lines().count(), 1 + 14 + 1);
    let one = explain(&files, &["--set", "other-12"], SEED_POD).ok();
    assert_says(&one, &["  other-12  not injected: spec.selector wants the Pod's label app=postgres"]);
    assert_eq!(one.lines().count(), 3, "{one}");
    assert_says(
        &explain(&files, &["--set", "log"], SEED_POD).failed(1),
        &["--set log: there is no such SidecarSet in "],
    );
}

#[test]
fn a_namespace_that_is_in_no_file_is_told_as_unknown() {
    let text = explain(&each_fate(), &["-n", "shop"], SEED_POD).ok();
    assert_says(&text, &["wants the Namespace's label team=blue; the Namespace is not known\n"]);
}

#[test]
fn an_excluded_pod_is_told_why_instead_of_its_sets() {
    let args = ["-n", "kube-system"];
    let text = explain(&each_fate(), &args, SEED_POD).ok();
    let reason = "namespace kube-system is excluded";
    assert_eq!(text, format!("Pod/test-pod (standard input:2)\n  no SidecarSet is injected: {reason}\n\n"));
    let json = explain(&each_fate(), &["-n", "kube-system", "-o", "json"], SEED_POD).ok();
    let list: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((&list[0]["excluded"], &list[0]["sets"]), (&json!(reason), &json!([])));
}

#[test]
fn a_denied_pod_is_explained_and_no_failure_of_the_command() {
    let twice = set("twice").replace("- name: twice", "- name: logs");
    let files = Files::new([("logs.yaml", set("logs").as_str()), ("twice.yaml", &twice)]);
    let reason = "the Pod is denied: SidecarSet \"twice\" cannot be injected: spec.containers \"logs\": SidecarSet \"logs\" injects a container of that name too: rename one of them";
    let text = explain(&files, &[], SEED_POD).ok();
    assert_says(&text, &[format!("  logs   {reason}\n"), format!("  twice  {reason}\n")]);
    let json = explain(&files, &["-o", "json"], SEED_POD).ok();
    let list: Value = serde_json::from_str(&json).expect("JSON");
    for (index, set) in ["logs", "twice"].into_iter().enumerate() {
        assert_eq!(list[0]["sets"][index], json!({"set": set, "verdict": "denied", "reason": reason}));
    }
}

#[test]
fn workloads_are_explained_by_their_templates_and_other_kinds_passed_over() {
    let files = Files::new([("logs.yaml", set("logs").as_str())]);
    let deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: shop}\nspec:\n  template:\n    metadata: {labels: {app: nginx}}\n    spec: {containers: [{name: app, image: x}]}\n";
    let input = format!("{}---\n{deployment}---\n{SEED_POD}", namespace("shop", "blue"));
    let text = explain(&files, &[], &input).ok();
    let objects: Vec<&str> = text.lines().filter(|line| !line.starts_with(' ') && !line.is_empty()).collect();
    assert_eq!(objects.len(), 2, "{text}");
    assert!(objects[0].starts_with("Deployment/shop/web (standard input:"), "{text}");
    assert!(objects[1].starts_with("Pod/test-pod (standard input:"), "{text}");
    assert_eq!(text.matches("  logs  injected: logs\n").count(), 2, "{text}");
}

#[test]
fn a_pod_that_is_injected_already_says_so() {
    let files = Files::new([("logs.yaml", set("logs").as_str())]);
    let injected = run(command(["inject", "-f", "-", "--from"]).arg(files.path()), SEED_POD).ok();
    assert_says(&explain(&files, &[], &injected).ok(), &["  logs  injected already: the Pod has it\n"]);
}

#[test]
fn input_without_pods_and_sets_that_cannot_be_used_are_failures() {
    let files = Files::new([("logs.yaml", set("logs").as_str())]);
    let error = explain(&files, &[], &namespace("shop", "blue")).failed(1);
    assert_says(&error, &["no Pods or workloads"]);
    let error = explain(&files, &[], &SEED_POD.replace("  containers:\n", "  containers: 5\n  x-unknown:\n")).failed(1);
    assert_says(&error, &["Pod/test-pod (standard input:", "spec.containers: invalid type: integer"]);
    files.write("bad.yaml", &set("Bad_Name"));
    let output = explain(&files, &[], SEED_POD);
    assert_eq!(output.stdout, "");
    assert_says(&output.failed(1), &["bad.yaml:1: ", "metadata.name: "]);
    let mut missing = command(["explain", "-f", "missing.yaml", "--from"]);
    assert_says(&run(missing.arg(Files::new([]).path()), "").failed(1), &["cannot read missing.yaml"]);
    assert_says(&run(&mut command(["explain", "-f", "-"]), SEED_POD).failed(1), &["--from-cluster"]);
}

#[test]
fn a_set_of_a_cluster_is_named_as_kubectl_names_it_and_not_beside_files() {
    let explain = |args: &[&str]| run(command(["explain"]).args(args).env("KUBECONFIG", "/nonexistent"), "");
    assert_says(&explain(&["pod/web"]).failed(1), &["pod/web: name a SidecarSet of the cluster as sidecarset/NAME"]);
    assert_says(&explain(&["sidecarset/logs"]).failed(1), &["there is no cluster to ask"]);
    assert_says(&explain(&[]).failed(2), &["--file"]);
    explain(&["sidecarset/logs", "-f", "pod.yaml", "--from", "."]).failed(2);
}
