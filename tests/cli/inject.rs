//! `outrigger inject`: reads Pods and workloads, and prints injected objects, patches or a diff.

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Files, Output, assert_says, command, examples, names, object, objects, run};
use crate::objects::{SEED_POD, namespace, set};

/// Injects `input` with the sets in this folder, at a fixed time.
pub fn inject(from: &Path, args: &[&str], input: &str) -> Output {
    inject_at("1700000000", from, args, input)
}

fn inject_at(time: &str, from: &Path, args: &[&str], input: &str) -> Output {
    let mut command = command(["inject", "-f", "-", "--from"]);
    run(command.arg(from).args(args).env("SOURCE_DATE_EPOCH", time), input)
}

/// A folder with the set `logs`, which has a container, an init container, a volume and a pull secret.
pub fn logs() -> Files {
    let more = "      volumeMounts: [{name: buffer, mountPath: /buffer}]\n  initContainers: [{name: prepare, image: busybox:1.36.1}]\n  volumes: [{name: buffer, emptyDir: {}}]\n  imagePullSecrets: [{name: registry}]\n";
    Files::new([("set.yaml", format!("{}{more}", set("logs")).as_str())])
}

/// The template of a Pod that `logs` selects, indented by `indent`.
const TEMPLATE: &str = "\
template:
  spec:
    x-unknown: {kept: true}
    containers:
      - image: nginx:1.27.3
        name: app
  metadata:
    labels:
      app: nginx
";

/// A workload of each kind with Pods, as YAML. The keys are not in the usual order.
fn workload(api_version: &str, kind: &str) -> String {
    let indented = |by: &str, text: &str| text.lines().map(|line| format!("{by}{line}\n")).collect::<Vec<_>>().concat();
    let spec = match kind {
        "CronJob" => {
            format!("  schedule: '0 4 * * *'\n  jobTemplate:\n    spec:\n{}", indented("      ", TEMPLATE))
        }
        _ => indented("  ", TEMPLATE),
    };
    format!("kind: {kind}\napiVersion: {api_version}\nspec:\n{spec}metadata:\n  name: web\n")
}

/// The path of the Pod template in a workload of this kind.
fn template_of(kind: &str) -> &'static str {
    if kind == "CronJob" { "/spec/jobTemplate/spec/template" } else { "/spec/template" }
}

const WORKLOADS: [(&str, &str); 9] = [
    ("apps/v1", "Deployment"),
    ("apps/v1", "StatefulSet"),
    ("apps/v1", "DaemonSet"),
    ("apps/v1", "ReplicaSet"),
    ("batch/v1", "Job"),
    ("batch/v1", "CronJob"),
    ("apps.kruise.io/v1alpha1", "CloneSet"),
    ("apps.kruise.io/v1beta1", "StatefulSet"),
    ("apps.kruise.io/v1alpha1", "DaemonSet"),
];

/// Returns the keys of an object, in order.
fn keys(object: &Value) -> Vec<&str> {
    object.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[test]
fn a_pod_is_injected_as_by_the_server() {
    let injected = object(&inject(&examples().join("test-sidecarset"), &[], SEED_POD).ok());
    assert_eq!(names(&injected["spec"]["containers"]), ["sidecar1", "app"]);
    assert_eq!(injected["metadata"]["annotations"]["kruise.io/sidecarset-injected-list"], "test-sidecarset");
}

#[test]
fn each_workloads_template_is_injected_and_everything_else_kept_in_its_order() {
    let logs = logs();
    for (api_version, kind) in WORKLOADS {
        let input = workload(api_version, kind);
        let before = object(&input);
        let after = object(&inject(logs.path(), &[], &input).ok());
        let template = after.pointer(template_of(kind)).expect("a template");
        let pod = &template["spec"];
        assert_eq!(names(&pod["containers"]), ["logs", "app"], "{kind}");
        assert_eq!(names(&pod["initContainers"]), ["prepare"], "{kind}");
        assert_eq!(names(&pod["volumes"]), ["buffer"], "{kind}");
        assert_eq!(names(&pod["imagePullSecrets"]), ["registry"], "{kind}");
        assert_eq!(template["metadata"]["annotations"]["kruise.io/sidecarset-injected-list"], "logs", "{kind}");
        assert_eq!(after["metadata"], before["metadata"], "{kind}: a workload itself gets no annotations");

        assert_eq!(keys(&after), ["kind", "apiVersion", "spec", "metadata"], "{kind}");
        assert_eq!(keys(template), ["spec", "metadata"], "{kind}");
        assert_eq!(keys(pod)[..2], ["x-unknown", "containers"], "{kind}");
        assert_eq!(keys(&pod["containers"][1]), ["image", "name"], "{kind}");
    }
}

#[test]
fn the_patch_of_an_object_applies_to_the_object() {
    let logs = logs();
    for (api_version, kind) in WORKLOADS {
        let input = workload(api_version, kind);
        let mut patched = object(&input);
        let patch = inject(logs.path(), &["-o", "patch"], &input).ok();
        assert_eq!(patch.lines().count(), 1, "{kind}: one line an object");
        let mut patch: Value = serde_json::from_str(&patch).expect("an object");
        let of = ["apiVersion", "kind", "namespace", "name"].map(|field| patch[field].clone());
        assert_eq!(of, [json!(api_version), json!(kind), Value::Null, json!("web")]);
        let patch: json_patch::Patch = serde_json::from_value(patch["patch"].take()).expect("a JSON Patch");
        assert!(patch.iter().all(|operation| operation.path().as_str().starts_with(template_of(kind))), "{kind}");
        json_patch::patch(&mut patched, &patch).expect("it applies");
        assert_eq!(patched, object(&inject(logs.path(), &[], &input).ok()), "{kind}");
    }
}

#[test]
fn json_is_the_yaml_in_json_and_several_objects_are_a_list() {
    let logs = logs();
    let deployment = workload("apps/v1", "Deployment");
    let single: Value = serde_json::from_str(&inject(logs.path(), &["-o", "json"], &deployment).ok()).expect("JSON");
    assert_eq!(single, object(&inject(logs.path(), &["-o", "yaml"], &deployment).ok()));
    assert_eq!(single["kind"], "Deployment");

    let input = format!("{deployment}---\n{}", namespace("shop", "blue"));
    let list: Value = serde_json::from_str(&inject(logs.path(), &["-o", "json"], &input).ok()).expect("JSON");
    assert_eq!((&list["apiVersion"], &list["kind"]), (&json!("v1"), &json!("List")));
    assert_eq!(list["items"], Value::from(objects(&inject(logs.path(), &[], &input).ok())));
    assert_eq!(list["items"][0], single);
}

#[test]
fn the_objects_of_a_list_are_injected_and_kinds_without_pods_pass() {
    let custom = json!({"apiVersion": "example.com/v1", "kind": "Deployment", "metadata": {"name": "not-kubernetes"},
        "spec": {"template": {"metadata": {"labels": {"app": "nginx"}}, "spec": {"containers": []}}}});
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}});
    let items = json!([object(SEED_POD), service, object(&workload("apps/v1", "Deployment")), custom]);
    let input = json!({"apiVersion": "v1", "kind": "List", "items": items});
    let after = objects(&inject(logs().path(), &[], &input.to_string()).ok());
    assert_eq!(after.len(), 4);
    assert_eq!(names(&after[0]["spec"]["containers"]), ["logs", "app"]);
    assert_eq!(after[1], service);
    assert_eq!(names(&after[2]["spec"]["template"]["spec"]["containers"]), ["logs", "app"]);
    assert_eq!(after[3], custom);
}

#[test]
fn a_kind_whose_pod_template_is_not_known_is_named_and_passes() {
    let rollout = workload("argoproj.io/v1alpha1", "Rollout");
    let output = inject(logs().path(), &[], &format!("{rollout}---\n{}", workload("apps/v1", "Deployment")));
    let skipped = "warning: Rollout/web (standard input:1): skipped: the Pod template of a Rollout of argoproj.io/v1alpha1 is not known";
    assert_says(&output.stderr, &[skipped]);
    let after = objects(&output.ok());
    assert_eq!(after[0], object(&rollout));
    assert_eq!(names(&after[1]["spec"]["template"]["spec"]["containers"]), ["logs", "app"]);
    let mut explain = command(["explain", "-f", "-", "--from"]);
    assert_says(&run(explain.arg(logs().path()), &rollout).failed(1), &[skipped, "no Pods or workloads"]);
}

/// As in kubectl, the entries of a merge key replace earlier ones.
#[test]
fn a_merge_key_means_what_it_means_to_kubectl() {
    let merged =
        SEED_POD.replace("metadata:\n", "x: &x {generateName: merged-}\nmetadata:\n  generateName: own-\n  <<: *x\n");
    let after = object(&inject(logs().path(), &[], &merged).ok());
    assert_eq!(after["metadata"]["generateName"], "merged-");
}

#[test]
fn a_diff_only_adds_and_names_object_and_place_without_colour() {
    let input = format!("{}---\n{}", workload("apps/v1", "Deployment"), namespace("shop", "blue"));
    let diff = inject(logs().path(), &["-o", "diff"], &input).ok();
    let place = "Deployment/web (standard input:1)";
    assert_says(&diff, &[format!("--- {place}\n"), format!("+++ {place} injected\n")]);
    assert_says(&diff, &["@@ ", "+      - name: logs\n", "       - image: nginx:1.27.3\n"]);
    let removed: Vec<_> = diff.lines().filter(|line| line.starts_with('-') && !line.starts_with("--- ")).collect();
    assert_eq!(removed, [""; 0], "{diff}");
    assert!(!diff.contains("Namespace") && !diff.contains('\x1b'), "{diff}");
}

#[test]
fn the_same_input_at_the_same_source_date_epoch_gives_the_same_output() {
    let logs = logs();
    let first = inject_at("1700000000", logs.path(), &[], SEED_POD).ok();
    assert_says(&first, &["2023-11-14T22:13:20Z"]);
    assert_eq!(inject_at("1700000000", logs.path(), &[], SEED_POD).ok(), first);
    assert_ne!(inject_at("1700000001", logs.path(), &[], SEED_POD).ok(), first);
    let error = inject_at("yesterday", logs.path(), &[], SEED_POD).failed(1);
    assert_says(&error, &["SOURCE_DATE_EPOCH", "yesterday", "seconds"]);
}

/// Otherwise `inject | kubectl apply` would roll out a workload each time.
#[test]
fn without_a_time_the_output_has_that_of_the_sets_creation_and_is_always_the_same() {
    let created =
        set("dated").replace("  name: dated\nspec", "  name: dated\n  creationTimestamp: 2025-06-07T08:09:10Z\nspec");
    let files = Files::new([("dated.yaml", created.as_str()), ("logs.yaml", &set("logs"))]);
    let once = || {
        run(command(["inject", "-f", "-", "--from"]).arg(files.path()).env_remove("SOURCE_DATE_EPOCH"), SEED_POD).ok()
    };
    let text = once();
    assert_says(
        &text,
        &[
            r#"dated\":{\"updateTimestamp\":\"2025-06-07T08:09:10Z\""#,
            r#"logs\":{\"updateTimestamp\":\"1970-01-01T00:00:00Z\""#,
        ],
    );
    assert_eq!(once(), text);
}

#[test]
fn what_becomes_of_each_object_is_told_on_standard_error() {
    let logs = logs();
    let other = SEED_POD.replace("app: nginx", "app: other").replace("test-pod", "other");
    let input = format!("{SEED_POD}---\n{other}---\n{}---\n{}", namespace("shop", "blue"), namespace("sky", "blue"));
    let output = inject(logs.path(), &[], &input);
    assert_says(
        &output.stderr,
        &[
            "Pod/test-pod (standard input:2): injected: logs\n",
            "Pod/other (standard input:",
            "): not injected: no SidecarSet matches it\n",
            "without Pods: 2 Namespace\n",
        ],
    );
    let injected = output.ok();
    assert_says(
        &inject(logs.path(), &[], &injected).stderr,
        &["test-pod (standard input:2): unchanged: it has the sidecars of logs\n"],
    );
    assert_says(
        &inject(logs.path(), &["-n", "kube-system"], SEED_POD).stderr,
        &["not injected: namespace kube-system is excluded\n"],
    );
    assert_eq!(inject(logs.path(), &["--quiet"], &input).stderr, "");
    assert_eq!(inject(logs.path(), &["-o", "name"], &input).ok(), "pod/test-pod\n");
    assert_eq!(inject(logs.path(), &["-o", "name"], &workload("apps/v1", "Deployment")).ok(), "deployment.apps/web\n");
    assert_says(&inject(logs.path(), &[], "# nothing\n").failed(1), &["--file -: no objects: give Pods or workloads"]);
}

#[test]
fn the_exit_code_tells_of_changes_where_that_is_asked_for() {
    let logs = logs();
    let other = SEED_POD.replace("app: nginx", "app: other");
    for (input, code) in [(SEED_POD, 1), (&other, 0), ("kind: Pod", 2)] {
        let output = inject(logs.path(), &["-o", "diff", "--exit-code"], input);
        assert_eq!(output.code, code, "{}", output.stderr);
        assert_eq!(output.stdout.is_empty(), code != 1);
    }
    assert_eq!(inject(logs.path(), &["-o", "diff"], SEED_POD).code, 0);
    assert_eq!(diff_set(&set("metrics"), &["--exit-code", "-o", "diff"]).code, 1);
    assert_eq!(diff_set(&set("logs"), &["--exit-code", "-o", "name"]).stdout, "pod/test-pod\n");
}

#[test]
fn a_folder_stands_for_its_files_and_with_the_flag_for_those_of_its_folders() {
    let logs = logs();
    let input = Files::new([("a.yaml", SEED_POD), ("b.txt", "no YAML: ["), (".c.yaml", "[")]);
    std::fs::create_dir(input.path().join("deeper")).expect("a folder");
    input.write("deeper/d.json", &object(&workload("apps/v1", "Deployment")).to_string());
    let names = |args: &[&str]| {
        let mut command = command(["inject", "-o", "name", "--from"]);
        run(command.arg(logs.path()).args(args).current_dir(input.path()), "").ok()
    };
    assert_eq!(names(&["-f", "."]), "pod/test-pod\n");
    assert_eq!(names(&["-f", ".", "-R"]), "pod/test-pod\ndeployment.apps/web\n");
    assert_eq!(names(&["--filename", "deeper/d.json,a.yaml"]), "deployment.apps/web\npod/test-pod\n");
    // A pipe in a folder would block. A named pipe is intended.
    assert!(
        std::process::Command::new("mkfifo").arg(input.path().join("pipe.yaml")).status().expect("mkfifo").success()
    );
    let mut command = command(["inject", "-f", ".", "--from"]);
    let error = run(command.arg(logs.path()).current_dir(input.path()), "").failed(1);
    assert_says(&error, &["cannot read ./pipe.yaml: is not a regular file"]);
}

#[test]
fn namespaces_among_the_objects_count() {
    let blue = set("blue").replace("spec:\n", "spec:\n  namespaceSelector: {matchLabels: {team: blue}}\n");
    let files = Files::new([("set.yaml", blue.as_str()), ("namespace.yaml", &namespace("sky", "green"))]);
    let injected = |input: &str| inject(files.path(), &["-n", "sky", "-o", "name"], input).ok();
    assert_eq!(injected(SEED_POD), "");
    assert_eq!(injected(&format!("{SEED_POD}---\n{}", namespace("sky", "blue"))), "pod/test-pod\n");
}

#[test]
fn output_that_is_injected_again_later_is_unchanged() {
    let logs = logs();
    let workloads = WORKLOADS.map(|(api_version, kind)| workload(api_version, kind));
    let input = format!("{SEED_POD}---\n{}", workloads.join("---\n"));
    let once = inject_at("1700000000", logs.path(), &[], &input).ok();
    assert_ne!(once, input);
    assert_eq!(inject_at("1800000000", logs.path(), &[], &once).ok(), once);
    assert_eq!(inject_at("1800000000", logs.path(), &["-o", "diff"], &once).ok(), "");
    assert_eq!(inject_at("1800000000", logs.path(), &["-o", "name"], &once).ok(), "");
    assert_eq!(inject_at("1800000000", logs.path(), &["--exit-code"], &once).code, 0);
    let patches = inject_at("1800000000", logs.path(), &["-o", "patch"], &once).ok();
    assert_eq!(patches.matches("\"patch\":[]}\n").count(), WORKLOADS.len() + 1, "{patches}");
}

#[test]
fn with_a_denied_object_nothing_is_printed_and_the_code_is_1() {
    let clash = "      initContainers: [{name: logs, image: mine}]\n      x-unknown:";
    let denied = workload("apps/v1", "Deployment").replace("      x-unknown:", clash).replace("web", "denied");
    let input = format!("{SEED_POD}---\n{denied}---\n{}", namespace("shop", "blue"));
    for format in ["yaml", "json", "patch", "diff"] {
        let output = inject(logs().path(), &["-o", format], &input);
        assert_eq!(output.code, 1, "{}", output.stderr);
        assert_says(&output.stderr, &["error: Deployment/denied (standard input:", "SidecarSet \"logs\""]);
        assert_says(&output.stderr, &["spec.containers \"logs\"", "spec.initContainers[0]"]);
        assert_eq!(output.stdout, "");
    }
}

#[test]
fn a_container_of_the_injected_name_is_replaced_with_a_warning_on_standard_error() {
    let pod = SEED_POD.replace("name: app", "name: logs");
    let output = inject(logs().path(), &[], &pod);
    assert_says(&output.stderr, &["warning: Pod/test-pod (standard input:", "SidecarSet \"logs\"", "replaces"]);
    let injected = object(&output.ok());
    assert_eq!(names(&injected["spec"]["containers"]), ["logs"]);
    assert_eq!(injected["spec"]["containers"][0]["image"], "busybox:1.36.1");
}

#[test]
fn flags_leave_pods_alone_that_opt_out_or_stand_in_excluded_namespaces() {
    let logs = logs();
    let opting_out = SEED_POD.replace("  labels:", "  annotations: {outrigger.dev/inject: \"false\"}\n  labels:");
    let legacy = SEED_POD.replace("  labels:", "  namespace: legacy\n  labels:");
    let is_injected = |args: &[&str], pod: &str| object(&inject(logs.path(), args, pod).ok()) != object(pod);
    assert!(is_injected(&[], &opting_out));
    assert!(!is_injected(&["--allow-opt-out"], &opting_out));
    assert!(is_injected(&[], &legacy));
    assert!(!is_injected(&["--exclude-namespaces", "legacy"], &legacy));
    assert!(!is_injected(&["-n", "kube-system"], SEED_POD), "excluded by default");
    assert!(is_injected(&["-n", "kube-system", "--exclude-namespaces="], SEED_POD));
    assert!(!is_injected(&["-n", "legacy", "--exclude-namespaces", "a,legacy"], SEED_POD));
}

#[test]
fn the_namespace_flag_counts_for_objects_without_one() {
    let blue = set("blue").replace("spec:\n", "spec:\n  namespaceSelector: {matchLabels: {team: blue}}\n");
    let namespaces = format!("{}---\n{}", namespace("sky", "blue"), namespace("grass", "green"));
    let files = Files::new([("set.yaml", blue.as_str()), ("namespaces.yaml", &namespaces)]);
    let deployment = workload("apps/v1", "Deployment");
    let in_grass = deployment.replace("metadata:\n  name: web", "metadata:\n  name: web\n  namespace: grass");
    let is_injected = |args: &[&str], text: &str| object(&inject(files.path(), args, text).ok()) != object(text);
    for (text, name) in [(SEED_POD, "a Pod"), (deployment.as_str(), "a Deployment")] {
        assert!(!is_injected(&[], text), "{name}");
        assert!(is_injected(&["-n", "sky"], text), "{name}");
        assert!(!is_injected(&["--namespace=grass"], text), "{name}");
    }
    assert!(!is_injected(&["-n", "sky"], &in_grass));
}

/// Injects the smallest example's Pod to show the effect of an edit of `logs`.
fn diff_set(edit: &str, args: &[&str]) -> Output {
    let (logs, edits) = (logs(), Files::new([("edit.yaml", edit)]));
    let edit = edits.path().join("edit.yaml");
    let edit = edit.to_str().expect("UTF-8");
    inject(logs.path(), &[&["--diff-set", edit], args].concat(), SEED_POD)
}

#[test]
fn diff_set_shows_only_what_the_edit_changes() {
    let today = std::fs::read_to_string(logs().path().join("set.yaml")).expect("the set");
    assert_eq!(diff_set(&today, &[]).ok(), "", "no edit, no difference");
    let edit = today.replacen("image: busybox:1.36.1", "image: busybox:1.37.0", 1);
    let diff = diff_set(&edit, &[]).ok();
    assert_says(
        &diff,
        &["--- Pod/test-pod (standard input:", "+++ Pod/test-pod (standard input:", ") with the edit\n"],
    );
    let changed = |sign: char| {
        let lines = diff.lines().filter(move |line| {
            line.starts_with(sign) && !line.starts_with([sign; 3].iter().collect::<String>().as_str())
        });
        lines.map(|line| line[1..].trim().to_owned()).collect::<Vec<_>>()
    };
    let [removed, added] = ['-', '+'].map(changed);
    assert_eq!((removed.len(), added.len()), (2, 2), "{diff}");
    for (lines, image) in [(removed, "busybox:1.36.1"), (added, "busybox:1.37.0")] {
        assert!(lines[0].starts_with("kruise.io/sidecarset-hash: "), "{diff}");
        assert_eq!(lines[1], format!("image: {image}"));
    }
    assert!(!diff.contains("prepare"), "the init container stays as it is: {diff}");
}

#[test]
fn diff_set_shows_a_set_that_is_new_and_one_that_matches_no_more() {
    let diff = diff_set(&set("metrics"), &[]).ok();
    assert_says(&diff, &["+  - name: metrics\n", "+    image: busybox:1.36.1\n"]);
    assert!(!diff.contains("-  - name:"), "{diff}");
    let diff = diff_set(&set("logs").replace("app: nginx", "app: other"), &[]).ok();
    assert_says(&diff, &["-  - name: logs\n", "-  - name: prepare\n"]);
    assert!(!diff.lines().any(|line| line.starts_with("+ ")), "{diff}");
}

#[test]
fn diff_set_names_a_broken_edit() {
    for (edit, error) in [
        ("kind: [", "edit.yaml:1:"),
        ("", "the file holds no SidecarSet"),
        (
            set("logs").replace("image: busybox:1.36.1", "imagePullPolicy: Always").as_str(),
            "edit.yaml:1: SidecarSet \"logs\": spec.containers[0].image: Required value",
        ),
    ] {
        let output = diff_set(edit, &[]);
        assert_eq!(output.stdout, "");
        assert_says(&output.failed(1), &["--diff-set: ", error]);
    }
    let clash = set("other").replace("- name: other", "- name: logs");
    assert_says(&diff_set(&clash, &[]).failed(1), &["Pod/test-pod", "as it would be injected", "SidecarSet \"other\""]);
}

#[test]
fn default_container_names_the_pods_own_first_one_where_a_sidecar_stands_before_it() {
    let key = "kubectl.kubernetes.io/default-container";
    let annotation = |args: &[&str], input: &str| {
        let pod = object(&inject(logs().path(), args, input).ok());
        pod["metadata"]["annotations"][key].clone()
    };
    assert_eq!(annotation(&[], SEED_POD), Value::Null);
    assert_eq!(annotation(&["--default-container"], SEED_POD), "app");
    let own = SEED_POD.replace("  labels:", &format!("  annotations: {{{key}: mine}}\n  labels:"));
    assert_eq!(annotation(&["--default-container"], &own), "mine");
    let behind = set("behind").replace("image: busybox", "podInjectPolicy: AfterAppContainer\n      image: busybox");
    let behind = Files::new([("set.yaml", behind.as_str())]);
    let pod = object(&inject(behind.path(), &["--default-container"], SEED_POD).ok());
    assert_eq!(names(&pod["spec"]["containers"]), ["app", "behind"]);
    assert_eq!(pod["metadata"]["annotations"].get(key), None);
}

#[test]
fn several_files_are_read_in_their_order_and_wrong_ones_are_named() {
    let logs = logs();
    let input = Files::new([("1.yaml", SEED_POD), ("2.json", &object(&namespace("shop", "blue")).to_string())]);
    let file = |name: &str| input.path().join(name);
    let injected = |files: &[&str]| {
        let mut command = command(["inject", "--from"]);
        command.arg(logs.path());
        for name in files {
            command.arg("-f").arg(file(name));
        }
        run(&mut command, "")
    };
    let after = objects(&injected(&["2.json", "1.yaml"]).ok());
    assert_eq!((&after[0]["kind"], &after[1]["kind"]), (&json!("Namespace"), &json!("Pod")));
    let error = injected(&["1.yaml", "missing.yaml"]).failed(1);
    assert_says(&error, &["missing.yaml: No such file or directory"]);
    input.write("broken.yaml", "kind: Pod\napiVersion: v1\n  name: x\n");
    assert_says(&injected(&["broken.yaml"]).failed(1), &["broken.yaml:3:"]);
    input.write("bare.yaml", "a: b\n");
    assert_says(&injected(&["bare.yaml"]).failed(1), &["bare.yaml:1: ", "`apiVersion` is missing"]);
}

#[test]
fn a_folder_of_sets_that_cannot_all_be_used_is_an_error_that_lists_every_fault() {
    let files = Files::new([("1.yaml", set("good").as_str()), ("2.yaml", "kind: ["), ("3.yaml", &set("bad_name"))]);
    files.write("3.yaml", &set("late").replace("v1beta1", "v3"));
    let output = inject(files.path(), &[], SEED_POD);
    assert_eq!(output.stdout, "", "half of the sets is not injected");
    assert_says(&output.failed(1), &["/2.yaml:1:7: ", "/3.yaml:1: ", "apps.kruise.io/v3"]);
    let empty = Files::new([]);
    let output = inject(empty.path(), &[], SEED_POD);
    assert_says(&output.stderr, &["warning: no SidecarSet"]);
    assert_eq!(object(&output.ok()), object(SEED_POD));
}

#[test]
fn every_example_is_injected_by_the_sets_of_all() {
    let mut inject = command(["inject", "-o", "diff", "--from"]);
    inject.arg(examples());
    for folder in std::fs::read_dir(examples()).expect("a folder") {
        for file in std::fs::read_dir(folder.expect("an entry").path()).expect("a folder") {
            let file = file.expect("an entry").path();
            // Subfolders are for other commands.
            if file.is_file() {
                inject.arg("-f").arg(file);
            }
        }
    }
    let diff = run(&mut inject, "").ok();
    for name in ["test-pod", "guestbook-frontend", "redis-leader", "redis-followers", "clock", "count-to-five"] {
        assert_says(&diff, &[format!("/{name} (")]);
    }
}
