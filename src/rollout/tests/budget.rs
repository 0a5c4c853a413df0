//! A model of updates: with any delays of the watch, lost answers and changes of the leader, at most `maxUnavailable` Pods are
//! unavailable because of updates, and in the end all are updated.

use super::{PodBuilder, set};
use crate::api::decode;
use crate::api::keys;
use crate::cluster::{Event, Versioned};
use crate::injection::InjectableSet;
use crate::rollout::attempts::{AttemptEnd, PodWrite};
use crate::rollout::upgrade::PodUpdate;
use crate::rollout::{ObservedSet, RolloutIndex, WatchedPod};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

const PODS: usize = 5;
const MAX_UNAVAILABLE: usize = 2;

/// The fate of a write.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Answered,
    /// It is executed, and the answer is lost.
    LostAnswer,
    /// It never arrives.
    LostRequest,
    Refused,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Look(Fate),
    /// The kubelet runs a Pod's current spec.
    Run(usize),
    /// The app of a Pod fails or recovers.
    App(usize, bool),
    /// Somebody removes a Pod's record of updates.
    Forge(usize),
    /// The watch delivers one more event.
    Hear,
    List,
    NextLeader,
    Wait,
}

struct World {
    index: RolloutIndex,
    /// The Pods on the API server.
    pods: BTreeMap<String, Value>,
    version: u64,
    events: VecDeque<WatchedPod>,
    /// Pods made unavailable by an update.
    down: BTreeSet<String>,
    apps: BTreeMap<String, bool>,
    now: Timestamp,
}

fn spec(image: &str) -> Value {
    json!({"selector": {"matchLabels": {"app": "a"}}, "containers": [{"name": "c", "image": image}],
           "updateStrategy": {"type": "RollingUpdate", "maxUnavailable": MAX_UNAVAILABLE}})
}

impl World {
    fn new() -> Self {
        let hashes = InjectableSet::new(decode::sidecarset(set("s", &spec("i:1"))).unwrap()).unwrap().content.hashes;
        let mut world = Self {
            index: RolloutIndex::default(),
            pods: BTreeMap::new(),
            version: 0,
            events: VecDeque::new(),
            down: BTreeSet::new(),
            apps: BTreeMap::new(),
            now: Timestamp::from_second(1_700_000_000).unwrap(),
        };
        for number in 0..PODS {
            let pod = PodBuilder::new(&format!("p{number}"))
                .label("app", "a")
                .injected("s", &hashes.hash)
                .annotation(keys::HASH_WITHOUT_IMAGE, &json!({"s": {"hash": hashes.without_image}}).to_string())
                .container("c", "i:1")
                .ready();
            world.apps.insert(format!("p{number}"), true);
            world.store(&format!("p{number}"), pod.json());
        }
        world.next_leader();
        world
    }

    fn store(&mut self, name: &str, mut pod: Value) -> WatchedPod {
        self.version += 1;
        pod["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let told: WatchedPod = serde_json::from_value(pod.clone()).unwrap();
        self.pods.insert(name.to_owned(), pod);
        self.events.push_back(told.clone());
        told
    }

    fn list(&mut self) {
        self.events.clear();
        let all: Vec<WatchedPod> = self.pods.values().map(|pod| serde_json::from_value(pod.clone()).unwrap()).collect();
        Event::list(all).for_each(|event| _ = self.index.pods_event(event));
    }

    fn next_leader(&mut self) {
        self.index = RolloutIndex::default();
        self.index.updates_pods = true;
        self.index.sets_event(Event::Applied(Arc::new(ObservedSet::read(&set("s", &spec("i:2"))))));
        self.list();
    }

    /// The kubelet reports a Pod's status.
    fn report(&mut self, name: &str, runs: bool) {
        let mut pod = self.pods[name].clone();
        if runs {
            let image = pod["spec"]["containers"][0]["image"].clone();
            pod["status"]["containerStatuses"][0]["image"] = image.clone();
            pod["status"]["containerStatuses"][0]["imageID"] = image;
        }
        let is_ready = self.apps[name];
        let status = if is_ready { "True" } else { "False" };
        if pod["status"]["conditions"][0]["status"] != status || runs {
            pod["status"]["conditions"][0]["status"] = json!(status);
            let current = pod["status"]["containerStatuses"][0]["image"] == pod["spec"]["containers"][0]["image"];
            self.store(name, pod);
            if is_ready && current {
                self.down.remove(name);
            }
        }
    }

    fn look(&mut self, fate: Fate) {
        self.index.tidy("s");
        let plan = self.index.plan("s", self.now).unwrap().1.pods;
        for update in &plan.updates {
            self.index.update_begins("s", update.pod.version(), update);
            let end = self.write(update, fate);
            self.index.write_ended("s", update.pod.version(), PodWrite::Update, end, self.now);
        }
    }

    fn write(&mut self, update: &PodUpdate, fate: Fate) -> AttemptEnd {
        let version = update.pod.version();
        let mut pod = self.pods[version.name].clone();
        if update.is_in_doubt && pod["metadata"]["resourceVersion"] != version.resource_version {
            self.index.pod_read(serde_json::from_value(pod).unwrap());
            return AttemptEnd::Conflict;
        }
        match fate {
            Fate::LostRequest => return AttemptEnd::Unknown("lost".to_owned()),
            Fate::Refused => return AttemptEnd::Refused("no".to_owned()),
            _ if pod["metadata"]["resourceVersion"] != version.resource_version => return AttemptEnd::Conflict,
            Fate::Answered | Fate::LostAnswer => {}
        }
        let was_ready = pod["status"]["conditions"][0]["status"] == "True";
        json_patch::patch(&mut pod, &json_patch::Patch(update.patch.operations.clone())).unwrap();
        if was_ready {
            self.down.insert(version.name.to_owned());
        }
        let told = self.store(version.name, pod);
        if matches!(fate, Fate::LostAnswer) {
            return AttemptEnd::Unknown("lost".to_owned());
        }
        self.index.pod_answered(told, &update.pod);
        AttemptEnd::Written
    }

    fn step(&mut self, step: Step) {
        let name = |number: usize| format!("p{}", number % PODS);
        match step {
            Step::Look(fate) => self.look(fate),
            Step::Run(number) => self.report(&name(number), true),
            Step::App(number, is_well) => {
                self.apps.insert(name(number), is_well);
                self.report(&name(number), false);
            }
            Step::Forge(number) => {
                let mut pod = self.pods[&name(number)].clone();
                pod["metadata"]["annotations"].as_object_mut().unwrap().remove(keys::IN_PLACE_STATE);
                self.store(&name(number), pod);
            }
            Step::Hear => {
                if let Some(pod) = self.events.pop_front() {
                    self.index.pods_event(Event::Applied(pod));
                }
            }
            Step::List => self.list(),
            Step::NextLeader => self.next_leader(),
            Step::Wait => self.now += SignedDuration::from_secs(61),
        }
    }
}

fn step(forge: bool) -> impl Strategy<Value = Step> {
    let fate = prop_oneof![
        4 => Just(Fate::Answered),
        1 => Just(Fate::LostAnswer),
        1 => Just(Fate::LostRequest),
        1 => Just(Fate::Refused),
    ];
    prop_oneof![
        6 => fate.prop_map(Step::Look),
        4 => (0..PODS).prop_map(Step::Run),
        2 => (0..PODS, any::<bool>()).prop_map(|(number, is_well)| Step::App(number, is_well)),
        u32::from(forge) => (0..PODS).prop_map(Step::Forge),
        6 => Just(Step::Hear),
        1 => Just(Step::List),
        u32::from(!forge) => Just(Step::NextLeader),
        2 => Just(Step::Wait),
    ]
}

/// Generates steps with one leader whose Pods' authors lie, or with several leaders.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    any::<bool>().prop_flat_map(|forge| prop::collection::vec(step(forge), 1..60))
}

/// Takes these steps, and checks after each that no more Pods than allowed are unavailable.
#[track_caller]
fn holds(steps: &[Step]) {
    let mut world = World::new();
    for step in steps {
        world.step(*step);
        assert!(world.down.len() <= MAX_UNAVAILABLE, "{:?} are down after {step:?}", world.down);
    }
}

#[test]
fn a_refusal_says_nothing_of_an_earlier_write_whose_answer_was_lost() {
    holds(&[
        Step::Run(0),
        Step::Forge(4),
        Step::Look(Fate::LostAnswer),
        Step::Wait,
        Step::Look(Fate::Refused),
        Step::Look(Fate::Answered),
    ]);
}

#[test]
fn a_conflict_says_nothing_of_an_earlier_write_whose_answer_was_lost() {
    holds(&[
        Step::Look(Fate::LostAnswer),
        Step::Wait,
        Step::Wait,
        Step::Forge(0),
        Step::Look(Fate::Answered),
        Step::Look(Fate::Answered),
    ]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn no_more_pods_than_allowed_are_unavailable_and_all_are_updated_in_the_end(steps in steps()) {
        let mut world = World::new();
        for (number, step) in steps.iter().enumerate() {
            world.step(*step);
            prop_assert!(world.down.len() <= MAX_UNAVAILABLE, "{:?} are down after step {number}", world.down);
        }
        for _ in 0..2 * PODS {
            world.step(Step::Wait);
            for number in 0..PODS {
                world.step(Step::App(number, true));
                world.step(Step::Run(number));
            }
            while !world.events.is_empty() {
                world.step(Step::Hear);
            }
            world.step(Step::Look(Fate::Answered));
            prop_assert!(world.down.len() <= MAX_UNAVAILABLE);
        }
        prop_assert!(world.pods.values().all(|pod| pod["spec"]["containers"][0]["image"] == "i:2"));
    }
}
