//! Whether and how a Pod counts: each rule on small Pods.

use super::*;
use crate::rollout::tests::{PodBuilder, rules};
use crate::rollout::text::Texts;
use serde_json::{Value, json};

const DIGEST: &str = "sha256:0a";

fn standing(spec: &Value, pod: &PodBuilder) -> PodStanding {
    let labels = Labels::from([("team".to_owned(), "a".to_owned())]);
    standing_in(spec, pod, Some(&labels))
}

fn standing_in(spec: &Value, pod: &PodBuilder, namespace: Option<&Labels>) -> PodStanding {
    let pod = ObservedPod::of(&pod.watched(), &mut Texts::default());
    let standing = rules("s", spec).standing("s", &pod, namespace);
    // The effect of updates has its own tests.
    PodStanding {
        update: Update::None,
        unavailable: false,
        updating: false,
        to_reset: false,
        to_tell: None,
        ..standing
    }
}

/// The images of a kept version of a set.
fn images_of(spec: &Value) -> Arc<Images> {
    let spec: SidecarSetSpec = serde_json::from_value(spec.clone()).unwrap();
    Arc::new(Images::of(&spec))
}

fn cold() -> Value {
    json!({"selector": {"matchLabels": {"app": "a"}}, "containers": [{"name": "c", "image": "i:1"}]})
}

fn pod(spec: &Value) -> PodBuilder {
    PodBuilder::new("p").label("app", "a").injected("s", &rules("s", spec).hash).container("c", "i:1").ready()
}

/// A kept version of which only the images are known.
fn kept(images: &Arc<Images>) -> KeptVersion<'_> {
    KeptVersion { images, hash: None, hash_without_amounts: None }
}

const ALL: PodStanding = PodStanding {
    updating: false,
    resize_waits: false,
    matched: true,
    updated: true,
    deviates: false,
    ready: true,
    update: Update::None,
    unavailable: false,
    to_reset: false,
    to_tell: None,
};

#[test]
fn an_injected_pod_that_runs_is_matched_updated_and_ready() {
    assert_eq!(standing(&cold(), &pod(&cold())), ALL);
    let outdated = PodBuilder::new("p").label("app", "a").injected("s", "other").container("c", "i:1").ready();
    assert_eq!(standing(&cold(), &outdated), PodStanding { updated: false, ..ALL });
    let starting =
        PodBuilder::new("p").label("app", "a").injected("s", &rules("s", &cold()).hash).container("c", "i:1");
    assert_eq!(standing(&cold(), &starting), PodStanding { ready: false, ..ALL });
}

#[test]
fn a_pod_with_other_fields_that_openkruise_does_not_know_is_not_updated() {
    let with = |code: i64| {
        let mut spec = cold();
        spec["containers"][0]["restartPolicyRules"] =
            json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [code]}}]);
        spec
    };
    let recording = |spec: &Value| {
        let rest = json!({"s": rules("s", spec).hash_of_rest}).to_string();
        pod(spec).annotation("outrigger.dev/sidecarset-hash-rest", &rest)
    };
    assert_eq!(standing(&with(1), &recording(&with(1))), ALL);
    assert_eq!(standing(&with(2), &recording(&with(1))), PodStanding { updated: false, ..ALL });
    assert_eq!(standing(&cold(), &recording(&with(1))), PodStanding { updated: false, ..ALL });
    assert_eq!(standing(&with(1), &pod(&with(1))), ALL, "a Pod from before counts as updated");
}

#[test]
fn what_does_not_match_counts_for_nothing() {
    let cases = [
        ("another label", pod(&cold()).label("app", "b")),
        ("not injected", PodBuilder::new("p").label("app", "a").container("c", "i:1").ready()),
        ("injected by another set", pod(&cold()).annotation("kruise.io/sidecarset-injected-list", "t")),
        ("without the container", PodBuilder::new("p").label("app", "a").injected("s", "h").container("d", "i:1")),
        ("being deleted", pod(&cold()).deleting()),
        ("over", pod(&cold()).phase("Succeeded")),
        ("failed", pod(&cold()).phase("Failed")),
    ];
    for (case, pod) in cases {
        assert_eq!(standing(&cold(), &pod), PodStanding::default(), "{case}");
    }
}

#[test]
fn a_namespace_selector_does_not_match_an_unknown_namespace() {
    let mut spec = cold();
    spec["namespaceSelector"] = json!({"matchLabels": {"team": "a"}});
    assert_eq!(standing(&spec, &pod(&spec)), ALL);
    assert_eq!(standing_in(&spec, &pod(&spec), None), PodStanding::default());
    assert_eq!(standing_in(&spec, &pod(&spec), Some(&Labels::new())), PodStanding::default());
    spec["namespaceSelector"] = json!({"matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]});
    assert_eq!(standing_in(&spec, &pod(&spec), None), PodStanding::default());
}

#[test]
fn with_hot_upgrade_both_twins_and_the_working_one_must_be_known_and_the_idle_one_be_empty() {
    let upgrade = json!({"upgradeType": "HotUpgrade", "hotUpgradeEmptyImage": "empty:1"});
    let spec = json!({"selector": {"matchLabels": {"app": "a"}},
                      "containers": [{"name": "c", "image": "i:1", "upgradeStrategy": upgrade}]});
    let bare = PodBuilder::new("p").label("app", "a").injected("s", &rules("s", &spec).hash).ready();
    let twins = |first: &str, second: &str, working: &str| {
        let working = format!(r#"{{"c":"{working}"}}"#);
        let twins = bare.clone().container("c-1", first).container("c-2", second);
        standing(&spec, &twins.annotation("kruise.io/sidecarset-working-hotupgrade-container", &working))
    };
    assert_eq!(twins("i:1", "empty:1", "c-1"), ALL);
    assert_eq!(twins("empty:1", "i:1", "c-2"), ALL);
    assert_eq!(twins("i:0", "i:1", "c-2"), PodStanding { updated: false, deviates: true, ready: false, ..ALL });
    let mut before = spec.clone();
    before["containers"][0]["image"] = json!("i:0");
    let between = bare.clone().container("c-1", "i:0").container("c-2", "i:1");
    let between = between.annotation("kruise.io/sidecarset-working-hotupgrade-container", r#"{"c":"c-2"}"#).watched();
    let between = ObservedPod::of(&between, &mut Texts::default());
    let knowing = rules("s", &spec).knowing([kept(&images_of(&before))].into_iter());
    assert_eq!(
        knowing.standing("s", &between, None),
        PodStanding { ready: false, unavailable: true, to_reset: true, ..ALL },
        "it is under way"
    );
    let one = bare
        .clone()
        .container("c-1", "i:1")
        .annotation("kruise.io/sidecarset-working-hotupgrade-container", r#"{"c":"c-1"}"#);
    assert_eq!(standing(&spec, &one), PodStanding::default());
    let untold = bare.container("c-1", "i:1").container("c-2", "empty:1");
    assert_eq!(standing(&spec, &untold), PodStanding::default());
}

#[test]
fn a_pod_that_only_records_the_latest_containers_is_not_updated() {
    let deviation = |pod: &PodBuilder| {
        let pod = ObservedPod::of(&pod.watched(), &mut Texts::default());
        rules("s", &cold()).deviation(&pod).map(|deviation| deviation.to_string())
    };
    assert_eq!(deviation(&pod(&cold())), None);
    let many: Vec<Value> = (0..2000).map(|number| json!({"name": format!("V{number}")})).collect();
    let many = [&many[..], &[json!({"name": "IS_INJECTED", "value": "true"})]].concat();
    for (fields, expected) in [
        (json!({"image": "evil:1"}), "does not have the set's image"),
        (json!({"command": ["sleep", "9"]}), "does not have the set's command and args"),
        (json!({"env": null}), "does not have the set's env \"IS_INJECTED\""),
        (json!({"env": many}), "has too many variables, mounts and args to be compared with the set"),
    ] {
        let forged = pod(&cold()).changed("c", &fields);
        assert_eq!(standing(&cold(), &forged), PodStanding { updated: false, deviates: true, ..ALL }, "{expected}");
        assert_eq!(deviation(&forged), Some(format!("spec.containers \"c\" {expected}")));
    }
    let rewritten = pod(&cold()).changed("c", &json!({"image": "mirror.corp/proxy/i:1", "imagePullPolicy": "Always"}));
    assert_eq!(standing(&cold(), &rewritten), ALL);
    let older = PodBuilder::new("p").label("app", "a").injected("s", "other").container("c", "evil:1").ready();
    assert_eq!(standing(&cold(), &older), PodStanding { updated: false, ..ALL }, "it says so itself");
}

#[test]
fn native_sidecars_are_looked_at_and_ordinary_init_containers_are_not() {
    let mut spec = cold();
    spec["initContainers"] =
        json!([{"name": "n", "image": "n:1", "restartPolicy": "Always"}, {"name": "o", "image": "o:1"}]);
    let native = |image: &str| {
        let env = json!([{"name": "IS_INJECTED", "value": "true"}]);
        pod(&spec).init_containers(&json!([{"name": "n", "image": image, "restartPolicy": "Always", "env": env}]))
    };
    assert_eq!(standing(&spec, &native("n:1")), ALL);
    for forged in [native("evil:1"), pod(&spec)] {
        assert_eq!(standing(&spec, &forged), PodStanding { updated: false, deviates: true, ..ALL });
    }
}

#[test]
fn a_sidecar_that_ends_with_a_job_counts_as_a_native_one_too() {
    let mut spec = cold();
    let variable = json!({"name": "KRUISE_TERMINATE_SIDECAR_WHEN_JOB_EXIT", "value": "true"});
    spec["containers"][0]["env"] = json!([variable]);
    let in_job = |spec: &Value, image: &str, restart_policy: Value| {
        let mut native = spec["containers"][0].clone();
        native["image"] = json!(image);
        native["restartPolicy"] = restart_policy;
        native["env"] = json!([variable, {"name": "IS_INJECTED", "value": "true"}]);
        let pod = PodBuilder::new("p").label("app", "a").injected("s", &rules("s", spec).hash);
        standing(spec, &pod.init_containers(&json!([native])).ready())
    };
    assert_eq!(in_job(&spec, "i:1", json!("Always")), ALL);
    assert!(!in_job(&spec, "i:1", json!(null)).matched, "it would end before the others start");
    let deviating = PodStanding { updated: false, deviates: true, ..ALL };
    assert_eq!(in_job(&spec, "evil:1", json!("Always")), deviating);
    assert!(!in_job(&cold(), "i:1", json!("Always")).matched, "it is not to end with a Job");
}

#[test]
fn a_pod_is_not_ready_before_the_kubelet_speaks_of_all_its_containers() {
    let silent = pod(&cold()).container("app", "app:1").without_status("app");
    assert_eq!(standing(&cold(), &silent), PodStanding { ready: false, ..ALL });
}

#[test]
fn a_container_changed_in_place_is_consistent_once_another_image_runs() {
    let state = r#"{"s":{"lastContainerStatuses":{"c":{"imageID":"i@sha256:old"}}}}"#;
    let changed = pod(&cold()).annotation("kruise.io/sidecarset-inplace-update-state", state);
    let runs = |image: &str, id: &str| standing(&cold(), &changed.clone().status("c", image, id)).ready;
    assert!(!runs("i:0", "i@sha256:old"));
    assert!(runs("i:1", "i@sha256:new"));
    assert!(runs("docker.io/library/i:1", "i@sha256:new"));
    assert!(runs("i:1", "i@sha256:old"), "the new tag is the same image");
}

#[test]
fn the_digest_that_runs_need_not_be_that_of_the_spec() {
    let image = format!("i@{DIGEST}");
    let spec = json!({"selector": {"matchLabels": {"app": "a"}}, "containers": [{"name": "c", "image": image}]});
    let pod = PodBuilder::new("p").label("app", "a").injected("s", "h").container("c", &image).ready();
    let state = r#"{"s":{"lastContainerStatuses":{"c":{"imageID":"i@sha256:old"}}}}"#;
    let changed = pod.clone().annotation("kruise.io/sidecarset-inplace-update-state", state);
    let runs = |pod: &PodBuilder, id: &str| standing(&spec, &pod.clone().status("c", "whatever", id)).ready;
    // The digest may be that of one platform of a multi-platform image.
    for id in [&format!("i@{DIGEST}"), &format!("mirror.example.com/i@{DIGEST}"), "i@sha256:0b"] {
        assert!(runs(&pod, id) && runs(&changed, id), "{id}");
    }
    assert!(!runs(&changed, "i@sha256:old"));
}
