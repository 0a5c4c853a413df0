//! Pure: everything the controller knows, and which sets each event affects.

use super::attempts::{AttemptEnd, Attempts, PodUpdates, PodWrite};
use super::counting::{KeptVersion, Labels};
use super::plan::{Plan, plan};
use super::pods::PodIndex;
use super::revisions::{KeptRevision, RevisionIndex};
use super::set::ObservedSet;
use super::survey::Survey;
use super::upgrade::PodUpdate;
use super::watched_pod::WatchedPod;
use crate::cluster::{Event, ObjectVersion, Overlay, Versioned};
use crate::injection::validate::Clashes;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Sets, Pods, Namespaces and revisions as last seen. Each event returns the names of the affected sets.
#[derive(Debug, Default)]
pub struct RolloutIndex {
    sets: BTreeMap<String, Arc<ObservedSet>>,
    pods: PodIndex,
    revisions: RevisionIndex,
    own_revisions: Overlay<KeptRevision>,
    own_pods: Overlay<WatchedPod>,
    attempts: Attempts,
    clashes: Clashes,
    unlisted: Unlisted,
    /// Namespaces whose Pods are never injected.
    pub excluded: BTreeSet<String>,
    /// Whether this process updates Pods in place.
    pub updates_pods: bool,
}

/// Names of objects that were known when a list began and have not been seen since. They are deleted once the list is
/// complete.
#[derive(Debug, Default)]
struct Unlisted {
    sets: BTreeSet<String>,
    namespaces: BTreeSet<String>,
    revisions: BTreeSet<String>,
}

impl RolloutIndex {
    /// Returns the names of all sets.
    pub fn sets(&self) -> impl Iterator<Item = &String> {
        self.sets.keys()
    }

    /// Returns the Pods.
    #[must_use]
    pub fn pods(&self) -> &PodIndex {
        &self.pods
    }

    /// Returns a new survey of the Pods of this set.
    #[must_use]
    pub fn survey(&self, set: &str) -> Option<Survey> {
        Some(Survey::of(Arc::clone(self.sets.get(set)?), &self.pods))
    }

    /// Continues a survey. Returns whether it is complete.
    pub fn go_on(&self, survey: &mut Survey, now: Timestamp) -> bool {
        survey.go_on(&self.pods, &self.attempts, now)
    }

    /// Plans for the set of a complete survey; `None` if the set has changed since.
    #[must_use]
    pub fn plan_of(&self, survey: &Survey, now: Timestamp) -> Option<Plan> {
        self.sets.get(&survey.set.name).filter(|set| Arc::ptr_eq(set, &survey.set))?;
        let is_known = |name: &str| self.sets.contains_key(name);
        let updates = PodUpdates { are_on: self.updates_pods, attempts: &self.attempts, is_known: &is_known };
        Some(plan(survey, &self.pods, &self.revisions, &self.clashes, &self.excluded, &updates, now))
    }

    /// Returns the set of this name and plans for it in one step.
    #[must_use]
    pub fn plan(&self, set: &str, now: Timestamp) -> Option<(Arc<ObservedSet>, Plan)> {
        let mut survey = self.survey(set)?;
        while !self.go_on(&mut survey, now) {}
        survey.sort();
        let plan = self.plan_of(&survey, now)?;
        Some((survey.set, plan))
    }

    /// Forgets the outcome of writes that the set's Pods show by now.
    pub fn tidy(&mut self, set: &str) {
        self.attempts.tidy(set, &self.pods);
    }

    /// An update of a Pod is about to be sent.
    pub fn update_begins(&mut self, set: &str, pod: ObjectVersion<'_>, update: &PodUpdate) {
        let key = self.pods.key(pod.namespace, pod.name);
        self.attempts.begin(set, pod, key, update.is_excused, update.patch.sent.clone());
    }

    /// A write to a Pod ended. Returns whether its problem differs from the previous one.
    pub fn write_ended(
        &mut self,
        set: &str,
        pod: ObjectVersion<'_>,
        write: PodWrite,
        end: AttemptEnd,
        now: Timestamp,
    ) -> bool {
        self.attempts.end(set, pod, write, end, now)
    }

    /// SidecarSets changed. Sets that a list returns unchanged are skipped.
    pub fn sets_event(&mut self, event: Event<Arc<ObservedSet>>) -> BTreeSet<String> {
        let mut touched = BTreeSet::new();
        match event {
            Event::Begin => self.unlisted.sets = self.sets.keys().cloned().collect(),
            Event::Item(set) => {
                self.unlisted.sets.remove(&set.name);
                if !self.sets.get(&set.name).is_some_and(|known| known.is_same_version_as(&set)) {
                    touched.insert(set.name.clone());
                    touched.extend(self.apply_set(set));
                }
            }
            Event::End => {
                for name in std::mem::take(&mut self.unlisted.sets) {
                    touched.extend(self.delete_set(&name));
                }
            }
            Event::Applied(set) => {
                touched.insert(set.name.clone());
                touched.extend(self.apply_set(set));
            }
            Event::Deleted(set) => touched.extend(self.delete_set(&set.name)),
        }
        self.with_changed_counts(touched)
    }

    /// Pods changed. Changes in a list are reported when it is complete. Pods written here in the meantime keep the
    /// written state.
    pub fn pods_event(&mut self, event: Event<WatchedPod>) -> BTreeSet<String> {
        let events = self.own_pods.pass(event);
        events.flat_map(|event| self.take_pods(event)).collect()
    }

    /// The API server answered a write over this version of a Pod with its current state. Returns the affected sets.
    pub fn pod_answered(&mut self, pod: WatchedPod, over: &WatchedPod) -> BTreeSet<String> {
        let version = pod.version();
        let known = self.pods.pod(version.namespace, version.name).map(|pod| WatchedPod::named(pod.version()));
        let over = over.version().resource_version;
        match self.own_pods.answered(pod, Some(over), known.as_ref()) {
            Some(pod) => self.take_pods(Event::Applied(pod)),
            None => BTreeSet::new(),
        }
    }

    /// The API server returned the current state of a Pod. Returns the affected sets.
    pub fn pod_read(&mut self, pod: WatchedPod) -> BTreeSet<String> {
        let version = pod.version();
        let known = self.pods.pod(version.namespace, version.name).map(|pod| WatchedPod::named(pod.version()));
        match self.own_pods.answered(pod, None, known.as_ref()) {
            Some(pod) => self.take_pods(Event::Applied(pod)),
            None => BTreeSet::new(),
        }
    }

    fn take_pods(&mut self, event: Event<WatchedPod>) -> BTreeSet<String> {
        match event {
            Event::Begin => {
                self.pods.begin_list();
                return BTreeSet::new();
            }
            Event::Item(pod) => {
                self.pods.apply_pod(&pod);
                return BTreeSet::new();
            }
            Event::End => self.pods.end_list(),
            Event::Applied(pod) => self.pods.apply_pod(&pod),
            Event::Deleted(pod) => {
                let metadata = kube::Resource::meta(&pod);
                let text = |text: &Option<String>| text.clone().unwrap_or_default();
                self.pods.delete_pod(&text(&metadata.namespace), &text(&metadata.name));
            }
        }
        self.with_changed_counts(BTreeSet::new())
    }

    /// Namespaces changed: their names and labels.
    pub fn namespaces_event(&mut self, event: Event<(String, Labels)>) -> BTreeSet<String> {
        let mut touched = BTreeSet::new();
        match event {
            Event::Begin => self.unlisted.namespaces = self.pods.namespaces().map(|(name, _)| name.clone()).collect(),
            Event::Item((name, labels)) => {
                self.unlisted.namespaces.remove(&name);
                touched = self.set_namespace(&name, Some(labels));
            }
            Event::End => {
                for name in std::mem::take(&mut self.unlisted.namespaces) {
                    touched.extend(self.set_namespace(&name, None));
                }
            }
            Event::Applied((name, labels)) => touched = self.set_namespace(&name, Some(labels)),
            Event::Deleted((name, _)) => touched = self.set_namespace(&name, None),
        }
        self.with_changed_counts(touched)
    }

    /// Returns the sets that start or stop selecting it.
    fn set_namespace(&mut self, name: &str, labels: Option<Labels>) -> BTreeSet<String> {
        let before = self.pods.labels_of(name);
        if before == labels.as_ref() {
            return BTreeSet::new();
        }
        let turns = |set: &ObservedSet| set.selects(before) != set.selects(labels.as_ref());
        let touched = self.sets.values().filter(|set| turns(set)).map(|set| set.name.clone()).collect();
        match labels {
            Some(labels) => self.pods.apply_namespace(name, labels),
            None => self.pods.delete_namespace(name),
        }
        touched
    }

    /// `ControllerRevisions` changed. Revisions that a list returns unchanged are skipped, and so are those written here since
    /// it began.
    pub fn revisions_event(&mut self, event: Event<KeptRevision>) -> BTreeSet<String> {
        let events = self.own_revisions.pass(event);
        events.flat_map(|event| self.take_revisions(event)).collect()
    }

    /// The API server answered a request with this revision. The watch will report it or has done so.
    pub fn revision_answered(&mut self, revision: KeptRevision, over: Option<&str>) {
        let known = self.revisions.get(&revision.name);
        if let Some(revision) = self.own_revisions.answered(revision, over, known) {
            self.take_revisions(Event::Applied(revision));
        }
    }

    fn take_revisions(&mut self, event: Event<KeptRevision>) -> BTreeSet<String> {
        let mut touched = BTreeSet::new();
        match event {
            Event::Begin => self.unlisted.revisions = self.revisions.names().cloned().collect(),
            Event::Item(revision) => {
                self.unlisted.revisions.remove(&revision.name);
                if self.revisions.get(&revision.name) != Some(&revision) {
                    touched = self.apply_revision(revision);
                }
            }
            Event::End => {
                let gone = std::mem::take(&mut self.unlisted.revisions);
                touched = gone.iter().filter_map(|name| self.revisions.delete(name)).map(|gone| gone.set).collect();
                self.revisions.forget_taken();
            }
            Event::Applied(revision) => {
                touched = self.apply_revision(revision);
            }
            Event::Deleted(revision) => {
                self.revisions.delete(&revision.name);
                touched.insert(revision.set);
            }
        }
        for set in &touched {
            self.apply_rules(set);
        }
        self.with_changed_counts(touched)
    }

    /// This name is not available for a revision, because another object has it.
    pub fn mark_taken(&mut self, revision: &str) {
        self.revisions.mark_taken(revision);
    }

    /// Returns the sets that it belongs or belonged to.
    fn apply_revision(&mut self, revision: KeptRevision) -> BTreeSet<String> {
        let set = revision.set.clone();
        let before = self.revisions.apply(revision);
        before.map(|before| before.set).into_iter().chain([set]).collect()
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

    /// Counts Pods by the current set and its revisions.
    fn apply_rules(&mut self, name: &str) {
        let Some(set) = self.sets.get(name) else { return };
        let kept = self.revisions.of(name).map(|revision| KeptVersion {
            images: &revision.images,
            hash: revision.hash.as_deref(),
            hash_without_amounts: revision.hash_without_amounts.as_deref(),
        });
        let rules = set.usable.as_ref().ok().map(|usable| usable.rules.clone().knowing(kept));
        self.pods.apply_set(name, rules);
    }

    /// Returns the sets whose clashes may have changed.
    fn delete_set(&mut self, name: &str) -> BTreeSet<String> {
        self.pods.delete_set(name);
        self.sets.remove(name);
        self.clashes.delete(name)
    }

    /// Returns these sets and those whose counts changed, if they exist.
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

    /// The sets affected by a list of these objects.
    fn listed<K, const N: usize>(objects: [K; N], tell: impl FnMut(Event<K>) -> BTreeSet<String>) -> BTreeSet<String> {
        Event::list(objects).flat_map(tell).collect()
    }

    fn index() -> RolloutIndex {
        let mut index = RolloutIndex::default();
        let sets = ["a", "b"].map(|name| observed(name, &spec(name)));
        assert_eq!(listed(sets, |event| index.sets_event(event)), names(&["a", "b"]));
        index
    }

    fn pod(name: &str, set: &str) -> WatchedPod {
        PodBuilder::new(name).label("app", set).injected(set, "h").container("c", "i:1").ready().watched()
    }

    #[test]
    fn an_event_touches_only_the_sets_it_matters_to() {
        let mut index = index();
        assert_eq!(index.pods_event(Event::Applied(pod("p", "a"))), names(&["a"]));
        assert_eq!(index.pods_event(Event::Applied(pod("p", "a"))), names(&[]));
        assert_eq!(index.pods_event(Event::Applied(pod("q", "of-no-set"))), names(&[]));
        let namespace = ("default".to_owned(), Labels::new());
        assert_eq!(listed([namespace], |event| index.namespaces_event(event)), names(&[]));
        assert_eq!(index.pods_event(Event::Deleted(pod("p", "a"))), names(&["a"]));
        assert_eq!(index.sets_event(Event::Applied(observed("b", &spec("b")))), names(&["b"]));
        assert_eq!(index.sets_event(Event::Deleted(observed("b", &spec("b")))), names(&[]));
        assert_eq!(index.sets().collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn a_namespace_that_a_set_begins_or_ceases_to_select_touches_it() {
        let mut index = RolloutIndex { excluded: ["left-alone".to_owned()].into(), ..RolloutIndex::default() };
        let mut selecting = spec("a");
        selecting["namespaceSelector"] = json!({"matchLabels": {"team": "core"}});
        index.sets_event(Event::Applied(observed("a", &selecting)));
        index.sets_event(Event::Applied(observed("b", &spec("b"))));
        let namespace =
            |name: &str, team: &str| (name.to_owned(), Labels::from([("team".to_owned(), team.to_owned())]));
        let reason = |index: &RolloutIndex| {
            let (_, plan) = index.plan("a", Timestamp::UNIX_EPOCH).unwrap();
            plan.status.unwrap().conditions[0].reason.clone()
        };
        for (event, touched, expected) in [
            (Event::Applied(namespace("left-alone", "core")), &["a"][..], "NamespacesExcluded"),
            (Event::Applied(namespace("left-alone", "core")), &[], "NamespacesExcluded"),
            (Event::Applied(namespace("shop", "sales")), &[], "NamespacesExcluded"),
            (Event::Applied(namespace("shop", "core")), &["a"], "Current"),
            (Event::Deleted(namespace("shop", "core")), &["a"], "NamespacesExcluded"),
            (Event::Applied(namespace("left-alone", "none")), &["a"], "Current"),
        ] {
            assert_eq!(index.namespaces_event(event.clone()), names(touched), "{event:?}");
            assert_eq!(reason(&index), expected, "{event:?}");
        }
    }

    #[test]
    fn a_set_that_becomes_unusable_counts_nothing_and_others_go_on() {
        let mut index = index();
        listed([pod("p", "a"), pod("q", "b")], |event| index.pods_event(event));
        let broken = observed("a", &json!({"selector": {}}));
        assert_eq!(index.sets_event(Event::Applied(broken)), names(&["a"]));
        assert_eq!((index.pods().counts("a").matched, index.pods().counts("b").matched), (0, 1));
        let (_, plan) = index.plan("a", Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(
            plan.problem.unwrap().note,
            "spec.selector: must not be empty: name at least one label; it is not injected until it is corrected"
        );
        assert!(plan.status.is_some() && plan.revision.is_none());
    }

    #[test]
    fn sets_that_clash_are_looked_at_together() {
        let mut index = index();
        let note = |index: &RolloutIndex, set: &str| {
            let (_, plan) = index.plan(set, Timestamp::UNIX_EPOCH).unwrap();
            plan.problem.map(|problem| (problem.reason, problem.note))
        };
        let clashing = observed("c", &spec("a"));
        assert_eq!(index.sets_event(Event::Applied(clashing.clone())), names(&["a", "c"]));
        for (set, other) in [("a", "c"), ("c", "a")] {
            let (reason, note) = note(&index, set).unwrap();
            assert!(
                reason == "Stalled" && note.starts_with(&format!("SidecarSet {other:?} injects a container \"c\"")),
                "{note}"
            );
        }
        assert_eq!(index.sets_event(Event::Applied(clashing)), names(&["c"]));
        let broken = observed("c", &json!({"selector": {"matchLabels": {"app": "a"}}, "containers": []}));
        assert_eq!(index.sets_event(Event::Applied(broken)), names(&["a", "c"]));
        assert_eq!(note(&index, "a"), None);
        index.sets_event(Event::Applied(observed("c", &spec("a"))));
        assert_eq!(index.sets_event(Event::Deleted(observed("c", &spec("a")))), names(&["a"]));
        assert_eq!(note(&index, "a"), None);
    }

    #[test]
    fn a_set_that_pods_would_be_refused_for_says_which_revision_is_injected() {
        const PROBLEM: &str = "spec.containers[0].ports[0].containerPort: Required value";
        let mut index = index();
        let port = json!([{"name": "c", "image": "i:1", "ports": [{"containerPort": 0}]}]);
        let unfit = observed("a", &json!({"selector": {"matchLabels": {"app": "a"}}, "containers": port}));
        index.sets_event(Event::Applied(unfit));
        let told = |index: &RolloutIndex| {
            let (_, plan) = index.plan("a", Timestamp::UNIX_EPOCH).unwrap();
            assert_eq!((plan.revision, plan.obsolete.len()), (None, 0), "what is kept stays");
            let (note, conditions) = (plan.problem.unwrap().note, plan.status.unwrap().conditions);
            let stalled = &conditions[2];
            assert_eq!((stalled.type_.as_str(), stalled.status.as_str(), &stalled.message), ("Stalled", "True", &note));
            note
        };
        assert_eq!(told(&index), format!("{PROBLEM}; it is not injected until it is corrected"));
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
                hash: None,
                hash_without_amounts: None,
                is_fit,
            };
            assert_eq!(index.revisions_event(Event::Applied(revision)), names(&["a"]));
        }
        assert_eq!(told(&index), format!("{PROBLEM}; until it is corrected, the last good revision a-2 is injected"));
    }

    #[test]
    fn sets_that_a_list_lacks_are_gone() {
        let mut index = index();
        listed([pod("p", "a")], |event| index.pods_event(event));
        let touched = listed([observed("b", &spec("b"))], |event| index.sets_event(event));
        assert_eq!(touched, names(&[]), "what is listed as it is known is left alone");
        assert!(index.plan("a", Timestamp::UNIX_EPOCH).is_none());
        assert_eq!(index.pods().counts("a").matched, 0);
    }

    #[test]
    fn a_list_that_breaks_off_takes_nothing_away() {
        let mut index = index();
        listed([pod("p", "a"), pod("q", "b")], |event| index.pods_event(event));
        listed([("default".to_owned(), Labels::new())], |event| index.namespaces_event(event));
        listed([kept("a")], |event| index.revisions_event(event));
        for _ in 0..2 {
            index.sets_event(Event::Begin);
            index.sets_event(Event::Item(observed("b", &spec("b"))));
            index.pods_event(Event::Begin);
            index.pods_event(Event::Item(pod("q", "b")));
            index.namespaces_event(Event::Begin);
            index.revisions_event(Event::Begin);
            assert_eq!(index.sets().collect::<Vec<_>>(), ["a", "b"]);
            assert_eq!(["a", "b"].map(|set| index.pods().counts(set).matched), [1, 1]);
            assert_eq!((index.pods().namespaces().count(), index.revisions.of("a").count()), (1, 1));
        }
        assert_eq!(index.pods_event(Event::End), names(&["a"]));
        assert_eq!(index.pods().counts("a").matched, 0);
        assert_eq!(index.revisions_event(Event::End), names(&["a"]));
        index.namespaces_event(Event::End);
        assert_eq!((index.pods().namespaces().count(), index.revisions.of("a").count()), (0, 0));
        index.sets_event(Event::End);
        assert_eq!(index.sets().collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn a_revision_that_was_written_while_a_list_is_under_way_stays() {
        let mut index = index();
        index.revisions_event(Event::Begin);
        index.revisions_event(Event::Applied(kept("a")));
        assert_eq!(index.revisions_event(Event::End), names(&[]));
        assert_eq!(index.revisions.of("a").count(), 1);
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
        let pods = || [pod("z", "evil:1"), pod("forged", "evil:1"), pod("p", "empty:1"), pod("q", "i:0")];
        let images = Arc::new(Images::of(&serde_json::from_value(hot("i:0")).unwrap()));
        let revision = || Event::Applied(KeptRevision { images: Arc::clone(&images), ..kept("a") });
        let mut of_each_order = Vec::new();
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let mut index = RolloutIndex::default();
            for step in order {
                match step {
                    0 => _ = index.sets_event(set()),
                    1 => _ = listed(pods(), |event| index.pods_event(event)),
                    _ => _ = index.revisions_event(revision()),
                }
            }
            let (_, plan) = index.plan("a", Timestamp::UNIX_EPOCH).unwrap();
            let message = plan.status.unwrap().conditions[0].message.clone();
            assert!(
                message.ends_with(
                    "; Pods that record the latest containers but have others: 2, such as default/forged: \
                     spec.containers \"c-2\" does not have the set's image"
                ),
                "{message}"
            );
            of_each_order.push(index.pods().counts("a"));
        }
        let first = &of_each_order[0];
        assert_eq!((first.matched, first.updated, first.deviating), (4, 2, 2));
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
            hash: None,
            hash_without_amounts: None,
            is_fit: false,
        }
    }

    #[test]
    fn a_revision_touches_its_set() {
        let mut index = index();
        assert_eq!(index.revisions_event(Event::Applied(kept("a"))), names(&["a"]));
        assert_eq!(index.revisions_event(Event::Applied(kept("b"))), names(&["a", "b"]));
        assert_eq!(index.revisions_event(Event::Deleted(kept("b"))), names(&["b"]));
        assert_eq!(index.revisions_event(Event::Applied(kept("gone"))), names(&[]));
        index.revisions_event(Event::Applied(kept("a")));
        assert_eq!(listed([kept("a")], |event| index.revisions_event(event)), names(&[]));
        assert_eq!(listed([], |event| index.revisions_event(event)), names(&["a"]));
    }
}
