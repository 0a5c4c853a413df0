//! The output for the Services in `testbed/go/istio-routes/testdata`. `make test-istio` checks it with Istio's own
//! code.
//!
//! `OUTRIGGER_WRITE=1` writes the files.

use super::fake::Fake;
use crate::documents::{parse, to_yaml_stream};
use serde_json::Value;
use std::path::{Path, PathBuf};

const NAMESPACES: [&str; 5] = ["default", "dev", "dev-alice", "dev-bob", "staging"];

/// Returns the written objects of a case.
fn written(case: &Path) -> String {
    let text = |file: &str| std::fs::read_to_string(case.join(file)).unwrap();
    let mut fake = Fake::new(&NAMESPACES, &text("config.yaml"));
    for document in parse("services.yaml", text("services.yaml").as_bytes()).unwrap() {
        let name = |field: &str| document.value["metadata"][field].as_str().unwrap().to_owned();
        fake.service_with(&name("namespace"), &name("name"), document.value.clone());
    }
    fake.settle();
    let placeholders = fake.services.values().filter(|service| service["spec"]["type"] == "ExternalName");
    let without_version = |object: &Value| {
        let mut object = object.clone();
        object["metadata"].as_object_mut().unwrap().shift_remove("resourceVersion");
        object["metadata"].as_object_mut().unwrap().shift_remove("uid");
        object["metadata"].as_object_mut().unwrap().shift_remove("creationTimestamp");
        object
    };
    let all: Vec<Value> = fake.virtual_services.values().chain(placeholders).map(without_version).collect();
    to_yaml_stream(&all)
}

#[test]
fn what_is_written_is_what_istio_was_asked_about() {
    let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("testbed/go/istio-routes/testdata");
    let cases: Vec<PathBuf> = std::fs::read_dir(testdata).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(cases.len() >= 4, "{cases:?}");
    for case in cases {
        let (file, now) = (case.join("written.yaml"), written(&case));
        if std::env::var_os("OUTRIGGER_WRITE").is_some() {
            std::fs::write(&file, &now).unwrap();
        }
        let before = std::fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(before, now, "{}: OUTRIGGER_WRITE=1 writes it anew; then run `make test-istio`", file.display());
    }
}
