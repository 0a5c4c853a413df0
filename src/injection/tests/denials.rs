//! Denied Pods: each reason names the set, the field and the solution.

use super::{Revision, bare, decide, index, plain, pod, revision, set};
use crate::injection::Index;
use serde_json::{Value, json};

#[track_caller]
fn denies(index: &Index, pod: &Value, reason: &str) {
    let error = decide(index, pod).err().unwrap_or_else(|| "not denied".to_owned());
    assert_eq!(error, format!("SidecarSet \"a\" cannot be injected: {reason}"));
}

#[test]
fn two_sets_that_inject_one_name() {
    let both = |first: Value, second: Value| decide(&index(&[first, second]), &bare()).unwrap_err();
    assert_eq!(
        both(plain("a", "logs"), plain("b", "logs")),
        "SidecarSet \"b\" cannot be injected: spec.containers \"logs\": SidecarSet \"a\" injects a container of that name too: rename one of them"
    );
    let init = set("b", json!({"initContainers": [{"name": "logs", "image": "x:1"}]}));
    assert_eq!(
        both(plain("a", "logs"), init),
        "SidecarSet \"b\" cannot be injected: spec.initContainers \"logs\": SidecarSet \"a\" injects a container of that name too: rename one of them"
    );
    let hot = json!({"name": "logs", "image": "x:1",
                     "upgradeStrategy": {"upgradeType": "HotUpgrade", "hotUpgradeEmptyImage": "e:1"}});
    assert_eq!(
        both(set("a", json!({"containers": [hot]})), plain("b", "logs-2")),
        "SidecarSet \"b\" cannot be injected: spec.containers \"logs-2\": SidecarSet \"a\" injects a container of that name too: rename one of them"
    );
}

#[test]
fn a_name_that_stands_in_the_pods_other_list() {
    let app = pod(&json!({"initContainers": [{"name": "x"}, {"name": "logs"}], "containers": [{"name": "prepare"}]}));
    denies(
        &index(&[plain("a", "logs")]),
        &app,
        "spec.containers \"logs\": the Pod's spec.initContainers[1] has that name: rename one of them",
    );
    let init = set("a", json!({"initContainers": [{"name": "prepare", "image": "x:1"}]}));
    denies(
        &index(&[init]),
        &app,
        "spec.initContainers \"prepare\": the Pod's spec.containers[0] has that name: rename one of them",
    );
}

#[test]
fn a_record_that_cannot_be_read() {
    for key in ["kruise.io/sidecarset-hash", "kruise.io/sidecarset-hash-without-image"] {
        for text in ["[]", "{", "{\"a\":5}"] {
            let mut pod = bare();
            pod["metadata"]["annotations"] = json!({key: text});
            let problem = "the value is not a JSON map from SidecarSet name to what was injected: correct or remove it";
            denies(&index(&[plain("a", "logs")]), &pod, &format!("the Pod's metadata.annotations[{key}]: {problem}"));
        }
    }
}

fn with_policy(list: &str, expressions: &Value) -> Index {
    let policy = json!({"targetContainersMode": "sum", "targetContainersNameRegex": "^app$",
                        "resourcesExpr": expressions});
    index(&[set("a", json!({list: [{"name": "logs", "image": "x:1", "resourcesPolicy": policy}]}))])
}

#[test]
fn resources_that_cannot_be_computed() {
    let app = pod(&json!({"containers": [{"name": "app", "resources": {"requests": {"memory": "512Mi"}}}]}));
    let negative = json!({"requests": {"memory": "memory-1Gi"}});
    let failing = "resourcesPolicy: resourcesPolicy.resourcesExpr.requests.memory: expression \"memory-1Gi\": the result -512Mi is negative";
    denies(&with_policy("containers", &negative), &app, &format!("spec.containers \"logs\" {failing}"));
    denies(&with_policy("initContainers", &negative), &app, &format!("spec.initContainers \"logs\" {failing}"));
    let none = "resourcesPolicy: failed to get target containers: no containers match the regex pattern \"^app$\"";
    let other = pod(&json!({"containers": [{"name": "other"}]}));
    denies(&with_policy("containers", &negative), &other, &format!("spec.containers \"logs\" {none}"));
    let wrong = pod(&json!({"containers": [{"name": "app", "resources": {"requests": {"memory": "much"}}}]}));
    let error = decide(&with_policy("containers", &negative), &wrong).unwrap_err();
    let start = "SidecarSet \"a\" cannot be injected: spec.containers \"logs\" resourcesPolicy: container \"app\": resources.requests.memory: ";
    assert!(error.starts_with(start), "{error}");
}

#[test]
fn a_version_that_is_missing_or_cannot_be_injected() {
    let asking = |revision: Value| {
        let mut set = plain("a", "logs");
        set["spec"]["injectionStrategy"] = json!({"revision": revision});
        index(&[set])
    };
    let field = "spec.injectionStrategy.revision";
    denies(
        &asking(json!({"revisionName": "gone"})),
        &bare(),
        &format!("{field}: there is no ControllerRevision \"gone\" of this set"),
    );
    denies(
        &asking(json!({"customVersion": "v9"})),
        &bare(),
        &format!("{field}: there is no ControllerRevision with the custom version \"v9\" of this set"),
    );
    let mut of_another_set = asking(json!({"revisionName": "b-1"}));
    of_another_set.apply_revision(revision("b", "b-1", 1, "logs", "x:0"));
    denies(&of_another_set, &bare(), &format!("{field}: there is no ControllerRevision \"b-1\" of this set"));
    let mut empty = asking(json!({"revisionName": "a-1"}));
    let object = json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "data": {"spec": {}},
                        "metadata": {"name": "a-1", "labels": {"kruise.io/sidecarset-name": "a"}}});
    empty.apply_revision(Revision::read(object).unwrap().unwrap());
    let problem = "spec.containers: Required value: no initContainer or container defined for SidecarSet";
    denies(&empty, &bare(), &format!("{field}: ControllerRevision \"a-1\": {problem}"));
}

#[test]
fn annotations_that_cannot_be_merged() {
    let merging = |text: &str| {
        let patch = json!([{"annotations": {"example.com/config": text}, "patchPolicy": "MergePatchJson"}]);
        index(&[set("a", json!({"containers": [{"name": "logs", "image": "x:1"}], "patchPodMetadata": patch}))])
    };
    let mut pod = bare();
    pod["metadata"]["annotations"] = json!({"example.com/config": "text"});
    let field = "spec.patchPodMetadata annotation \"example.com/config\"";
    let problem = "the Pod's value is not a JSON object to merge into: correct or remove it";
    denies(&merging("{\"a\":1}"), &pod, &format!("{field}: {problem}"));
    pod["metadata"]["annotations"]["example.com/config"] = json!("{}");
    denies(&merging("text"), &pod, &format!("{field}: the set's value is not a JSON object to merge"));
}

#[test]
fn what_no_set_matches_is_not_denied_whatever_it_holds() {
    let mut pod = bare();
    pod["metadata"]["annotations"] = json!({"kruise.io/sidecarset-hash": "{"});
    pod["metadata"]["labels"] = json!({"app": "other"});
    let decision = decide(&index(&[plain("a", "logs"), plain("b", "logs")]), &pod);
    assert!(matches!(decision, Ok(crate::injection::Injection::NotMatched)), "{decision:?}");
}
