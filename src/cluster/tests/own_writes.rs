//! Tests of own writes with stale caches, and a model: a planner that relies on them is never too eager.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use crate::cluster::{Event, ObjectVersion, Overlay, OwnWrite, Versioned};

/// A kept object: name, uid and resourceVersion.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept(&'static str, &'static str, &'static str);

impl Versioned for Kept {
    fn version(&self) -> ObjectVersion<'_> {
        ObjectVersion { namespace: "ours", name: self.0, uid: self.1, resource_version: self.2 }
    }
}

/// Objects by name, built from events.
struct Objects<T> {
    known: BTreeMap<&'static str, T>,
    /// Names of objects that were known when a list began and have not been seen since.
    unlisted: BTreeSet<&'static str>,
}

impl<T> Default for Objects<T> {
    fn default() -> Self {
        Self { known: BTreeMap::new(), unlisted: BTreeSet::new() }
    }
}

impl<T> Objects<T> {
    fn take(&mut self, event: Event<T>, name: impl Fn(&T) -> &'static str) {
        match event {
            Event::Begin => self.unlisted = self.known.keys().copied().collect(),
            Event::Item(object) => {
                self.unlisted.remove(name(&object));
                self.known.insert(name(&object), object);
            }
            Event::Applied(object) => _ = self.known.insert(name(&object), object),
            Event::End => {
                let gone = std::mem::take(&mut self.unlisted);
                self.known.retain(|name, _| !gone.contains(name));
            }
            Event::Deleted(object) => _ = self.known.remove(name(&object)),
        }
    }
}

/// An index behind an overlay.
#[derive(Default)]
struct Indexed {
    overlay: Overlay<Kept>,
    objects: Objects<Kept>,
}

/// Events in the order in which the controller receives them.
#[derive(Clone, Debug)]
enum Heard {
    /// An answer to a write over this version, or to a creation.
    Answer(Kept, Option<&'static str>),
    Applied(Kept),
    Deleted(Kept),
    List(Vec<Kept>),
}

impl Indexed {
    fn hear(&mut self, heard: Heard) {
        let events = match heard {
            Heard::Answer(after, over) => {
                let known = self.objects.known.get(after.0);
                if let Some(after) = self.overlay.answered(after, over, known) {
                    self.objects.known.insert(after.0, after);
                }
                return;
            }
            Heard::Applied(object) => vec![Event::Applied(object)],
            Heard::Deleted(object) => vec![Event::Deleted(object)],
            Heard::List(objects) => Event::list(objects).collect(),
        };
        for event in events {
            for event in self.overlay.pass(event) {
                self.objects.take(event, |object| object.0);
            }
        }
    }
}

/// Returns the uid and version of `a` in the index afterwards.
fn known(heard: &[Heard]) -> Option<(&'static str, &'static str)> {
    let mut indexed = Indexed::default();
    for heard in heard {
        indexed.hear(heard.clone());
    }
    indexed.objects.known.get("a").map(|kept| (kept.1, kept.2))
}

#[test]
fn of_what_is_written_and_what_a_watch_shows_the_newer_counts() {
    use Heard::{Answer, Applied, Deleted, List};
    let a = |version| Kept("a", "1", version);
    let again = |version| Kept("a", "2", version);
    let other = |version| Kept("other", "9", version);
    let at = |version| Some(("1", version));
    let shown = Applied(a("10"));
    let written = Answer(a("20"), Some("10"));
    let made = Answer(a("20"), None);
    for (rule, heard, expected) in [
        ("a write counts at once", vec![shown.clone(), written.clone()], at("20")),
        ("an older event does not count", vec![shown.clone(), written.clone(), Applied(a("15"))], at("20")),
        ("a newer event counts", vec![shown.clone(), written.clone(), Applied(a("30"))], at("30")),
        (
            "once it is shown, the watch is right again",
            vec![shown.clone(), written.clone(), Applied(a("20")), Applied(a("21"))],
            at("21"),
        ),
        (
            "an answer that comes after its event is no news",
            vec![shown.clone(), Applied(a("20")), Applied(a("30")), written.clone()],
            at("30"),
        ),
        (
            "an answer that is overtaken by a later one does not count",
            vec![shown.clone(), Answer(a("30"), Some("20")), written.clone()],
            at("30"),
        ),
        (
            "the second of two writes counts until it is shown",
            vec![shown.clone(), written.clone(), Answer(a("30"), Some("20")), Applied(a("20"))],
            at("30"),
        ),
        ("what is gone is forgotten", vec![shown.clone(), written.clone(), Deleted(a("40"))], None),
        (
            "an answer about what has gone since is no news",
            vec![shown.clone(), Deleted(a("40")), written.clone()],
            None,
        ),
        (
            "one of the same name is another one",
            vec![shown.clone(), written.clone(), Deleted(a("40")), Applied(again("41"))],
            Some(("2", "41")),
        ),
        (
            "another one counts although the end of the first was not seen",
            vec![shown.clone(), written.clone(), Applied(again("41"))],
            Some(("2", "41")),
        ),
        (
            "an answer about one that has come again since is no news",
            vec![shown.clone(), Applied(again("41")), written.clone()],
            Some(("2", "41")),
        ),
        ("what is made counts at once", vec![made.clone()], at("20")),
        (
            "events of one that was there before do not count",
            vec![made.clone(), Applied(again("5")), Deleted(again("6"))],
            at("20"),
        ),
        (
            "what came and went before the answer does not come back",
            vec![Applied(a("20")), Deleted(a("25")), made.clone()],
            None,
        ),
        ("what came and went is known by other events too", vec![Applied(other("30")), made.clone()], None),
        (
            "a list from before the write shows it as written",
            vec![shown.clone(), written.clone(), List(vec![a("10")])],
            at("20"),
        ),
        ("a list after the write counts", vec![shown.clone(), written.clone(), List(vec![a("22")])], at("22")),
        ("a list without what was shown is after its end", vec![shown.clone(), written.clone(), List(vec![])], None),
        ("a list without what was just made may be from before", vec![made.clone(), List(vec![other("5")])], at("20")),
        ("one that has something later is not", vec![made.clone(), List(vec![other("21")])], None),
        ("the list after that is from after it was made", vec![made.clone(), List(vec![]), List(vec![])], None),
        (
            "the list after the next counts whatever it says: the storage may have been restored",
            vec![shown.clone(), written.clone(), List(vec![a("10")]), List(vec![a("9")])],
            at("9"),
        ),
        (
            "after a restore writes count again",
            vec![Applied(a("1000")), List(vec![a("9")]), Answer(a("12"), Some("9"))],
            at("12"),
        ),
        (
            "an older event shows that it was there, and a list without it is later",
            vec![made.clone(), Answer(a("30"), Some("20")), Applied(a("20")), List(vec![])],
            None,
        ),
    ] {
        assert_eq!(known(&heard), expected, "{rule}: {heard:?}");
    }
}

#[test]
fn where_versions_are_no_numbers_what_was_written_over_is_older_and_all_else_newer() {
    use Heard::{Answer, Applied, Deleted, List};
    let a = |version| Kept("a", "1", version);
    let at = |version| Some(("1", version));
    let (shown, written) = (Applied(a("x")), Answer(a("k"), Some("x")));
    for (heard, expected) in [
        (vec![shown.clone(), written.clone()], at("k")),
        (vec![shown.clone(), written.clone(), Applied(a("x"))], at("k")),
        (vec![shown.clone(), written.clone(), Answer(a("b"), Some("k")), Applied(a("x")), Applied(a("k"))], at("b")),
        (vec![shown.clone(), written.clone(), Applied(a("c"))], at("c")),
        (vec![shown.clone(), Applied(a("c")), written.clone()], at("c")),
        (vec![shown.clone(), Deleted(a("c")), written.clone()], None),
        (vec![shown.clone(), written.clone(), Applied(Kept("a", "2", "x"))], Some(("2", "x"))),
        (vec![shown.clone(), written.clone(), List(vec![a("x")])], at("k")),
        (vec![shown.clone(), written.clone(), List(vec![a("x")]), List(vec![a("x")])], at("x")),
        (vec![Answer(a("k"), None), List(vec![])], at("k")),
        (vec![Answer(a("k"), None), List(vec![]), List(vec![])], None),
        (vec![Applied(a("c")), Answer(a("k"), None)], at("c")),
    ] {
        assert_eq!(known(&heard), expected, "{heard:?}");
    }
}

#[test]
fn what_a_watch_shows_is_older_than_our_own_write_of_the_same_object() {
    let (a, again) = (|version| Kept("a", "1", version), Kept("a", "2", "99"));
    let mut indexed = Indexed::default();
    indexed.hear(Heard::Applied(a("10")));
    assert!(!indexed.overlay.is_ahead_of(&a("10")));
    indexed.hear(Heard::Answer(a("20"), Some("10")));
    assert!(indexed.overlay.is_ahead_of(&a("10")));
    assert!(!indexed.overlay.is_ahead_of(&a("20")) && !indexed.overlay.is_ahead_of(&again));
    let write = OwnWrite::new(a("k").version(), Some("x"));
    assert!(write.is_newer_than(a("x").version()));
    assert!(!write.is_newer_than(a("k").version()) && !write.is_newer_than(a("z").version()));
}

#[test]
fn what_was_shown_or_is_gone_is_not_remembered() {
    let mut indexed = Indexed::default();
    for (version, next) in [("1", "2"), ("3", "4"), ("5", "6")] {
        indexed.hear(Heard::Applied(Kept("a", "1", version)));
        indexed.hear(Heard::Answer(Kept("a", "1", next), Some(version)));
        assert_eq!(indexed.overlay.len(), 1, "one state of an object at most");
    }
    indexed.hear(Heard::Applied(Kept("a", "1", "6")));
    assert_eq!(indexed.overlay.len(), 0);
}

/// At most this many Pods may be unavailable because of the planner.
const MOST_AWAY: usize = 2;

/// Names of the model's Pods.
const PODS: [&str; 5] = ["a", "b", "c", "d", "e"];

/// A Pod that is upgraded in place. It is unavailable from the write until the kubelet has applied it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pod {
    name: &'static str,
    uid: String,
    version: String,
    /// The desired image. It increases with each upgrade.
    wanted: u32,
    running: u32,
}

impl Versioned for Pod {
    fn version(&self) -> ObjectVersion<'_> {
        ObjectVersion { namespace: "ours", name: self.name, uid: &self.uid, resource_version: &self.version }
    }
}

impl Pod {
    fn is_away(&self) -> bool {
        self.wanted != self.running
    }
}

/// A step of the model.
#[derive(Clone, Debug)]
enum Step {
    /// The controller receives the next events.
    Hear(usize),
    /// The planner acts on what the controller knows. These steps happen after each write and before its answer, which
    /// may be lost.
    Plan {
        meanwhile: Vec<Step>,
        is_answer_lost: bool,
    },
    /// The kubelet has started the desired image.
    Start(usize),
    /// Somebody changes something else in a Pod.
    Touch(usize),
    Delete(usize),
    /// The workload recreates the Pod, with the old image and available.
    Recreate(usize),
    /// There is a newer image for all Pods.
    Release,
    /// The API server answers a list with the current state. The controller receives it object by object.
    BeginList,
    /// The controller has received all of it.
    EndList,
}

/// An API server, a watch that lags behind it, and a controller.
struct Model {
    clock: u64,
    released: u32,
    /// The true state.
    pods: BTreeMap<&'static str, Pod>,
    /// Events that the watch has not delivered.
    untold: VecDeque<(u64, Event<Pod>)>,
    /// A list in progress: its version, and the objects that it has not delivered.
    listing: Option<(u64, VecDeque<Pod>)>,
    overlay: Option<Overlay<Pod>>,
    index: Objects<Pod>,
    /// Since when the outcome of a write is unknown. The planner waits for a list that begins later.
    in_doubt: Option<u64>,
}

impl Model {
    fn new(overlay: Option<Overlay<Pod>>) -> Self {
        let (clock, released) = (0, 1);
        let (pods, untold, index) = (BTreeMap::new(), VecDeque::new(), Objects::default());
        let mut model = Self { clock, released, pods, untold, listing: None, overlay, index, in_doubt: None };
        for pod in 0..PODS.len() {
            model.recreate(pod);
        }
        model.hear(PODS.len());
        model
    }

    fn put(&mut self, mut pod: Pod) -> Pod {
        self.clock += 1;
        pod.version = self.clock.to_string();
        self.pods.insert(pod.name, pod.clone());
        self.untold.push_back((self.clock, Event::Applied(pod.clone())));
        pod
    }

    fn change(&mut self, pod: usize, change: impl FnOnce(&mut Pod)) {
        let Some(mut pod) = self.pods.get(PODS[pod % PODS.len()]).cloned() else { return };
        change(&mut pod);
        self.put(pod);
    }

    fn recreate(&mut self, pod: usize) {
        let name = PODS[pod % PODS.len()];
        if !self.pods.contains_key(name) {
            let uid = format!("{name}-{}", self.clock);
            self.put(Pod { name, uid, version: String::new(), wanted: 0, running: 0 });
        }
    }

    fn delete(&mut self, pod: usize) {
        let Some(mut pod) = self.pods.remove(PODS[pod % PODS.len()]) else { return };
        self.clock += 1;
        pod.version = self.clock.to_string();
        self.untold.push_back((self.clock, Event::Deleted(pod)));
    }

    fn hear(&mut self, events: usize) {
        for _ in 0..events {
            let event = match &mut self.listing {
                Some((_, pods)) => pods.pop_front().map(Event::Item), // changes follow after the list
                None => self.untold.pop_front().map(|(_, event)| event),
            };
            let Some(event) = event else { return };
            self.tell(event);
        }
    }

    /// A list in progress is interrupted.
    fn begin_list(&mut self) {
        self.listing = Some((self.clock, self.pods.values().cloned().collect()));
        self.tell(Event::Begin);
    }

    fn end_list(&mut self) {
        let Some((at, pods)) = self.listing.take() else { return };
        self.untold.retain(|(version, _)| *version > at);
        for pod in pods {
            self.tell(Event::Item(pod));
        }
        self.tell(Event::End);
        self.in_doubt = self.in_doubt.filter(|since| *since > at);
    }

    fn tell(&mut self, event: Event<Pod>) {
        let events: Vec<Event<Pod>> = match &mut self.overlay {
            Some(overlay) => overlay.pass(event).collect(),
            None => vec![event],
        };
        for event in events {
            self.index.take(event, |pod| pod.name);
        }
    }

    /// Upgrades outdated Pods as long as few enough are known to be unavailable. A Pod that has changed is left for later.
    fn plan(&mut self, meanwhile: &[Step], is_answer_lost: bool) {
        for name in PODS {
            let away = self.index.known.values().filter(|pod| pod.is_away()).count();
            if self.in_doubt.is_some() || away >= MOST_AWAY {
                return;
            }
            let outdated = |pod: &&Pod| !pod.is_away() && pod.wanted < self.released;
            let Some(seen) = self.index.known.get(name).filter(outdated).cloned() else { continue };
            if self.pods.get(name).map(Versioned::version) != Some(seen.version()) {
                continue; // a conflict
            }
            let written = self.put(Pod { wanted: self.released, ..seen.clone() });
            for step in meanwhile {
                self.step(step);
            }
            if is_answer_lost {
                self.in_doubt = Some(self.clock); // until a list that begins from now on
                return;
            }
            let known = self.index.known.get(name);
            let counts = match &mut self.overlay {
                Some(overlay) => overlay.answered(written, Some(&seen.version), known),
                None => Some(written),
            };
            if let Some(pod) = counts {
                self.index.known.insert(name, pod);
            }
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Hear(events) => self.hear(*events),
            Step::Plan { meanwhile, is_answer_lost } => self.plan(meanwhile, *is_answer_lost),
            Step::Start(pod) => self.change(*pod, |pod| pod.running = pod.wanted),
            Step::Touch(pod) => self.change(*pod, |_| {}),
            Step::Delete(pod) => self.delete(*pod),
            Step::Recreate(pod) => self.recreate(*pod),
            Step::Release => self.released += 1,
            Step::BeginList => self.begin_list(),
            Step::EndList => self.end_list(),
        }
    }

    /// Returns the true number of unavailable Pods.
    fn away(&self) -> usize {
        self.pods.values().filter(|pod| pod.is_away()).count()
    }
}

/// Generates steps that are not the planner's.
fn of_others() -> impl Strategy<Value = Step> {
    let pod = || 0..PODS.len();
    prop_oneof![
        4 => (1..4_usize).prop_map(Step::Hear),
        4 => pod().prop_map(Step::Start),
        2 => pod().prop_map(Step::Touch),
        2 => pod().prop_map(Step::Delete),
        2 => pod().prop_map(Step::Recreate),
        1 => Just(Step::Release),
        1 => Just(Step::BeginList),
        2 => Just(Step::EndList),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let plan = (prop::collection::vec(of_others(), 0..4), prop::bool::weighted(0.1))
        .prop_map(|(meanwhile, is_answer_lost)| Step::Plan { meanwhile, is_answer_lost });
    prop::collection::vec(prop_oneof![3 => of_others(), 1 => plan], 1..80)
}

/// Returns the maximum number of unavailable Pods over time.
fn most_away(mut model: Model, steps: &[Step]) -> usize {
    let away = steps.iter().map(|step| {
        model.step(step);
        model.away()
    });
    away.max().unwrap_or_default()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn however_late_the_watch_is_a_planner_that_counts_never_takes_too_many_pods_away(steps in steps()) {
        let most = most_away(Model::new(Some(Overlay::default())), &steps);
        prop_assert!(most <= MOST_AWAY, "{most}");
    }

    #[test]
    fn once_all_is_heard_the_index_is_the_truth(steps in steps()) {
        let mut model = Model::new(Some(Overlay::default()));
        for step in &steps {
            model.step(step);
        }
        model.end_list();
        model.hear(usize::MAX);
        prop_assert_eq!(&model.index.known, &model.pods);
    }
}

#[test]
fn a_planner_that_only_remembers_what_it_wrote_takes_too_many_pods_away() {
    let plan = Step::Plan { meanwhile: Vec::new(), is_answer_lost: false };
    let steps = [Step::BeginList, plan.clone(), Step::EndList, plan];
    assert_eq!(most_away(Model::new(Some(Overlay::default())), &steps), MOST_AWAY);
    assert!(most_away(Model::new(None), &steps) > MOST_AWAY);
}
