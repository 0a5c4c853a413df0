//! The rendered chart without a cluster: permissions by job, values, certificates, alerts, and generated files. Needs helm and
//! kubectl from `make testbed`.

mod alerts;
mod files;
mod images;
mod values;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use outrigger_testbed::program;
use serde_json::Value;

/// A file of the repository.
fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

#[track_caller]
fn read(file: &str) -> String {
    std::fs::read_to_string(path(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Runs helm.
#[track_caller]
fn helm(arguments: &[&str]) -> Output {
    let helm = program("helm").expect("helm, of `make testbed`");
    Command::new(helm).args(arguments).current_dir(path("manifests")).output().expect("helm runs")
}

/// Returns what the chart renders with these arguments.
#[track_caller]
fn rendered(arguments: &[&str]) -> String {
    let output =
        helm(&[&["template", "outrigger", "chart", "--namespace=outrigger-system", "--no-hooks"], arguments].concat());
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Returns why the chart cannot be rendered with these arguments.
#[track_caller]
fn refused(arguments: &[&str]) -> String {
    let output = helm(&[&["template", "outrigger", "chart"], arguments].concat());
    assert!(!output.status.success(), "{arguments:?} is rendered");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Returns the objects of YAML documents by kind and name.
#[track_caller]
fn objects(yaml: &str) -> BTreeMap<String, Value> {
    let documents: Vec<Option<Value>> = serde_saphyr::from_multiple(yaml).expect("YAML");
    let named = documents.into_iter().flatten().filter(|object| !object.is_null()).map(|object| {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (format!("{}/{}", text(&object["kind"]), text(&object["metadata"]["name"])), object)
    });
    named.collect()
}

/// Returns the values files that ship with the chart.
fn values_files() -> Vec<String> {
    let mut files: Vec<_> = std::fs::read_dir(path("manifests/chart/ci"))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path().display().to_string())
        .collect();
    files.sort();
    assert!(files.len() > 3, "{files:?}");
    files.push("chart/values-ha.yaml".to_owned());
    files
}
