//! The output of the remaining commands: the demo, the CustomResourceDefinitions, completions.

use std::path::Path;

use serde_json::Value;

use crate::harness::{Files, assert_says, command, examples, object, objects, run, run_on_terminal};
use crate::objects::{namespace, set};

/// Returns the names of all SidecarSets in the examples.
fn example_sets() -> Vec<String> {
    let folders = std::fs::read_dir(examples()).expect("a folder").map(|entry| entry.expect("an entry").path());
    let files = folders.map(|folder| folder.join("0-sidecarset.yaml")).filter(|file| file.exists());
    let objects: Vec<Value> = files.flat_map(|file| objects(&std::fs::read_to_string(file).expect("a set"))).collect();
    let sets = objects.iter().filter(|object| object["kind"] == "SidecarSet");
    sets.map(|set| set["metadata"]["name"].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn the_demo_shows_every_set_at_work_and_measures() {
    let mut demo = command(["demo", "--reviews", "50", "--from"]);
    let printed = run(demo.arg(examples()), "").ok();
    let sets = example_sets();
    assert!(sets.len() >= 5, "{sets:?}");
    for set in sets {
        assert_says(&printed, &[format!("by SidecarSet {set}\n")]);
    }
    assert_says(&printed, &["Pod/test-pod", "containers: +sidecar1 app", "50 reviews over TLS", "p50 ", "p99 ", "█ "]);
    assert!(!printed.contains('\x1b'), "no colour without a terminal: {printed}");
}

#[test]
fn colours_are_for_terminals_and_not_with_no_color() {
    let examples = examples();
    let demo = || command(["demo", "--reviews=1", &format!("--from={}", examples.display())]);
    let shown = run_on_terminal(demo());
    // Additions are green, and the name of a Pod is bold.
    assert_says(&shown, &["containers: \x1b[32m+sidecar1\x1b[0m app", "\x1b[1mPod/test-pod"]);
    let mut plain = demo();
    plain.env("NO_COLOR", "1");
    let plain = run_on_terminal(plain);
    assert_says(&plain, &["containers: +sidecar1 app", "Pod/test-pod"]);
    assert!(!plain.contains('\x1b'), "no colour with NO_COLOR: {plain}");

    let mut diff = command(["inject", "-o", "diff", "--from"]);
    diff.arg(&examples).arg("-f").arg(examples.join("file-sync/pod.yaml"));
    assert_says(&run_on_terminal(diff), &["\x1b[1m--- ", "\x1b[32m+"]);
}

/// The last lines of the demo are commands to type. They work as printed.
#[test]
fn the_demo_ends_with_the_next_steps() {
    for from in ["examples", "examples/guestbook", "examples/file-sync/"] {
        let mut demo = command(["demo", "--reviews", "1", "--from", from]);
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let printed = run(demo.current_dir(root), "").ok();
        let (_, steps) = printed.rsplit_once("Next, see what changes in a manifest, and why:\n\n").expect("next steps");
        let steps: Vec<&str> = steps.lines().map(str::trim).collect();
        assert_eq!(steps.len(), 2, "{steps:?}");
        for (step, shown) in steps.into_iter().zip(["+++ ", "  injected: "]) {
            let printed = run(std::process::Command::new("sh").args(["-c", step]).current_dir(root), "").ok();
            assert!(printed.contains(shown), "{step}\n{printed}");
        }
    }
}

#[test]
fn the_demo_says_where_examples_are_expected_and_when_none_is_injected() {
    let elsewhere = tempfile::tempdir().expect("a folder");
    let error = run(command(["demo"]).current_dir(elsewhere.path()), "").failed(1);
    assert_says(&error, &["--from", "examples", "No such file"]);
    let files = Files::new([("set.yaml", set("a").as_str()), ("ns.yaml", &namespace("shop", "blue"))]);
    let error = run(command(["demo", "--from"]).arg(files.path()), "").failed(1);
    assert_says(&error, &["no Pods or workloads"]);
    files.write("pod.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c}]}\n");
    let error = run(command(["demo", "--from"]).arg(files.path()), "").failed(1);
    assert_says(&error, &["no Pod", "was injected", "selectors"]);
}

#[test]
fn crds_prints_the_committed_manifests() {
    let printed = run(&mut command(["crds"]), "").ok();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/crds");
    let mut crds = objects(&printed);
    for file in std::fs::read_dir(&folder).expect("a folder") {
        let path = file.expect("an entry").path();
        let committed = object(&std::fs::read_to_string(&path).expect("a file"));
        let position = crds.iter().position(|crd| *crd == committed);
        crds.remove(position.unwrap_or_else(|| panic!("outrigger crds > {}", path.display())));
    }
    assert!(crds.is_empty(), "not committed: {crds:?}");
}

#[test]
fn the_crds_are_structural_and_leave_conversion_to_the_server() {
    for crd in objects(&run(&mut command(["crds"]), "").ok()) {
        let (name, spec) = (&crd["metadata"]["name"], &crd["spec"]);
        assert_eq!(
            *name,
            format!("{}.{}", spec["names"]["plural"].as_str().expect("text"), spec["group"].as_str().expect("text"))
        );
        assert!(spec.get("conversion").is_none(), "{name}");
        let versions = spec["versions"].as_array().expect("versions");
        assert_eq!(versions.iter().filter(|version| version["storage"] == true).count(), 1, "{name}");
        for version in versions {
            assert_eq!(version["served"], true, "{name}");
            let path = format!("{}.{}", name.as_str().expect("text"), version["name"].as_str().expect("text"));
            let schema = &version["schema"]["openAPIV3Schema"];
            assert_eq!(schema["type"], "object", "{path}");
            let faults = faults(schema, &path);
            assert!(faults.is_empty(), "{faults:#?}");
        }
    }
}

/// Returns what the API server would reject in a schema, as far as the schema shows it, by the rules in
/// <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema>.
fn faults(schema: &Value, path: &str) -> Vec<String> {
    let mut found = Vec::new();
    let is = |marker: &str| schema[marker] == true;
    let free = is("x-kubernetes-int-or-string") || is("x-kubernetes-preserve-unknown-fields");
    match schema["type"].as_str() {
        None if !free => found.push(format!("{path}: no type")),
        Some(_) if is("x-kubernetes-int-or-string") => found.push(format!("{path}: int-or-string with a type")),
        Some("array") if !schema["items"].is_object() => found.push(format!("{path}: an array without items")),
        _ => {}
    }
    for keyword in ["$ref", "definitions", "dependencies", "patternProperties", "additionalItems", "deprecated", "id"] {
        if schema.get(keyword).is_some() {
            found.push(format!("{path}: {keyword} is forbidden"));
        }
    }
    if schema["additionalProperties"] == false || is("uniqueItems") {
        found.push(format!("{path}: additionalProperties: false and uniqueItems: true are forbidden"));
    }
    if schema.get("additionalProperties").is_some() && schema.get("properties").is_some() {
        found.push(format!("{path}: properties and additionalProperties exclude each other"));
    }
    let of_lists = ["allOf", "anyOf", "oneOf"].iter().flat_map(|list| schema[list].as_array().into_iter().flatten());
    for inner in of_lists.filter(|inner| inner.get("description").is_some() || inner.get("default").is_some()) {
        found.push(format!("{path}: description or default within allOf, anyOf or oneOf: {inner}"));
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        found.extend(faults(property, &format!("{path}.{name}")));
    }
    for (keyword, suffix) in [("items", "[]"), ("additionalProperties", "{}")] {
        if schema[keyword].is_object() {
            found.extend(faults(&schema[keyword], &format!("{path}{suffix}")));
        }
    }
    found
}

#[test]
fn completions_name_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&mut command(["completions", shell]), "").ok();
        assert_says(&script, &["serve", "inject", "demo", "crds", "completions"]);
    }
    assert_says(&run(&mut command(["completions", "tcsh"]), "").failed(2), &["tcsh", "bash", "zsh", "fish"]);
}
