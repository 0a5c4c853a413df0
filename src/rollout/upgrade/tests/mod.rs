//! Which Pods are updated in place and which are not: each rule on small Pods.

mod doubts;
mod hot;
mod resize;

use super::super::attempts::{AttemptEnd, PodWrite};
use super::super::index::RolloutIndex;
use super::*;
use crate::api::keys;
use crate::cluster::Event;
use crate::cluster::{ObjectVersion, Versioned};
use crate::rollout::ObservedSet;
use crate::rollout::tests::{PodBuilder, rules, set};
use serde_json::json;
use std::sync::Arc;

/// An index with the set `s` with this image and these additional fields, and its Pods.
struct World {
    index: RolloutIndex,
    now: Timestamp,
}

fn spec(image: &str, more: &Value) -> Value {
    let mut spec = json!({"selector": {"matchLabels": {"app": "a"}}, "updateStrategy": {"type": "RollingUpdate", "maxUnavailable": 1},
               "containers": [{"name": "c", "image": image}]});
    for (field, value) in more.as_object().unwrap() {
        match (&mut spec[field], value) {
            (Value::Object(of), Value::Object(fields)) => of.extend(fields.clone()),
            (of, value) => *of = value.clone(),
        }
    }
    spec
}

/// A ready Pod with everything a set of this spec injects, except the containers.
fn bare(name: &str, spec: &Value) -> PodBuilder {
    let set = crate::api::decode::sidecarset(set("s", spec)).unwrap();
    let hashes = crate::injection::InjectableSet::new(set).unwrap().content.hashes;
    PodBuilder::new(name)
        .label("app", "a")
        .injected("s", &hashes.hash)
        .annotation(keys::HASH_WITHOUT_IMAGE, &json!({"s": {"hash": hashes.without_image}}).to_string())
        .ready()
}

/// A ready Pod with the first version of the set.
fn old(name: &str) -> PodBuilder {
    bare(name, &spec("i:1", &json!({}))).container("c", "i:1")
}

fn strategy(strategy: &Value) -> Value {
    json!({"updateStrategy": strategy})
}

impl World {
    fn new(spec: &Value, pods: &[PodBuilder]) -> Self {
        let mut index = RolloutIndex::default();
        index.updates_pods = true;
        let mut set = set("s", spec);
        set["metadata"]["resourceVersion"] = json!("77");
        index.sets_event(Event::Applied(Arc::new(ObservedSet::read(&set))));
        Event::list(pods.iter().map(PodBuilder::watched)).for_each(|event| _ = index.pods_event(event));
        Self { index, now: Timestamp::from_second(1_700_000_000).unwrap() }
    }

    /// Keeps this version of the set.
    fn keep(&mut self, number: i64, spec: &Value) {
        let observed = ObservedSet::read(&set("s", spec));
        let data: Value = serde_json::from_str(&observed.usable.as_ref().unwrap().content.data).unwrap();
        let labels = json!({keys::REVISION_OF: "s"});
        let object = json!({"metadata": {"name": format!("s-{number}"), "uid": "u", "resourceVersion": "1", "labels": labels},
                            "revision": number, "data": data});
        let revision = crate::injection::Revision::read(object).unwrap().unwrap();
        self.index.revisions_event(Event::Applied(crate::rollout::revisions::KeptRevision::from(&revision)));
    }

    /// The API server reports the current state of a Pod.
    fn see(&mut self, pod: &PodBuilder) {
        self.index.pods_event(Event::Applied(pod.watched()));
    }

    fn counts(&self) -> crate::rollout::standing::Counts {
        self.index.pods().counts("s")
    }

    /// Returns reason and message of the condition `Ready`; empty if no status is written.
    fn ready(&self) -> (String, String) {
        let status = self.index.plan("s", self.now).unwrap().1.status;
        let ready = status.map(|status| status.conditions[0].clone());
        ready.map(|ready| (format!("{} {}", ready.status, ready.reason), ready.message)).unwrap_or_default()
    }

    fn plan(&mut self) -> UpgradePlan {
        self.index.tidy("s");
        self.index.plan("s", self.now).unwrap().1.pods
    }

    /// Returns the names of the updated Pods.
    fn updated(&mut self) -> String {
        self.plan().updates.iter().map(|update| update.pod.version().name).collect::<Vec<_>>().join(" ")
    }

    fn end(&mut self, update: &PodUpdate, end: AttemptEnd) {
        self.index.write_ended("s", update.pod.version(), PodWrite::Update, end, self.now);
    }

    fn message(&self) -> String {
        self.index.plan("s", self.now).unwrap().1.status.unwrap().conditions[0].message.clone()
    }
}

/// Returns the updated Pods for a new image.
fn updated(more: &Value, pods: &[PodBuilder]) -> String {
    World::new(&spec("i:2", more), pods).updated()
}

/// Returns the patched Pod.
fn patched(pod: &PodBuilder, update: &PodUpdate) -> Value {
    let mut json = pod.json();
    let annotations = serde_json::from_value(json["metadata"]["annotations"].clone()).unwrap();
    let versions = pod_patch::versions(&update.patch.hot, "77", &annotations);
    let operations = update.patch.operations.iter().cloned().chain(versions).collect();
    json_patch::patch(&mut json, &json_patch::Patch(operations)).unwrap();
    json
}

fn annotated(pod: &Value, key: &str) -> Value {
    serde_json::from_str(pod["metadata"]["annotations"][key].as_str().unwrap()).unwrap()
}

#[test]
fn only_pods_that_differ_by_images_and_run_are_updated() {
    let without_image = |hash: &str| json!({"s": {"hash": hash}}).to_string();
    let new = rules("s", &spec("i:2", &json!({}))).hash().to_owned();
    for (case, pod, is_updated) in [
        ("ready with the old image", old("p"), true),
        ("not ready", old("p").state(&json!({"status": {"conditions": []}})), true),
        ("pending", old("p").phase("Pending"), true),
        ("being deleted", old("p").deleting(), false),
        ("over", old("p").phase("Succeeded"), false),
        ("failed", old("p").phase("Failed"), false),
        ("not selected", old("p").label("app", "b"), false),
        ("not injected", old("p").annotation(keys::INJECTED_LIST, "t"), false),
        ("more than the image changed", old("p").annotation(keys::HASH_WITHOUT_IMAGE, &without_image("x")), false),
        ("that is not known", old("p").annotation(keys::HASH_WITHOUT_IMAGE, "{"), false),
        ("it has another command", old("p").changed("c", &json!({"command": ["sh"]})), false),
        ("no injector marked it", old("p").changed("c", &json!({"env": []})), false),
        ("it says that it is updated, and is not", old("p").injected("s", &new), true),
        ("so with an image of nobody's", old("p").injected("s", &new).changed("c", &json!({"image": "x:1"})), false),
        ("it says that it is not, and is", old("p").changed("c", &json!({"image": "i:2"})), true),
        ("its record is too long to be written over", old("p").annotation(keys::HASH, &" ".repeat(9_000)), false),
        ("its record is garbage", old("p").annotation(keys::HASH, "{"), true),
        ("it is updated", old("p").injected("s", &new).changed("c", &json!({"image": "i:2"})), false),
        ("a mirror's image", old("p").injected("s", &new).changed("c", &json!({"image": "m.corp/library/i:2"})), false),
    ] {
        let mut world = World::new(&spec("i:2", &json!({})), &[pod]);
        let kept = crate::injection::verify::Images::of(&serde_json::from_value(spec("i:1", &json!({}))).unwrap());
        world.index.revisions_event(Event::Applied(crate::rollout::revisions::KeptRevision {
            name: "s-1".to_owned(),
            uid: String::new(),
            resource_version: "1".to_owned(),
            set: "s".to_owned(),
            number: 1,
            custom_version: None,
            data: None,
            images: Arc::new(kept),
            hash: None,
            hash_without_amounts: None,
            is_fit: true,
        }));
        assert_eq!(world.updated(), if is_updated { "p" } else { "" }, "{case}");
    }
}

#[test]
fn the_strategy_says_which_and_how_many() {
    let pods = ["a", "b", "c", "d"].map(|name| old(name).label("tier", if name > "b" { "back" } else { "front" }));
    for (fields, expected) in [
        (json!({}), "a"),
        (json!({"type": "NotUpdate"}), ""),
        (json!({"paused": true}), ""),
        (json!({"maxUnavailable": 0}), ""),
        (json!({"maxUnavailable": 3}), "a b c"),
        (json!({"maxUnavailable": "26%"}), "a b"),
        (json!({"maxUnavailable": "100%", "partition": 3}), "a"),
        (json!({"maxUnavailable": "100%", "partition": 4}), ""),
        (json!({"maxUnavailable": "100%", "partition": "30%"}), "a b"),
        (json!({"maxUnavailable": "100%", "partition": "99%"}), "a"),
        (json!({"maxUnavailable": "100%", "partition": "100%"}), ""),
        (json!({"maxUnavailable": "100%", "selector": {"matchLabels": {"tier": "back"}}}), "c d"),
        (json!({"maxUnavailable": 3, "scatterStrategy": [{"key": "tier", "value": "front"}]}), "a c d"),
    ] {
        assert_eq!(updated(&strategy(&fields), &pods), expected, "{fields}");
    }
    let mut off = World::new(&spec("i:2", &json!({})), &pods);
    off.index.updates_pods = false;
    assert_eq!(off.updated(), "");
    assert!(
        off.message().ends_with("; no Pod is updated in place: --controllers leaves out rollout"),
        "{}",
        off.message()
    );
}

#[test]
fn pods_that_an_update_made_unavailable_take_a_place_and_others_do_not() {
    let new = |name: &str| bare(name, &spec("i:2", &json!({}))).container("c", "i:2");
    let not_ready = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}});
    let state = json!({"s": {"lastContainerStatuses": {"c": {"imageID": "i:1", "restartCount": 0}}}}).to_string();
    let was_updated = |pod: PodBuilder| pod.annotation(keys::IN_PLACE_STATE, &state);
    let mut bad = not_ready.clone();
    bad["status"]["containerStatuses"] = json!([{"name": "c", "image": "i:0", "imageID": "", "ready": false}]);
    for (case, pod, expected) in [
        ("an updated Pod that is ready", new("z"), "a"),
        ("an updated Pod that is not ready: the image may be bad", new("z").state(&not_ready), ""),
        ("one whose kubelet has not seen the image", was_updated(new("z").status("c", "i:1", "i:1")), ""),
        ("an old Pod that was not ready before gains by it", old("z").state(&not_ready), "z a"),
        (
            "one that was updated to a bad image before, too, but keeps its place",
            was_updated(old("z")).state(&bad),
            "z",
        ),
        ("an earlier update that the kubelet has not seen", was_updated(old("z")).status("c", "i:0", "i:1"), ""),
        ("a Pod that is being deleted", new("z").state(&not_ready).deleting(), "a"),
    ] {
        assert_eq!(updated(&json!({}), &[old("a"), old("b"), pod]), expected, "{case}");
    }
}

#[test]
fn a_pod_that_was_not_ready_before_does_not_stop_the_others_when_it_stays_so() {
    let not_ready = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}});
    let pods = [old("a"), old("dead").state(&not_ready)];
    let mut world = World::new(&spec("i:2", &json!({})), &pods);
    let plan = world.plan();
    let update = plan.updates.iter().find(|update| update.pod.version().name == "dead").unwrap();
    assert!(update.is_excused);
    world.index.update_begins("s", update.pod.version(), update);
    let mut after = patched(&pods[1], update);
    after["metadata"]["resourceVersion"] = json!("1000000");
    let after: WatchedPod = serde_json::from_value(after).unwrap();
    world.index.pod_answered(after, &update.pod);
    world.end(update, AttemptEnd::Written);
    assert_eq!(world.updated(), "a");
}

#[test]
fn a_write_that_may_have_been_done_takes_a_place_and_a_refused_one_does_not() {
    let pods = [old("a"), old("b")];
    let mut world = World::new(&spec("i:2", &json!({})), &pods);
    let update = world.plan().updates.remove(0);
    world.index.update_begins("s", update.pod.version(), &update);
    assert_eq!(world.updated(), "a", "once more, but no other");
    world.end(&update, AttemptEnd::Unknown("timeout".to_owned()));
    assert_eq!(world.updated(), "", "it waits, and the other has no place");
    assert_eq!(world.plan().look_again, Some(world.now + jiff::SignedDuration::from_secs(1)));
    world.now += jiff::SignedDuration::from_secs(1);
    assert_eq!(world.updated(), "a");
    world.end(&update, AttemptEnd::Refused("a policy says no".to_owned()));
    assert_eq!(world.updated(), "", "that says nothing of the first write");

    let mut world = World::new(&spec("i:2", &json!({})), &pods);
    let update = world.plan().updates.remove(0);
    world.index.update_begins("s", update.pod.version(), &update);
    world.end(&update, AttemptEnd::Refused("a policy says no".to_owned()));
    assert_eq!(world.updated(), "b", "nobody waits for a Pod that is refused");
    assert!(
        world.message().contains("; Pods that cannot be updated: 1, such as default/a: a policy says no"),
        "{}",
        world.message()
    );
    world.now += jiff::SignedDuration::from_secs(2);
    assert_eq!(world.updated(), "a");
    world.end(&update, AttemptEnd::Forbidden("no right".to_owned()));
    assert_eq!(world.updated(), "", "in the namespace none is tried");
    assert!(world.message().contains("cannot be updated: 2, such as default/a: "), "{}", world.message());
}

#[test]
fn a_pod_records_the_update_as_openkruise_does() {
    let other = r#"{"hash" : "x","extra":1.10}"#;
    let spec1 = spec("i:1", &json!({}));
    let record = format!(
        r#"{{"other":{other},"s":{{"hash":"{}","updateTimestamp":"2020-01-01T00:00:00Z"}}}}"#,
        rules("s", &spec1).hash()
    );
    let pod = old("p").annotation(keys::HASH, &record).annotation(keys::IN_PLACE_STATE, r#"{"other":{"a":1}}"#);
    let mut world = World::new(&spec("i:2", &json!({})), std::slice::from_ref(&pod));
    let plan = world.plan();
    let after = patched(&pod, &plan.updates[0]);
    assert_eq!(after["spec"]["containers"][0]["image"], "i:2");
    let hash = rules("s", &spec("i:2", &json!({}))).hash().to_owned();
    let revision = world.index.plan("s", world.now).unwrap().1.revision;
    let Some(super::super::revisions::RevisionWrite::Create(revision)) = revision else { panic!("no revision") };
    let text = after["metadata"]["annotations"][keys::HASH].as_str().unwrap();
    assert_eq!(
        text,
        format!(
            r#"{{"other":{other},"s":{{"updateTimestamp":"2023-11-14T22:13:20Z","hash":"{hash}","sidecarSetName":"s","sidecarList":["c"],"controllerRevision":"{}"}}}}"#,
            revision.name
        )
    );
    assert_eq!(
        annotated(&after, keys::IN_PLACE_STATE),
        json!({"other": {"a": 1}, "s": {"revision": hash, "updateTimestamp": "2023-11-14T22:13:20Z",
               "lastContainerStatuses": {"c": {"imageID": "i:1", "restartCount": 0}}}})
    );
    assert_eq!(annotated(&after, keys::HASH_WITHOUT_IMAGE), annotated(&pod.json(), keys::HASH_WITHOUT_IMAGE));
}

#[test]
fn native_sidecars_are_updated_where_they_are_and_plain_init_containers_are_not() {
    let natives = |image: &str| {
        let native = json!({"name": "n", "image": image, "restartPolicy": "Always"});
        json!({"initContainers": [{"name": "plain", "image": image}, native]})
    };
    let (before, after) = (spec("i:1", &natives("n:1")), spec("i:1", &natives("n:2")));
    let env = json!([{"name": "IS_INJECTED", "value": "true"}]);
    let init = json!([{"name": "own", "image": "o:1"}, {"name": "plain", "image": "n:1"},
                      {"name": "n", "image": "n:1", "restartPolicy": "Always", "env": env}]);
    let status =
        json!({"status": {"initContainerStatuses": [{"name": "n", "image": "n:1", "imageID": "n:1", "ready": true}]}});
    let pod = bare("p", &before).container("c", "i:1").init_containers(&init).state(&status);
    let mut world = World::new(&after, std::slice::from_ref(&pod));
    let plan = world.plan();
    let patched = patched(&pod, &plan.updates[0]);
    let images: Vec<&str> =
        patched["spec"]["initContainers"].as_array().unwrap().iter().map(|c| c["image"].as_str().unwrap()).collect();
    assert_eq!(images, ["o:1", "n:1", "n:2"]);
    assert_eq!(annotated(&patched, keys::HASH)["s"]["sidecarList"], json!(["c", "n"]));
    let pod = serde_json::from_value::<WatchedPod>(patched).unwrap();
    world.index.pods_event(Event::Applied(pod));
    let counts = world.index.pods().counts("s");
    assert_eq!((counts.updated, counts.ready, counts.unavailable), (1, 0, 1), "the kubelet has yet to restart it");
}

#[test]
fn what_has_to_be_made_anew_is_counted_and_named() {
    let env =
        |value: &str| json!({"containers": [{"name": "c", "image": "i:1", "env": [{"name": "A", "value": value}]}]});
    let made = |name: &str, env: &Value| {
        bare(name, &spec("i:1", env))
            .container("c", "i:1")
            .changed("c", &json!({"env": [{"name": "IS_INJECTED", "value": "true"}, {"name": "A", "value": "1"}]}))
    };
    let mut world = World::new(&spec("i:1", &env("2")), &[made("b", &env("1")), made("a", &env("1"))]);
    assert_eq!(world.updated(), "");
    let plan = world.index.plan("s", world.now).unwrap().1;
    let condition = &plan.status.unwrap().conditions[0];
    assert_eq!(condition.reason, "RecreationNeeded");
    assert!(
        condition.message.ends_with(
            "; Pods that must be recreated: 2, such as default/a: spec.containers \"c\" does not have the set's env \
             \"A\""
        ),
        "{}",
        condition.message
    );
    let told: Vec<_> = plan.pods.conditions.iter().map(|condition| condition.condition.clone()).collect();
    assert_eq!(told.len(), 2);
    assert_eq!((&told[0]["status"], &told[0]["reason"]), (&json!("False"), &json!("UpdateImmutableField")));
    assert_eq!(told[0]["message"], r#"{"s":false}"#);
}

#[test]
fn the_condition_of_a_pod_forgets_sets_that_are_gone_and_is_written_only_where_it_differs() {
    let told = |message: &str| {
        let condition = json!({"type": "SidecarSetUpgradable", "status": "False", "message": message});
        old("p").state(&json!({"status": {"conditions": [{"type": "Ready", "status": "True"}, condition]}}))
    };
    let plan = |pod: PodBuilder| World::new(&spec("i:2", &json!({})), &[pod]).plan().conditions;
    let written = plan(told(r#"{"gone":false,"s":false}"#));
    assert_eq!(written.len(), 1);
    assert_eq!(
        (&written[0].condition["status"], &written[0].condition["message"]),
        (&json!("True"), &json!(r#"{"s":true}"#))
    );
    assert_eq!(plan(told(r#"{"gone":false,"s":true}"#)).len(), 0);
    assert_eq!(plan(told("garbage")).len(), 0);
    assert_eq!(plan(old("p")).len(), 0);
}
