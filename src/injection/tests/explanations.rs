//! The explanations that a user gets for each set that may apply to a Pod.

use super::{bare, canary, index, injected, patched, plain, pod, revision, set};
use crate::api::pod::PodView;
use crate::injection::{Explanation, Index, PodRequest};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn explain(index: &Index, pod: &Value) -> Explanation {
    let text = pod.to_string();
    let pod: PodView<'_> = serde_json::from_str(&text).unwrap();
    index.snapshot().explain(&pod, &PodRequest::create("shop", Timestamp::UNIX_EPOCH)).unwrap()
}

/// Returns name, word and sentence of each set.
#[track_caller]
pub(super) fn verdicts(index: &Index, pod: &Value) -> Vec<[String; 3]> {
    match explain(index, pod) {
        Explanation::Sets { sets, .. } => {
            sets.into_iter().map(|it| [it.set, it.verdict.word().to_owned(), it.verdict.to_string()]).collect()
        }
        Explanation::Excluded(exclusion) => panic!("{exclusion}"),
    }
}

#[test]
fn an_injected_set_is_told_with_its_containers_and_revision_and_then_is_present() {
    let spec = json!({
        "initContainers": [{"name": "prepare", "image": "x:1"}],
        "containers": [{"name": "logs", "image": "x:1"}, {"name": "metrics", "image": "x:1"}]
    });
    let mut index = index(&[set("a", spec), plain("b", "net")]);
    index.apply_revision(revision("b", "b-7", 7, "net", "x:1"));
    assert_eq!(
        verdicts(&index, &bare()),
        [["a", "injected", "injected: prepare, logs, metrics"], ["b", "injected", "injected: net (revision b-7)"],]
    );
    let pod = patched(&bare(), &injected(&index, &bare()));
    let present = "injected already: the Pod has it";
    assert_eq!(verdicts(&index, &pod), [["a", "present", present], ["b", "present", present]]);
}

#[test]
fn a_set_that_does_not_match_is_told_with_the_requirement_and_the_value() {
    let mut paused = plain("paused", "p");
    paused["spec"]["injectionStrategy"] = json!({"paused": true});
    let selecting = |name: &str, expression: Value| {
        let mut set = plain(name, name);
        set["spec"]["selector"] = json!({"matchExpressions": [expression]});
        set
    };
    let in_namespaces = |name: &str, selector: Value| {
        let mut set = plain(name, name);
        set["spec"]["namespaceSelector"] = selector;
        set
    };
    let mut index = index(&[
        paused,
        selecting("in", json!({"key": "app", "operator": "In", "values": ["db", "mail"]})),
        selecting("not-in", json!({"key": "app", "operator": "NotIn", "values": ["db", "web"]})),
        selecting("exists", json!({"key": "tier", "operator": "Exists"})),
        selecting("absent", json!({"key": "app", "operator": "DoesNotExist"})),
        in_namespaces("team", json!({"matchLabels": {"team": "blue"}})),
        in_namespaces("env", json!({"matchLabels": {"env": "prod"}})),
        in_namespaces("named", json!({"matchLabels": {"kubernetes.io/metadata.name": "staging"}})),
    ]);
    index.apply_namespace("shop".to_owned(), BTreeMap::from([("team".to_owned(), "green".to_owned())]));
    let of_pod = "not injected: spec.selector wants the Pod's label";
    let of_namespace = "not injected: spec.namespaceSelector wants the Namespace's label";
    let expected = [
        ("absent", format!("{of_pod} !app; it is \"web\"")),
        ("env", format!("{of_namespace} env=prod; there is none")),
        ("exists", format!("{of_pod} tier; there is none")),
        ("in", format!("{of_pod} app in (db,mail); it is \"web\"")),
        ("named", format!("{of_namespace} kubernetes.io/metadata.name=staging; it is \"shop\"")),
        ("not-in", format!("{of_pod} app notin (db,web); it is \"web\"")),
        ("paused", "not injected: spec.injectionStrategy.paused is true".to_owned()),
        ("team", format!("{of_namespace} team=blue; it is \"green\"")),
    ];
    assert_eq!(verdicts(&index, &bare()), expected.map(|(set, text)| [set.to_owned(), "not-matched".to_owned(), text]));
}

#[test]
fn a_set_whose_canary_matches_is_told_to_be_replaced() {
    let index = index(&[plain("base", "logs"), canary("next", "base")]);
    assert_eq!(
        verdicts(&index, &bare()),
        [
            ["base", "replaced-by-canary", "not injected: its canary \"next\" is"],
            ["next", "injected", "injected: next"],
        ]
    );
}

#[test]
fn a_denial_is_told_for_every_set_that_matches_and_only_for_those() {
    let mut other = plain("c", "net");
    other["spec"]["selector"] = json!({"matchLabels": {"app": "db"}});
    let index = index(&[plain("a", "logs"), plain("b", "logs"), other]);
    let reason = "the Pod is denied: SidecarSet \"b\" cannot be injected: spec.containers \"logs\": SidecarSet \"a\" injects a container of that name too: rename one of them";
    assert_eq!(
        verdicts(&index, &bare()),
        [
            ["a", "denied", reason],
            ["b", "denied", reason],
            ["c", "not-matched", "not injected: spec.selector wants the Pod's label app=db; it is \"web\""],
        ]
    );
}

#[test]
fn an_excluded_pod_and_one_that_cannot_be_read_are_told_at_once() {
    let index = index(&[plain("a", "logs")]);
    let mut system = bare();
    system["metadata"]["namespace"] = json!("kube-system");
    let explained = explain(&index, &system);
    assert!(
        matches!(&explained, Explanation::Excluded(e) if e.to_string() == "namespace kube-system is excluded"),
        "{explained:?}"
    );
    let text = pod(&json!({"containers": 5})).to_string();
    let broken: PodView<'_> = serde_json::from_str(&text).unwrap();
    let error = index.snapshot().explain(&broken, &PodRequest::create("shop", Timestamp::UNIX_EPOCH)).unwrap_err();
    assert!(error.to_string().starts_with("the Pod's spec.containers: invalid type: integer `5`"), "{error}");
}
