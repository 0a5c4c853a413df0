//! The integrity of a mesh: objects in, findings out. A change checks again what it may concern, and nothing else.

use super::checks::{self, Checked};
use super::finding::Finding;
use super::mesh::{Mesh, Options, Touched};
use super::object::{Key, Kind, Object};
use super::store::{Store, StoreError};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Objects of a mesh, and what is wrong with them.
#[derive(Debug)]
pub struct Engine {
    mesh: Mesh,
    store: Store,
    findings: Vec<Finding>,
}

/// Namespaces of Kubernetes itself, about whose objects nothing is said.
const IGNORED_NAMESPACES: [&str; 4] = ["kube-system", "kube-public", "kube-node-lease", "local-path-storage"];

impl Engine {
    /// Checks these objects; of two of one name the last one counts.
    ///
    /// # Errors
    /// When the database fails.
    pub fn new(options: Options, objects: impl IntoIterator<Item = Object>) -> Result<Self, StoreError> {
        let store = Store::new(&options.domain)?;
        let mut engine = Self { mesh: Mesh::new(options), store, findings: Vec::new() };
        for object in objects {
            engine.mesh.insert(Arc::new(object));
        }
        engine.store.load(engine.mesh.all().map(|(id, object)| (id, &**object)))?;
        engine.check(Touched::All)?;
        Ok(engine)
    }

    /// What is wrong, by object.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// An object that is known.
    #[must_use]
    pub fn object(&self, key: &Key) -> Option<&Arc<Object>> {
        self.mesh.get(key)
    }

    /// Adds or changes an object.
    ///
    /// # Errors
    /// When the database fails.
    pub fn apply(&mut self, object: Object) -> Result<(), StoreError> {
        let key = object.key.clone();
        let mut touched = self.concerned(&key)?;
        let (id, before) = self.mesh.insert(Arc::new(object));
        if let Some(before) = before {
            self.store.remove(before)?;
        }
        if let Some(object) = self.mesh.by_id(id) {
            self.store.insert(id, object)?;
        }
        touched.extend(self.concerned(&key)?);
        self.check(Touched::Only(touched))
    }

    /// Forgets an object.
    ///
    /// # Errors
    /// When the database fails.
    pub fn delete(&mut self, key: &Key) -> Result<(), StoreError> {
        let touched = self.concerned(key)?;
        if let Some(id) = self.mesh.remove(key) {
            self.store.remove(id)?;
        }
        self.check(Touched::Only(touched))
    }

    /// Objects of which something may be said otherwise once this one changes.
    fn concerned(&self, key: &Key) -> Result<BTreeSet<Key>, StoreError> {
        let mut keys = BTreeSet::from([key.clone()]);
        if let Some(id) = self.mesh.id(key) {
            let neighbours = self.store.neighbours(id)?;
            keys.extend(neighbours.into_iter().filter_map(|id| self.mesh.key(id).cloned()));
        }
        // The first or last Service of a namespace decides whether the namespace exists.
        let is_lone = self.mesh.in_namespace(Kind::Service, &key.namespace).all(|other| other.key == *key);
        if key.kind == Kind::Service && !is_lone {
            keys.extend([Kind::Gateway, Kind::Sidecar].into_iter().flat_map(|kind| self.mesh.of(kind)).map(|o| o.key.clone()));
            keys.extend(self.mesh.in_namespace(Kind::Service, &key.namespace).map(|object| object.key.clone()));
        } else {
            // A wildcard, a selector or a namespace may concern anything.
            keys.extend(self.mesh.all().map(|(_, object)| object.key.clone()));
        }
        Ok(keys)
    }

    fn check(&mut self, touched: Touched) -> Result<(), StoreError> {
        match &touched {
            Touched::All => {
                self.findings.clear();
                self.store.touch(self.mesh.all().map(|(id, _)| id))?;
            }
            Touched::Only(keys) => {
                self.findings.retain(|finding| !finding.objects.iter().any(|key| keys.contains(key)));
                self.store.touch(keys.iter().filter_map(|key| self.mesh.id(key)))?;
            }
        }
        let mut checked = Checked { mesh: &self.mesh, store: &self.store, touched: &touched, findings: Vec::new() };
        checks::all(&mut checked)?;
        let mut found = checked.findings;
        found.retain(|finding| {
            let about = |key: &Key| {
                self.mesh.get(key).is_some_and(|object| !object.assumed)
                    && !IGNORED_NAMESPACES.contains(&key.namespace.as_str())
            };
            finding.objects.iter().any(about)
        });
        self.findings.append(&mut found);
        self.findings.sort_unstable();
        self.findings.dedup();
        Ok(())
    }
}
