//! Updated counts equal counts taken from scratch, and only changes are reported.

use super::*;
use crate::rollout::tests::{PodBuilder, rules};
use proptest::prelude::*;
use serde_json::json;
use std::sync::LazyLock;

const NAMESPACES: [&str; 3] = ["default", "n1", "n2"];
const SETS: [&str; 3] = ["s0", "s1", "s2"];

/// An event in a cluster.
#[derive(Clone, Debug)]
enum Event {
    Pod(PodSpec),
    PodDeleted(usize, usize),
    Pods(Vec<PodSpec>),
    /// A list that breaks off.
    BrokenPods(Vec<PodSpec>),
    Set(usize, Option<SetSpec>),
    Namespace(usize, Option<bool>),
}

#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "they are independent")]
struct PodSpec {
    namespace: usize,
    name: usize,
    labelled: bool,
    /// For each set, the hash that the Pod records.
    injected: [Option<usize>; 3],
    ready: bool,
    deleting: bool,
    container: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct SetSpec {
    selective: bool,
    namespaced: bool,
    image: usize,
}

fn pod_spec() -> impl Strategy<Value = PodSpec> {
    let hash = || proptest::option::weighted(0.7, 0..3_usize);
    let injected = (hash(), hash(), hash()).prop_map(|(a, b, c)| [a, b, c]);
    let flags = (any::<bool>(), any::<bool>(), proptest::bool::weighted(0.1), proptest::bool::weighted(0.9));
    (0..3_usize, 0..4_usize, injected, flags).prop_map(
        |(namespace, name, injected, (labelled, ready, deleting, container))| PodSpec {
            namespace,
            name,
            labelled,
            injected,
            ready,
            deleting,
            container,
        },
    )
}

fn event() -> impl Strategy<Value = Event> {
    let set = (any::<bool>(), any::<bool>(), 0..3_usize).prop_map(|(selective, namespaced, image)| SetSpec {
        selective,
        namespaced,
        image,
    });
    prop_oneof![
        8 => pod_spec().prop_map(Event::Pod),
        2 => (0..3_usize, 0..4_usize).prop_map(|(namespace, name)| Event::PodDeleted(namespace, name)),
        1 => proptest::collection::vec(pod_spec(), 0..8).prop_map(Event::Pods),
        1 => proptest::collection::vec(pod_spec(), 0..4).prop_map(Event::BrokenPods),
        3 => (0..3_usize, proptest::option::weighted(0.8, set)).prop_map(|(number, set)| Event::Set(number, set)),
        2 => (0..3_usize, proptest::option::weighted(0.8, any::<bool>())).prop_map(|(n, on)| Event::Namespace(n, on)),
    ]
}

/// All rules that a set can have, computed once because hashing takes most of the time.
static RULES: LazyLock<HashMap<SetSpec, CountingRules>> = LazyLock::new(|| {
    let flags = [false, true];
    let specs = flags.into_iter().flat_map(|selective| {
        flags.into_iter().flat_map(move |namespaced| (0..3).map(move |image| SetSpec { selective, namespaced, image }))
    });
    specs.map(|set| (set, set.rules_anew())).collect()
});

impl SetSpec {
    fn rules(self) -> CountingRules {
        RULES[&self].clone()
    }

    fn rules_anew(self) -> CountingRules {
        let key = if self.selective { "selected" } else { "app" };
        let mut spec = json!({"selector": {"matchExpressions": [{"key": key, "operator": "Exists"}]},
                              "containers": [{"name": "c", "image": format!("i:{}", self.image)}]});
        if self.namespaced {
            spec["namespaceSelector"] = json!({"matchLabels": {"on": "true"}});
        }
        rules("s", &spec)
    }
}

impl PodSpec {
    fn watched(&self) -> WatchedPod {
        let name = format!("p{}", self.name);
        let mut pod = PodBuilder::new(&name).namespace(NAMESPACES[self.namespace]).label("app", "a");
        if self.labelled {
            pod = pod.label("selected", "yes");
        }
        if self.ready {
            pod = pod.ready();
        }
        if self.deleting {
            pod = pod.deleting();
        }
        if self.container {
            pod = pod.container("c", "i:1");
        }
        let mut record = serde_json::Map::new();
        for (set, image) in SETS.iter().zip(self.injected) {
            if let Some(image) = image {
                let present = SetSpec { selective: false, namespaced: false, image };
                let hash = RULES[&present].hash();
                record.insert((*set).to_owned(), json!({"hash": hash, "controllerRevision": format!("{set}-{image}")}));
            }
        }
        let list = record.keys().cloned().collect::<Vec<_>>().join(",");
        let record = serde_json::Value::Object(record).to_string();
        pod.annotation("kruise.io/sidecarset-injected-list", &list)
            .annotation("kruise.io/sidecarset-hash", &record)
            .watched()
    }
}

/// Applies a complete list of Pods.
fn list(index: &mut PodIndex, pods: impl IntoIterator<Item = WatchedPod>) {
    index.begin_list();
    for pod in pods {
        index.apply_pod(&pod);
    }
    index.end_list();
}

fn labels(on: bool) -> Labels {
    Labels::from([("on".to_owned(), on.to_string())])
}

/// The objects, without an index.
#[derive(Default)]
struct Cluster {
    pods: BTreeMap<(usize, usize), PodSpec>,
    sets: BTreeMap<usize, SetSpec>,
    namespaces: BTreeMap<usize, bool>,
}

impl Cluster {
    fn happen(&mut self, event: &Event, index: &mut PodIndex) {
        let key = |pod: &PodSpec| (pod.namespace, pod.name);
        match event {
            Event::Pod(pod) => {
                index.apply_pod(&pod.watched());
                self.pods.insert(key(pod), pod.clone());
            }
            Event::PodDeleted(namespace, name) => {
                index.delete_pod(NAMESPACES[*namespace], &format!("p{name}"));
                self.pods.remove(&(*namespace, *name));
            }
            Event::Pods(pods) => {
                self.pods = pods.iter().map(|pod| (key(pod), pod.clone())).collect();
                list(index, self.pods.values().map(PodSpec::watched));
            }
            Event::BrokenPods(pods) => {
                index.begin_list();
                for pod in pods {
                    index.apply_pod(&pod.watched());
                    self.pods.insert(key(pod), pod.clone());
                }
            }
            Event::Set(number, Some(set)) => {
                index.apply_set(SETS[*number], Some(set.rules()));
                self.sets.insert(*number, *set);
            }
            Event::Set(number, None) => {
                index.delete_set(SETS[*number]);
                self.sets.remove(number);
            }
            Event::Namespace(number, Some(on)) => {
                index.apply_namespace(NAMESPACES[*number], labels(*on));
                self.namespaces.insert(*number, *on);
            }
            Event::Namespace(number, None) => {
                index.delete_namespace(NAMESPACES[*number]);
                self.namespaces.remove(number);
            }
        }
    }

    /// Returns an index that has seen only the current state.
    fn anew(&self) -> PodIndex {
        let mut index = PodIndex::default();
        list(&mut index, self.pods.values().map(PodSpec::watched));
        for (number, on) in &self.namespaces {
            index.apply_namespace(NAMESPACES[*number], labels(*on));
        }
        for (number, set) in &self.sets {
            index.apply_set(SETS[*number], Some(set.rules()));
        }
        index
    }
}

/// Returns everything that can be asked about a set.
fn told(index: &PodIndex, set: &str) -> (Counts, Vec<bool>, BTreeSet<(String, bool)>) {
    let revisions = (0..3).map(|image| index.uses_revision(set, &format!("{set}-{image}"))).collect();
    let pods = index
        .keys_of(set)
        .filter_map(|key| index.at(set, key))
        .map(|(pod, standing)| (format!("{}/{}", pod.namespace, pod.name), standing.matched));
    (index.counts(set), revisions, pods.collect())
}

proptest! {
    #[test]
    fn counts_kept_up_to_date_equal_counts_taken_anew(events in proptest::collection::vec(event(), 1..40)) {
        let (mut cluster, mut index) = (Cluster::default(), PodIndex::default());
        for event in &events {
            let before = SETS.map(|set| told(&index, set));
            index.take_changed();
            cluster.happen(event, &mut index);
            let changed = index.take_changed();
            for (set, (counts, revisions, _)) in SETS.iter().zip(before) {
                let now = told(&index, set);
                prop_assert!(changed.contains(*set) || (counts, revisions) == (now.0, now.1), "{} is not told", set);
            }
        }
        let anew = cluster.anew();
        for set in SETS {
            prop_assert_eq!(told(&index, set), told(&anew, set), "{}", set);
        }
        prop_assert_eq!(index.pods(), cluster.pods.len());
        prop_assert_eq!(index.sets.len(), anew.sets.len(), "sets that nothing names are forgotten");
    }
}

fn spec() -> serde_json::Value {
    json!({"selector": {"matchLabels": {"app": "a"}}, "containers": [{"name": "c", "image": "i:1"}]})
}

fn injected(name: &str) -> PodBuilder {
    PodBuilder::new(name).label("app", "a").injected("s", rules("s", &spec()).hash()).container("c", "i:1").ready()
}

fn index_of(pods: &[&str]) -> PodIndex {
    let mut index = PodIndex::default();
    index.apply_set("s", Some(rules("s", &spec())));
    list(&mut index, pods.iter().map(|pod| injected(pod).watched()));
    index.take_changed();
    index
}

#[test]
fn a_change_that_alters_no_count_tells_no_set() {
    let mut index = index_of(&["p", "q"]);
    index.apply_pod(&injected("p").label("note", "x").watched());
    index.apply_pod(&PodBuilder::new("stranger").label("app", "a").watched());
    index.apply_set("s", Some(rules("s", &spec())));
    index.apply_namespace("default", labels(true));
    list(&mut index, ["p", "q"].map(|pod| injected(pod).watched()));
    assert!(index.take_changed().is_empty());
    index.apply_pod(&injected("p").phase("Failed").watched());
    assert_eq!(index.take_changed().into_iter().collect::<Vec<_>>(), ["s".into()]);
}

#[test]
fn a_pod_that_is_gone_leaves_the_counts_at_once() {
    let mut index = index_of(&["p", "q"]);
    assert_eq!(index.counts("s"), Counts { matched: 2, updated: 2, ready: 2, updated_ready: 2, ..Counts::default() });
    index.delete_pod("default", "p");
    assert_eq!(index.counts("s").matched, 1);
    list(&mut index, []);
    assert_eq!((index.counts("s"), index.pods()), (Counts::default(), 0));
}

#[test]
fn a_set_counts_the_pods_that_name_it_whenever_it_is_made_and_however_many_others_they_name() {
    let pods = || {
        let others =
            |pod: &str| (0..20).map(|number| format!("no-set-{number}-of-{pod}")).collect::<Vec<_>>().join(",");
        let named = |pod: &str| injected(pod).annotation("kruise.io/sidecarset-injected-list", &(others(pod) + ",s"));
        ["p", "q", "r"].map(|pod| named(pod).watched())
    };
    let made = |index: &mut PodIndex| index.apply_set("s", Some(rules("s", &spec())));
    let (mut before, mut after, mut again) = (PodIndex::default(), PodIndex::default(), PodIndex::default());
    made(&mut before);
    list(&mut before, pods());
    list(&mut after, pods());
    made(&mut after);
    made(&mut again);
    for pod in &pods() {
        again.apply_pod(pod);
    }
    again.delete_set("s");
    assert_eq!(again.counts("s"), Counts::default());
    made(&mut again);
    for index in [before, after, again] {
        assert_eq!(
            index.counts("s"),
            Counts { matched: 3, updated: 3, ready: 3, updated_ready: 3, ..Counts::default() }
        );
    }
}
