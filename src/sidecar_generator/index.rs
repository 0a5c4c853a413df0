//! Pure: everything the controller knows, and which SidecarGenerators each event affects.

use super::generator::{Key, ObservedGenerator};
use super::memory::GeneratorMemory;
use super::mesh_wide::ROOT_NAMESPACE;
use super::neighbours::Neighbours;
use super::plan::{Around, Plan, plan};
use super::sidecar::ObservedSidecar;
use crate::cluster::{Event, Overlay};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// SidecarGenerators and Sidecars as last seen, and the memory of the former.
#[derive(Debug)]
pub struct GeneratorIndex {
    generators: BTreeMap<Key, Arc<ObservedGenerator>>,
    sidecars: HashMap<String, Neighbours>,
    own_generators: Overlay<Arc<ObservedGenerator>>,
    own_sidecars: Overlay<Arc<ObservedSidecar>>,
    memories: HashMap<Key, GeneratorMemory>,
    /// Namespaces with changed selectors since their SidecarGenerators were last examined.
    reselected: BTreeSet<String>,
    unlisted: Unlisted,
    /// Istio's root namespace.
    pub root_namespace: String,
}

impl Default for GeneratorIndex {
    fn default() -> Self {
        Self {
            generators: BTreeMap::new(),
            sidecars: HashMap::new(),
            own_generators: Overlay::default(),
            own_sidecars: Overlay::default(),
            memories: HashMap::new(),
            reselected: BTreeSet::new(),
            unlisted: Unlisted::default(),
            root_namespace: ROOT_NAMESPACE.to_owned(),
        }
    }
}

/// Keys of objects that were known when a list began and have not been seen since. They are deleted once the list is
/// complete.
#[derive(Debug, Default)]
struct Unlisted {
    generators: BTreeSet<Key>,
    sidecars: BTreeSet<Key>,
}

impl GeneratorIndex {
    /// Returns the keys of all SidecarGenerators.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.generators.keys()
    }

    /// Returns all SidecarGenerators.
    pub fn generators(&self) -> impl Iterator<Item = &ObservedGenerator> {
        self.generators.values().map(AsRef::as_ref)
    }

    /// Returns the SidecarGenerator with this key.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<&Arc<ObservedGenerator>> {
        self.generators.get(key)
    }

    /// Returns the memory of a SidecarGenerator; `None` if it is gone.
    pub fn memory(&mut self, key: &Key) -> Option<&mut GeneratorMemory> {
        self.generators.contains_key(key).then(|| self.memories.entry(key.clone()).or_default())
    }

    /// Forgets the memory of another term.
    pub fn forget(&mut self) {
        self.memories.clear();
    }

    /// Returns the Sidecars of a namespace.
    #[must_use]
    pub fn neighbours(&self, namespace: &str) -> Option<&Neighbours> {
        self.sidecars.get(namespace)
    }

    /// Returns the Sidecar with this key.
    #[must_use]
    pub fn sidecar(&self, key: &Key) -> Option<&Arc<ObservedSidecar>> {
        self.sidecars.get(&key.namespace)?.get(&key.name)
    }

    /// Returns the SidecarGenerator with this key and its plan.
    #[must_use]
    pub fn plan(
        &self,
        key: &Key,
        installed: bool,
        floor: Duration,
        now: Timestamp,
    ) -> Option<(Arc<ObservedGenerator>, Plan)> {
        let generator = self.generators.get(key)?;
        let nothing = GeneratorMemory::default();
        let memory = self.memories.get(key).unwrap_or(&nothing);
        let root_namespace = self.root_namespace.as_str();
        let around = Around { neighbours: self.sidecars.get(&key.namespace), installed, root_namespace, floor };
        Some((Arc::clone(generator), plan(generator, around, memory, now)))
    }

    /// SidecarGenerators changed. Unchanged ones, such as our own writes, are skipped.
    pub fn generators_event(&mut self, event: Event<Arc<ObservedGenerator>>) -> Vec<Key> {
        let events = self.own_generators.pass(event);
        events.flat_map(|event| self.take_generators(event)).collect()
    }

    fn take_generators(&mut self, event: Event<Arc<ObservedGenerator>>) -> Vec<Key> {
        match event {
            Event::Begin => self.unlisted.generators = self.generators.keys().cloned().collect(),
            Event::Item(generator) => {
                self.unlisted.generators.remove(&generator.key);
                return self.apply_generator(generator).into_iter().collect();
            }
            Event::End => {
                for key in std::mem::take(&mut self.unlisted.generators) {
                    self.delete_generator(&key);
                }
            }
            Event::Applied(generator) => return self.apply_generator(generator).into_iter().collect(),
            Event::Deleted(generator) => self.delete_generator(&generator.key),
        }
        Vec::new()
    }

    /// Sidecars changed. Unchanged ones are skipped.
    pub fn sidecars_event(&mut self, event: Event<Arc<ObservedSidecar>>) -> Vec<Key> {
        let events = self.own_sidecars.pass(event);
        events.flat_map(|event| self.take_sidecars(event)).collect()
    }

    fn take_sidecars(&mut self, event: Event<Arc<ObservedSidecar>>) -> Vec<Key> {
        let touched = match event {
            Event::Begin => {
                let keys = self.sidecars.values().flat_map(Neighbours::keys);
                self.unlisted.sidecars = keys.cloned().collect();
                Vec::new()
            }
            Event::Item(sidecar) => {
                self.unlisted.sidecars.remove(&sidecar.key);
                self.apply_new_sidecar(sidecar)
            }
            Event::End => {
                let gone: Vec<Key> = std::mem::take(&mut self.unlisted.sidecars).into_iter().collect();
                for key in &gone {
                    self.delete_sidecar(key);
                }
                gone
            }
            Event::Applied(sidecar) => self.apply_new_sidecar(sidecar),
            Event::Deleted(sidecar) => {
                self.delete_sidecar(&sidecar.key);
                vec![sidecar.key.clone()]
            }
        };
        touched.into_iter().filter(|key| self.generators.contains_key(key)).collect()
    }

    /// The API server answered a write of a SidecarGenerator over this version. The watch will report it or has done
    /// so.
    pub fn generator_answered(&mut self, after: ObservedGenerator, over: &str) {
        let known = self.generators.get(&after.key);
        if let Some(after) = self.own_generators.answered(Arc::new(after), Some(over), known) {
            self.generators.insert(after.key.clone(), after);
        }
    }

    /// The same for a Sidecar; `None` if it did not exist.
    pub fn sidecar_answered(&mut self, after: ObservedSidecar, over: Option<&str>) {
        let known = self.sidecars.get(&after.key.namespace).and_then(|neighbours| neighbours.get(&after.key.name));
        if let Some(after) = self.own_sidecars.answered(Arc::new(after), over, known) {
            self.apply_sidecar(after);
        }
    }

    /// Returns the SidecarGenerators whose neighbours changed their selectors. Each change is returned once.
    pub fn reselected(&mut self) -> Vec<Key> {
        let namespaces = std::mem::take(&mut self.reselected);
        namespaces.into_iter().flat_map(|namespace| self.keys_in(namespace)).collect()
    }

    fn keys_in(&self, namespace: String) -> Vec<Key> {
        let first = Key { namespace, name: String::new() };
        let in_namespace = |key: &&Key| key.namespace == first.namespace;
        self.generators.range(first.clone()..).map(|(key, _)| key).take_while(in_namespace).cloned().collect()
    }

    fn apply_generator(&mut self, generator: Arc<ObservedGenerator>) -> Option<Key> {
        let key = generator.key.clone();
        match self.generators.get(&key).filter(|known| known.uid == generator.uid) {
            Some(known) if known.resource_version == generator.resource_version => return None,
            Some(_) => {}
            // The memory belongs to another one, possibly one that was deleted while its Sidecar was written.
            None => drop(self.memories.remove(&key)),
        }
        self.generators.insert(key.clone(), generator);
        Some(key)
    }

    fn delete_generator(&mut self, key: &Key) {
        self.generators.remove(key);
        self.memories.remove(key);
    }

    fn apply_sidecar(&mut self, sidecar: Arc<ObservedSidecar>) {
        let namespace = sidecar.key.namespace.clone();
        if self.sidecars.entry(namespace.clone()).or_default().apply(sidecar) {
            self.reselected.insert(namespace);
        }
    }

    /// Returns its key, unless this version is already known.
    fn apply_new_sidecar(&mut self, sidecar: Arc<ObservedSidecar>) -> Vec<Key> {
        let key = sidecar.key.clone();
        if self.sidecar(&key).is_some_and(|known| known.resource_version == sidecar.resource_version) {
            return Vec::new();
        }
        self.apply_sidecar(sidecar);
        vec![key]
    }

    fn delete_sidecar(&mut self, key: &Key) {
        let Some(neighbours) = self.sidecars.get_mut(&key.namespace) else { return };
        if neighbours.delete(&key.name) {
            self.reselected.insert(key.namespace.clone());
        }
        if neighbours.is_empty() {
            self.sidecars.remove(&key.namespace);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sidecar_generator::tests::{generator, sidecar};
    use serde_json::{Value, json};

    fn seen(name: &str, version: u32, uid: &str) -> Arc<ObservedGenerator> {
        let mut object = generator(name, &json!({"url": "http://h"}));
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        object["metadata"]["uid"] = json!(uid);
        Arc::new(ObservedGenerator::read(object))
    }

    fn selecting(name: &str, version: u32, labels: &Value) -> Arc<ObservedSidecar> {
        let mut object = sidecar(name, &json!({"workloadSelector": {"labels": labels}}));
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        Arc::new(ObservedSidecar::read(object))
    }

    /// The keys affected by a list of these objects.
    fn listed<K, const N: usize>(objects: [K; N], tell: impl FnMut(Event<K>) -> Vec<Key>) -> Vec<Key> {
        Event::list(objects).flat_map(tell).collect()
    }

    fn index() -> GeneratorIndex {
        let mut index = GeneratorIndex::default();
        let touched = listed([seen("a", 1, "1"), seen("b", 1, "2")], |event| index.generators_event(event));
        assert_eq!(names(&touched), ["a", "b"]);
        index
    }

    fn names(keys: &[Key]) -> Vec<&str> {
        keys.iter().map(|key| key.name.as_str()).collect()
    }

    #[test]
    fn an_event_touches_only_what_it_matters_to() {
        let mut index = index();
        assert_eq!(names(&index.generators_event(Event::Applied(seen("a", 1, "1")))), [""; 0], "told before");
        assert_eq!(names(&index.generators_event(Event::Applied(seen("a", 2, "1")))), ["a"]);
        assert_eq!(names(&index.sidecars_event(Event::Applied(selecting("b", 1, &json!({}))))), ["b"]);
        assert_eq!(names(&index.sidecars_event(Event::Applied(selecting("b", 1, &json!({}))))), [""; 0]);
        assert_eq!(names(&index.sidecars_event(Event::Applied(selecting("other", 1, &json!({}))))), [""; 0]);
        assert_eq!(names(&index.sidecars_event(Event::Deleted(selecting("b", 1, &json!({}))))), ["b"]);
        assert_eq!(names(&index.generators_event(Event::Deleted(seen("b", 1, "2")))), [""; 0]);
        let touched = listed([seen("a", 2, "1"), seen("c", 1, "3")], |event| index.generators_event(event));
        assert_eq!(names(&touched), ["c"]);
        assert_eq!(index.keys().map(|key| key.name.as_str()).collect::<Vec<_>>(), ["a", "c"]);
    }

    #[test]
    fn a_list_touches_what_is_new_or_gone_and_one_that_breaks_off_takes_nothing_away() {
        let mut index = index();
        let sidecar = |name: &str, version| selecting(name, version, &json!({}));
        listed([sidecar("a", 1), sidecar("b", 1)], |event| index.sidecars_event(event));
        for _ in 0..2 {
            index.sidecars_event(Event::Begin);
            index.generators_event(Event::Begin);
            assert!(index.sidecars_event(Event::Item(sidecar("a", 1))).is_empty());
            assert_eq!(index.neighbours("default").map(|neighbours| neighbours.names().count()), Some(2));
            assert_eq!(index.keys().count(), 2);
        }
        assert_eq!(names(&index.sidecars_event(Event::End)), ["b"]);
        assert_eq!(names(&listed([sidecar("a", 2)], |event| index.sidecars_event(event))), ["a"]);
        index.generators_event(Event::End);
        assert_eq!(index.keys().count(), 0);
    }

    #[test]
    fn a_namespace_is_looked_at_when_what_its_sidecars_select_changes() {
        let mut index = index();
        index.sidecars_event(Event::Applied(selecting("other", 1, &json!({"app": "x"}))));
        assert_eq!(names(&index.reselected()), ["a", "b"]);
        index.sidecars_event(Event::Applied(selecting("other", 2, &json!({"app": "x"}))));
        assert_eq!(names(&index.reselected()), [""; 0], "the same selection");
        index.sidecars_event(Event::Applied(selecting("other", 3, &json!({"app": "y"}))));
        index.sidecars_event(Event::Deleted(selecting("other", 3, &json!({"app": "y"}))));
        assert_eq!(names(&index.reselected()), ["a", "b"]);
    }

    #[test]
    fn one_of_the_same_name_is_not_what_is_remembered() {
        let mut index = index();
        let key = Key { namespace: "default".to_owned(), name: "a".to_owned() };
        index.memory(&key).unwrap().fetching = Some(1);
        index.generators_event(Event::Applied(seen("a", 2, "1")));
        assert_eq!(index.memory(&key).unwrap().fetching, Some(1));
        index.generators_event(Event::Applied(seen("a", 3, "another")));
        assert_eq!(index.memory(&key).unwrap().fetching, None);
        index.memory(&key).unwrap().fetching = Some(1);
        index.generators_event(Event::Deleted(seen("a", 3, "another")));
        assert!(index.memory(&key).is_none());
        assert!(!index.memories.contains_key(&key), "whoever asks late brings nothing back");
    }

    #[test]
    fn what_came_of_a_write_never_replaces_what_the_watch_told_since() {
        let mut index = index();
        let key = Key { namespace: "default".to_owned(), name: "a".to_owned() };
        let version = |index: &GeneratorIndex| index.get(&key).unwrap().resource_version.clone();
        let written = |version| ObservedGenerator::clone(&seen("a", version, "1"));
        index.generator_answered(written(5), "1");
        assert_eq!(version(&index), "5");
        assert_eq!(names(&index.generators_event(Event::Applied(seen("a", 3, "1")))), [""; 0]);
        assert_eq!(version(&index), "5", "that was before");
        index.generators_event(Event::Applied(seen("a", 7, "1")));
        index.generator_answered(written(6), "5");
        assert_eq!(version(&index), "7");

        let version = |index: &GeneratorIndex| index.sidecar(&key).map(|sidecar| sidecar.resource_version.clone());
        let written = |version| ObservedSidecar::clone(&selecting("a", version, &json!({})));
        index.sidecar_answered(written(1), None);
        assert_eq!(version(&index).as_deref(), Some("1"));
        Event::list([]).for_each(|event| _ = index.sidecars_event(event));
        assert_eq!(version(&index).as_deref(), Some("1"), "the list may have been begun before");
        index.sidecars_event(Event::Applied(selecting("a", 3, &json!({}))));
        index.sidecar_answered(written(2), Some("1"));
        assert_eq!(version(&index).as_deref(), Some("3"));
        index.sidecars_event(Event::Deleted(selecting("a", 3, &json!({}))));
        index.sidecar_answered(written(4), Some("3"));
        assert_eq!(version(&index), None);
        index.sidecar_answered(written(1), None);
        assert_eq!(version(&index), None, "it came and went before its maker had the answer");
    }
}
