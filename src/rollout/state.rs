//! All that the controller knows, and which sets an event makes it look at again.

use super::counting::Labels;
use super::plan::{Plan, plan};
use super::pods::PodIndex;
use super::revisions::{KeptRevision, RevisionIndex};
use super::set::ObservedSet;
use super::watched_pod::WatchedPod;
use crate::cluster::Event;
use crate::injection::validate::Clashes;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Sets, Pods, Namespaces and revisions as last seen. Each event returns the names of the sets to look at again.
#[derive(Debug, Default)]
pub struct State {
    sets: BTreeMap<String, Arc<ObservedSet>>,
    pods: PodIndex,
    revisions: RevisionIndex,
    clashes: Clashes,
    /// Namespaces whose Pods are never injected.
    pub excluded: BTreeSet<String>,
}

impl State {
    /// The names of all sets.
    pub fn sets(&self) -> impl Iterator<Item = &String> {
        self.sets.keys()
    }

    /// Whether there is a set of this name.
    #[must_use]
    pub fn has(&self, set: &str) -> bool {
        self.sets.contains_key(set)
    }

    /// The Pods.
    #[must_use]
    pub fn pods(&self) -> &PodIndex {
        &self.pods
    }

    /// The set of this name, and what is to be written for it.
    #[must_use]
    pub fn plan(&self, set: &str, now: Timestamp) -> Option<(Arc<ObservedSet>, Plan)> {
        let set = self.sets.get(set)?;
        Some((Arc::clone(set), plan(set, &self.pods, &self.revisions, &self.clashes, &self.excluded, now)))
    }

    /// SidecarSets changed.
    pub fn sets_event(&mut self, event: Event<Arc<ObservedSet>>) -> BTreeSet<String> {
        let mut touched = BTreeSet::new();
        match event {
            Event::Applied(set) => {
                touched.insert(set.name.clone());
                touched.extend(self.apply_set(set));
            }
            Event::Deleted(set) => touched.extend(self.delete_set(&set.name)),
            Event::Reset(sets) => {
                let names: BTreeSet<&String> = sets.iter().map(|set| &set.name).collect();
                let gone: Vec<String> = self.sets.keys().filter(|name| !names.contains(name)).cloned().collect();
                for name in &gone {
                    touched.extend(self.delete_set(name));
                }
                touched.extend(names.into_iter().cloned());
                for set in sets {
                    touched.extend(self.apply_set(set));
                }
            }
        }
        self.with_changed_counts(touched)
    }

    /// Pods changed.
    pub fn pods_event(&mut self, event: Event<WatchedPod>) -> BTreeSet<String> {
        match event {
            Event::Applied(pod) => self.pods.apply_pod(&pod),
            Event::Deleted(pod) => {
                let metadata = kube::Resource::meta(&pod);
                let text = |text: &Option<String>| text.clone().unwrap_or_default();
                self.pods.delete_pod(&text(&metadata.namespace), &text(&metadata.name));
            }
            Event::Reset(pods) => self.pods.reset_pods(pods),
        }
        self.with_changed_counts(BTreeSet::new())
    }

    /// Namespaces changed: their names and labels.
    pub fn namespaces_event(&mut self, event: Event<(String, Labels)>) -> BTreeSet<String> {
        match event {
            Event::Applied((name, labels)) => self.pods.apply_namespace(&name, labels),
            Event::Deleted((name, _)) => self.pods.delete_namespace(&name),
            Event::Reset(namespaces) => self.pods.reset_namespaces(namespaces),
        }
        self.with_changed_counts(BTreeSet::new())
    }

    /// `ControllerRevisions` changed.
    pub fn revisions_event(&mut self, event: Event<KeptRevision>) -> BTreeSet<String> {
        let touched: BTreeSet<String> = match event {
            Event::Applied(revision) => {
                let touched = revision.set.clone();
                let before = self.revisions.apply(revision);
                before.map(|before| before.set).into_iter().chain([touched]).collect()
            }
            Event::Deleted(revision) => {
                self.revisions.delete(&revision.name);
                BTreeSet::from([revision.set])
            }
            Event::Reset(revisions) => {
                self.revisions.reset(revisions);
                self.sets.keys().cloned().collect()
            }
        };
        for set in &touched {
            self.apply_rules(set);
        }
        self.with_changed_counts(touched)
    }

    /// This name cannot be given to a revision: something else has it.
    pub fn mark_taken(&mut self, revision: &str) {
        self.revisions.mark_taken(revision);
    }

    /// Returns the sets whose clashes may have changed.
    fn apply_set(&mut self, set: Arc<ObservedSet>) -> BTreeSet<String> {
        let touched = match &set.usable {
            Ok(usable) => self.clashes.apply(&usable.injectable),
            Err(_) => self.clashes.delete(&set.name),
        };
        let name = set.name.clone();
        self.sets.insert(name.clone(), set);
        self.apply_rules(&name);
        touched
    }

    /// Counts Pods by the set as it is, with the revisions that there are.
    fn apply_rules(&mut self, name: &str) {
        let Some(set) = self.sets.get(name) else { return };
        let kept = self.revisions.of(name).map(|revision| &revision.images);
        let rules = set.usable.as_ref().ok().map(|usable| usable.rules.clone().knowing(kept));
        self.pods.apply_set(name, rules);
    }

    /// Returns the sets whose clashes may have changed.
    fn delete_set(&mut self, name: &str) -> BTreeSet<String> {
        self.pods.delete_set(name);
        self.sets.remove(name);
        self.clashes.delete(name)
    }

    /// These and the sets whose counts changed, as far as they exist.
    fn with_changed_counts(&mut self, mut touched: BTreeSet<String>) -> BTreeSet<String> {
        touched.extend(self.pods.take_changed().iter().map(ToString::to_string));
        touched.retain(|name| self.sets.contains_key(name));
        touched
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::injection::verify::Images;
    use crate::rollout::tests::{PodBuilder, set};
    use serde_json::{Value, json};

    fn spec(label: &str) -> Value {
        json!({"selector": {"matchLabels": {"app": label}}, "containers": [{"name": "c", "image": "i:1"}]})
    }

    fn observed(name: &str, spec: &Value) -> Arc<ObservedSet> {
        Arc::new(ObservedSet::read(&set(name, spec)))
    }

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn state() -> State {
        let mut state = State::default();
        let sets = ["a", "b"].map(|name| observed(name, &spec(name)));
        assert_eq!(state.sets_event(Event::Reset(sets.to_vec())), names(&["a", "b"]));
        state
    }

    fn pod(name: &str, set: &str) -> WatchedPod {
        PodBuilder::new(name).label("app", set).injected(set, "h").container("c", "i:1").ready().watched()
    }

    #[test]
    fn an_event_touches_only_the_sets_it_matters_to() {
        let mut state = state();
        assert_eq!(state.pods_event(Event::Applied(pod("p", "a"))), names(&["a"]));
        assert_eq!(state.pods_event(Event::Applied(pod("p", "a"))), names(&[]));
        assert_eq!(state.pods_event(Event::Applied(pod("q", "of-no-set"))), names(&[]));
        assert_eq!(state.namespaces_event(Event::Reset(vec![("default".to_owned(), Labels::new())])), names(&[]));
        assert_eq!(state.pods_event(Event::Deleted(pod("p", "a"))), names(&["a"]));
        assert_eq!(state.sets_event(Event::Applied(observed("b", &spec("b")))), names(&["b"]));
        assert_eq!(state.sets_event(Event::Deleted(observed("b", &spec("b")))), names(&[]));
        assert_eq!(state.sets().collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn a_set_that_becomes_unusable_counts_nothing_and_others_go_on() {
        let mut state = state();
        state.pods_event(Event::Reset(vec![pod("p", "a"), pod("q", "b")]));
        let broken = observed("a", &json!({"selector": {}}));
        assert_eq!(state.sets_event(Event::Applied(broken)), names(&["a"]));
        assert_eq!((state.pods().counts("a").matched, state.pods().counts("b").matched), (0, 1));
        let (_, plan) = state.plan("a", Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(
            plan.problem.unwrap().note,
            "spec.selector: must not be empty: name at least one label; it is not injected until it is corrected"
        );
        assert!(plan.status.is_some() && plan.revision.is_none());
    }

    #[test]
    fn sets_that_clash_are_looked_at_together() {
        let mut state = state();
        let note = |state: &State, set: &str| {
            let (_, plan) = state.plan(set, Timestamp::UNIX_EPOCH).unwrap();
            plan.problem.map(|problem| (problem.reason, problem.note))
        };
        let clashing = observed("c", &spec("a"));
        assert_eq!(state.sets_event(Event::Applied(clashing.clone())), names(&["a", "c"]));
        for (set, other) in [("a", "c"), ("c", "a")] {
            let (reason, note) = note(&state, set).unwrap();
            assert!(
                reason == "Stalled" && note.starts_with(&format!("SidecarSet {other:?} injects a container \"c\"")),
                "{note}"
            );
        }
        assert_eq!(state.sets_event(Event::Applied(clashing)), names(&["c"]));
        let broken = observed("c", &json!({"selector": {"matchLabels": {"app": "a"}}, "containers": []}));
        assert_eq!(state.sets_event(Event::Applied(broken)), names(&["a", "c"]));
        assert_eq!(note(&state, "a"), None);
        state.sets_event(Event::Applied(observed("c", &spec("a"))));
        assert_eq!(state.sets_event(Event::Deleted(observed("c", &spec("a")))), names(&["a"]));
        assert_eq!(note(&state, "a"), None);
    }

    #[test]
    fn a_set_that_pods_would_be_refused_for_says_which_revision_is_injected() {
        const PROBLEM: &str = "spec.containers[0].ports[0].containerPort: Required value";
        let mut state = state();
        let port = json!([{"name": "c", "image": "i:1", "ports": [{"containerPort": 0}]}]);
        let unfit = observed("a", &json!({"selector": {"matchLabels": {"app": "a"}}, "containers": port}));
        state.sets_event(Event::Applied(unfit));
        let told = |state: &State| {
            let (_, plan) = state.plan("a", Timestamp::UNIX_EPOCH).unwrap();
            assert_eq!((plan.revision, plan.obsolete.len()), (None, 0), "what is kept stays");
            let (note, conditions) = (plan.problem.unwrap().note, plan.status.unwrap().conditions);
            let stalled = &conditions[2];
            assert_eq!((stalled.type_.as_str(), stalled.status.as_str(), &stalled.message), ("Stalled", "True", &note));
            note
        };
        assert_eq!(told(&state), format!("{PROBLEM}; it is not injected until it is corrected"));
        for (number, is_fit) in [(1, true), (2, true), (3, false)] {
            let revision = KeptRevision {
                name: format!("a-{number}"),
                uid: String::new(),
                resource_version: "1".to_owned(),
                set: "a".to_owned(),
                number,
                custom_version: None,
                data: None,
                images: Arc::default(),
                is_fit,
            };
            assert_eq!(state.revisions_event(Event::Applied(revision)), names(&["a"]));
        }
        assert_eq!(told(&state), format!("{PROBLEM}; until it is corrected, the last good revision a-2 is injected"));
    }

    #[test]
    fn sets_that_a_list_lacks_are_gone() {
        let mut state = state();
        state.pods_event(Event::Reset(vec![pod("p", "a")]));
        assert_eq!(state.sets_event(Event::Reset(vec![observed("b", &spec("b"))])), names(&["b"]));
        assert!(state.plan("a", Timestamp::UNIX_EPOCH).is_none());
        assert_eq!(state.pods().counts("a").matched, 0);
    }

    #[test]
    fn a_pod_that_only_claims_to_be_updated_is_told_whatever_comes_first() {
        let hot = |image: &str| {
            let upgrade = json!({"upgradeType": "HotUpgrade", "hotUpgradeEmptyImage": "empty:1"});
            json!({"selector": {"matchLabels": {"app": "a"}},
                   "containers": [{"name": "c", "image": image, "upgradeStrategy": upgrade}]})
        };
        let set = || Event::Applied(observed("a", &hot("i:1")));
        let hash = observed("a", &hot("i:1")).usable.as_ref().unwrap().rules.hash().to_owned();
        let pod = |name: &str, idle: &str| {
            let pod = PodBuilder::new(name).label("app", "a").injected("a", &hash);
            pod.container("c-1", "i:1")
                .container("c-2", idle)
                .annotation("kruise.io/sidecarset-working-hotupgrade-container", r#"{"c":"c-1"}"#)
                .watched()
        };
        let pods =
            || Event::Reset(vec![pod("z", "evil:1"), pod("forged", "evil:1"), pod("p", "empty:1"), pod("q", "i:0")]);
        let images = Arc::new(Images::of(&serde_json::from_value(hot("i:0")).unwrap()));
        let revision = || Event::Reset(vec![KeptRevision { images: Arc::clone(&images), ..kept("a") }]);
        let mut of_each_order = Vec::new();
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let mut state = State::default();
            for step in order {
                match step {
                    0 => _ = state.sets_event(set()),
                    1 => _ = state.pods_event(pods()),
                    _ => _ = state.revisions_event(revision()),
                }
            }
            let (first, deviation) = state.pods().deviation("a").unwrap();
            of_each_order.push((state.pods().counts("a"), first.name.clone(), deviation.to_string()));
            let (_, plan) = state.plan("a", Timestamp::UNIX_EPOCH).unwrap();
            let message = plan.status.unwrap().conditions[0].message.clone();
            assert!(
                message.ends_with(
                    "; Pods that record the latest containers but have others: 2, such as default/forged: \
                     spec.containers \"c-2\" does not have the set's image"
                ),
                "{message}"
            );
        }
        let first = &of_each_order[0];
        assert_eq!((first.0.matched, first.0.updated, first.0.deviating), (4, 2, 2));
        assert!(of_each_order.iter().all(|other| other == first), "{of_each_order:?}");
    }

    fn kept(set: &str) -> KeptRevision {
        KeptRevision {
            name: "a-1".to_owned(),
            uid: String::new(),
            resource_version: "1".to_owned(),
            set: set.to_owned(),
            number: 1,
            custom_version: None,
            data: None,
            images: Arc::default(),
            is_fit: false,
        }
    }

    #[test]
    fn a_revision_touches_its_set() {
        let mut state = state();
        assert_eq!(state.revisions_event(Event::Applied(kept("a"))), names(&["a"]));
        assert_eq!(state.revisions_event(Event::Applied(kept("b"))), names(&["a", "b"]));
        assert_eq!(state.revisions_event(Event::Deleted(kept("b"))), names(&["b"]));
        assert_eq!(state.revisions_event(Event::Applied(kept("gone"))), names(&[]));
        assert_eq!(state.revisions_event(Event::Reset(Vec::new())), names(&["a", "b"]));
    }
}
