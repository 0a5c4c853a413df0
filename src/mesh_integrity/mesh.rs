//! All objects of a mesh, by kind, namespace and name, and by the labels that selectors use.

use super::object::{Key, Kind, Object, Service, Spec, Workload, selects};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// Options of a mesh.
#[derive(Clone, Debug)]
pub struct Options {
    /// The namespace whose objects are the defaults of the mesh.
    pub root_namespace: String,
    /// The domain of Services.
    pub domain: String,
    /// The time at which certificates must be valid, in seconds since 1970. Without it no certificate has expired.
    pub now: Option<i64>,
}

impl Default for Options {
    fn default() -> Self {
        Self { root_namespace: "istio-system".to_owned(), domain: "cluster.local".to_owned(), now: None }
    }
}

/// All objects of a mesh.
#[derive(Debug, Default)]
pub(super) struct Mesh {
    pub options: Options,
    objects: BTreeMap<Key, (i64, Arc<Object>)>,
    keys: HashMap<i64, Key>,
    last: i64,
    /// Workloads by each of their labels.
    labelled: Labels,
    /// Services and Sidecars with a selector by the first of its labels.
    selecting: Labels,
}

/// At most this many of the workloads of a selector are compared with their other selectors.
pub(super) const MOST_WORKLOADS: usize = 100;

/// Numbers of objects by namespace and label, and by the label alone.
#[derive(Debug, Default)]
struct Labels {
    of_namespace: HashMap<(String, String, String), HashSet<i64>>,
    of_all: HashMap<(String, String), HashSet<i64>>,
}

type Label<'l> = (&'l String, &'l String);

/// The objects that are checked.
pub(super) enum Touched {
    All,
    Only(BTreeSet<Key>),
}

impl Labels {
    fn insert<'l>(&mut self, id: i64, namespace: &str, labels: impl Iterator<Item = Label<'l>>) {
        for (key, value) in labels {
            let place = (namespace.to_owned(), key.clone(), value.clone());
            self.of_namespace.entry(place).or_default().insert(id);
            self.of_all.entry((key.clone(), value.clone())).or_default().insert(id);
        }
    }

    fn remove<'l>(&mut self, id: i64, namespace: &str, labels: impl Iterator<Item = Label<'l>>) {
        for (key, value) in labels {
            let place = (namespace.to_owned(), key.clone(), value.clone());
            remove(&mut self.of_namespace, &place, id);
            remove(&mut self.of_all, &(key.clone(), value.clone()), id);
        }
    }

    fn with(&self, namespace: Option<&str>, (key, value): Label<'_>) -> Option<&HashSet<i64>> {
        let (key, value) = (key.clone(), value.clone());
        match namespace {
            Some(namespace) => self.of_namespace.get(&(namespace.to_owned(), key, value)),
            None => self.of_all.get(&(key, value)),
        }
    }
}

fn remove<K: std::hash::Hash + Eq>(map: &mut HashMap<K, HashSet<i64>>, key: &K, id: i64) {
    if let Some(ids) = map.get_mut(key) {
        ids.remove(&id);
        if ids.is_empty() {
            map.remove(key);
        }
    }
}

impl Mesh {
    pub fn new(options: Options) -> Self {
        Self { options, ..Self::default() }
    }

    /// Adds or replaces an object. Returns its number in the database, and that of the object that it replaces.
    pub fn insert(&mut self, object: Arc<Object>) -> (i64, Option<i64>) {
        let before = self.remove(&object.key);
        self.last += 1;
        let (id, key) = (self.last, object.key.clone());
        match &object.spec {
            Spec::Workload(workload) => self.labelled.insert(id, &key.namespace, workload.labels.iter()),
            spec => self.selecting.insert(id, &key.namespace, spec.selector().into_iter().flatten().take(1)),
        }
        self.keys.insert(id, key.clone());
        self.objects.insert(key, (id, object));
        (id, before)
    }

    pub fn remove(&mut self, key: &Key) -> Option<i64> {
        let (id, object) = self.objects.remove(key)?;
        match &object.spec {
            Spec::Workload(workload) => self.labelled.remove(id, &key.namespace, workload.labels.iter()),
            spec => self.selecting.remove(id, &key.namespace, spec.selector().into_iter().flatten().take(1)),
        }
        self.keys.remove(&id);
        Some(id)
    }

    pub fn key(&self, id: i64) -> Option<&Key> {
        self.keys.get(&id)
    }

    pub fn id(&self, key: &Key) -> Option<i64> {
        self.objects.get(key).map(|(id, _)| *id)
    }

    pub fn get(&self, key: &Key) -> Option<&Arc<Object>> {
        self.objects.get(key).map(|(_, object)| object)
    }

    pub fn by_id(&self, id: i64) -> Option<&Arc<Object>> {
        self.get(self.key(id)?)
    }

    pub fn all(&self) -> impl Iterator<Item = (i64, &Arc<Object>)> {
        self.objects.values().map(|(id, object)| (*id, object))
    }

    pub fn of(&self, kind: Kind) -> impl Iterator<Item = &Arc<Object>> {
        let first = Key { kind, namespace: String::new(), name: String::new() };
        self.objects.range(first..).take_while(move |(key, _)| key.kind == kind).map(|(_, (_, object))| object)
    }

    pub fn in_namespace<'m>(&'m self, kind: Kind, namespace: &'m str) -> impl Iterator<Item = &'m Arc<Object>> {
        let first = Key { kind, namespace: namespace.to_owned(), name: String::new() };
        let belongs = move |key: &Key| key.kind == kind && key.namespace == namespace;
        self.objects.range(first..).take_while(move |(key, _)| belongs(key)).map(|(_, (_, object))| object)
    }

    /// Returns whether a workload is known, of a namespace or of any. An assumed workload counts only in its own
    /// namespace.
    pub fn has_workloads(&self, namespace: Option<&str>) -> bool {
        match namespace {
            Some(namespace) => Kind::WORKLOADS
                .into_iter()
                .chain([Kind::WorkloadEntry])
                .any(|kind| self.in_namespace(kind, namespace).next().is_some()),
            None => Kind::WORKLOADS.into_iter().any(|kind| self.of(kind).any(|workload| !workload.assumed)),
        }
    }

    /// Returns the workloads that a selector selects, in the order of their keys. `None` means all namespaces.
    pub fn selected(&self, namespace: Option<&str>, selector: &BTreeMap<String, String>) -> BTreeMap<&Key, &Workload> {
        let candidates = selector.iter().map(|label| self.labelled.with(namespace, label));
        let fewest = candidates.min_by_key(|ids| ids.map_or(0, HashSet::len)).flatten();
        let workload = |id: &i64| match &self.by_id(*id)?.spec {
            Spec::Workload(workload) => Some((self.key(*id)?, workload)),
            _ => None,
        };
        let workloads = fewest.into_iter().flatten().filter_map(workload);
        workloads.filter(|(_, workload)| selects(selector, &workload.labels)).collect()
    }

    /// Returns the Services whose selector selects a workload, in the order of their keys.
    pub fn services_of<'m>(
        &'m self,
        namespace: &str,
        labels: &BTreeMap<String, String>,
    ) -> BTreeMap<&'m Key, &'m Service> {
        let service = |object: &'m Arc<Object>| match &object.spec {
            Spec::Service(service) => Some((&object.key, service)),
            _ => None,
        };
        self.selectors_of(namespace, labels).into_iter().filter_map(service).collect()
    }

    /// Returns the Sidecars whose selector selects a workload, in the order of their keys.
    pub fn sidecars_of<'m>(&'m self, namespace: &str, labels: &BTreeMap<String, String>) -> BTreeSet<&'m Key> {
        let of_kind =
            self.selectors_of(namespace, labels).into_iter().filter(|object| object.key.kind == Kind::Sidecar);
        of_kind.map(|object| &object.key).collect()
    }

    /// Returns the objects of a namespace whose selector selects these labels.
    fn selectors_of(&self, namespace: &str, labels: &BTreeMap<String, String>) -> Vec<&Arc<Object>> {
        let candidates = labels.iter().filter_map(|label| self.selecting.with(Some(namespace), label)).flatten();
        let objects = candidates.filter_map(|id| self.by_id(*id));
        objects.filter(|object| object.spec.selector().is_some_and(|selector| selects(selector, labels))).collect()
    }

    /// Returns whether a selector selects a workload of a namespace. `None` if no workload of the namespace is known.
    pub fn is_selected(&self, namespace: &str, selector: &BTreeMap<String, String>) -> Option<bool> {
        if selector.is_empty() {
            return self.has_workloads(Some(namespace)).then_some(true);
        }
        let is_selected = !self.selected(Some(namespace), selector).is_empty();
        (is_selected || self.has_workloads(Some(namespace))).then_some(is_selected)
    }

    /// Returns whether a namespace exists. `None` if no Namespace is known.
    pub fn has_namespace(&self, name: &str) -> Option<bool> {
        if self.namespace(name).is_some() || name == self.options.root_namespace {
            return Some(true);
        }
        if Self::IN_NAMESPACES.into_iter().any(|kind| self.in_namespace(kind, name).next().is_some()) {
            return Some(true);
        }
        self.of(Kind::Namespace).any(|one| !one.assumed).then_some(false)
    }

    /// Kinds whose objects show that their namespace exists.
    pub const IN_NAMESPACES: [Kind; 4] = [Kind::Service, Kind::ServiceEntry, Kind::Pod, Kind::Deployment];

    pub fn namespace(&self, name: &str) -> Option<&Arc<Object>> {
        self.get(&Key { kind: Kind::Namespace, namespace: String::new(), name: name.to_owned() })
    }
}
