//! Files generated from the chart, and files that it is generated from.

use std::process::Command;

use outrigger_testbed::program;
use serde_json::{Value, json};

use super::{objects, path, read, rendered};

#[test]
fn the_installer_is_what_the_chart_renders() {
    let committed = read("manifests/install.yaml");
    let (_, objects) = committed.split_once("\n---\n").expect("a head and objects");
    let (namespace, objects) = objects.split_once("\n---\n").expect("a namespace and objects");
    assert!(namespace.contains("kind: Namespace"), "{namespace}");
    assert!(format!("---\n{objects}") == rendered(&[]), "it differs: make manifests/install.yaml");
}

#[test]
fn the_installer_names_one_image_that_make_can_replace() {
    let installer = read("manifests/install.yaml");
    let images: Vec<_> = installer.lines().filter_map(|line| line.trim().strip_prefix("image: ")).collect();
    assert_eq!(
        images,
        [concat!("outrigger:", env!("CARGO_PKG_VERSION"))],
        "the pattern of `with_image` in the Makefile"
    );
}

#[test]
fn kustomize_takes_the_folder() {
    let kubectl = program("kubectl").expect("kubectl, of `make testbed`");
    let output = Command::new(kubectl).arg("kustomize").arg(path("manifests")).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let made = objects(&String::from_utf8_lossy(&output.stdout));
    assert_eq!(made.keys().collect::<Vec<_>>(), objects(&read("manifests/install.yaml")).keys().collect::<Vec<_>>());
}

#[test]
fn the_chart_has_the_program_s_version() {
    let chart: Value = serde_saphyr::from_str(&read("manifests/chart/Chart.yaml")).expect("YAML");
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
    assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
}

/// Objects of cert-manager, without the chart's labels.
fn of_cert_manager(yaml: &str) -> Vec<(String, Value)> {
    let objects = objects(yaml).into_iter().filter(|(_, object)| object["apiVersion"] == "cert-manager.io/v1");
    objects
        .map(|(name, mut object)| {
            object["metadata"].as_object_mut().expect("metadata").remove("labels");
            (name, object)
        })
        .collect()
}

#[test]
fn the_certificate_is_the_same_with_and_without_the_chart() {
    let with = |more: &[&str]| of_cert_manager(&rendered(&[&["--set=certificates.mode=cert-manager"], more].concat()));
    assert_eq!(with(&[]), of_cert_manager(&read("certs/cert-manager.yaml")));
    let theirs = with(&["--namespace=sidecars", "--values=chart/ci/cert-manager-values.yaml"]);
    let names: Vec<_> = theirs.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["Certificate/outrigger-webhook"], "with an issuer of the user's there is no CA of ours");
    let spec = &theirs[0].1["spec"];
    assert_eq!(spec["issuerRef"]["name"], "company");
    let hosts = json!(["outrigger-webhook.sidecars.svc", "outrigger-conversion.sidecars.svc"]);
    assert_eq!(spec["dnsNames"], hosts);
}
