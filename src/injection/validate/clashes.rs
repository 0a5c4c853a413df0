//! Clashes between existing SidecarSets: containers, volumes and annotations that two sets add to Pods that both may match. The
//! rules are those of [`super::conflicts`]. They are reported here for sets in files, and for sets that were stored at the same time
//! or past the webhook.
//!
//! For each thing that a set adds, the first other set (by name) that clashes with it is known. A set is compared only with sets
//! that add the same thing and share a necessary label. Each set is indexed under one such label, if it has one.

use super::overlap;
use crate::api::sidecarset::PatchPolicy;
use crate::injection::selector::{Operator, Selector};
use crate::injection::set::InjectableSet;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

/// Labels with at least this many sets are treated alike.
const CROWD: usize = 100;

/// The sets whose current content is injected, and their clashes. A set whose injection is paused, or whose Pods all get an earlier
/// version, has no clashes.
#[derive(Debug, Default)]
pub struct Clashes {
    sets: HashMap<String, Arc<InjectableSet>>,
    owners: Owners,
    /// For each set and each thing it clashes over, the first other set by name.
    found: BTreeMap<String, BTreeMap<Brought, String>>,
    /// For each set, the sets that name it in their clashes.
    named_by: HashMap<String, Names>,
}

/// A clash of one set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clash<'c> {
    set: &'c str,
    brought: &'c Brought,
    other: &'c str,
}

/// A thing that a set adds to its Pods.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Brought {
    Container(String),
    Volume(String),
    Annotation(String),
}

/// Names of sets.
type Names = BTreeSet<String>;

/// Which sets add which thing, in one ordered set. One tree for each thing would take several times the memory.
#[derive(Debug, Default)]
struct Owners(BTreeSet<Owner>);

/// A set that adds a thing, indexed under a necessary label, if it has one.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Owner {
    brought: Brought,
    label: Option<(Key, String)>,
    set: String,
}

/// The key of a label, of Pods or of Namespaces.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Pod(String),
    Namespace(String),
}

impl Clashes {
    /// A set was created or changed. Returns the sets whose clashes may have changed.
    pub fn apply(&mut self, set: &Arc<InjectableSet>) -> BTreeSet<String> {
        let name = set.name.clone();
        if self.sets.get(&name).is_some_and(|before| clash_alike(before, set)) {
            return BTreeSet::new();
        }
        let mut changed = self.delete(&name);
        changed.insert(name.clone());
        if !injects_its_content(set) {
            return changed;
        }
        self.sets.insert(name.clone(), Arc::clone(set));
        for brought in brought_by(set) {
            let mut comes_first_for = Vec::new();
            for other in self.owners.candidates(&brought, set) {
                let first = self.found.get(other).and_then(|clashes| clashes.get(&brought));
                if first.is_none_or(|first| name < *first)
                    && self.sets.get(other).is_some_and(|it| brought.clashes(set, it))
                {
                    comes_first_for.push(other.clone());
                }
            }
            self.owners.insert(&brought, set);
            for other in comes_first_for {
                self.name(&other, &brought, Some(name.clone()));
                changed.insert(other);
            }
            let first = self.first(set, &brought);
            self.name(&name, &brought, first);
        }
        changed
    }

    /// A set was deleted or is no longer injected. Returns the sets whose clashes may have changed.
    pub fn delete(&mut self, set: &str) -> BTreeSet<String> {
        let Some(gone) = self.sets.remove(set) else { return BTreeSet::new() };
        for brought in brought_by(&gone) {
            self.owners.remove(&brought, &gone);
            self.name(set, &brought, None);
        }
        let changed = self.named_by.remove(set).unwrap_or_default();
        for other in &changed {
            let Some(it) = self.sets.get(other).cloned() else { continue };
            let about: Vec<Brought> = self
                .found
                .get(other)
                .into_iter()
                .flatten()
                .filter(|(_, first)| *first == set)
                .map(|(brought, _)| brought.clone())
                .collect();
            for brought in about {
                let first = self.first(&it, &brought);
                self.name(other, &brought, first);
            }
        }
        changed
    }

    /// Returns the clashes of a set.
    pub fn of<'c>(&'c self, set: &'c str) -> impl Iterator<Item = Clash<'c>> {
        let found = self.found.get(set).into_iter().flatten();
        found.map(move |(brought, other)| Clash { set, brought, other })
    }

    /// Returns a sentence for each pair of sets and thing.
    #[must_use]
    pub fn sentences(&self) -> Vec<String> {
        let mut pairs = BTreeSet::new();
        for (set, clashes) in &self.found {
            for (brought, other) in clashes {
                pairs.insert((brought, set.min(other), set.max(other)));
            }
        }
        pairs.into_iter().map(|(brought, one, other)| brought.sentence(one, other)).collect()
    }

    /// Returns the first other set by name that clashes with this one over this thing.
    fn first(&self, set: &InjectableSet, brought: &Brought) -> Option<String> {
        let mut first: Option<&String> = None;
        for name in self.owners.candidates(brought, set) {
            let is_before = *name != set.name && first.is_none_or(|first| name < first);
            if is_before && self.sets.get(name).is_some_and(|other| brought.clashes(set, other)) {
                first = Some(name);
            }
        }
        first.cloned()
    }

    /// Records which other set is named in a set's clash.
    fn name(&mut self, set: &str, brought: &Brought, other: Option<String>) {
        let clashes = self.found.entry(set.to_owned()).or_default();
        let before = match other.clone() {
            Some(other) => clashes.insert(brought.clone(), other),
            None => clashes.remove(brought),
        };
        let named = |name: &String| clashes.values().any(|other| other == name);
        if let Some(before) = before.filter(|before| !named(before))
            && let Some(by) = self.named_by.get_mut(&before)
        {
            by.remove(set);
            if by.is_empty() {
                self.named_by.remove(&before);
            }
        }
        if clashes.is_empty() {
            self.found.remove(set);
        }
        if let Some(other) = other {
            self.named_by.entry(other).or_default().insert(set.to_owned());
        }
    }
}

impl FromIterator<Arc<InjectableSet>> for Clashes {
    fn from_iter<I: IntoIterator<Item = Arc<InjectableSet>>>(sets: I) -> Self {
        let mut clashes = Self::default();
        for set in sets {
            clashes.apply(&set);
        }
        clashes
    }
}

impl Clash<'_> {
    /// Whether Pods that both sets match are denied. Otherwise they are injected, but without part of one set.
    #[must_use]
    pub fn denies_pods(&self) -> bool {
        matches!(self.brought, Brought::Container(_))
    }
}

/// A sentence for readers of the set.
impl fmt::Display for Clash<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { set, brought, other } = self;
        match brought {
            Brought::Container(name) => write!(
                f,
                "SidecarSet {other:?} injects a container {name:?}, too, and Pods that both match are denied: rename one of them, or select other Pods"
            ),
            Brought::Volume(name) => write!(
                f,
                "SidecarSet {other:?} has another volume {name:?}: Pods that both match get that of {:?}",
                set.min(other)
            ),
            Brought::Annotation(key) => write!(
                f,
                "SidecarSet {other:?} patches the annotation {key:?}, too: Pods that both match get the value of {:?}",
                set.max(other)
            ),
        }
    }
}

impl Brought {
    /// Whether two sets that add this can match the same Pod and contradict each other.
    fn clashes(&self, one: &InjectableSet, other: &InjectableSet) -> bool {
        let differ = match self {
            Self::Container(_) => true,
            Self::Volume(name) => {
                let volume =
                    |set: &'_ InjectableSet| set.content.volumes.iter().position(|volume| volume.name == *name);
                let (Some(ours), Some(theirs)) = (volume(one), volume(other)) else { return false };
                !one.content.volumes[ours].is_same(&other.content.volumes[theirs])
            }
            // Two merged annotations are always compatible.
            Self::Annotation(key) => [one, other].iter().any(|set| {
                let mut patches = set.content.metadata_patches.iter();
                patches.any(|patch| {
                    patch.patch_policy == Some(PatchPolicy::Overwrite)
                        && patch.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(key))
                })
            }),
        };
        differ && may_both_match(one, other)
    }

    fn sentence(&self, one: &str, other: &str) -> String {
        let sets = format!("SidecarSets {one:?} and {other:?} both");
        match self {
            Self::Container(name) => format!("{sets} inject a container {name:?}: Pods that both match are denied"),
            Self::Volume(name) => {
                format!("{sets} have a volume {name:?}, but not the same: Pods that both match get that of {one:?}")
            }
            Self::Annotation(key) => {
                format!("{sets} patch the annotation {key:?}: Pods that both match get the value of {other:?}")
            }
        }
    }
}

impl Owners {
    /// Indexes the set under its rarest label.
    fn insert(&mut self, brought: &Brought, set: &InjectableSet) {
        let crowd = |(key, values): &(Key, &[String])| {
            let of_value = |value: &String| self.under(brought, Some((key.clone(), value.clone()))).take(CROWD).count();
            values.iter().map(of_value).max().unwrap_or_default()
        };
        let owner = |label| Owner { brought: brought.clone(), label, set: set.name.clone() };
        match required(set).min_by_key(crowd) {
            Some((key, values)) => {
                self.0.extend(values.iter().map(|value| owner(Some((key.clone(), value.clone())))));
            }
            None => _ = self.0.insert(owner(None)),
        }
    }

    fn remove(&mut self, brought: &Brought, set: &InjectableSet) {
        let mut owner = Owner { brought: brought.clone(), label: None, set: set.name.clone() };
        self.0.remove(&owner);
        for (key, values) in required(set) {
            for value in values {
                owner.label = Some((key.clone(), value.clone()));
                self.0.remove(&owner);
            }
        }
    }

    /// Returns the names of the sets that add the thing and may match a Pod that this one matches: all except those
    /// that require another value of a label.
    fn candidates<'c>(&'c self, brought: &Brought, set: &InjectableSet) -> Vec<&'c String> {
        let wanted: Vec<(Key, &[String])> = required(set).collect();
        let mut found: Vec<&String> = self.under(brought, None).collect();
        let mut next = Key::Pod(String::new());
        while let Some(key) = self.from(brought, Some((next, String::new()))).find_map(|owner| owner.key()) {
            if let Some((_, values)) = wanted.iter().find(|(wanted, _)| wanted == key) {
                for value in *values {
                    found.extend(self.under(brought, Some((key.clone(), value.clone()))));
                }
            } else {
                let of_key = self.from(brought, Some((key.clone(), String::new())));
                found.extend(of_key.take_while(|owner| owner.key() == Some(key)).map(|owner| &owner.set));
            }
            next = key.next();
        }
        found
    }

    /// Returns the names of the sets indexed there.
    fn under<'c>(&'c self, brought: &Brought, label: Option<(Key, String)>) -> impl Iterator<Item = &'c String> {
        self.from(brought, label.clone()).take_while(move |owner| owner.label == label).map(|owner| &owner.set)
    }

    /// Returns the sets that add the thing, starting at the first one of a label.
    fn from<'c>(&'c self, brought: &Brought, label: Option<(Key, String)>) -> impl Iterator<Item = &'c Owner> {
        let first = Owner { brought: brought.clone(), label, set: String::new() };
        self.0.range(&first..).take_while(move |owner| owner.brought == first.brought)
    }
}

impl Owner {
    fn key(&self) -> Option<&Key> {
        self.label.as_ref().map(|(key, _)| key)
    }
}

impl Key {
    /// Returns the smallest greater value.
    fn next(&self) -> Self {
        match self {
            Self::Pod(key) => Self::Pod(format!("{key}\0")),
            Self::Namespace(key) => Self::Namespace(format!("{key}\0")),
        }
    }
}

/// Returns the labels that a Pod must have for the set to match, each with its allowed values.
fn required(set: &InjectableSet) -> impl Iterator<Item = (Key, &[String])> {
    fn of(selector: &Selector, key: impl Fn(String) -> Key) -> impl Iterator<Item = (Key, &[String])> {
        selector.requirements().iter().filter_map(move |requirement| match &requirement.operator {
            Operator::In(values) => Some((key(requirement.key.clone()), values.as_slice())),
            _ => None,
        })
    }
    of(&set.selector, Key::Pod).chain(set.namespace_selector.iter().flat_map(|selector| of(selector, Key::Namespace)))
}

fn brought_by(set: &InjectableSet) -> BTreeSet<Brought> {
    let containers = set.content.container_names().map(|name| Brought::Container(name.to_owned()));
    let volumes = set.content.volumes.iter().map(|volume| Brought::Volume(volume.name.clone()));
    let patches = set
        .content
        .metadata_patches
        .iter()
        .filter(|patch| matches!(patch.patch_policy, Some(PatchPolicy::Overwrite | PatchPolicy::MergePatchJson)));
    let keys = patches.flat_map(|patch| patch.annotations.iter().flat_map(BTreeMap::keys));
    containers.chain(volumes).chain(keys.map(|key| Brought::Annotation(key.clone()))).collect()
}

/// Whether two versions of a set have the same clashes.
fn clash_alike(one: &InjectableSet, other: &InjectableSet) -> bool {
    one.content.digest == other.content.digest
        && one.selector == other.selector
        && one.namespace_selector == other.namespace_selector
        && one.canary_of == other.canary_of
        && injects_its_content(one) == injects_its_content(other)
}

/// Whether any Pod can get the set's current content.
fn injects_its_content(set: &InjectableSet) -> bool {
    !set.paused && !set.is_pinned()
}

fn may_both_match(one: &InjectableSet, other: &InjectableSet) -> bool {
    let replaces = |canary: &InjectableSet, base: &InjectableSet| canary.canary_of.as_ref() == Some(&base.name);
    let namespaces = match (&one.namespace_selector, &other.namespace_selector) {
        (Some(one), Some(other)) => overlap::overlap(one, other),
        _ => true,
    };
    !replaces(one, other) && !replaces(other, one) && namespaces && overlap::overlap(&one.selector, &other.selector)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::decode;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn set(name: &str, app: &str, container: &str, annotations: &Value) -> Arc<InjectableSet> {
        set_with(name, app, container, annotations, &json!({}))
    }

    fn set_with(name: &str, app: &str, container: &str, annotations: &Value, more: &Value) -> Arc<InjectableSet> {
        let mut object = json!({
            "apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet", "metadata": {"name": name, "annotations": annotations},
            "spec": {"selector": {"matchLabels": {"app": app}}, "containers": [{"name": container, "image": "x:1"}]}
        });
        for (field, value) in more.as_object().unwrap() {
            object["spec"][field] = value.clone();
        }
        Arc::new(InjectableSet::new(decode::sidecarset(object).unwrap()).unwrap())
    }

    fn clashes<const N: usize>(sets: [&Arc<InjectableSet>; N]) -> Vec<String> {
        Clashes::from_iter(sets.map(Arc::clone)).sentences()
    }

    #[test]
    fn only_sets_that_may_match_one_pod_share_a_name() {
        let none = json!({});
        let (a, b) = (set("a", "web", "c", &none), set("b", "web", "c", &none));
        let (elsewhere, other) = (set("x", "db", "c", &none), set("y", "web", "d", &none));
        let canary = json!({"apps.kruise.io/sidecarset-canary": "true", "apps.kruise.io/sidecarset-base": "a"});
        let canary = set("z", "web", "c", &canary);
        assert_eq!(
            clashes([&b, &a, &elsewhere, &other]),
            ["SidecarSets \"a\" and \"b\" both inject a container \"c\": Pods that both match are denied"]
        );
        assert!(clashes([&a, &canary]).is_empty());
        let paused = set_with("p", "web", "c", &none, &json!({"injectionStrategy": {"paused": true}}));
        assert!(clashes([&a, &paused]).is_empty(), "it matches no Pod");
    }

    #[test]
    fn a_set_of_which_every_pod_gets_an_earlier_version_clashes_with_none() {
        let none = json!({});
        let a = set("a", "web", "c", &none);
        let pinned = |revision: &Value, updates: &Value| {
            let spec = json!({"injectionStrategy": {"revision": revision}, "updateStrategy": updates});
            set_with("p", "web", "c", &none, &spec)
        };
        for policy in [json!({"revisionName": "p-1"}), json!({"customVersion": "v1", "policy": "Always"})] {
            assert!(clashes([&a, &pinned(&policy, &none)]).is_empty(), "{policy}");
        }
        let partial = json!({"revisionName": "p-1", "policy": "Partial"});
        assert!(clashes([&a, &pinned(&partial, &json!({"paused": true}))]).is_empty());
        assert_eq!(clashes([&a, &pinned(&partial, &none)]).len(), 1, "some Pods get the present version");

        let mut all = Clashes::from_iter([a, pinned(&json!({"revisionName": "p-1"}), &none)]);
        assert_eq!(all.apply(&pinned(&json!({}), &none)).len(), 2, "it is told once the present version is injected");
        assert_eq!(all.apply(&pinned(&json!({"revisionName": "p-1"}), &none)).len(), 2, "and over with the next pin");
        assert!(all.sentences().is_empty());
    }

    #[test]
    fn volumes_clash_where_they_differ_and_annotations_where_one_overwrites() {
        let none = json!({});
        let volume = |name: &str, container: &str, volume: &Value| {
            set_with(name, "web", container, &none, &json!({"volumes": [volume]}))
        };
        let a = volume("a", "x", &json!({"name": "v", "emptyDir": {}}));
        assert!(clashes([&a, &volume("b", "y", &json!({"emptyDir": {}, "name": "v"}))]).is_empty());
        let b = volume("b", "y", &json!({"name": "v", "emptyDir": {"medium": "Memory"}}));
        let all = Clashes::from_iter([a, b]);
        let of_b: Vec<Clash<'_>> = all.of("b").collect();
        assert_eq!(
            of_b[0].to_string(),
            "SidecarSet \"a\" has another volume \"v\": Pods that both match get that of \"a\""
        );
        assert!(!of_b[0].denies_pods());

        let patch = |name: &str, container: &str, policy: &str| {
            let patches = json!({"patchPodMetadata": [{"annotations": {"k": "{}"}, "patchPolicy": policy}]});
            set_with(name, "web", container, &none, &patches)
        };
        for (one, other, count) in [
            ("MergePatchJson", "MergePatchJson", 0),
            ("Retain", "Overwrite", 0),
            ("Overwrite", "MergePatchJson", 1),
            ("Overwrite", "Overwrite", 1),
        ] {
            assert_eq!(clashes([&patch("a", "x", one), &patch("b", "y", other)]).len(), count, "{one} {other}");
        }
    }

    #[test]
    fn both_sets_say_so_until_one_changes_or_goes() {
        let none = json!({});
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let mut all = Clashes::default();
        let text = |all: &Clashes, set: &str| all.of(set).map(|clash| clash.to_string()).collect::<Vec<_>>();
        assert_eq!(all.apply(&set("b", "web", "c", &none)), names(&["b"]));
        assert_eq!(all.apply(&set("a", "web", "c", &none)), names(&["a", "b"]));
        assert_eq!(all.apply(&set("a", "web", "c", &none)), names(&[]), "nothing changed");
        assert_eq!(
            text(&all, "a"),
            [
                "SidecarSet \"b\" injects a container \"c\", too, and Pods that both match are denied: rename one of them, or select other Pods"
            ]
        );
        assert!(all.of("b").all(|clash| clash.other == "a" && clash.denies_pods()));
        assert_eq!(all.apply(&set("c", "web", "c", &none)), names(&["c"]), "the first by name is named");
        assert_eq!(all.apply(&set("a", "db", "c", &none)), names(&["a", "b", "c"]));
        assert_eq!((text(&all, "a").len(), all.of("b").next().unwrap().other), (0, "c"));
        assert_eq!(all.delete("c"), names(&["b"]));
        assert!(all.found.is_empty() && all.named_by.is_empty());
        all.delete("a");
        all.delete("b");
        assert!(all.owners.0.is_empty() && all.sets.is_empty());
    }

    /// A change of a set: its name, and the new set or `None` if it was deleted.
    fn change() -> impl Strategy<Value = (String, Option<Value>)> {
        let values = || proptest::sample::subsequence(vec!["1", "2", "3"], 1..3);
        let requirement =
            (proptest::sample::select(vec!["x", "y"]), values(), proptest::sample::select(vec!["In", "In", "NotIn"]))
                .prop_map(|(key, values, operator)| json!({"key": key, "operator": operator, "values": values}));
        let selector =
            || proptest::collection::vec(requirement.clone(), 1..3).prop_map(|all| json!({"matchExpressions": all}));
        let containers = proptest::sample::subsequence(vec!["c", "d"], 1..=2).prop_map(|names| {
            json!(names.iter().map(|name| json!({"name": name, "image": "x:1"})).collect::<Vec<_>>())
        });
        let volume = proptest::option::of(proptest::sample::select(vec!["", "Memory"]))
            .prop_map(|medium| medium.map(|medium| json!([{"name": "v", "emptyDir": {"medium": medium}}])));
        let spec = (selector(), proptest::option::of(selector()), containers, volume, any::<bool>());
        let name = || proptest::sample::select(vec!["a", "b", "e", "f", "g"]);
        let set = (spec, proptest::option::of(name())).prop_map(
            |((selector, namespaces, containers, volumes, paused), base)| {
                let annotations = base.map(
                    |base| json!({"apps.kruise.io/sidecarset-canary": "true", "apps.kruise.io/sidecarset-base": base}),
                );
                json!({"metadata": {"annotations": annotations},
                   "spec": {"selector": selector, "namespaceSelector": namespaces, "containers": containers,
                            "volumes": volumes, "injectionStrategy": {"paused": paused}}})
            },
        );
        (name().prop_map(str::to_owned), proptest::option::weighted(0.8, set))
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_comparing_all_with_all_finds(changes in proptest::collection::vec(change(), 1..25)) {
            let mut all = Clashes::default();
            let mut sets: BTreeMap<String, Arc<InjectableSet>> = BTreeMap::new();
            let expected = |sets: &BTreeMap<String, Arc<InjectableSet>>, name: &str| -> Vec<(Brought, String)> {
                let Some(set) = sets.get(name).filter(|set| !set.paused) else { return Vec::new() };
                let first = |brought: Brought| {
                    let mut others = sets.values().filter(|other| other.name != name && !other.paused && brought_by(other).contains(&brought));
                    let other = others.find(|other| brought.clashes(set, other))?;
                    Some((brought, other.name.clone()))
                };
                brought_by(set).into_iter().filter_map(first).collect()
            };
            let found = |all: &Clashes, name: &str| all.of(name).map(|clash| (clash.brought.clone(), clash.other.to_owned())).collect::<Vec<_>>();
            for (name, object) in changes {
                let before: BTreeMap<String, _> = sets.keys().map(|name| (name.clone(), found(&all, name))).collect();
                let changed = if let Some(mut object) = object {
                    object["apiVersion"] = json!("apps.kruise.io/v1beta1");
                    object["kind"] = json!("SidecarSet");
                    object["metadata"]["name"] = json!(name);
                    let set = Arc::new(InjectableSet::new(decode::sidecarset(object).unwrap()).unwrap());
                    sets.insert(name, Arc::clone(&set));
                    all.apply(&set)
                } else {
                    sets.remove(&name);
                    all.delete(&name)
                };
                for name in sets.keys() {
                    let now = found(&all, name);
                    prop_assert_eq!(&now, &expected(&sets, name));
                    if before.get(name).is_some_and(|before| *before != now) {
                        prop_assert!(changed.contains(name), "{} changed untold", name);
                    }
                }
            }
        }
    }
}
