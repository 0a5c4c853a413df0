//! Pods that claim to be injected: whether their containers are the set's, and what happens to those that are not.

use super::{bare, explanations::verdicts, index, injected, patched, revision, set};
use crate::injection::Index;
use serde_json::{Value, json};

/// A set with a plain container, a hot one, a native sidecar and an ordinary init container.
fn logs(verify: Option<&str>) -> Value {
    let hot = json!({"upgradeType": "HotUpgrade", "hotUpgradeEmptyImage": "empty:1"});
    let spec = json!({
        "containers": [
            {"name": "logs", "image": "x:1", "args": ["--fast"], "env": [{"name": "A", "value": "1"}]},
            {"name": "hot", "image": "h:1", "upgradeStrategy": hot}
        ],
        "initContainers": [
            {"name": "native", "image": "n:1", "restartPolicy": "Always"}, {"name": "setup", "image": "s:1"}
        ]
    });
    let mut set = set("a", spec);
    set["metadata"]["annotations"] = verify.map(|verify| json!({"outrigger.dev/verify": verify})).unwrap_or_default();
    set
}

/// Returns the injected Pod with one field of one container changed.
fn changed(index: &Index, list: &str, name: &str, field: &str, value: Value) -> Value {
    let mut pod = patched(&bare(), &injected(index, &bare()));
    let containers = pod["spec"][list].as_array_mut().unwrap();
    let container = containers.iter_mut().find(|container| container["name"] == name).unwrap();
    container[field] = value;
    pod
}

const ALL: [(&str, &str); 5] = [
    ("containers", "logs"),
    ("containers", "hot-1"),
    ("containers", "hot-2"),
    ("initContainers", "native"),
    ("initContainers", "setup"),
];

#[test]
fn a_container_that_only_claims_to_be_the_sets_stays_by_default_and_its_author_is_told() {
    for verify in [None, Some("warn")] {
        let index = index(&[logs(verify)]);
        for (list, name) in ALL {
            let pod = changed(&index, list, name, "image", json!("evil:1"));
            let answer = injected(&index, &pod);
            assert_eq!(answer.patch, None, "{name}");
            let deviation = format!("spec.{list} {name:?} does not have the set's image");
            assert_eq!(answer.warnings, [format!("SidecarSet \"a\": {deviation}: the Pod counts as not updated")]);
            let told = format!("injected already, but not updated: {deviation}");
            assert_eq!(verdicts(&index, &pod), [["a", "differs", &told]]);
        }
    }
}

#[test]
fn a_set_that_enforces_puts_its_container_in_that_place_once() {
    let index = index(&[logs(Some("enforce"))]);
    let genuine = patched(&bare(), &injected(&index, &bare()));
    for (list, name) in ALL {
        for (field, value) in [("image", json!("evil:1")), ("command", json!(["sleep", "9"]))] {
            let pod = changed(&index, list, name, field, value);
            let answer = injected(&index, &pod);
            assert_eq!(answer.sets[0].containers, [name]);
            let field = if field == "image" { "image" } else { "command and args" };
            assert_eq!(
                answer.warnings,
                [format!("SidecarSet \"a\": spec.{list} {name:?} does not have the set's {field}: it is replaced")]
            );
            let patch: Value = serde_json::from_str(answer.patch.as_deref().unwrap()).unwrap();
            assert_eq!((&patch[0]["op"], &patch[0]["value"]), (&json!("test"), &json!(name)), "{patch}");
            let replaced = patched(&pod, &answer);
            assert_eq!(replaced, genuine);
            let again = injected(&index, &replaced);
            assert_eq!((again.patch, again.warnings.len()), (None, 0));
        }
    }
}

#[test]
fn images_of_kept_versions_are_the_sets_and_either_twin_may_have_each() {
    for verify in [None, Some("enforce")] {
        let mut index = index(&[logs(verify)]);
        index.apply_revision(revision("a", "a-0", 0, "hot", "h:0"));
        index.apply_revision(revision("a", "a-9", 9, "logs", "x:9"));
        for (name, image) in [
            ("logs", "x:9"),
            ("logs", "mirror.corp/proxy/library/x:9"),
            ("hot-1", "h:0"),
            ("hot-1", "empty:1"),
            ("hot-2", "h:1"),
            ("hot-2", "h:0"),
        ] {
            let answer = injected(&index, &changed(&index, "containers", name, "image", json!(image)));
            assert_eq!((answer.patch, answer.warnings.len()), (None, 0), "{name} {image}");
        }
        for (name, image) in [("logs", "h:0"), ("logs", "x:0"), ("hot-1", "x:9")] {
            let answer = injected(&index, &changed(&index, "containers", name, "image", json!(image)));
            assert_eq!((answer.patch.is_some(), answer.warnings.len()), (verify.is_some(), 1), "{name} {image}");
        }
    }
}

#[test]
fn a_pod_that_records_a_kept_version_is_compared_with_that() {
    let mut set = logs(Some("enforce"));
    set["spec"]["injectionStrategy"] = json!({"revision": {"revisionName": "a-0"}});
    let mut index = index(&[set]);
    index.apply_revision(revision("a", "a-0", 0, "old", "o:0"));
    let pod = patched(&bare(), &injected(&index, &bare()));
    assert_eq!(pod["spec"]["containers"][0]["image"], "o:0");
    assert_eq!(injected(&index, &pod).patch, None);
    let forged = changed(&index, "containers", "old", "image", json!("evil:1"));
    assert_eq!(patched(&forged, &injected(&index, &forged)), pod);
}

#[test]
fn a_field_of_a_wrong_type_is_told() {
    let index = index(&[logs(None)]);
    let answer = injected(&index, &changed(&index, "containers", "logs", "args", json!("--fast")));
    assert_eq!(answer.patch, None);
    assert!(answer.warnings[0].contains("\"logs\" cannot be compared with the set: a field has a wrong type"));
}
