//! The integrity of a mesh: objects as input, findings as output. A change checks only the objects that it may concern.

use super::checks::{self, Checked};
use super::concern::concerned;
use super::finding::Finding;
use super::mesh::{Mesh, Options, Touched};
use super::object::{Key, Object};
use super::picture::{self, Picture};
use super::store::{Store, StoreError};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Objects of a mesh, and their findings.
#[derive(Debug)]
pub struct Engine {
    mesh: Mesh,
    store: Store,
    findings: Vec<Finding>,
}

/// What happened to an object.
#[derive(Debug)]
pub enum Change {
    /// It was created or changed.
    Applied(Arc<Object>),
    /// It was deleted.
    Deleted(Key),
}

/// Namespaces of Kubernetes itself, whose objects are not checked.
const IGNORED_NAMESPACES: [&str; 4] = ["kube-system", "kube-public", "kube-node-lease", "local-path-storage"];

impl Engine {
    /// Checks these objects. If two have the same name, the last one counts.
    ///
    /// # Errors
    /// When the database fails.
    pub fn new(options: Options, objects: impl IntoIterator<Item = Object>) -> Result<Self, StoreError> {
        Self::of_shared(options, objects.into_iter().map(Arc::new))
    }

    /// Does the same as [`Engine::new`] for shared objects.
    ///
    /// # Errors
    /// # Errors
    pub fn of_shared(options: Options, objects: impl IntoIterator<Item = Arc<Object>>) -> Result<Self, StoreError> {
        let store = Store::new(&options.domain)?;
        let mut engine = Self { mesh: Mesh::new(options), store, findings: Vec::new() };
        for object in objects {
            engine.mesh.insert(object);
        }
        engine.store.load(engine.mesh.all().map(|(id, object)| (id, &**object)))?;
        engine.check_all()?;
        Ok(engine)
    }

    /// Checks everything again.
    ///
    /// # Errors
    /// # Errors
    pub fn check_all(&mut self) -> Result<(), StoreError> {
        self.check(Touched::All)
    }

    /// Returns the findings by object.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Returns the references between the objects.
    #[must_use]
    pub fn picture(&self) -> Picture {
        picture::of(&self.mesh)
    }

    /// Returns a known object.
    #[must_use]
    pub fn object(&self, key: &Key) -> Option<&Arc<Object>> {
        self.mesh.get(key)
    }

    /// Returns whether the authors of a finding's objects suppress it. All objects of the first one's kind must
    /// suppress it, so that an author cannot suppress findings about other authors' objects.
    #[must_use]
    pub fn suppresses(&self, finding: &Finding) -> bool {
        let Some(first) = finding.objects.first() else { return false };
        let mut alike = finding.objects.iter().filter(|key| key.kind == first.kind);
        alike.all(|key| self.object(key).is_some_and(|object| object.suppresses(finding.code)))
    }

    /// Makes changes, and then checks the objects that they may concern.
    ///
    /// # Errors
    /// # Errors
    pub fn change(&mut self, changes: impl IntoIterator<Item = Change>) -> Result<(), StoreError> {
        let mut touched = BTreeSet::new();
        for change in changes {
            let key = match &change {
                Change::Applied(object) if self.mesh.get(&object.key).is_some_and(|known| **known == **object) => {
                    continue;
                }
                Change::Applied(object) => object.key.clone(),
                Change::Deleted(key) => key.clone(),
            };
            touched.append(&mut concerned(&self.mesh, &self.store, &key)?);
            match change {
                Change::Applied(object) => {
                    let (id, before) = self.mesh.insert(object);
                    if let Some(before) = before {
                        self.store.remove(before)?;
                    }
                    if let Some(object) = self.mesh.by_id(id) {
                        self.store.insert(id, object)?;
                    }
                    touched.append(&mut concerned(&self.mesh, &self.store, &key)?);
                }
                Change::Deleted(key) => {
                    if let Some(id) = self.mesh.remove(&key) {
                        self.store.remove(id)?;
                    }
                }
            }
        }
        if touched.is_empty() { Ok(()) } else { self.check(Touched::Only(touched)) }
    }

    fn check(&mut self, mut touched: Touched) -> Result<(), StoreError> {
        match &mut touched {
            Touched::All => {
                self.findings.clear();
                self.store.touch_all(self.mesh.all().map(|(id, _)| id))?;
            }
            Touched::Only(keys) => {
                // All objects of a dropped finding are checked again.
                loop {
                    let before = self.findings.len();
                    let (dropped, kept) = std::mem::take(&mut self.findings)
                        .into_iter()
                        .partition::<Vec<_>, _>(|finding| finding.objects.iter().any(|key| keys.contains(key)));
                    self.findings = kept;
                    keys.extend(dropped.into_iter().flat_map(|finding| finding.objects));
                    if self.findings.len() == before {
                        break;
                    }
                }
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
