//! Tests that compare the results of Istio's own code with those of outrigger.

use crate::documents::parse;
use crate::istio::validate::{self, By, FaultKind};
use crate::mesh_integrity::{Engine, Object, Options, assumed};
use std::collections::BTreeSet;
use std::path::Path;

/// The labels of each object have the result of Istio's own code; `make test-istio-analyze` checks them again.
#[test]
fn both_rule_sets_have_the_verdicts_of_istio() {
    let text = include_bytes!("../../../testbed/go/istio-analyze/testdata/verdicts.yaml");
    let objects = parse("verdicts.yaml", text).unwrap();
    assert!(objects.len() > 390, "{}", objects.len());
    let mut wrong = Vec::new();
    for object in objects.iter().map(|document| &document.value) {
        let faults = validate::object(object["kind"].as_str().unwrap(), "v1", object, "shop");
        let refused = |by: By| {
            faults.iter().any(|fault| matches!(fault.kind, FaultKind::Error(one) if one == by || one == By::Both))
        };
        let crd = if refused(By::Crd) { "refused" } else { "taken" };
        let istiod = if refused(By::Istiod) {
            "refused"
        } else if faults.iter().any(|fault| !matches!(fault.kind, FaultKind::Error(_))) {
            "warned"
        } else {
            "taken"
        };
        let labels = &object["metadata"]["labels"];
        if labels["crd"] != crd || labels["istiod"] != istiod {
            wrong.push(format!(
                "{} {}: {labels}, not {crd} {istiod}: {faults:?}",
                object["kind"], object["metadata"]["name"]
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The first line of each file has the codes that istioctl's analyzers find in it; `make test-istio-analyze` checks
/// them again.
#[test]
fn the_codes_of_the_analyzers_are_ours() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testbed/go/istio-analyze/testdata/meshes");
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.as_ref().unwrap().path()).unwrap();
        let name = entry.unwrap().file_name();
        let documents = parse("f.yaml", text.as_bytes()).unwrap();
        let objects = documents.iter().filter_map(|document| Object::read(&document.value, "default"));
        // The good certificates are valid at this time.
        let options = Options { now: Some(1_900_000_000), ..Options::default() };
        let engine = Engine::new(options, assumed().unwrap().into_iter().chain(objects)).unwrap();
        let codes: BTreeSet<&str> = engine
            .findings()
            .iter()
            .map(|finding| finding.code.as_str())
            .filter(|code| code.starts_with("IST"))
            .collect();
        let found =
            if codes.is_empty() { "nothing".to_owned() } else { codes.into_iter().collect::<Vec<_>>().join(", ") };
        if text.lines().next() != Some(&format!("# {found}")) {
            wrong.push(format!("{name:?}: {:?}, not {found}: {:#?}", text.lines().next(), engine.findings()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
