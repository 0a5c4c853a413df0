//! The rules of a SidecarGenerator, tested through its plans.

use super::*;
use crate::sidecar_generator::tests::sidecar;
use crate::sidecar_generator::tests::world::{World, names};
use serde_json::{Value, json};

const SEED_HASH: &str = "64a87891c4a2a5348e3ca0ed6348cb4657b3685ba06ca545ac1f6e05c8ef701f";

fn seconds(plan: &Plan) -> Option<u64> {
    plan.wake.map(|wake| wake.as_secs())
}

/// Whether the plan only waits.
fn is_idle(plan: &Plan) -> bool {
    plan.write.is_none() && plan.status.is_none() && plan.fetch == Fetch::Leave
}

#[test]
fn a_new_one_is_fetched_at_once_and_its_sidecar_is_that_of_the_seed() {
    let mut world = World::new(&json!({"url": "http://h", "workloadSelector": {"labels": {"app": "myapp"}}}));
    let plan = world.plan();
    assert_eq!((plan.fetch, &plan.write, plan.wake), (Fetch::Start, &None, None));
    world.does(&plan);
    let begun = [
        ("Reconciled", "Unknown", "Fetching"),
        ("Ready", "Unknown", "Fetching"),
        ("Reconciling", "True", "Fetching"),
        ("Stalled", "False", "Fetching"),
    ];
    assert_eq!((world.conditions(), world.times()), (begun.to_vec(), (None, None)), "nobody takes it for done");
    assert!(is_idle(&world.plan()), "one fetch at a time");
    world.answers(&json!([{"hosts": ["./*", "istio-system/*", "ns1/*", "ns2/*"]}]));
    world.does(&world.plan());
    let owner = json!({"apiVersion": "networking.example.com/v1alpha1", "kind": "SidecarGenerator", "name": "g",
                       "uid": "uid-of-g", "controller": true, "blockOwnerDeletion": true});
    let annotations = json!({"sidecar-generator-operator/sidecar-spec-hash": SEED_HASH});
    let expected = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "Sidecar",
        "metadata": {"name": "g", "namespace": "default", "annotations": annotations, "ownerReferences": [owner]},
        "spec": {"workloadSelector": {"labels": {"app": "myapp"}},
                 "egress": [{"hosts": ["./*", "istio-system/*", "ns1/*", "ns2/*"]}]}
    });
    assert_eq!(world.sidecar, Some(expected));
}

#[test]
fn the_status_has_the_seeds_condition_those_of_kstatus_and_the_times() {
    let mut world = World::settled();
    assert_eq!(
        world.conditions(),
        [
            ("Reconciled", "True", "ReconcileSuccess"),
            ("Ready", "True", "Current"),
            ("Reconciling", "False", "Current"),
            ("Stalled", "False", "Current"),
            ("Overlapping", "False", "NoOverlap"),
        ]
    );
    assert_eq!(world.condition("Reconciled")["message"], "Successfully reconciled SidecarGenerator");
    assert_eq!((world.times(), &world.status()["observedGeneration"]), ((Some(0), Some(120)), &json!(1)));
    let (writes, plan) = world.follow();
    assert_eq!((writes, seconds(&plan)), (0, Some(120)), "then all is quiet until the period is over");
}

#[test]
fn a_refresh_that_brings_nothing_new_moves_the_times_only() {
    let mut world = World::settled();
    let before = world.status()["conditions"].clone();
    world.wait(120);
    assert_eq!(world.plan().fetch, Fetch::Start);
    world.does(&world.plan());
    world.answers_not_modified();
    let plan = world.plan();
    assert_eq!(plan.write, None);
    world.does(&plan);
    assert_eq!((world.times(), &world.status()["conditions"]), ((Some(120), Some(240)), &before));
    assert!(is_idle(&world.plan()));
}

#[test]
fn a_changed_answer_is_written_and_what_others_put_there_stays() {
    let mut world = World::settled();
    let metadata = &mut world.sidecar()["metadata"];
    metadata["labels"] = json!({"argocd.argoproj.io/instance": "x"});
    metadata["annotations"]["theirs"] = json!("kept");
    metadata["finalizers"] = json!(["theirs/kept"]);
    let other = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "y"});
    metadata["ownerReferences"].as_array_mut().unwrap().insert(0, other.clone());
    assert_eq!(world.plan().write, None);
    world.wait(120);
    world.does(&world.plan());
    world.answers(&json!([{"hosts": ["./*"]}]));
    let (mut expected, old) = (world.sidecar().clone(), world.hash().to_owned());
    world.follow();
    assert_ne!(world.hash(), old);
    expected["spec"]["egress"][0]["hosts"] = json!(["./*"]);
    expected["metadata"]["annotations"][keys::SIDECAR_SPEC_HASH] = json!(world.hash());
    assert_eq!(world.sidecar(), &expected);
}

#[test]
fn every_drift_is_repaired_at_once_from_memory() {
    type Edit = fn(&mut Value);
    let edits: [(&str, Edit); 7] = [
        ("spec", |sidecar| sidecar["spec"]["egress"][0]["hosts"] = json!(["*/*"])),
        ("a field of its own", |sidecar| sidecar["spec"]["outboundTrafficPolicy"] = json!({"mode": "ALLOW_ANY"})),
        ("owner", |sidecar| sidecar["metadata"]["ownerReferences"] = json!([])),
        ("controller", |sidecar| sidecar["metadata"]["ownerReferences"][0]["controller"] = json!(false)),
        ("annotation", |sidecar| sidecar["metadata"]["annotations"] = json!({"other": "x"})),
        ("all annotations", |sidecar| drop(sidecar["metadata"].as_object_mut().unwrap().shift_remove("annotations"))),
        ("owner and spec", |sidecar| {
            sidecar["metadata"]["ownerReferences"] = json!([]);
            sidecar["spec"] = json!({"egress": [{"hosts": ["*/*"]}]});
        }),
    ];
    for (what, edit) in edits {
        let mut world = World::settled();
        world.wait(60);
        let mut good = world.sidecar().clone();
        edit(world.sidecar());
        let plan = world.plan();
        assert!(plan.write.is_some() && plan.fetch == Fetch::Leave && plan.status.is_none(), "{what}: {plan:?}");
        world.does(&plan);
        if what == "annotation" {
            good["metadata"]["annotations"]["other"] = json!("x");
        }
        assert_eq!(world.sidecar(), &good, "{what}");
        assert!(is_idle(&world.plan()), "{what}");
    }
    let mut deleted = World::settled();
    let good = deleted.sidecar.take();
    deleted.does(&deleted.plan());
    assert_eq!((deleted.sidecar.clone(), is_idle(&deleted.plan())), (good, true));
}

#[test]
fn what_is_spelt_otherwise_but_means_the_same_is_no_drift() {
    let mut world = World::settled();
    world.sidecar()["spec"]["egress"][0]["captureMode"] = json!("DEFAULT");
    world.sidecar()["spec"]["egress"][0]["bind"] = json!("");
    assert!(is_idle(&world.plan()));
}

#[test]
fn a_few_repairs_in_a_row_are_made_at_once_and_further_ones_ever_later() {
    let mut world = World::settled();
    let mut pauses = Vec::new();
    for _ in 0..14 {
        world.sidecar()["spec"]["egress"][0]["hosts"] = json!(["*/*"]);
        let plan = world.plan();
        if plan.write.is_none() {
            pauses.push(plan.wake.unwrap().as_secs());
            world.wait(i64::try_from(plan.wake.unwrap().as_secs()).unwrap());
        }
        let plan = world.plan();
        assert!(plan.write.is_some());
        world.does(&Plan { fetch: Fetch::Leave, ..plan });
        world.memory.due = Timestamp::from_second(world.now.as_second() + 120).ok();
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60], "the first five are at once");
    world.wait(121);
    world.sidecar()["spec"]["egress"][0]["hosts"] = json!(["*/*"]);
    assert!(world.plan().write.is_some(), "after a while the next is at once again");
}

#[test]
fn a_sidecar_of_somebody_else_is_left_alone_until_it_may_be_adopted() {
    let mut world = World::new(&json!({"url": "http://h"}));
    world.sidecar = Some(sidecar("g", &json!({"egress": [{"hosts": ["hand/written"]}]})));
    let plan = world.plan();
    assert_eq!((plan.fetch, &plan.write), (Fetch::Stop, &None));
    world.does(&plan);
    assert_eq!(
        world.conditions(),
        [
            ("Reconciled", "False", "ReconcileError"),
            ("Ready", "False", "NotOwned"),
            ("Reconciling", "False", "NotOwned"),
            ("Stalled", "True", "NotOwned"),
        ]
    );
    let message = world.condition("Reconciled")["message"].as_str().unwrap();
    assert!(
        message.starts_with("Failed to reconcile SidecarGenerator: ") && message.contains(keys::ADOPT),
        "{message}"
    );
    assert_eq!(world.times(), (None, None));
    assert_eq!(world.plan(), Plan::default(), "it is said once");

    world.sidecar()["metadata"]["annotations"] = json!({keys::ADOPT: "true", "theirs": "kept"});
    world.does(&world.plan());
    world.answers(&json!([{"hosts": ["./*"]}]));
    world.follow();
    assert_eq!(
        (world.hosts(), &world.sidecar.as_ref().unwrap()["metadata"]["annotations"]["theirs"]),
        (&json!(["./*"]), &json!("kept"))
    );
    assert_eq!(world.conditions()[3], ("Stalled", "False", "Current"));
}

#[test]
fn nothing_is_done_for_one_that_is_being_deleted() {
    let mut world = World::settled();
    world.generator["metadata"]["deletionTimestamp"] = json!("2026-01-08T19:08:00Z");
    world.sidecar = None;
    assert_eq!(world.plan(), Plan::default());
    world.restart();
    assert_eq!(world.plan(), Plan::default());
}

#[test]
fn a_failing_fetch_leaves_the_sidecar_and_is_told_once() {
    let mut world = World::settled();
    let sidecar = world.sidecar.clone();
    world.wait(120);
    world.does(&world.plan());
    world.fails(None);
    world.follow();
    assert_eq!(world.sidecar, sidecar);
    assert_eq!(
        world.conditions()[..4],
        [
            ("Reconciled", "False", "ReconcileError"),
            ("Ready", "False", "FetchFailed"),
            ("Reconciling", "True", "FetchFailed"),
            ("Stalled", "False", "FetchFailed"),
        ]
    );
    assert_eq!(world.condition("Reconciled")["message"], "Failed to reconcile SidecarGenerator: status 500");
    assert_eq!(world.times(), (Some(0), Some(125)), "the last success stays");
    let told = world.status()["conditions"].clone();
    world.wait(5);
    world.does(&world.plan());
    world.fails(None);
    world.follow();
    assert_eq!((&world.status()["conditions"], world.times()), (&told, (Some(0), Some(135))));
}

#[test]
fn a_sidecar_that_drifts_while_its_url_fails_is_repaired_all_the_same() {
    let mut world = World::settled();
    world.wait(120);
    world.does(&world.plan());
    world.fails(None);
    world.follow();
    let good = world.sidecar().clone();
    world.sidecar()["spec"]["egress"] = json!([]);
    world.follow();
    assert_eq!(world.sidecar(), &good);
    assert_eq!(world.conditions()[1], ("Ready", "False", "FetchFailed"));
}

#[test]
fn a_failed_write_is_told_until_it_is_done() {
    let mut world = World::settled();
    world.sidecar()["spec"]["egress"] = json!([]);
    world.memory.write_problem = Some("cannot patch sidecars/g: no (403)".to_owned());
    let plan = world.plan();
    world.does(&Plan { write: None, ..plan });
    assert_eq!(world.conditions()[1], ("Ready", "False", "WriteFailed"));
    assert!(world.plan().write.is_some(), "and is tried again");
    let good = World::settled().sidecar;
    world.sidecar = good;
    world.follow();
    assert_eq!(world.conditions()[1], ("Ready", "True", "Current"), "somebody else did it");
}

#[test]
fn a_new_leader_waits_for_the_time_that_was_told_if_all_is_well() {
    let mut world = World::settled();
    world.restart();
    world.wait(20);
    let plan = world.plan();
    assert!(is_idle(&plan));
    assert_eq!(seconds(&plan), Some(100));
    world.wait(100);
    assert_eq!(world.plan().fetch, Fetch::Start);
}

#[test]
fn a_new_leader_fetches_at_once_if_anything_is_not_as_it_should_be() {
    type Edit = fn(&mut World);
    let edits: [(&str, Edit); 6] = [
        ("no Sidecar", |world| world.sidecar = None),
        ("drift", |world| world.sidecar()["spec"]["egress"] = json!([])),
        ("owner", |world| world.sidecar()["metadata"]["ownerReferences"] = json!([])),
        ("another generation", |world| world.change_spec("url", json!("http://other"))),
        ("no time", |world| world.generator["status"]["nextSidecarGeneratorUpdate"] = json!(null)),
        ("a time that no period reaches", |world| {
            world.generator["status"]["nextSidecarGeneratorUpdate"] = json!("2027-01-08T19:07:21Z");
        }),
    ];
    for (what, edit) in edits {
        let mut world = World::settled();
        world.restart();
        edit(&mut world);
        let plan = world.plan();
        assert_eq!((plan.fetch, &plan.write, &plan.status), (Fetch::Start, &None, &None), "{what}");
    }
}

#[test]
fn a_new_leader_whose_fetch_fails_leaves_a_drifted_sidecar_and_waits() {
    let mut world = World::settled();
    world.restart();
    world.sidecar()["spec"]["egress"] = json!([{"hosts": ["*/*"]}]);
    world.does(&world.plan());
    world.fails(None);
    let (_, plan) = world.follow();
    assert_eq!((world.hosts(), seconds(&plan)), (&json!(["*/*"]), Some(5)));
}

#[test]
fn a_changed_spec_is_fetched_at_once_and_nothing_is_written_before_the_answer() {
    let mut world = World::settled();
    let sidecar = world.sidecar.clone();
    world.wait(10);
    world.change_spec("workloadSelector", json!({"labels": {"app": "other"}}));
    let plan = world.plan();
    assert_eq!((plan.fetch, &plan.write, &plan.status), (Fetch::Start, &None, &None));
    world.does(&plan);
    world.change_spec("url", json!("http://other"));
    assert_eq!(world.plan().fetch, Fetch::Start, "in place of the one for the spec before");
    world.does(&world.plan());
    world.fails(None);
    world.follow();
    assert_eq!((&world.sidecar, &world.status()["observedGeneration"]), (&sidecar, &json!(3)));
    world.wait(5);
    world.does(&world.plan());
    world.answers(&json!([{"hosts": ["./*"]}]));
    world.follow();
    assert_eq!(world.sidecar()["spec"]["workloadSelector"]["labels"]["app"], "other");
    assert_eq!(world.conditions()[1], ("Ready", "True", "Current"));
}

#[test]
fn a_spec_that_cannot_be_used_is_told_and_the_sidecar_stays() {
    let mut world = World::settled();
    let sidecar = world.sidecar.clone();
    world.change_spec("refreshPeriod", json!("abc"));
    world.does(&world.plan());
    assert_eq!(
        world.conditions()[..4],
        [
            ("Reconciled", "False", "ReconcileError"),
            ("Ready", "False", "InvalidSpec"),
            ("Reconciling", "False", "InvalidSpec"),
            ("Stalled", "True", "InvalidSpec"),
        ]
    );
    assert_eq!((world.times(), &world.status()["observedGeneration"]), ((Some(0), None), &json!(2)));
    assert_eq!((world.plan(), &world.sidecar), (Plan::default(), &sidecar));
    world.change_spec("refreshPeriod", json!("5m"));
    assert_eq!(world.plan().fetch, Fetch::Start);
    let mut without = World::new(&Value::Null);
    without.does(&without.plan());
    assert_eq!(without.conditions()[3], ("Stalled", "True", "InvalidSpec"));
}

#[test]
fn one_that_is_suspended_does_nothing_and_says_when_it_goes_on_by_saying_nothing() {
    let mut world = World::settled();
    let conditions = world.status()["conditions"].clone();
    world.change_spec("suspend", json!(true));
    let plan = world.plan();
    assert_eq!((plan.fetch, &plan.write, seconds(&plan)), (Fetch::Stop, &None, None));
    world.does(&plan);
    assert_eq!((world.times(), &world.status()["conditions"]), ((Some(0), None), &conditions));
    assert_eq!(world.status()["observedGeneration"], 2);
    world.sidecar = None;
    assert_eq!(world.plan(), Plan::default());
    world.change_spec("suspend", json!(false));
    assert_eq!(world.plan().fetch, Fetch::Start);
}

#[test]
fn without_istio_it_is_said_and_nothing_is_done_until_it_comes() {
    let mut world = World::settled();
    world.installed = false;
    world.sidecar = None;
    let plan = world.plan();
    assert_eq!((plan.fetch, &plan.write, plan.wake), (Fetch::Stop, &None, None));
    world.does(&plan);
    assert_eq!(world.conditions()[1], ("Ready", "False", "SidecarsNotInstalled"));
    assert_eq!(world.plan().status, None, "it is said once");
    world.installed = true;
    assert!(world.plan().write.is_some());
}

#[test]
fn the_sidecar_of_a_predecessor_is_waited_for() {
    let mut world = World::settled();
    world.generator["metadata"]["uid"] = json!("another");
    world.restart();
    let plan = world.plan();
    assert_eq!((plan.fetch, &plan.write, plan.wake), (Fetch::Stop, &None, None));
    world.does(&plan);
    assert_eq!(world.conditions()[2], ("Reconciling", "True", "SidecarBeingDeleted"));
    world.sidecar = None;
    assert_eq!(world.plan().fetch, Fetch::Start);
}

#[test]
fn a_sidecar_that_is_being_deleted_is_made_anew_when_it_is_gone() {
    let mut world = World::settled();
    world.sidecar()["metadata"]["deletionTimestamp"] = json!("2026-01-08T19:08:00Z");
    world.sidecar()["spec"] = json!({});
    let plan = world.plan();
    assert_eq!(plan.write, None);
    world.does(&plan);
    assert_eq!(world.conditions()[1], ("Ready", "False", "SidecarBeingDeleted"));
    world.sidecar = None;
    world.follow();
    assert_eq!((world.hash(), world.conditions()[1]), (SEED_HASH, ("Ready", "True", "Current")));
}

#[test]
fn retries_double_up_to_the_period_and_heed_the_server() {
    let mut world = World::new(&json!({"url": "http://h", "refreshPeriod": "30s"}));
    let pause = |world: &mut World, retry_after| {
        world.does(&world.plan());
        world.fails(retry_after);
        let pause = world.follow().1.wake.unwrap();
        world.wait(i64::try_from(pause.as_secs()).unwrap());
        pause.as_secs()
    };
    assert_eq!([None; 5].map(|none| pause(&mut world, none)), [5, 10, 20, 30, 30]);
    assert_eq!([Some(25), Some(3600)].map(|after| pause(&mut world, after)), [30, 30], "never longer than the period");
    world.does(&world.plan());
    world.answers(&json!([{"hosts": ["./*"]}]));
    assert_eq!(world.follow().1.wake, Some(Duration::from_secs(30)));
    world.wait(30);
    world.random = 0.0;
    assert_eq!(
        pause(&mut world, Some(7)),
        7,
        "the count starts anew; half of the pause, but not before the server wants"
    );
}

#[test]
fn a_period_has_a_floor_and_jitter() {
    let wake = |spec: Value, random: f64| {
        let mut world = World::new(&spec);
        world.random = random;
        world.does(&world.plan());
        world.answers(&json!([{"hosts": ["./*"]}]));
        world.follow().1.wake
    };
    assert_eq!(wake(json!({"url": "http://h", "refreshPeriod": "1ms"}), 0.5), Some(Duration::from_secs(10)));
    let jittered = json!({"url": "http://h", "refreshPeriod": "1m", "jitter": "20s"});
    assert_eq!(wake(jittered.clone(), 0.0), Some(Duration::from_secs(60)));
    assert_eq!(wake(jittered, 0.5), Some(Duration::from_secs(70)));
}

#[test]
fn a_clock_that_is_put_back_stops_nothing() {
    let mut world = World::settled();
    world.wait(-86_400);
    assert_eq!(world.plan().fetch, Fetch::Start);
}

#[test]
fn a_bad_answer_keeps_the_last_good_one() {
    for (body, reason) in [
        (json!([]), "EmptyAnswer"),
        (json!(null), "EmptyAnswer"),
        (json!([null]), "InvalidAnswer"),
        (json!([{"hosts": ["no-slash"]}]), "InvalidAnswer"),
        (json!([{"hosts": ["./*"]}]), "ShrunkAnswer"),
    ] {
        let mut world = World::settled_with(&json!({"maxShrinkPercent": 50}));
        let sidecar = world.sidecar.clone();
        world.wait(120);
        world.does(&world.plan());
        world.answers(&body);
        world.follow();
        assert_eq!((world.conditions()[1], &world.sidecar), (("Ready", "False", reason), &sidecar), "{body}");
    }
}

#[test]
fn a_shrunk_answer_is_told_by_a_new_leader_too() {
    let mut world = World::settled_with(&json!({"maxShrinkPercent": 50}));
    world.restart();
    world.wait(120);
    world.does(&world.plan());
    world.answers(&json!([{"hosts": ["./*"]}]));
    world.follow();
    assert_eq!(world.conditions()[1], ("Ready", "False", "ShrunkAnswer"));
}

#[test]
fn other_sidecars_for_the_same_pods_are_named() {
    let selecting = |name: &str, labels: Value| sidecar(name, &json!({"workloadSelector": {"labels": labels}}));
    let mut world = World::settled();
    world.others = vec![selecting("b", json!({"app": "myapp"})), selecting("a", json!({"app": "myapp", "v": "1"}))];
    world.others.push(selecting("team", json!({"team": "x"})));
    world.follow();
    let overlapping = world.condition("Overlapping");
    assert_eq!(overlapping["reason"], "ConflictingSidecarWorkloadSelectors");
    assert!(overlapping["message"].as_str().unwrap().contains(": a, b;"), "{overlapping}");
    assert_eq!(world.conditions()[1], ("Ready", "True", "Current"), "it is a warning");
    world.memory.sharing = names(&["team", "gone"]);
    world.follow();
    assert!(world.condition("Overlapping")["message"].as_str().unwrap().contains(": a, b, team;"));
    world.restart();
    world.others.clear();
    world.follow();
    assert_eq!(world.conditions()[4], ("Overlapping", "False", "NoOverlap"), "a new leader need not fetch for that");

    let mut whole = World::settled_with(&json!({"workloadSelector": null}));
    whole.others.push(selecting("default", json!({})));
    whole.follow();
    assert_eq!(whole.condition("Overlapping")["reason"], "MultipleSidecarsWithoutWorkloadSelectors");
}
