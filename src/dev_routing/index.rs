//! Pure: all that the controller knows, and what an event makes it look at again.

use super::annotated::{ObservedConfigMap, Standing, Telling};
use super::configuration::Configuration;
use super::endpoints::{ObservedSlice, ReadyEndpoints};
use super::key::{Key, QueueKey};
use super::memory::Memory;
use super::plan::{Around, Claim, Plan, plan};
use super::service::ObservedService;
use super::virtual_service::ObservedVirtualService;
use super::virtual_services::VirtualServices;
use crate::cluster::{Event, IndexedQueue, Overlay};
use crate::istio::virtual_service::service_of;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// The index, and what is to be looked at.
pub(super) type RoutingQueue = IndexedQueue<QueueKey, RoutingIndex>;

/// ConfigMap, Services, Namespaces, VirtualServices and endpoints as last seen.
#[derive(Debug, Default)]
pub struct RoutingIndex {
    pub(super) standing: Standing,
    /// By name, then by namespace.
    services: HashMap<String, BTreeMap<String, Arc<ObservedService>>>,
    virtual_services: VirtualServices,
    namespaces: BTreeSet<String>,
    pub(super) ready: ReadyEndpoints,
    own_services: Overlay<Arc<ObservedService>>,
    own_virtual_services: Overlay<Arc<ObservedVirtualService>>,
    memories: HashMap<String, Memory>,
    /// Names of VirtualServices that were planned, and of which Services.
    claimed_names: HashMap<Key, String>,
    /// Hosts of those that are no names of Services, and of which Services.
    claimed_hosts: HashMap<String, String>,
    unlisted: Unlisted,
    /// The version in which VirtualServices are written.
    version: &'static str,
}

/// What was known when a list began and was not told since: gone, once the list is complete.
#[derive(Debug, Default)]
struct Unlisted {
    services: BTreeSet<Key>,
    virtual_services: BTreeSet<Key>,
    namespaces: BTreeSet<String>,
}

/// A Namespace as last seen.
#[derive(Clone, Debug)]
pub(super) struct ObservedNamespace {
    pub name: String,
    pub deleting: bool,
}

impl RoutingIndex {
    /// All there is to look at.
    pub fn keys(&self) -> Vec<QueueKey> {
        let Some(configuration) = &self.standing.good else { return vec![QueueKey::Configuration] };
        let of_services = self.virtual_services.services();
        let owned = of_services.filter(|service| service.namespace == configuration.default_namespace);
        let names: BTreeSet<&String> = self.services.keys().chain(owned.map(|service| &service.name)).collect();
        let services = names.into_iter().cloned().map(QueueKey::Services);
        std::iter::once(QueueKey::Configuration).chain(services).collect()
    }

    /// A term begins, in which VirtualServices are written in this version. Returns all there is to look at.
    pub fn begin_term(&mut self, version: &'static str) -> Vec<QueueKey> {
        self.version = version;
        self.memories.clear();
        self.standing.begin_term();
        self.keys()
    }

    /// The configuration that holds.
    #[must_use]
    pub fn configuration(&self) -> Option<&Arc<Configuration>> {
        self.standing.good.as_ref()
    }

    /// What is remembered of the Services of this name.
    pub(super) fn memory(&mut self, name: &str) -> &mut Memory {
        self.memories.entry(name.to_owned()).or_default()
    }

    /// What is remembered of all.
    pub(super) fn memories(&self) -> impl Iterator<Item = &Memory> {
        self.memories.values()
    }

    /// The VirtualServices.
    #[must_use]
    pub fn virtual_services(&self) -> &VirtualServices {
        &self.virtual_services
    }

    /// The Services.
    pub fn services(&self) -> impl Iterator<Item = &ObservedService> {
        self.services.values().flat_map(BTreeMap::values).map(AsRef::as_ref)
    }

    /// The Service of this key.
    #[must_use]
    pub fn service(&self, key: &Key) -> Option<&Arc<ObservedService>> {
        self.services.get(&key.name)?.get(&key.namespace)
    }

    /// What is to be done about the Services of a name; `None` without a configuration.
    pub fn plan(&mut self, name: &str) -> Option<Plan> {
        let configuration = self.standing.good.clone()?;
        let none = BTreeMap::new();
        let plan = plan(Around {
            configuration: &configuration,
            name,
            services: self.services.get(name).unwrap_or(&none),
            namespaces: &self.namespaces,
            virtual_services: &self.virtual_services,
            ready: &self.ready,
            version: self.version,
        });
        if let Some(Claim { name: key, hosts }) = &plan.claim {
            self.claimed_names.insert(key.clone(), name.to_owned());
            for host in hosts.iter().filter(|host| service_of(host).is_none()) {
                self.claimed_hosts.insert(host.clone(), name.to_owned());
            }
        }
        Some(plan)
    }

    /// What is to be told about the ConfigMap.
    pub(super) fn tell(&mut self) -> Telling {
        self.standing.tell(&self.namespaces)
    }

    /// The ConfigMap is this now.
    pub(super) fn config_map_event(&mut self, config_map: Option<ObservedConfigMap>) -> Vec<QueueKey> {
        if self.standing.observe(config_map) {
            self.claimed_names.clear();
            self.claimed_hosts.clear();
            self.keys()
        } else {
            vec![QueueKey::Configuration]
        }
    }

    /// Namespaces changed.
    pub(super) fn namespaces_event(&mut self, event: Event<ObservedNamespace>) -> Vec<QueueKey> {
        let changed = match event {
            Event::Begin => {
                self.unlisted.namespaces = self.namespaces.clone();
                Vec::new()
            }
            Event::Item(namespace) | Event::Applied(namespace) => {
                self.unlisted.namespaces.remove(&namespace.name);
                self.set_namespace(namespace.name, !namespace.deleting).into_iter().collect()
            }
            Event::End => {
                let gone = std::mem::take(&mut self.unlisted.namespaces);
                gone.into_iter().filter_map(|name| self.set_namespace(name, false)).collect()
            }
            Event::Deleted(namespace) => self.set_namespace(namespace.name, false).into_iter().collect(),
        };
        let Some(configuration) = &self.standing.good else { return Vec::new() };
        let matters = |name: &String| configuration.is_developer(name) || *name == configuration.default_namespace;
        if changed.iter().any(matters) { self.keys() } else { Vec::new() }
    }

    /// Returns its name, if that is a change.
    fn set_namespace(&mut self, name: String, exists: bool) -> Option<String> {
        let changed = if exists { self.namespaces.insert(name.clone()) } else { self.namespaces.remove(&name) };
        changed.then_some(name)
    }

    /// EndpointSlices changed.
    pub(super) fn endpoints_event(&mut self, event: Event<ObservedSlice>) -> Vec<QueueKey> {
        let was_known = self.ready.is_known();
        let turned = self.ready.event(event);
        if !was_known && self.ready.is_known() {
            return self.keys();
        }
        turned.into_iter().map(QueueKey::Services).collect()
    }

    /// Nobody tells of endpoints any more.
    pub(super) fn forget_endpoints(&mut self) {
        self.ready = ReadyEndpoints::default();
    }

    /// Services changed. Those that are told again as they are known are left alone: so are our own writes.
    pub fn services_event(&mut self, event: Event<Arc<ObservedService>>) -> Vec<QueueKey> {
        let events = self.own_services.pass(event);
        let names: BTreeSet<String> = events.flat_map(|event| self.take_services(event)).collect();
        names.into_iter().map(QueueKey::Services).collect()
    }

    fn take_services(&mut self, event: Event<Arc<ObservedService>>) -> Vec<String> {
        match event {
            Event::Begin => {
                self.unlisted.services = self.services().map(|service| service.key.clone()).collect();
                Vec::new()
            }
            Event::Item(service) => {
                self.unlisted.services.remove(&service.key);
                self.apply_service(&service).into_iter().collect()
            }
            Event::End => {
                let gone = std::mem::take(&mut self.unlisted.services);
                gone.iter().filter_map(|key| self.delete_service(key)).collect()
            }
            Event::Applied(service) => self.apply_service(&service).into_iter().collect(),
            Event::Deleted(service) => self.delete_service(&service.key).into_iter().collect(),
        }
    }

    /// Returns its name, unless nothing that matters has changed.
    fn apply_service(&mut self, service: &Arc<ObservedService>) -> Option<String> {
        let copies = self.services.entry(service.key.name.clone()).or_default();
        let name = service.key.name.clone();
        let before = copies.insert(service.key.namespace.clone(), Arc::clone(service));
        let is_same = before.is_some_and(|before| {
            let version = service.resource_version.clone();
            ObservedService { resource_version: version, ..ObservedService::clone(&before) } == **service
        });
        (!is_same).then_some(name)
    }

    fn delete_service(&mut self, key: &Key) -> Option<String> {
        let copies = self.services.get_mut(&key.name)?;
        let gone = copies.remove(&key.namespace);
        if copies.is_empty() {
            self.services.remove(&key.name);
            self.memories.remove(&key.name);
        }
        gone.map(|_| key.name.clone())
    }

    /// VirtualServices changed, whoever's.
    pub fn virtual_services_event(&mut self, event: Event<Arc<ObservedVirtualService>>) -> Vec<QueueKey> {
        let events = self.own_virtual_services.pass(event);
        let names: BTreeSet<String> = events.flat_map(|event| self.take_virtual_services(event)).collect();
        names.into_iter().map(QueueKey::Services).collect()
    }

    fn take_virtual_services(&mut self, event: Event<Arc<ObservedVirtualService>>) -> Vec<String> {
        match event {
            Event::Begin => {
                self.unlisted.virtual_services = self.virtual_services.keys().cloned().collect();
                Vec::new()
            }
            Event::Item(new) => {
                self.unlisted.virtual_services.remove(&new.key);
                self.apply_virtual_service(new)
            }
            Event::End => {
                let gone = std::mem::take(&mut self.unlisted.virtual_services);
                gone.iter().flat_map(|key| self.delete_virtual_service(key)).collect()
            }
            Event::Applied(new) => self.apply_virtual_service(new),
            Event::Deleted(gone) => self.delete_virtual_service(&gone.key),
        }
    }

    fn apply_virtual_service(&mut self, new: Arc<ObservedVirtualService>) -> Vec<String> {
        let mut names = self.concerned(&new);
        let version = new.resource_version.clone();
        let before = self.virtual_services.apply(new);
        if let Some(before) = before {
            if before.resource_version == version {
                return Vec::new();
            }
            names.extend(self.concerned(&before));
        }
        names
    }

    fn delete_virtual_service(&mut self, key: &Key) -> Vec<String> {
        let before = self.virtual_services.delete(key);
        before.map(|before| self.concerned(&before)).unwrap_or_default()
    }

    /// Names of Services that a VirtualService matters to.
    fn concerned(&self, virtual_service: &ObservedVirtualService) -> Vec<String> {
        let Some(configuration) = &self.standing.good else { return Vec::new() };
        let is_ours = |key: &Key| key.namespace == configuration.default_namespace;
        let of = virtual_service.service().filter(is_ours).map(|service| service.name);
        let hosts = virtual_service.mesh_hosts.iter().filter_map(|host| match service_of(host) {
            Some((name, namespace)) => (namespace == configuration.default_namespace).then(|| name.to_owned()),
            None => self.claimed_hosts.get(host).cloned(),
        });
        of.into_iter().chain(hosts).chain(self.claimed_names.get(&virtual_service.key).cloned()).collect()
    }

    /// Forgets all VirtualServices: Istio is gone.
    pub(super) fn forget_virtual_services(&mut self) {
        self.virtual_services.clear();
        self.own_virtual_services = Overlay::default();
    }

    /// The API server answered a write of a VirtualService over this version with this: the watch tells of it later, or did so.
    pub fn virtual_service_answered(&mut self, after: ObservedVirtualService, over: Option<&str>) {
        let known = self.virtual_services.get(&after.key);
        if let Some(after) = self.own_virtual_services.answered(Arc::new(after), over, known) {
            self.virtual_services.apply(after);
        }
    }

    /// The same of a Service; `None`: there was none before.
    pub fn service_answered(&mut self, after: ObservedService, over: Option<&str>) {
        let known = self.services.get(&after.key.name).and_then(|copies| copies.get(&after.key.namespace));
        if let Some(after) = self.own_services.answered(Arc::new(after), over, known) {
            self.apply_service(&after);
        }
    }

    /// A VirtualService was deleted by us.
    pub fn virtual_service_deleted(&mut self, key: &Key) {
        self.virtual_services.delete(key);
    }

    /// A Service was deleted by us.
    pub fn service_deleted(&mut self, key: &Key) {
        self.delete_service(key);
    }
}
