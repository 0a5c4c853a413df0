//! The documentation tells the truth: every command that it shows works and prints what is shown.

use crate::console::{Example, examples};
use crate::harness::{command, run};
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

/// The minor of Kubernetes that a Go module of the testbed builds.
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
    // We can name no field that the oldest server does not know.
    let manifest = page("Cargo.toml");
    let fields =
        manifest.split("k8s-openapi = ").nth(1).and_then(|rest| rest.split("\"v1_").nth(1)).expect("k8s-openapi");
    let fields: u32 = fields.split('"').next().expect("a feature").parse().expect("a number");
    assert!(fields <= oldest, "k8s-openapi has the fields of 1.{fields}");
}
