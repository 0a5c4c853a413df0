//! Uncertainty: lost answers, images with two names, and Pods that are not ready for other reasons.

use super::*;

const NOT_READY: &str = r#"{"status": {"conditions": [{"type": "Ready", "status": "False"}]}}"#;

fn not_ready(pod: PodBuilder) -> PodBuilder {
    pod.state(&serde_json::from_str(NOT_READY).unwrap())
}

/// Adds the record of an earlier update.
fn updated_before(pod: PodBuilder, image_id: &str, restarts: Option<u32>) -> PodBuilder {
    let ran = json!({"c": {"imageID": image_id, "restartCount": restarts}});
    pod.annotation(keys::IN_PLACE_STATE, &json!({"s": {"lastContainerStatuses": ran}}).to_string())
}

/// Sets the runtime's names of the running image, and the restart count.
fn runs(pod: &PodBuilder, image: &str, image_id: &str, restarts: u32) -> PodBuilder {
    let mut object = pod.clone().status("c", image, image_id).json();
    object["status"]["containerStatuses"][0]["restartCount"] = json!(restarts);
    PodBuilder::new("p").state(&object)
}

#[test]
fn a_conflict_leaves_no_place_taken_although_the_runtime_calls_the_image_otherwise() {
    // The node also knows the same image as `i:latest`, and the runtime reports that name.
    let first = old("a").status("c", "i:latest", "i@sha256:1");
    for end in [AttemptEnd::Conflict, AttemptEnd::Unknown("no answer".to_owned())] {
        let mut world = World::new(&spec("i:2", &json!({})), &[first.clone(), old("b")]);
        let update = world.plan().updates.remove(0);
        world.index.update_begins("s", update.pod.version(), &update);
        world.end(&update, end);
        world.see(&first.clone().label("written", "by-the-kubelet"));
        world.now += jiff::SignedDuration::from_secs(2);
        assert_eq!(world.updated(), "a", "nothing was written, and nothing is on its way");
    }
}

#[test]
fn a_write_that_is_in_doubt_for_long_and_was_read_again_is_given_up_when_it_is_refused() {
    let mut world = World::new(&spec("i:2", &json!({})), &[old("a"), old("b")]);
    let update = world.plan().updates.remove(0);
    world.index.update_begins("s", update.pod.version(), &update);
    world.end(&update, AttemptEnd::Unknown("no answer".to_owned()));
    for (seconds, expected) in [(2, ""), (60, ""), (60, "b")] {
        world.now += jiff::SignedDuration::from_secs(seconds);
        let again = world.plan().updates.remove(0);
        assert!(again.is_in_doubt && again.pod.version().name == "a");
        world.index.update_begins("s", again.pod.version(), &again);
        world.end(&again, AttemptEnd::Refused("a policy says no".to_owned()));
        assert_eq!(world.updated(), expected, "after {seconds} s more");
    }
}

#[test]
fn a_restart_ends_an_update_to_another_tag_of_the_same_image() {
    let new = bare("p", &spec("i:2", &json!({}))).container("c", "i:2");
    let standing = |pod: PodBuilder| {
        let counts = World::new(&spec("i:2", &json!({})), &[pod]).counts();
        (counts.updated_ready, counts.unavailable)
    };
    let recorded = updated_before(new.clone(), "i@sha256:1", Some(3));
    assert_eq!(standing(runs(&recorded, "i:1", "i@sha256:1", 3)), (0, 1));
    assert_eq!(standing(runs(&recorded, "i:1", "i@sha256:1", 4)), (1, 0), "the runtime tells the other tag for ever");
    assert_eq!(standing(runs(&recorded, "i:2", "i@sha256:2", 3)), (1, 0));
    // The format that OpenKruise records.
    let recorded = updated_before(new, "i@sha256:1", None);
    assert_eq!(standing(runs(&recorded, "i:1", "i@sha256:1", 4)), (0, 1));
    assert_eq!(standing(runs(&recorded, "i:2", "i@sha256:1", 3)), (1, 0));
}

#[test]
fn an_app_that_fails_long_after_an_update_takes_no_place_in_the_next() {
    let failing = not_ready(updated_before(old("z"), "i@sha256:0", Some(0)));
    let mut world = World::new(&spec("i:2", &json!({})), &[old("a"), old("b"), failing.clone()]);
    assert_eq!(world.updated(), "z a", "it is updated early and holds nobody up");
    let held = spec("i:2", &json!({"updateStrategy": {"selector": {"matchLabels": {"tier": "x"}}}}));
    let pods = [old("a").label("tier", "x"), failing];
    assert_eq!(World::new(&held, &pods).updated(), "a");
}

#[test]
fn a_set_is_not_ready_before_what_it_updated_is() {
    let bad = bare("p", &spec("i:2", &json!({}))).container("c", "i:2");
    let bad = updated_before(bad, "i@sha256:1", Some(0));
    let mut object = runs(&bad, "i:2", "", 0).json();
    object["status"]["containerStatuses"][0]["ready"] = json!(false);
    let world = World::new(&spec("i:2", &json!({})), &[not_ready(PodBuilder::new("p").state(&object))]);
    let (reason, message) = world.ready();
    assert_eq!(reason, "False PodsNotReady");
    assert!(message.ends_with("; updated Pods that are not ready yet: 1"), "{message}");
    // A Pod that was created with the image and is starting was not updated.
    let starts = not_ready(bare("p", &spec("i:2", &json!({}))).container("c", "i:2"));
    assert_eq!(World::new(&spec("i:2", &json!({})), &[starts]).ready().0, "True Current");
}

#[test]
fn a_set_whose_selected_pods_are_to_be_updated_is_not_ready_and_says_what_hinders() {
    let selector = json!({"updateStrategy": {"selector": {"matchLabels": {"canary": "true"}}}});
    let mut world = World::new(&spec("i:2", &selector), &[old("a").label("canary", "true"), old("b")]);
    let (reason, message) = world.ready();
    assert_eq!(reason, "False PodsOutdated");
    assert!(message.contains("1 of 2 Pods do not have the latest containers yet"), "{message}");
    let update = world.plan().updates.remove(0);
    world.index.update_begins("s", update.pod.version(), &update);
    world.end(&update, AttemptEnd::Refused("a policy says no".to_owned()));
    assert!(world.message().contains("; Pods that cannot be updated: 1, such as default/a: a policy says no"));
    assert_eq!(World::new(&spec("i:2", &selector), &[old("b")]).ready().0, "True Current");
    // Below 100 %, one of two is updated, so the set is not ready before that.
    let partition = json!({"updateStrategy": {"partition": "99%"}});
    assert_eq!(World::new(&spec("i:2", &partition), &[old("a"), old("b")]).ready().0, "False PodsOutdated");
}

#[test]
fn a_missing_right_is_asked_for_once_a_round_and_that_to_conditions_stops_no_update() {
    let mut world = World::new(&spec("i:2", &strategy(&json!({"maxUnavailable": 3}))), &[old("a"), old("b"), old("c")]);
    let plan = world.plan();
    for update in &plan.updates {
        world.index.update_begins("s", update.pod.version(), update);
        world.end(update, AttemptEnd::Forbidden("no right".to_owned()));
    }
    world.now += jiff::SignedDuration::from_secs(1);
    assert_eq!(world.updated(), "a b c", "eight refusals of one round are one");

    let mut world = World::new(&spec("i:2", &json!({})), &[old("a")]);
    let pod = WatchedPod::named(ObjectVersion { namespace: "default", name: "z", uid: "z", resource_version: "1" });
    let end = AttemptEnd::Forbidden("no right to pods/status".to_owned());
    world.index.write_ended("s", pod.version(), PodWrite::Condition, end, world.now);
    assert_eq!(world.updated(), "a");
}

#[test]
fn why_a_pod_has_to_be_made_anew_is_told_case_by_case() {
    let more = json!({"containers": [{"name": "c", "image": "i:2", "workingDir": "/"}]});
    let long = " ".repeat(9_000);
    for (pod, why) in [
        (old("p"), "more than the images of its containers changed"),
        (old("p").annotation(keys::HASH_WITHOUT_IMAGE, "{"), "it does not record what was injected"),
        (
            old("p").annotation(keys::HASH, &long),
            "its annotations and conditions of SidecarSets are too long to be rewritten",
        ),
        (
            old("p").changed("c", &json!({"command": ["sh"]})),
            "spec.containers \"c\" does not have the set's command and args",
        ),
    ] {
        let world = World::new(&spec("i:2", &more), &[pod]);
        assert!(world.message().ends_with(&format!("such as default/p: {why}")), "{}", world.message());
    }
}

#[test]
fn a_rollout_is_explained_pod_by_pod() {
    use crate::rollout::explain::{Verdict, explain};
    let new = |name: &str| bare(name, &spec("i:2", &json!({}))).container("c", "i:2");
    let pods = [
        new("done"),
        not_ready(new("starting")),
        old("a"),
        old("b"),
        old("c"),
        old("anew").changed("c", &json!({"command": ["sh"]})),
        old("gone").deleting(),
    ];
    let two = strategy(&json!({"maxUnavailable": 2, "partition": 1}));
    let world = World::new(&spec("i:2", &two), &pods);
    let explanation = explain(&world.index, "s", world.now).unwrap();
    let told: Vec<_> = explanation.pods.iter().map(|pod| (pod.name.as_str(), pod.verdict)).collect();
    let expected = [
        ("a", Verdict::Next),
        ("b", Verdict::Waits),
        ("c", Verdict::Held),
        ("anew", Verdict::Recreate),
        ("done", Verdict::Updated),
        ("gone", Verdict::NotCounted),
        ("starting", Verdict::Starting),
    ];
    assert_eq!(told, expected);
    assert_eq!((explanation.max_unavailable, explanation.unavailable), (2, 1));
    assert_eq!((explanation.matched, explanation.updated), (6, 2));
    assert!(explanation.pods[2].reason.contains("partition") && explanation.pods[3].reason.contains("command"));
    assert!(explain(&world.index, "none", world.now).is_none());
}
