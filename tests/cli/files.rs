//! The files of `outrigger serve --from`: their content, reports of wrong ones, and handling of changes.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Files, Server, assert_says, names, object, wait_for};
use crate::objects::{SEED_POD, SEED_SET, namespace, set};

/// A server with this folder and default flags.
fn serve(files: &Files) -> Server {
    Server::start(files.path(), [""; 0])
}

/// The Pod of the smallest example in this namespace.
fn pod_in(namespace: &str) -> Value {
    let mut pod = object(SEED_POD);
    pod["metadata"]["namespace"] = namespace.into();
    pod
}

/// Returns what is injected into the Pod of the smallest example.
fn injected(server: &Server) -> Vec<String> {
    injected_in(server, "default")
}

fn injected_in(server: &Server, namespace: &str) -> Vec<String> {
    let pod = server.admit(&pod_in(namespace));
    let names = names(&pod["spec"]["containers"]).into_iter().filter(|name| *name != "app");
    names.map(str::to_owned).collect()
}

#[track_caller]
fn wait_until_injected(server: &Server, expected: &[&str]) {
    wait_for(&format!("{expected:?} are injected"), || (injected(server) == expected).then_some(()));
}

#[test]
fn an_edited_added_or_removed_set_is_taken_up_within_seconds() {
    let files = Files::new([("set.yaml", set("first").as_str())]);
    let server = serve(&files);
    assert_eq!(injected(&server), ["first"]);
    let start = Instant::now();
    files.write("set.yaml", &set("edited"));
    wait_until_injected(&server, &["edited"]);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    files.write("another.yaml", &set("added"));
    wait_until_injected(&server, &["added", "edited"]);
    assert_eq!(server.metric("outrigger_sidecarsets"), 2);
    fs::remove_file(files.path().join("set.yaml")).expect("removed");
    wait_until_injected(&server, &["added"]);
}

#[test]
fn a_file_that_breaks_keeps_its_last_good_content_and_is_reported_until_it_is_corrected() {
    let files = Files::new([("set.yaml", set("good").as_str())]);
    let server = serve(&files);
    files.write("set.yaml", "kind: [");
    server.logged("ERROR", &["set.yaml:1:7: ", "its last good content stays in use"]);
    server.files_read(2);
    let (status, report) = server.page("/readyz?verbose");
    assert_eq!(status, 200, "{report}");
    assert_says(&report, &["[+]files ok: ", "set.yaml:1:7: ", "its last good content stays in use"]);
    assert_eq!(server.metric("outrigger_source_errors"), 1);
    assert_eq!(injected(&server), ["good"]);

    files.write("set.yaml", &set("corrected"));
    wait_until_injected(&server, &["corrected"]);
    server.files_read(3);
    assert!(!server.page("/readyz?verbose").1.contains("set.yaml"));
    assert_eq!(server.metric("outrigger_source_errors"), 0);
}

#[test]
fn an_object_that_breaks_keeps_its_last_good_version_while_its_neighbours_change() {
    let files = Files::new([("sets.yaml", format!("{}---\n{}", set("a"), set("b")).as_str())]);
    let server = serve(&files);
    let broken = set("a").replace("app: nginx", "app: [nginx]");
    files.write("sets.yaml", &format!("{broken}---\n{}", set("c")));
    server.logged("ERROR", &["sets.yaml:1: SidecarSet \"a\": spec.selector.matchLabels.app: ", "last good version"]);
    wait_until_injected(&server, &["a", "c"]);
    assert_eq!(server.page("/readyz").0, 200);
}

#[test]
fn a_folder_that_cannot_all_be_used_from_the_start_is_not_ready_and_names_every_fault() {
    let no_operator = "apiVersion: apps.kruise.io/v1beta1\nkind: SidecarSet\nmetadata: {name: unparsed}\nspec:\n  selector: {matchExpressions: [{key: app, operator: Within, values: [nginx]}]}\n  containers: [{name: c}]\n";
    let files = Files::new([
        ("1-good.yaml", set("good").as_str()),
        ("2-selector.yaml", no_operator),
        ("3-version.yaml", &set("later").replace("v1beta1", "v2")),
        ("4-same-name.yaml", &format!("# a second one\n{}", set("good"))),
        ("5-syntax.json", "{"),
        ("6-type.yaml", &set("typed").replace("- name: typed", "- name: 5")),
        ("7-boolean.yaml", &namespace("no", "blue")),
    ]);
    let server = serve(&files);
    let problems: [&[&str]; 6] = [
        &[
            "2-selector.yaml:1: SidecarSet \"unparsed\": spec.selector.matchExpressions[0].operator: Invalid value: \"Within\"",
        ],
        &["3-version.yaml:1: ", "\"apps.kruise.io/v2\"", "apps.kruise.io/v1beta1"],
        &["4-same-name.yaml:2: SidecarSet \"good\" is already defined at 1-good.yaml:1"],
        &["5-syntax.json:1:"],
        &["6-type.yaml:1: SidecarSet \"typed\": spec.containers[0].name: "],
        &["7-boolean.yaml:1: Namespace ", "metadata.name: invalid type: boolean `false`, expected a string"],
    ];
    let (status, report) = server.page("/readyz?verbose");
    assert_eq!(status, 503, "a set that is refused must not be absent unnoticed");
    assert_says(&report, &["[-]files failed: "]);
    for problem in problems {
        assert_says(&report, problem);
        server.logged("ERROR", problem);
    }
    assert!(!report.contains("last good"), "nothing of it was good before: {report}");
    assert_eq!(server.metric("outrigger_source_errors"), 6);
    assert_eq!(injected(&server), ["good"]);

    for problem in problems {
        let (file, _) = problem[0].split_once(':').expect("file:line");
        fs::remove_file(files.path().join(file)).expect("removed");
    }
    wait_for("no error is left", || (server.metric("outrigger_source_errors") == 0).then_some(()));
    wait_for("it is ready", || (server.page("/readyz").0 == 200).then_some(()));
}

#[test]
fn fields_that_kubectl_refuses_are_refused_and_not_ignored() {
    let misspelt = set("a").replace("spec:\n", "spec:\n  nameSpaceSelector: {matchLabels: {team: a}}\n");
    let files = Files::new([("set.yaml", misspelt.as_str())]);
    let server = serve(&files);
    let problem = "set.yaml:1: SidecarSet \"a\": spec.nameSpaceSelector: unknown field in apps.kruise.io/v1beta1";
    let (status, report) = server.page("/readyz");
    assert_eq!(status, 503);
    assert_says(&report, &["[-]files failed: ", problem]);
    assert_eq!(injected(&server), [""; 0]);
    files.write("set.yaml", &set("a"));
    wait_for("it is ready", || (server.page("/readyz").0 == 200).then_some(()));
    files.write("set.yaml", &misspelt);
    server.logged("ERROR", &[problem, "last good version stays in use"]);
    assert_eq!((server.page("/readyz").0, injected(&server)), (200, vec!["a".to_owned()]));
}

#[test]
fn a_folder_of_which_nothing_can_be_used_is_not_ready_until_it_is_corrected() {
    let broken = set("a").replace("app: nginx", "app: [nginx]");
    let files = Files::new([("set.yaml", broken.as_str())]);
    let server = serve(&files);
    let (status, report) = server.page("/readyz");
    assert_eq!(status, 503);
    assert_says(&report, &["[-]files failed: set.yaml:1: SidecarSet \"a\": spec.selector.matchLabels.app: "]);
    files.write("set.yaml", &set("a"));
    wait_for("it is ready", || (server.page("/readyz").0 == 200).then_some(()));
    assert_eq!(injected(&server), ["a"]);
    files.write("set.yaml", &broken);
    server.logged("ERROR", &["set.yaml:1: ", "last good version stays in use"]);
    assert_eq!(server.page("/readyz").0, 200);
}

#[test]
fn an_empty_folder_is_ready_and_warned_about() {
    let files = Files::new([]);
    let server = serve(&files);
    server.logged("WARN", &["no SidecarSet"]);
    assert_eq!(server.page("/readyz").0, 200);
    assert_eq!(injected(&server), [""; 0]);
    files.write("set.yaml", &set("first"));
    wait_until_injected(&server, &["first"]);
}

#[test]
fn a_folder_that_goes_away_keeps_what_was_read_of_it() {
    let outer = Files::new([]);
    let (folder, elsewhere) = (outer.path().join("sets"), outer.path().join("elsewhere"));
    fs::create_dir(&folder).expect("a folder");
    fs::write(folder.join("set.yaml"), set("kept")).expect("written");
    let server = Server::start(&folder, [""; 0]);
    fs::rename(&folder, &elsewhere).expect("moved");
    server.logged("ERROR", &["sets: No such file or directory"]);
    assert_eq!(injected(&server), ["kept"]);
    assert_eq!(server.page("/readyz").0, 200);
    fs::rename(&elsewhere, &folder).expect("moved back");
    wait_for("no error is left", || (server.metric("outrigger_source_errors") == 0).then_some(()));
    assert_eq!(injected(&server), ["kept"]);
}

#[test]
fn a_mounted_config_map_that_the_kubelet_swaps_is_read_again() {
    let mount = Files::new([]);
    let version = |name: &str, set_name: &str| {
        fs::create_dir(mount.path().join(name)).expect("a folder");
        fs::write(mount.path().join(name).join("set.yaml"), set(set_name)).expect("written");
    };
    version("..2026_01", "old");
    symlink("..2026_01", mount.path().join("..data")).expect("a link");
    symlink("..data/set.yaml", mount.path().join("set.yaml")).expect("a link");
    let server = serve(&mount);
    assert_eq!(injected(&server), ["old"]);

    version("..2026_02", "new");
    symlink("..2026_02", mount.path().join("..data_tmp")).expect("a link");
    fs::rename(mount.path().join("..data_tmp"), mount.path().join("..data")).expect("swapped");
    fs::remove_dir_all(mount.path().join("..2026_01")).expect("removed");
    wait_until_injected(&server, &["new"]);
    assert_eq!(server.metric("outrigger_source_errors"), 0);
}

#[test]
fn yaml_json_several_documents_lists_and_both_versions_are_read_and_other_kinds_counted() {
    let json = json!({
        "apiVersion": "apps.kruise.io/v1alpha1",
        "kind": "SidecarSetList",
        "items": [object(&set("in-a-list").replace("v1beta1", "v1alpha1"))],
    });
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\n";
    let files = Files::new([
        ("several.yaml", format!("{SEED_SET}---\n{}---\n{service}", set("second")).as_str()),
        ("list.json", &json.to_string()),
        ("notes.txt", "kind: ["),
        ("crd.yaml", "apiVersion: apps.kruise.io/v1alpha1\nkind: CloneSet\nmetadata: {name: web}\n"),
    ]);
    let server = serve(&files);
    assert_eq!(injected(&server), ["in-a-list", "second", "sidecar1"]);
    let read = server.logged("INFO", &["files read"]);
    assert_eq!((&read["sidecarsets"], &read["ignored"], &read["problems"]), (&json!(3), &json!(2), &json!(0)));
}

#[test]
fn from_may_be_a_single_file() {
    let files = Files::new([("set.yaml", set("single").as_str()), ("other.yaml", &set("other"))]);
    let server = Server::start(&files.path().join("set.yaml"), [""; 0]);
    assert_eq!(injected(&server), ["single"]);
}

#[test]
fn the_labels_of_namespaces_decide_a_namespace_selector() {
    let of_team = set("blue").replace("spec:\n", "spec:\n  namespaceSelector: {matchLabels: {team: blue}}\n");
    let by_name = set("named").replace(
        "spec:\n",
        "spec:\n  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: without-a-file}}\n",
    );
    let namespaces = format!("{}---\n{}", namespace("sky", "blue"), namespace("grass", "green"));
    let files = Files::new([("sets.yaml", format!("{of_team}---\n{by_name}").as_str()), ("ns.yaml", &namespaces)]);
    let server = serve(&files);
    assert_eq!(injected_in(&server, "sky"), ["blue"]);
    assert_eq!(injected_in(&server, "grass"), [""; 0]);
    assert_eq!(injected_in(&server, "without-a-file"), ["named"]);
    files.write("ns.yaml", &namespace("grass", "blue"));
    wait_for("the new labels decide", || (injected_in(&server, "grass") == ["blue"]).then_some(()));
    assert_eq!(injected_in(&server, "sky"), [""; 0]);
}

#[test]
fn the_revision_of_a_sets_present_content_is_recorded_in_the_pod() {
    let revision = |name: &str, number: usize, image: &str| {
        json!({
            "apiVersion": "apps/v1",
            "kind": "ControllerRevision",
            "metadata": {"name": name, "namespace": "anywhere", "labels": {"kruise.io/sidecarset-name": "logs"}},
            "revision": number,
            "data": {"spec": {"containers": [{"name": "logs", "image": image}]}},
        })
        .to_string()
    };
    let files = Files::new([
        ("set.yaml", set("logs").as_str()),
        ("1.json", &revision("logs-1", 1, "busybox:1.36.0")),
        ("2.json", &revision("logs-2", 2, "busybox:1.36.1")),
        ("3.json", &revision("logs-3", 3, "busybox:1.37.0")),
    ]);
    let server = serve(&files);
    let response = server.review(&pod_in("default"));
    assert_eq!(response["auditAnnotations"]["sidecarsets"], "logs@logs-2");
    let pod = server.admit(&pod_in("default"));
    let recorded = pod["metadata"]["annotations"]["kruise.io/sidecarset-hash"].as_str().expect("an annotation");
    let recorded: Value = serde_json::from_str(recorded).expect("JSON");
    assert_eq!(recorded["logs"]["controllerRevision"], "logs-2");
}

#[test]
fn a_hash_annotation_that_differs_from_the_content_is_warned_about() {
    let annotated = set("a").replace("name: a\nspec", "name: a\n  annotations: {kruise.io/sidecarset-hash: x}\nspec");
    let files = Files::new([("set.yaml", annotated.as_str())]);
    let server = serve(&files);
    server.logged("WARN", &["set.yaml:1: SidecarSet \"a\": metadata.annotations[kruise.io/sidecarset-hash]: is \"x\""]);
    assert_eq!(injected(&server), ["a"]);
    assert_eq!(server.page("/readyz").0, 200);
}

#[test]
fn an_invalid_set_is_reported_with_every_cause_in_one_line_and_not_used() {
    let invalid = set("invalid")
        .replace("- name: invalid", "- name: Not_A_Label")
        .replace("image: busybox:1.36.1", "volumeMounts: [{name: gone, mountPath: ''}]");
    let files = Files::new([("good.yaml", set("good").as_str()), ("invalid.yaml", &invalid)]);
    let server = serve(&files);
    let line = server.logged("ERROR", &["invalid.yaml:1: SidecarSet \"invalid\": "]);
    let causes = [
        "spec.containers[0].name: Invalid value: \"Not_A_Label\": ",
        "; spec.containers[0].image: Required value",
        "; spec.containers[0].volumeMounts[0].name: Not found: \"gone\"",
        "; spec.containers[0].volumeMounts[0].mountPath: Required value",
    ];
    let message = line["message"].as_str().expect("a text");
    assert_says(message, &causes);
    assert!(!message.contains('\n'), "{message}");
    assert_eq!(server.metric("outrigger_source_errors"), 1, "one object, one problem");
    assert_eq!(server.metric("outrigger_sidecarsets"), 1);
    assert_eq!(injected(&server), ["good"]);
    assert_says(&server.page("/readyz?verbose").1, &causes);
}

#[test]
fn two_sets_that_inject_one_name_into_the_same_pods_are_warned_about_at_start() {
    let twice = set("twice").replace("- name: twice", "- name: once");
    let elsewhere = set("elsewhere").replace("- name: elsewhere", "- name: once").replace("app: nginx", "app: other");
    let files = Files::new([("once.yaml", set("once").as_str()), ("twice.yaml", &twice), ("other.yaml", &elsewhere)]);
    let server = serve(&files);
    let warning =
        "SidecarSets \"once\" and \"twice\" both inject a container \"once\": Pods that both match are denied";
    assert_eq!(server.logged("WARN", &["both inject"])["message"], warning);
    assert_eq!(server.page("/readyz").0, 200);
    let response = server.review(&pod_in("default"));
    assert_eq!(response["allowed"], false);
    assert_says(response["status"]["message"].as_str().expect("a text"), &["\"twice\"", "\"once\" injects"]);
}

#[test]
fn the_name_of_a_file_forges_no_line_of_readyz() {
    let files =
        Files::new([("a\n[-]forged failed: x\nERROR forged.yaml", "kind: ["), ("set.yaml", set("good").as_str())]);
    let server = serve(&files);
    server.logged("ERROR", &["forged.yaml:1:7: "]);
    let (_, report) = server.page("/readyz?verbose");
    assert_says(&report, &["[-]files failed: ", "a\\n[-]forged failed: x\\nERROR forged.yaml:1:7: "]);
    let forged = report.lines().filter(|line| line.starts_with("[-]forged") || line.starts_with("ERROR"));
    assert_eq!(forged.count(), 0, "{report}");
}
