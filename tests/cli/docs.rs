//! The documentation is true: every command in it works and prints what is shown.

use crate::console::{Example, examples};
use crate::harness::{Server, command, names, objects, patched, run};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

fn check(page: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join(page)).expect("the page");
    let examples: Vec<Example<'_>> = examples(&text);
    assert!(!examples.is_empty(), "{page} shows no command");
    for example in examples {
        let line = example.command;
        let args = line.strip_prefix("outrigger ").unwrap_or_else(|| panic!("{page}: {line:?} is not outrigger"));
        let mut command: Command = command(args.split_whitespace());
        let printed = run(command.current_dir(root), "").ok();
        assert!(example.shows(&printed), "{page}: {line}\nprints\n{printed}");
    }
}

#[test]
fn commands_of_the_readme_print_what_it_shows() {
    check("README.md");
}

#[test]
fn commands_of_the_page_on_sidecarsets_print_what_it_shows() {
    check("docs/sidecarset.md");
}

#[test]
fn commands_of_the_page_on_operations_print_what_it_shows() {
    check("docs/operations.md");
}

#[test]
fn commands_of_the_page_on_integrity_print_what_it_shows() {
    check("docs/mesh-integrity.md");
}

/// Returns the Kubernetes minor that a Go module of the testbed builds.
fn minor(module: &str) -> u32 {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testbed/go").join(module).join("go.mod");
    let text = std::fs::read_to_string(path).expect("the module");
    let version = text.split("k8s.io/kubernetes v1.").nth(1).expect("Kubernetes");
    version.split('.').next().expect("a minor").parse().expect("a number")
}

#[test]
fn the_versions_of_kubernetes_that_are_named_are_those_that_are_tested() {
    let (newest, oldest) = (minor("kubernetes"), minor("kubernetes-oldest"));
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = |name: &str| {
        let text = std::fs::read_to_string(root.join(name)).expect(name);
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let readme = page("README.md");
    assert!(readme.contains(&format!(
        "Kubernetes 1.{oldest} or newer: `make test` runs it against 1.{newest}, `make test-oldest` against 1.{oldest}"
    )));
    assert!(page("docs/operations.md").contains(&format!("Kubernetes 1.{oldest} or newer")));
    // The API types can only have fields that the oldest supported server knows.
    let manifest = page("Cargo.toml");
    let fields =
        manifest.split("k8s-openapi = ").nth(1).and_then(|rest| rest.split("\"v1_").nth(1)).expect("k8s-openapi");
    let fields: u32 = fields.split('"').next().expect("a feature").parse().expect("a number");
    assert!(fields <= oldest, "k8s-openapi has the fields of 1.{fields}");
}

/// The review that the operations page sends with curl.
#[test]
fn the_sample_review_is_answered_with_a_patch() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let review = std::fs::read_to_string(root.join("docs/examples/review.json")).expect("the review");
    let server = Server::start(&root.join("examples/test-sidecarset"), [""; 0]);
    let (status, body) = server.post(review.clone());
    assert_eq!(status, 200, "{body}");
    let [review, answer] = [review, body].map(|text| serde_json::from_str::<Value>(&text).expect("JSON"));
    assert_eq!(answer["response"]["uid"], review["request"]["uid"]);
    let pod = patched(&review["request"]["object"], &answer["response"]);
    assert_eq!(names(&pod["spec"]["containers"]), ["sidecar1", "app"]);
    let page = std::fs::read_to_string(root.join("docs/operations.md")).expect("the page");
    assert!(page.contains("--data @docs/examples/review.json https://127.0.0.1:9443/mutate-pod"));
}

/// They equal those of the installer, except for the chart's labels.
#[test]
fn the_two_services_of_the_page_on_operations_are_those_of_the_installer() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/operations.md")).expect("the page");
    let (_, section) = page.split_once("### The two Services\n").expect("the section");
    let yaml = section.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("YAML");
    let manifest = std::fs::read_to_string(root.join("manifests/install.yaml")).expect("the manifest");
    let installed: Vec<Value> = objects(&manifest).into_iter().filter(|object| object["kind"] == "Service").collect();
    let shown = objects(yaml);
    assert_eq!(shown.len(), installed.len());
    for (shown, mut installed) in shown.into_iter().zip(installed) {
        assert_eq!(shown["metadata"]["name"], installed["metadata"]["name"]);
        assert_eq!(installed["spec"]["ports"][0]["targetPort"], "webhook");
        installed["spec"]["ports"][0]["targetPort"] = 9443.into();
        assert_eq!(shown["spec"], installed["spec"]);
    }
}

/// The whole tour uses one build, and the end of `make run` tells what remains.
#[test]
fn demo_cluster_and_run_are_built_alike() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let commands = |target: &str| run(Command::new("make").args(["-n", target]).current_dir(root), "").ok();
    for target in ["demo", "cluster", "run"] {
        let commands = commands(target);
        assert!(commands.contains(" build --locked --profile quick --no-default-features"), "{commands}");
    }
    assert!(commands("run").contains("The webhooks stay registered") && commands("run").contains("make unregister"));
    assert!(
        commands("unregister").contains("delete --ignore-not-found mutatingwebhookconfiguration/outrigger-mutating")
    );
}
