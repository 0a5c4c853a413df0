//! Which version of a set a Pod gets, and which revision it records.

use super::{bare, canary, decide, index, injected, names, patched, plain, ready, revision};
use crate::injection::{Index, InjectableSet, Injection, Options, Unfit};
use serde_json::{Value, json};

/// Returns the revision that a new Pod records. The review's answer and the annotation must agree.
#[track_caller]
fn recorded(index: &Index) -> Option<String> {
    let injected = injected(index, &bare());
    let annotation = &patched(&bare(), &injected)["metadata"]["annotations"]["kruise.io/sidecarset-hash"];
    let annotation: Value = serde_json::from_str(annotation.as_str().unwrap()).unwrap();
    let revision = injected.sets[0].revision.clone();
    assert_eq!(annotation["a"].get("controllerRevision").and_then(Value::as_str), revision.as_deref());
    revision
}

#[test]
fn the_newest_revision_with_the_present_content_is_recorded() {
    let mut index = index(&[plain("a", "logs")]);
    index.apply_revision(revision("a", "a-old", 1, "logs", "x:1"));
    index.apply_revision(revision("a", "a-back", 5, "logs", "x:1"));
    index.apply_revision(revision("a", "a-between", 3, "logs", "x:1"));
    index.apply_revision(revision("a", "a-other", 9, "logs", "x:2"));
    index.apply_revision(revision("b", "b-newest", 10, "logs", "x:1"));
    assert_eq!(recorded(&index).as_deref(), Some("a-back"));
    index.delete_revision("elsewhere", "a-back");
    assert_eq!(recorded(&index).as_deref(), Some("a-back"), "a revision of that name in another namespace is gone");
    index.delete_revision("kruise-system", "a-back");
    assert_eq!(recorded(&index).as_deref(), Some("a-between"));
    index.delete_revision("kruise-system", "a-between");
    assert_eq!(recorded(&index).as_deref(), Some("a-old"));
}

#[test]
fn the_status_counts_only_where_no_revisions_are_known() {
    let with_status = |latest: &str| {
        let mut set = plain("a", "logs");
        set["status"] = json!({"latestRevision": latest});
        index(&[set])
    };
    assert_eq!(recorded(&with_status("a-3")).as_deref(), Some("a-3"));
    assert_eq!(recorded(&with_status("")), None);
    let mut lagging = with_status("a-3");
    lagging.apply_revision(revision("a", "a-4", 4, "logs", "x:1"));
    assert_eq!(recorded(&lagging).as_deref(), Some("a-4"));
    let mut changed = with_status("a-3");
    changed.apply_revision(revision("a", "a-3", 3, "logs", "x:0"));
    assert_eq!(recorded(&changed), None, "none of the revisions is the present content");
    let mut of_another_set = with_status("a-3");
    of_another_set.apply_revision(revision("b", "b-1", 1, "logs", "x:1"));
    assert_eq!(recorded(&of_another_set).as_deref(), Some("a-3"));
}

#[test]
fn a_set_that_asks_for_an_older_version_gets_that_and_records_it() {
    let mut set = plain("a", "logs");
    set["spec"]["injectionStrategy"] = json!({"revision": {"revisionName": "a-1"}});
    let mut index = index(&[set]);
    index.apply_revision(revision("a", "a-1", 1, "logs-of-old", "x:0"));
    index.apply_revision(revision("a", "a-2", 2, "logs", "x:1"));
    assert_eq!(recorded(&index).as_deref(), Some("a-1"));
    let first = injected(&index, &bare());
    assert_eq!(first.sets[0].containers, ["logs-of-old"]);
    let pod = patched(&bare(), &first);
    assert_eq!(pod["spec"]["containers"][0]["image"], "x:0");
    assert_eq!(injected(&index, &pod).patch, None);
}

/// The app containers of a new Pod after injection.
fn containers(sets: &[Value], pod: &Value) -> Vec<String> {
    let Ok(Injection::Matched(injected)) = decide(&index(sets), pod) else { return Vec::new() };
    names(&patched(pod, &injected)["spec"]["containers"]).into_iter().map(str::to_owned).collect()
}

#[test]
fn a_canary_takes_the_place_of_its_base_only_where_both_match() {
    let mut next = canary("next", "base");
    next["spec"]["selector"] = json!({"matchLabels": {"app": "web", "canary": "yes"}});
    let sets = [plain("base", "base"), plain("third", "third"), next];
    assert_eq!(containers(&sets, &bare()), ["base", "third", "app"]);
    let mut chosen = bare();
    chosen["metadata"]["labels"]["canary"] = json!("yes");
    assert_eq!(containers(&sets, &chosen), ["next", "third", "app"]);
    assert_eq!(containers(&sets[1..], &chosen), ["next", "third", "app"], "a canary needs no base");
}

#[test]
fn a_canary_may_have_containers_of_its_bases_names() {
    let mut next = canary("next", "base");
    next["spec"]["containers"][0]["name"] = json!("base");
    assert_eq!(containers(&[plain("base", "base"), next], &bare()), ["base", "app"]);
}

#[test]
fn a_set_that_does_not_say_true_is_no_canary() {
    for annotations in [
        json!({"apps.kruise.io/sidecarset-canary": "True", "apps.kruise.io/sidecarset-base": "base"}),
        json!({"apps.kruise.io/sidecarset-base": "base"}),
        json!({"apps.kruise.io/sidecarset-canary": "true"}),
        json!({"apps.kruise.io/sidecarset-canary": "true", "apps.kruise.io/sidecarset-base": ""}),
    ] {
        let mut next = plain("next", "next");
        next["metadata"]["annotations"] = annotations.clone();
        assert_eq!(containers(&[plain("base", "base"), next], &bare()), ["base", "next", "app"], "{annotations}");
    }
}

#[test]
fn a_paused_canary_leaves_its_base_in_place() {
    let mut next = canary("next", "base");
    next["spec"]["injectionStrategy"] = json!({"paused": true});
    assert_eq!(containers(&[plain("base", "base"), next], &bare()), ["base", "app"]);
}

/// A stored set whose container has these additional fields.
fn unfit(fields: &Value) -> Unfit {
    let mut set = plain("a", "logs");
    for (field, value) in fields.as_object().unwrap() {
        set["spec"]["containers"][0][field] = value.clone();
    }
    InjectableSet::decode(&set).and_then(InjectableSet::stored).unwrap_err()
}

/// Returns the image and revision of a new Pod, if any.
fn image_and_revision(index: &Index) -> Option<(String, String)> {
    let Ok(Injection::Matched(injected)) = decide(index, &bare()) else { return None };
    let pod = patched(&bare(), &injected);
    let image = pod["spec"]["containers"][0]["image"].as_str().unwrap().to_owned();
    Some((image, injected.sets[0].revision.clone().unwrap()))
}

#[test]
fn the_last_good_revision_takes_the_place_of_what_pods_would_be_refused_for() {
    for fields in [json!({"ports": [{"containerPort": 0}]}), json!({"name": 5}), json!({"upgradeStrategy": 5})] {
        let mut index = Index::new(Options::default());
        index.apply_revision(revision("a", "a-1", 1, "logs", "x:1"));
        index.apply_unfit_set(unfit(&fields));
        let of = |image: &str, revision: &str| Some((image.to_owned(), revision.to_owned()));
        assert_eq!(image_and_revision(&index), of("x:1", "a-1"), "{fields}");
        index.apply_revision(revision("a", "a-2", 2, "logs", "x:2"));
        index.apply_revision(revision("a", "a-3", 3, "logs", ""));
        index.apply_revision(revision("b", "b-4", 4, "logs", "x:4"));
        assert_eq!((image_and_revision(&index), index.sets()), (of("x:2", "a-2"), 1), "{fields}");
        assert_eq!(index.revision_in_place_of("a"), Some("a-2"));
        index.delete_revision("kruise-system", "a-2");
        assert_eq!(image_and_revision(&index), of("x:1", "a-1"));
        index.delete_revision("kruise-system", "a-1");
        assert_eq!((image_and_revision(&index), index.sets()), (None, 0), "there is no good one left");
        assert_eq!(index.revision_in_place_of("a"), None);
        index.apply_revision(revision("a", "a-1", 1, "logs", "x:1"));
        assert_eq!(image_and_revision(&index), of("x:1", "a-1"));
        index.apply_set(ready(&plain("a", "corrected")));
        index.apply_revision(revision("a", "a-5", 5, "logs", "x:5"));
        assert_eq!(injected(&index, &bare()).sets[0].containers, ["corrected"]);
        index.apply_unfit_set(unfit(&fields));
        index.delete_set("a");
        assert_eq!((image_and_revision(&index), index.sets()), (None, 0));
    }
}

#[test]
fn a_revision_that_pods_would_be_refused_for_is_none_to_choose() {
    let mut set = plain("a", "logs");
    set["spec"]["injectionStrategy"] = json!({"revision": {"revisionName": "a-1"}});
    let mut index = index(&[set]);
    index.apply_revision(revision("a", "a-1", 1, "logs", ""));
    assert_eq!(
        decide(&index, &bare()).unwrap_err(),
        "SidecarSet \"a\" cannot be injected: spec.injectionStrategy.revision: ControllerRevision \"a-1\": spec.containers[0].image: Required value"
    );
}
