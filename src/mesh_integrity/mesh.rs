//! All objects of a mesh, by kind, namespace and name.

use super::object::{Key, Kind, Object, Spec, Workload, selects};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// What is true of a whole mesh.
#[derive(Clone, Debug)]
pub struct Options {
    /// The namespace whose objects are the defaults of the mesh.
    pub root_namespace: String,
    /// The domain of Services.
    pub domain: String,
}

impl Default for Options {
    fn default() -> Self {
        Self { root_namespace: "istio-system".to_owned(), domain: "cluster.local".to_owned() }
    }
}

/// All objects of a mesh.
#[derive(Debug, Default)]
pub(super) struct Mesh {
    pub options: Options,
    objects: BTreeMap<Key, (i64, Arc<Object>)>,
    keys: HashMap<i64, Key>,
    last: i64,
}

/// The objects that checks are about.
pub(super) enum Touched {
    All,
    Only(BTreeSet<Key>),
}

impl Mesh {
    pub fn new(options: Options) -> Self {
        Self { options, ..Self::default() }
    }

    /// Adds an object or replaces it; returns the number that rows know it by, and that of the one before.
    pub fn insert(&mut self, object: Arc<Object>) -> (i64, Option<i64>) {
        self.last += 1;
        let key = object.key.clone();
        self.keys.insert(self.last, key.clone());
        let before = self.objects.insert(key, (self.last, object)).map(|(id, _)| id);
        if let Some(id) = before {
            self.keys.remove(&id);
        }
        (self.last, before)
    }

    pub fn remove(&mut self, key: &Key) -> Option<i64> {
        let (id, _) = self.objects.remove(key)?;
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

    /// The workloads of a namespace, with what stands for one.
    pub fn workloads<'m>(&'m self, namespace: &'m str) -> impl Iterator<Item = (&'m Key, &'m Workload)> {
        let kinds = Kind::WORKLOADS.into_iter().chain([Kind::WorkloadEntry]);
        kinds.flat_map(move |kind| self.in_namespace(kind, namespace)).filter_map(|object| match &object.spec {
            Spec::Workload(workload) => Some((&object.key, workload)),
            _ => None,
        })
    }

    /// All workloads, of all namespaces.
    pub fn all_workloads(&self) -> impl Iterator<Item = (&Arc<Object>, &Workload)> {
        Kind::WORKLOADS.into_iter().flat_map(|kind| self.of(kind)).filter_map(|object| match &object.spec {
            Spec::Workload(workload) => Some((object, workload)),
            _ => None,
        })
    }

    /// Whether a selector picks a workload of a namespace; `None` where no workload of it is known, so that nobody can tell.
    pub fn is_selected(&self, namespace: &str, selector: &BTreeMap<String, String>) -> Option<bool> {
        let mut workloads = self.workloads(namespace).peekable();
        workloads.peek()?;
        Some(workloads.any(|(_, workload)| selects(selector, &workload.labels)))
    }

    /// Whether a namespace exists; `None` where no Namespace is known, so that nobody can tell.
    pub fn has_namespace(&self, name: &str) -> Option<bool> {
        let namespace = Key { kind: Kind::Namespace, namespace: String::new(), name: name.to_owned() };
        if self.objects.contains_key(&namespace) || name == self.options.root_namespace {
            return Some(true);
        }
        let has_objects = [Kind::Service, Kind::ServiceEntry, Kind::Pod, Kind::Deployment]
            .into_iter()
            .any(|kind| self.in_namespace(kind, name).next().is_some());
        if has_objects {
            return Some(true);
        }
        self.of(Kind::Namespace).any(|one| !one.assumed).then_some(false)
    }
}

impl Touched {
    pub fn has(&self, key: &Key) -> bool {
        match self {
            Self::All => true,
            Self::Only(keys) => keys.contains(key),
        }
    }
}
