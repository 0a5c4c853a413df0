//! All that the controller knows, and which SidecarGenerators an event makes it look at again.

use super::generator::{Key, ObservedGenerator};
use super::memory::Memory;
use super::mesh_wide::ROOT_NAMESPACE;
use super::neighbours::Neighbours;
use super::plan::{Around, Plan, plan};
use super::sidecar::ObservedSidecar;
use crate::cluster::Event;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// SidecarGenerators and Sidecars as last seen, and what is remembered of the former.
#[derive(Debug)]
pub struct State {
    generators: BTreeMap<Key, Arc<ObservedGenerator>>,
    sidecars: HashMap<String, Neighbours>,
    memories: HashMap<Key, Memory>,
    /// Namespaces in which other Pods are selected than when the SidecarGenerators of all of the namespace were looked at.
    reselected: BTreeSet<String>,
    /// How often a Sidecar may have been told to be gone.
    gone: u64,
    /// Istio's root namespace.
    pub root_namespace: String,
}

impl Default for State {
    fn default() -> Self {
        Self {
            generators: BTreeMap::new(),
            sidecars: HashMap::new(),
            memories: HashMap::new(),
            reselected: BTreeSet::new(),
            gone: 0,
            root_namespace: ROOT_NAMESPACE.to_owned(),
        }
    }
}

impl State {
    /// The keys of all SidecarGenerators.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.generators.keys()
    }

    /// All SidecarGenerators.
    pub fn all(&self) -> impl Iterator<Item = &ObservedGenerator> {
        self.generators.values().map(AsRef::as_ref)
    }

    /// The SidecarGenerator of this key.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<&Arc<ObservedGenerator>> {
        self.generators.get(key)
    }

    /// What is remembered of a SidecarGenerator.
    pub fn memory(&mut self, key: &Key) -> &mut Memory {
        self.memories.entry(key.clone()).or_default()
    }

    /// Forgets all that was remembered: it was of another term.
    pub fn forget(&mut self) {
        self.memories.clear();
    }

    /// The Sidecars of a namespace.
    #[must_use]
    pub fn neighbours(&self, namespace: &str) -> Option<&Neighbours> {
        self.sidecars.get(namespace)
    }

    /// The Sidecar of this key.
    #[must_use]
    pub fn sidecar(&self, key: &Key) -> Option<&Arc<ObservedSidecar>> {
        self.sidecars.get(&key.namespace)?.get(&key.name)
    }

    /// The SidecarGenerator of this key, and what is to be done about it.
    #[must_use]
    pub fn plan(
        &self,
        key: &Key,
        installed: bool,
        floor: Duration,
        now: Timestamp,
    ) -> Option<(Arc<ObservedGenerator>, Plan)> {
        let generator = self.generators.get(key)?;
        let nothing = Memory::default();
        let memory = self.memories.get(key).unwrap_or(&nothing);
        let root_namespace = self.root_namespace.as_str();
        let around = Around { neighbours: self.sidecars.get(&key.namespace), installed, root_namespace, floor };
        Some((Arc::clone(generator), plan(generator, around, memory, now)))
    }

    /// SidecarGenerators changed. Those that are told again as they are known are left alone: so are our own writes.
    pub fn generators_event(&mut self, event: Event<Arc<ObservedGenerator>>) -> Vec<Key> {
        match event {
            Event::Applied(generator) => self.apply_generator(generator).into_iter().collect(),
            Event::Deleted(generator) => {
                self.delete_generator(&generator.key);
                Vec::new()
            }
            Event::Reset(generators) => {
                let present: BTreeSet<&Key> = generators.iter().map(|generator| &generator.key).collect();
                let gone: Vec<Key> = self.generators.keys().filter(|key| !present.contains(key)).cloned().collect();
                for key in &gone {
                    self.delete_generator(key);
                }
                generators.into_iter().filter_map(|generator| self.apply_generator(generator)).collect()
            }
        }
    }

    /// Sidecars changed.
    pub fn sidecars_event(&mut self, event: Event<Arc<ObservedSidecar>>) -> Vec<Key> {
        match event {
            Event::Applied(sidecar) => {
                let key = sidecar.key.clone();
                if self.sidecar(&key).is_some_and(|known| known.resource_version == sidecar.resource_version) {
                    return Vec::new();
                }
                self.apply_sidecar(sidecar);
                vec![key]
            }
            Event::Deleted(sidecar) => {
                self.gone += 1;
                self.delete_sidecar(&sidecar.key);
                vec![sidecar.key.clone()]
            }
            Event::Reset(sidecars) => {
                self.gone += 1;
                let mut namespaces: HashMap<String, Neighbours> = HashMap::new();
                for sidecar in sidecars {
                    namespaces.entry(sidecar.key.namespace.clone()).or_default().apply(sidecar);
                }
                self.sidecars = namespaces;
                self.reselected.clear();
                self.generators.keys().cloned().collect()
            }
        }
        .into_iter()
        .filter(|key| self.generators.contains_key(key))
        .collect()
    }

    /// A SidecarGenerator was written as it was at this resourceVersion, and this came of it. The watch tells of it, too, but later,
    /// or did so already.
    pub fn wrote_generator(&mut self, before: &str, after: ObservedGenerator) {
        if self.generators.get(&after.key).is_some_and(|known| known.resource_version == before) {
            self.generators.insert(after.key.clone(), Arc::new(after));
        }
    }

    /// How often a Sidecar may have been told to be gone: to be asked before one is made.
    #[must_use]
    pub fn gone(&self) -> u64 {
        self.gone
    }

    /// The same of a Sidecar that was changed.
    pub fn changed_sidecar(&mut self, before: &str, after: ObservedSidecar) {
        if self.sidecar(&after.key).is_some_and(|known| known.resource_version == before) {
            self.apply_sidecar(Arc::new(after));
        }
    }

    /// The same of a Sidecar that was made, since [`State::gone`] was this. If any went meanwhile, that may have been it: it is left
    /// to the watch then.
    pub fn made_sidecar(&mut self, gone: u64, after: ObservedSidecar) {
        if self.gone == gone && self.sidecar(&after.key).is_none() {
            self.apply_sidecar(Arc::new(after));
        }
    }

    /// The SidecarGenerators whose neighbours select other Pods than before; each change is told once.
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
            // What is remembered is of another one, perhaps of one that was deleted while its Sidecar was written.
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

    fn state() -> State {
        let mut state = State::default();
        assert_eq!(
            names(&state.generators_event(Event::Reset(vec![seen("a", 1, "1"), seen("b", 1, "2")]))),
            ["a", "b"]
        );
        state
    }

    fn names(keys: &[Key]) -> Vec<&str> {
        keys.iter().map(|key| key.name.as_str()).collect()
    }

    #[test]
    fn an_event_touches_only_what_it_matters_to() {
        let mut state = state();
        assert_eq!(names(&state.generators_event(Event::Applied(seen("a", 1, "1")))), [""; 0], "told before");
        assert_eq!(names(&state.generators_event(Event::Applied(seen("a", 2, "1")))), ["a"]);
        assert_eq!(names(&state.sidecars_event(Event::Applied(selecting("b", 1, &json!({}))))), ["b"]);
        assert_eq!(names(&state.sidecars_event(Event::Applied(selecting("b", 1, &json!({}))))), [""; 0]);
        assert_eq!(names(&state.sidecars_event(Event::Applied(selecting("other", 1, &json!({}))))), [""; 0]);
        assert_eq!(names(&state.sidecars_event(Event::Deleted(selecting("b", 1, &json!({}))))), ["b"]);
        assert_eq!(names(&state.generators_event(Event::Deleted(seen("b", 1, "2")))), [""; 0]);
        assert_eq!(names(&state.generators_event(Event::Reset(vec![seen("a", 2, "1"), seen("c", 1, "3")]))), ["c"]);
        assert_eq!(state.keys().map(|key| key.name.as_str()).collect::<Vec<_>>(), ["a", "c"]);
    }

    #[test]
    fn a_namespace_is_looked_at_when_what_its_sidecars_select_changes() {
        let mut state = state();
        state.sidecars_event(Event::Applied(selecting("other", 1, &json!({"app": "x"}))));
        assert_eq!(names(&state.reselected()), ["a", "b"]);
        state.sidecars_event(Event::Applied(selecting("other", 2, &json!({"app": "x"}))));
        assert_eq!(names(&state.reselected()), [""; 0], "the same selection");
        state.sidecars_event(Event::Applied(selecting("other", 3, &json!({"app": "y"}))));
        state.sidecars_event(Event::Deleted(selecting("other", 3, &json!({"app": "y"}))));
        assert_eq!(names(&state.reselected()), ["a", "b"]);
    }

    #[test]
    fn one_of_the_same_name_is_not_what_is_remembered() {
        let mut state = state();
        let key = Key { namespace: "default".to_owned(), name: "a".to_owned() };
        state.memory(&key).fetching = Some(1);
        state.generators_event(Event::Applied(seen("a", 2, "1")));
        assert_eq!(state.memory(&key).fetching, Some(1));
        state.generators_event(Event::Applied(seen("a", 3, "another")));
        assert_eq!(state.memory(&key).fetching, None);
        state.memory(&key).fetching = Some(1);
        state.generators_event(Event::Deleted(seen("a", 3, "another")));
        assert_eq!(state.memory(&key).fetching, None);
    }

    #[test]
    fn what_came_of_a_write_never_replaces_what_the_watch_told_since() {
        let mut state = state();
        let key = Key { namespace: "default".to_owned(), name: "a".to_owned() };
        let version = |state: &State| state.get(&key).unwrap().resource_version.clone();
        state.wrote_generator("1", ObservedGenerator::clone(&seen("a", 5, "1")));
        assert_eq!(version(&state), "5");
        state.generators_event(Event::Applied(seen("a", 7, "1")));
        state.wrote_generator("5", ObservedGenerator::clone(&seen("a", 6, "1")));
        assert_eq!(version(&state), "7");

        let version = |state: &State| state.sidecar(&key).map(|sidecar| sidecar.resource_version.clone());
        let gone = state.gone();
        state.made_sidecar(gone, ObservedSidecar::clone(&selecting("a", 1, &json!({}))));
        assert_eq!(version(&state).as_deref(), Some("1"));
        state.sidecars_event(Event::Applied(selecting("a", 3, &json!({}))));
        state.changed_sidecar("1", ObservedSidecar::clone(&selecting("a", 2, &json!({}))));
        assert_eq!(version(&state).as_deref(), Some("3"));
        state.sidecars_event(Event::Deleted(selecting("a", 3, &json!({}))));
        state.changed_sidecar("3", ObservedSidecar::clone(&selecting("a", 4, &json!({}))));
        assert_eq!(version(&state), None);
        state.made_sidecar(gone, ObservedSidecar::clone(&selecting("a", 1, &json!({}))));
        assert_eq!(version(&state), None, "it came and went before its maker had the answer");
    }
}
