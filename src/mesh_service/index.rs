//! Pure: the leader's index of the mesh, and which MeshServices each event makes it reconcile.

use super::claims::Claims;
use super::judge::Judge;
use super::key::Key;
use super::kind::{MeshKind, MeshKinds};
use super::memory::Memory;
use super::observed::{Cascade, Named, ObservedMeshService};
use super::outcome::Plan;
use super::plan::plan;
use super::rival::Rival;
use super::seen::{Matters, Seen};
use super::selection::Selection;
use super::told::Told;
use super::watched::{ObjectKey, Watched};
use super::world::{Consents, ObservedGateway, ObservedService, World};
use crate::cluster::{Event, IndexedQueue, Overlay};
use crate::mesh_integrity::{Change, Finding, Found, Object};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// The index, and the queue of MeshServices to reconcile.
pub(super) type MeshQueue = IndexedQueue<Key, MeshIndex>;

/// Settings of the mesh.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The kinds of objects that are made.
    pub kinds: MeshKinds,
    /// Istio's root namespace.
    pub root_namespace: String,
    /// The domain of Services.
    pub domain: String,
}

/// MeshServices and the objects of the mesh as last seen.
#[derive(Debug)]
pub struct MeshIndex {
    settings: Settings,
    mesh_services: BTreeMap<Key, Arc<ObservedMeshService>>,
    /// The MeshServices that name a Service or a Gateway.
    naming: HashMap<ObjectKey, BTreeSet<Key>>,
    objects: BTreeMap<ObjectKey, Arc<Seen>>,
    /// The objects that were made, by MeshService.
    owned: BTreeMap<Key, BTreeSet<ObjectKey>>,
    consents: Consents,
    claims: Claims,
    memories: HashMap<Key, Memory<Told>>,
    /// MeshServices that were deleted with `--cascade=orphan`.
    orphaning: BTreeSet<Key>,
    absent: BTreeSet<Watched>,
    judge: Judge,
    own_mesh_services: Overlay<Arc<ObservedMeshService>>,
    own_objects: BTreeMap<Watched, Overlay<Arc<Seen>>>,
    unlisted: Unlisted,
    /// Whether the API server has the kind MeshService. Only then is a MeshService that is not in the index gone.
    pub(super) is_installed: bool,
}

/// Objects that were known when a list began and are not in it yet. They are removed once the list is complete.
#[derive(Debug, Default)]
struct Unlisted {
    mesh_services: BTreeSet<Key>,
    objects: BTreeMap<Watched, BTreeSet<ObjectKey>>,
}

impl MeshIndex {
    /// Returns an empty index.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            mesh_services: BTreeMap::new(),
            naming: HashMap::new(),
            objects: BTreeMap::new(),
            owned: BTreeMap::new(),
            consents: Consents::default(),
            claims: Claims::default(),
            memories: HashMap::new(),
            orphaning: BTreeSet::new(),
            absent: BTreeSet::new(),
            judge: Judge::default(),
            own_mesh_services: Overlay::default(),
            own_objects: BTreeMap::new(),
            unlisted: Unlisted::default(),
            is_installed: false,
        }
    }

    /// Returns the keys of all MeshServices, and of those that are gone but left objects behind.
    #[must_use]
    pub fn keys(&self) -> BTreeSet<Key> {
        self.mesh_services.keys().chain(self.owned.keys()).cloned().collect()
    }

    /// Returns all MeshServices.
    pub fn mesh_services(&self) -> impl Iterator<Item = &Arc<ObservedMeshService>> {
        self.mesh_services.values()
    }

    /// Returns how many objects were made for them.
    #[must_use]
    pub fn made(&self) -> usize {
        self.owned.values().map(BTreeSet::len).sum()
    }

    /// Returns the MeshService of this key.
    #[must_use]
    pub fn mesh_service(&self, key: &Key) -> Option<&Arc<ObservedMeshService>> {
        self.mesh_services.get(key)
    }

    /// Returns an object of the mesh.
    #[must_use]
    pub fn object(&self, key: &ObjectKey) -> Option<&Arc<Seen>> {
        self.objects.get(key)
    }

    /// Returns the objects that were made for a MeshService, in the order in which they are made.
    #[must_use]
    pub fn owned_by(&self, mesh_service: &Key) -> impl DoubleEndedIterator<Item = &Arc<Seen>> {
        self.owned.get(mesh_service).into_iter().flatten().filter_map(|key| self.objects.get(key))
    }

    /// Returns whether the API server lacks a kind.
    #[must_use]
    pub fn is_absent(&self, kind: Watched) -> bool {
        self.absent.contains(&kind)
    }

    /// Returns the memory of a MeshService.
    pub(super) fn memory(&mut self, key: &Key) -> &mut Memory<Told> {
        self.memories.entry(key.clone()).or_default()
    }

    /// Returns the findings about these objects, each once.
    #[must_use]
    pub fn findings<'a>(&self, objects: impl IntoIterator<Item = &'a ObjectKey>) -> Vec<&Finding> {
        self.judge.about(objects.into_iter().filter_map(ObjectKey::judged))
    }

    /// Returns whether the checks cover all changes that concern this MeshService.
    #[must_use]
    pub fn is_checked(&self, key: &Key) -> bool {
        self.judge.has_checked(self.memories.get(key).map_or(0, |memory| memory.awaits))
    }

    /// Returns whether another MeshService plans an object of a deleted one.
    #[must_use]
    pub fn is_wanted(&self, object: &ObjectKey) -> bool {
        let wants = |key: &Key| self.memories.get(key).is_some_and(|memory| memory.desired.contains(object));
        let is_there = |key: &&Key| self.mesh_services.contains_key(*key);
        self.claims.by(object).filter(is_there).any(wants) || self.is_wanted_by_name(object)
    }

    /// Returns the same for a Service or a Gateway, decided by the MeshServices that name it. They may not be
    /// reconciled yet.
    fn is_wanted_by_name(&self, object: &ObjectKey) -> bool {
        let naming = self.naming.get(object).into_iter().flatten();
        let mut present = naming.filter_map(|key| self.mesh_services.get(key)).filter(|one| !one.deleting);
        present.any(|one| {
            self.plan(one).objects.iter().any(|planned| ObjectKey::of_made(planned).as_ref() == Some(object))
        })
    }

    /// Returns whether a MeshService is deleted or being deleted, so that others may take over its objects.
    #[must_use]
    pub fn is_gone(&self, key: &Key) -> bool {
        self.is_installed && self.mesh_services.get(key).is_none_or(|one| one.deleting)
    }

    /// Returns whether a MeshService is being deleted, or was deleted, with `--cascade=orphan`.
    #[must_use]
    pub fn is_orphaning(&self, key: &Key) -> bool {
        self.orphaning.contains(key)
    }

    /// Forgets a deleted MeshService. The pace of repeated deletes is remembered for a while.
    pub(super) fn gone(&mut self, key: &Key, now: Timestamp) -> Option<Duration> {
        self.claims.set(key, BTreeSet::new());
        let rests = self.memories.get_mut(key).and_then(|memory| memory.rests(now));
        if rests.is_none() {
            self.memories.remove(key);
        }
        if !self.owned.contains_key(key) && !self.mesh_services.contains_key(key) {
            self.orphaning.remove(key);
        }
        rests
    }

    /// Records the plan of a MeshService. The MeshService is reconciled when a planned or named object changes, or the
    /// consent of a namespace.
    pub(super) fn desire(&mut self, mesh_service: &ObservedMeshService, desired: BTreeSet<ObjectKey>) {
        let named = names(mesh_service);
        let objects = || desired.iter().chain(&named);
        let there = self.owned.get(&mesh_service.key).into_iter().flatten();
        // Whether a rival counts depends on the consent of the namespaces that it names.
        let rivals = named.iter().filter_map(|object| self.naming.get(object)).flatten();
        let of_rivals: Vec<ObjectKey> =
            rivals.filter_map(|key| self.mesh_services.get(key)).flat_map(|rival| names(rival)).collect();
        let namespaces =
            objects().chain(there).chain(&of_rivals).map(|object| ObjectKey::namespace(&object.key.namespace));
        let claims = objects().cloned().chain(namespaces).collect();
        self.claims.set(&mesh_service.key, claims);
        self.memory(&mesh_service.key).desired = desired;
    }

    /// Returns the plan for a MeshService.
    #[must_use]
    pub fn plan(&self, mesh_service: &ObservedMeshService) -> Plan {
        let named = names(mesh_service);
        let object = |kind: MeshKind| {
            let is = |object: &&ObjectKey| object.kind == Watched::Made(kind);
            let seen = named.iter().find(is).and_then(|object| self.objects.get(object))?;
            // An object of a deleted MeshService counts as missing, so that the next MeshService that plans it gets it.
            let is_left = seen.owner.as_ref().is_some_and(|owner| self.is_gone(owner));
            (!is_left).then_some(&seen.matters)
        };
        let rivals: BTreeSet<&Key> = named.iter().filter_map(|object| self.naming.get(object)).flatten().collect();
        let rivals: Vec<Rival<'_>> =
            rivals.into_iter().filter_map(|key| self.mesh_services.get(key)?.as_rival()).collect();
        plan(
            mesh_service,
            World {
                consents: &self.consents,
                service: object(MeshKind::Service).and_then(service),
                gateway: object(MeshKind::Gateway).and_then(gateway),
                rivals: &rivals,
                kinds: &self.settings.kinds,
                root_namespace: &self.settings.root_namespace,
                domain: &self.settings.domain,
            },
        )
    }

    /// Returns whether a WorkloadEntry has these labels.
    #[must_use]
    pub fn has_workload_entry(&self, selection: &Selection) -> bool {
        let first = ObjectKey { kind: Watched::WorkloadEntry, key: Key::new(&selection.namespace, "") };
        let is_there = |key: &ObjectKey| key.kind == first.kind && key.key.namespace == selection.namespace;
        let is_one = |seen: &Seen| match &seen.matters {
            Matters::Workload(labels) => selection.labels.iter().all(|(key, value)| labels.get(key) == Some(value)),
            _ => false,
        };
        self.objects.range(first.clone()..).take_while(|(key, _)| is_there(key)).any(|(_, seen)| is_one(seen))
    }

    /// Records whether the API server has the kind MeshService.
    pub fn set_installed(&mut self, is_installed: bool) -> BTreeSet<Key> {
        let changed = std::mem::replace(&mut self.is_installed, is_installed) != is_installed;
        if changed { self.keys() } else { BTreeSet::new() }
    }

    /// Records whether the API server has a kind.
    pub fn set_absent(&mut self, kind: Watched, absent: bool) -> BTreeSet<Key> {
        let changed = if absent { self.absent.insert(kind) } else { self.absent.remove(&kind) };
        if changed { self.keys() } else { BTreeSet::new() }
    }

    /// Returns the objects that the checks read.
    #[must_use]
    pub fn judged(&self) -> Vec<Arc<Object>> {
        self.objects.values().filter_map(|seen| seen.judged.clone()).collect()
    }

    /// Returns the checks.
    pub(super) fn judge(&mut self) -> &mut Judge {
        &mut self.judge
    }

    /// Takes the findings of the checks.
    pub fn found(&mut self, found: Found) -> BTreeSet<Key> {
        let checked = found.changes;
        let changed = self.judge.take(found);
        let owner = |key| self.objects.get(&ObjectKey::of_judged(key)?)?.owner.clone();
        let waited = |(key, memory): (&Key, &mut Memory<Told>)| memory.stops_waiting(checked).then(|| key.clone());
        let waited: Vec<Key> = self.memories.iter_mut().filter_map(waited).collect();
        changed.iter().filter_map(owner).chain(waited).collect()
    }

    /// Takes an event about MeshServices. An event that changes nothing, such as the echo of an own write, touches none.
    pub fn mesh_services_event(&mut self, event: Event<Arc<ObservedMeshService>>) -> BTreeSet<Key> {
        let events: Vec<_> = self.own_mesh_services.pass(event).collect();
        events.into_iter().flat_map(|event| self.take_mesh_services(event)).collect()
    }

    fn take_mesh_services(&mut self, event: Event<Arc<ObservedMeshService>>) -> BTreeSet<Key> {
        match event {
            Event::Begin => {
                self.unlisted.mesh_services = self.mesh_services.keys().cloned().collect();
                BTreeSet::new()
            }
            Event::Item(one) => {
                self.unlisted.mesh_services.remove(&one.key);
                self.set_mesh_service(&one.key, Some(&one))
            }
            Event::End => {
                let gone = std::mem::take(&mut self.unlisted.mesh_services);
                gone.iter().flat_map(|key| self.set_mesh_service(key, None)).collect()
            }
            Event::Applied(one) => self.set_mesh_service(&one.key, Some(&one)),
            Event::Deleted(one) => self.set_mesh_service(&one.key, None),
        }
    }

    fn set_mesh_service(&mut self, key: &Key, now: Option<&Arc<ObservedMeshService>>) -> BTreeSet<Key> {
        let before = match now {
            Some(now) => self.mesh_services.insert(key.clone(), Arc::clone(now)),
            None => self.mesh_services.remove(key),
        };
        if before.as_ref().map(|before| &before.resource_version) == now.map(|now| &now.resource_version) {
            return BTreeSet::new();
        }
        match now {
            Some(now) if now.deleting && now.cascade == Cascade::Orphan => _ = self.orphaning.insert(key.clone()),
            Some(now) if !now.deleting => _ = self.orphaning.remove(key),
            _ => {}
        }
        let mut touched = BTreeSet::from([key.clone()]);
        for object in before.iter().flat_map(|before| names(before)) {
            if let Some(keys) = self.naming.get_mut(&object) {
                touched.extend(keys.iter().cloned());
                keys.remove(key);
                if keys.is_empty() {
                    self.naming.remove(&object);
                }
            }
        }
        for object in now.into_iter().flat_map(|now| names(now)) {
            let keys = self.naming.entry(object).or_default();
            touched.extend(keys.iter().cloned());
            keys.insert(key.clone());
        }
        touched
    }

    /// Takes an event about objects of a kind.
    pub fn objects_event(&mut self, kind: Watched, event: Event<Arc<Seen>>) -> BTreeSet<Key> {
        let events: Vec<_> = self.own_objects.entry(kind).or_default().pass(event).collect();
        events.into_iter().flat_map(|event| self.take_objects(kind, event)).collect()
    }

    fn take_objects(&mut self, kind: Watched, event: Event<Arc<Seen>>) -> BTreeSet<Key> {
        match event {
            Event::Begin => {
                let first = ObjectKey { kind, key: Key::default() };
                let known = self.objects.range(first..).take_while(|(key, _)| key.kind == kind);
                let known = known.map(|(key, _)| key.clone()).collect();
                self.unlisted.objects.insert(kind, known);
                BTreeSet::new()
            }
            Event::Item(seen) => {
                if let Some(unlisted) = self.unlisted.objects.get_mut(&kind) {
                    unlisted.remove(&seen.key);
                }
                self.set_object(&seen.key, Some(&seen))
            }
            Event::End => {
                let gone = self.unlisted.objects.remove(&kind).unwrap_or_default();
                gone.iter().flat_map(|key| self.set_object(key, None)).collect()
            }
            Event::Applied(seen) => self.set_object(&seen.key, Some(&seen)),
            Event::Deleted(seen) => self.set_object(&seen.key, None),
        }
    }

    /// Returns the MeshServices that the change concerns. A change of nothing relevant concerns none.
    fn set_object(&mut self, key: &ObjectKey, now: Option<&Arc<Seen>>) -> BTreeSet<Key> {
        let before = match now {
            Some(now) => self.objects.insert(key.clone(), Arc::clone(now)),
            None => self.objects.remove(key),
        };
        match (&before, now) {
            (None, None) => return BTreeSet::new(),
            (Some(before), Some(now)) if before.is_same_as(now) => return BTreeSet::new(),
            _ => {}
        }
        match now.map(|now| now.judged.clone()) {
            Some(Some(judged)) => self.judge.tell(Change::Applied(judged)),
            Some(None) => {}
            None => key.judged().into_iter().for_each(|key| self.judge.tell(Change::Deleted(key))),
        }
        if key.kind == Watched::Namespace {
            let allows =
                now.and_then(|now| if let Matters::Allows(allows) = &now.matters { allows.as_deref() } else { None });
            self.consents.set(&key.key.name, allows);
        }
        let owner = |seen: Option<&Arc<Seen>>| seen.and_then(|seen| seen.owner.clone());
        let (was, is) = (owner(before.as_ref()), owner(now));
        if let Some(was) = was.as_ref().filter(|_| was != is)
            && let Some(owned) = self.owned.get_mut(was)
        {
            owned.remove(key);
            if owned.is_empty() {
                self.owned.remove(was);
            }
        }
        if let Some(is) = &is {
            self.owned.entry(is.clone()).or_default().insert(key.clone());
        }
        let told = self.judge.told();
        let touched: BTreeSet<Key> = was.into_iter().chain(is).chain(self.claims.by(key).cloned()).collect();
        for mesh_service in &touched {
            if self.mesh_services.contains_key(mesh_service) {
                self.memory(mesh_service).awaits = told;
            }
        }
        touched
    }

    /// Takes the API server's answer to a write of a MeshService over this version.
    pub fn mesh_service_answered(&mut self, after: ObservedMeshService, over: &str) {
        let known = self.mesh_services.get(&after.key);
        if let Some(after) = self.own_mesh_services.answered(Arc::new(after), Some(over), known) {
            self.set_mesh_service(&after.key, Some(&after));
        }
    }

    /// Takes the answer for an object. `None` means that it did not exist before.
    pub fn object_answered(&mut self, after: Seen, over: Option<&str>) {
        let known = self.objects.get(&after.key);
        let own = self.own_objects.entry(after.key.kind).or_default();
        if let Some(after) = own.answered(Arc::new(after), over, known) {
            self.set_object(&after.key, Some(&after));
        }
    }

    /// Records that the leader deleted an object.
    pub fn object_deleted(&mut self, key: &ObjectKey) {
        self.set_object(key, None);
    }
}

/// Returns the Service and the Gateway that a MeshService names.
fn names(mesh_service: &ObservedMeshService) -> Vec<ObjectKey> {
    let Named { service, gateway } = mesh_service.named.clone();
    let service = service.map(|service| ObjectKey::made(MeshKind::Service, service));
    service.into_iter().chain(gateway.map(|gateway| ObjectKey::made(MeshKind::Gateway, gateway))).collect()
}

fn service(matters: &Matters) -> Option<&ObservedService> {
    if let Matters::Service(service) = matters { Some(service) } else { None }
}

fn gateway(matters: &Matters) -> Option<&ObservedGateway> {
    if let Matters::Gateway(gateway) = matters { Some(gateway) } else { None }
}

#[cfg(test)]
mod tests;
