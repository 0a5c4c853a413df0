//! The decoded objects that reviews depend on, and the incomplete lists of them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::super::validate_sidecarset::{KnownWorld, RevisionName};
use crate::injection::validate::{OtherSet, WHITELIST_CONFIG_MAP, WHITELIST_KEY, Whitelist, WhitelistError};
use crate::injection::{DecodedSet, Index, InjectableSet, Revision, StoredSet, Unfit};

pub(super) const KIND_SET: &str = "SidecarSet";
const KIND_REVISION: &str = "ControllerRevision";
const KIND_CONFIG: &str = "ConfigMap";

/// The known objects, and the lists that may replace them.
#[derive(Debug)]
pub(super) struct KnownObjects {
    pub index: Index,
    pub sets: Arc<BTreeMap<String, Arc<OtherSet>>>,
    versions: HashMap<String, SetVersion>,
    whitelist: Option<Arc<Result<Whitelist, WhitelistError>>>,
    patch_without_whitelist: bool,
    /// Objects that cannot be used, by kind and name, with their errors.
    pub unusable: BTreeMap<(&'static str, String), String>,
    pub lists: Lists,
}

/// Incomplete lists: the new objects by name; `None` for an unchanged one.
#[derive(Debug, Default)]
pub(super) struct Lists {
    pub sets: BTreeMap<String, Option<ReadSet>>,
    pub namespaces: HashMap<String, BTreeMap<String, String>>,
    /// By namespace and name.
    pub revisions: BTreeMap<(String, String), Option<ReadRevision>>,
}

/// A decoded SidecarSet.
#[derive(Debug)]
pub(super) struct ReadSet {
    name: String,
    version: SetVersion,
    /// The object that other sets are compared with; `None` if it cannot be decoded.
    set: Option<Arc<OtherSet>>,
    injectable: Result<Arc<InjectableSet>, Unfit>,
}

/// The version of a stored SidecarSet.
#[derive(Debug)]
struct SetVersion {
    uid: Option<Box<str>>,
    resource_version: Option<Box<str>>,
    /// The hash of all that reviews use, with the generation instead of the spec. `None` if there is no generation.
    used: Option<[u8; 32]>,
}

/// A decoded `ControllerRevision`.
#[derive(Debug)]
pub(super) struct ReadRevision {
    namespace: String,
    name: String,
    /// `None` if it does not belong to a SidecarSet or cannot be read.
    revision: Option<Revision>,
    problem: Option<String>,
}

impl ReadSet {
    pub fn of(StoredSet { object, decoded }: &StoredSet) -> Self {
        let (name, version) = (name(object), SetVersion::of(object));
        match decoded {
            Ok(DecodedSet { set, injectable }) => {
                Self { name, version, set: Some(Arc::new(OtherSet::of(set))), injectable: injectable.clone() }
            }
            Err(unfit) => Self { name, version, set: None, injectable: Err(unfit.clone()) },
        }
    }
}

impl SetVersion {
    fn of(object: &Value) -> Self {
        let metadata = &object["metadata"];
        let text = |field: &str| metadata[field].as_str().map(Box::from);
        let generation = &metadata["generation"];
        let used = [
            &metadata["uid"],
            generation,
            &metadata["labels"],
            &metadata["annotations"],
            &metadata["deletionTimestamp"],
            &object["status"]["latestRevision"],
        ];
        let used = serde_json::to_vec(&used).ok().filter(|_| generation.is_i64());
        let used = used.map(|used| Sha256::digest(used).into());
        Self { uid: text("uid"), resource_version: text("resourceVersion"), used }
    }
}

impl ReadRevision {
    pub fn of(object: Value) -> Self {
        let (namespace, name) = (namespace(&object), name(&object));
        let (revision, error) = match Revision::read(object) {
            Ok(revision) => {
                let error = revision.as_ref().and_then(Revision::unreadable);
                (revision, error)
            }
            Err(error) => (None, Some(error)),
        };
        let problem = error.map(|error| format!("ControllerRevision \"{namespace}/{name}\": {error}"));
        Self { namespace, name, revision, problem }
    }
}

impl KnownObjects {
    pub fn new(index: Index, patch_without_whitelist: bool) -> Self {
        Self {
            index,
            sets: Arc::default(),
            versions: HashMap::new(),
            whitelist: None,
            patch_without_whitelist,
            unusable: BTreeMap::new(),
            lists: Lists::default(),
        }
    }

    pub fn set_whitelist(&mut self, map: Option<&ConfigMap>) {
        let text = map.and_then(|map| map.data.as_ref()?.get(WHITELIST_KEY));
        self.whitelist = text.map(|text| Arc::new(Whitelist::parse(text)));
        let key = (KIND_CONFIG, WHITELIST_CONFIG_MAP.to_owned());
        match self.whitelist.as_deref() {
            Some(Err(error)) => {
                let problem = error.to_string();
                self.report(key, problem);
            }
            _ => drop(self.unusable.remove(&key)),
        }
    }

    /// Returns whether a set is known in this version.
    pub fn has_set(&self, object: &Value) -> bool {
        self.versions
            .get(&name(object))
            .is_some_and(|known| is_version(object, known.uid.as_deref(), known.resource_version.as_deref()))
    }

    /// Records a new version of a set that differs from the known one only in what no review uses, such as the
    /// conditions of its status. Returns whether it does.
    pub fn renew_set(&mut self, object: &Value) -> bool {
        let version = SetVersion::of(object);
        match self.versions.get_mut(&name(object)) {
            Some(known) if known.used.is_some() && known.used == version.used => {
                *known = version;
                true
            }
            _ => false,
        }
    }

    pub fn apply_set(&mut self, ReadSet { name, version, set, injectable }: ReadSet) {
        self.versions.insert(name.clone(), version);
        let sets = Arc::make_mut(&mut self.sets);
        match set {
            Some(set) => _ = sets.insert(name.clone(), set),
            None => _ = sets.remove(&name),
        }
        match injectable {
            Ok(set) => {
                self.unusable.remove(&(KIND_SET, name));
                self.index.apply_set(set);
            }
            Err(unfit) => {
                self.report((KIND_SET, name), unfit.to_string());
                self.index.apply_unfit_set(unfit);
            }
        }
    }

    pub fn delete_set(&mut self, name: &str) {
        self.unusable.remove(&(KIND_SET, name.to_owned()));
        self.index.delete_set(name);
        self.versions.remove(name);
        Arc::make_mut(&mut self.sets).remove(name);
    }

    pub fn complete_sets(&mut self) {
        let listed = std::mem::take(&mut self.lists.sets);
        let unusable = self.unusable.keys().filter(|(kind, _)| *kind == KIND_SET).map(|(_, name)| name);
        let gone = self.sets.keys().chain(unusable).filter(|name| !listed.contains_key(*name));
        for name in gone.cloned().collect::<Vec<_>>() {
            self.delete_set(&name);
        }
        for read in listed.into_values().flatten() {
            self.apply_set(read);
        }
    }

    /// Returns whether a revision is known in this version.
    pub fn has_revision(&self, object: &Value) -> bool {
        self.index
            .revision(&namespace(object), &name(object))
            .is_some_and(|known| is_version(object, Some(&known.uid), Some(&known.resource_version)))
    }

    pub fn apply_revision(&mut self, ReadRevision { namespace, name, revision, problem }: ReadRevision) {
        match revision {
            Some(revision) => self.index.apply_revision(revision),
            None => self.index.delete_revision(&namespace, &name),
        }
        match problem {
            Some(problem) => self.report((KIND_REVISION, name), problem),
            None => _ = self.unusable.remove(&(KIND_REVISION, name)),
        }
    }

    pub fn delete_revision(&mut self, namespace: &str, name: &str) {
        self.unusable.remove(&(KIND_REVISION, name.to_owned()));
        self.index.delete_revision(namespace, name);
    }

    pub fn complete_revisions(&mut self) {
        let listed = std::mem::take(&mut self.lists.revisions);
        let known = self.index.revisions().map(|revision| (revision.namespace.clone(), revision.name.clone()));
        for (namespace, name) in known.filter(|key| !listed.contains_key(key)).collect::<Vec<_>>() {
            self.delete_revision(&namespace, &name);
        }
        let names: HashSet<&str> = listed.keys().map(|(_, name)| name.as_str()).collect();
        self.unusable.retain(|(kind, name), _| *kind != KIND_REVISION || names.contains(name.as_str()));
        for read in listed.into_values().flatten() {
            self.apply_revision(read);
        }
    }

    /// Reports an object that cannot be used, once for each error.
    fn report(&mut self, object: (&'static str, String), problem: String) {
        if self.unusable.get(&object) != Some(&problem) {
            tracing::error!("{problem}; what is stored is not used until it is corrected");
            self.unusable.insert(object, problem);
        }
    }

    pub fn world(&self) -> KnownWorld {
        let mut revisions: BTreeMap<String, Vec<RevisionName>> = BTreeMap::new();
        for revision in self.index.revisions() {
            let name = RevisionName { name: revision.name.clone(), custom_version: revision.custom_version.clone() };
            revisions.entry(revision.set.clone()).or_default().push(name);
        }
        KnownWorld {
            sets: Some(self.sets.clone()),
            revisions: Some(Arc::new(revisions)),
            whitelist: self.whitelist.clone(),
            patch_without_whitelist: self.patch_without_whitelist,
        }
    }
}

/// Returns whether this is the object of this uid in this version.
fn is_version(object: &Value, uid: Option<&str>, version: Option<&str>) -> bool {
    let text = |field: &str| object["metadata"][field].as_str();
    version.is_some_and(|version| !version.is_empty()) && (text("uid"), text("resourceVersion")) == (uid, version)
}

pub(super) fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

pub(super) fn namespace(object: &Value) -> String {
    object["metadata"]["namespace"].as_str().unwrap_or_default().to_owned()
}
