//! Pure: everything the controller knows, and what each event affects.

use super::annotated::{ObservedConfigMap, Standing, Telling};
use super::claims::{Claim, Claims};
use super::configuration::Configuration;
use super::endpoints::{ObservedSlice, ReadyEndpoints};
use super::key::{Key, QueueKey};
use super::memory::Memory;
use super::plan::{Around, Plan, plan};
use super::service::{ObservedService, Services};
use super::virtual_service::ObservedVirtualService;
use super::virtual_services::VirtualServices;
use crate::cluster::{Event, IndexedQueue, Overlay};
use jiff::Timestamp;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// After a rejected placeholder, no other one is written in the namespace for this time.
const HELD: Duration = Duration::from_secs(30);

/// The index with its queue.
pub(super) type RoutingQueue = IndexedQueue<QueueKey, RoutingIndex>;

/// ConfigMap, Services, Namespaces, VirtualServices and endpoints as last seen.
#[derive(Debug, Default)]
pub struct RoutingIndex {
    pub(super) standing: Standing,
    services: Services,
    virtual_services: VirtualServices,
    namespaces: BTreeSet<String>,
    pub(super) ready: ReadyEndpoints,
    own_services: Overlay<Arc<ObservedService>>,
    own_virtual_services: Overlay<Arc<ObservedVirtualService>>,
    memories: HashMap<String, Memory>,
    claims: Claims,
    /// Namespaces in which the API server rejected a placeholder, and until when none is written there.
    held: HashMap<String, Timestamp>,
    unlisted: Unlisted,
    /// The version in which VirtualServices are written.
    version: &'static str,
}

/// Objects that were known when a list began and have not been seen since. They are deleted once the list is complete.
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
    /// Returns all keys.
    pub fn keys(&self) -> Vec<QueueKey> {
        let Some(configuration) = &self.standing.good else { return vec![QueueKey::Configuration] };
        let of_services = self.virtual_services.services();
        let owned = of_services.filter(|service| service.namespace == configuration.default_namespace);
        let names: BTreeSet<&String> = self.services.names().chain(owned.map(|service| &service.name)).collect();
        let services = names.into_iter().cloned().map(QueueKey::Services);
        std::iter::once(QueueKey::Configuration).chain(services).collect()
    }

    /// A term begins, with this version of VirtualServices. Returns all keys.
    pub fn begin_term(&mut self, version: &'static str) -> Vec<QueueKey> {
        self.version = version;
        self.memories.clear();
        self.standing.begin_term();
        self.keys()
    }

    /// Returns the configuration in effect.
    #[must_use]
    pub fn configuration(&self) -> Option<&Arc<Configuration>> {
        self.standing.good.as_ref()
    }

    /// Returns the memory of the Services with this name.
    pub(super) fn memory(&mut self, name: &str) -> &mut Memory {
        self.memories.entry(name.to_owned()).or_default()
    }

    /// A placeholder was rejected because of a quota or policy, which applies to all Services. Returns how long none is
    /// written there.
    pub(super) fn hold(&mut self, namespace: String, now: Timestamp) -> Duration {
        if let Ok(until) = now.checked_add(HELD) {
            self.held.insert(namespace, until);
        }
        HELD
    }

    /// Returns how long no placeholder may be written in a namespace.
    pub(super) fn held(&mut self, namespace: &str, now: Timestamp) -> Duration {
        let Some(until) = self.held.get(namespace) else { return Duration::ZERO };
        let left = Duration::try_from(until.duration_since(now)).unwrap_or_default();
        if left.is_zero() {
            self.held.remove(namespace);
        }
        left
    }

    /// Drops the memory of a name that has no Service and nothing to report.
    pub(super) fn tidy(&mut self, name: &str) {
        if self.services.of_name(name).is_empty() && self.memories.get(name).is_some_and(Memory::is_silent) {
            self.memories.remove(name);
        }
    }

    /// Returns the memories of all names.
    pub(super) fn memories(&self) -> impl Iterator<Item = &Memory> {
        self.memories.values()
    }

    /// Returns the VirtualServices.
    #[must_use]
    pub fn virtual_services(&self) -> &VirtualServices {
        &self.virtual_services
    }

    /// Returns the Services.
    pub fn services(&self) -> impl Iterator<Item = &ObservedService> {
        self.services.all().map(AsRef::as_ref)
    }

    /// Returns the Service with this key.
    #[must_use]
    pub fn service(&self, key: &Key) -> Option<&Arc<ObservedService>> {
        self.services.get(&key.name, &key.namespace)
    }

    /// Plans for the Services of a name; `None` without a configuration.
    pub fn plan(&mut self, name: &str) -> Option<Plan> {
        let configuration = self.standing.good.clone()?;
        let mut plan = plan(Around {
            configuration: &configuration,
            name,
            services: &self.services,
            namespaces: &self.namespaces,
            virtual_services: &self.virtual_services,
            ready: &self.ready,
            version: self.version,
        });
        self.claims.set(name, std::mem::take(&mut plan.claims));
        Some(plan)
    }

    /// Returns what to report about the ConfigMap.
    pub(super) fn tell(&mut self) -> Telling {
        self.standing.tell(&self.namespaces)
    }

    /// The ConfigMap changed.
    pub(super) fn config_map_event(&mut self, config_map: Option<ObservedConfigMap>) -> Vec<QueueKey> {
        if self.standing.observe(config_map) {
            self.claims = Claims::default();
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
        let matters = |name: &String| configuration.namespaces().any(|known| known == name);
        if changed.iter().any(matters) { self.keys() } else { Vec::new() }
    }

    /// Returns its name if it changed.
    fn set_namespace(&mut self, name: String, exists: bool) -> Option<String> {
        let changed = if exists { self.namespaces.insert(name.clone()) } else { self.namespaces.remove(&name) };
        changed.then_some(name)
    }

    /// EndpointSlices changed.
    pub(super) fn endpoints_event(&mut self, event: Event<ObservedSlice>) -> Vec<QueueKey> {
        let was_known = self.ready.is_known();
        let turned = self.ready.event(event);
        if !was_known && self.ready.is_known() {
            self.standing.lacks_endpoints = false;
            return self.keys();
        }
        turned.into_iter().map(QueueKey::Services).collect()
    }

    /// Endpoints are no longer followed.
    pub(super) fn forget_endpoints(&mut self) {
        self.ready = ReadyEndpoints::default();
        self.standing.lacks_endpoints = false;
    }

    /// The endpoints should be known by now.
    pub(super) fn endpoints_are_late(&mut self) -> Vec<QueueKey> {
        self.standing.lacks_endpoints = !self.ready.is_known();
        vec![QueueKey::Configuration]
    }

    /// Services changed. Unchanged ones, such as our own writes, are skipped.
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
                self.apply_service(&service)
            }
            Event::End => {
                let gone = std::mem::take(&mut self.unlisted.services);
                gone.iter().flat_map(|key| self.delete_service(key)).collect()
            }
            Event::Applied(service) => self.apply_service(&service),
            Event::Deleted(service) => self.delete_service(&service.key),
        }
    }

    /// Returns the affected names, if a relevant field has changed.
    fn apply_service(&mut self, service: &Arc<ObservedService>) -> Vec<String> {
        let before = self.services.insert(Arc::clone(service));
        let is_same = before.is_some_and(|before| {
            let version = service.resource_version.clone();
            ObservedService { resource_version: version, ..ObservedService::clone(&before) } == **service
        });
        if is_same { Vec::new() } else { self.names_around(&service.key) }
    }

    fn delete_service(&mut self, key: &Key) -> Vec<String> {
        if self.services.remove(key).is_none() {
            return Vec::new();
        }
        self.names_around(key)
    }

    /// Returns the name of a Service, and the names of all whose template refers to it.
    fn names_around(&self, key: &Key) -> Vec<String> {
        let others = self.claims.by(&Claim::Service(key.clone())).cloned();
        std::iter::once(key.name.clone()).chain(others).collect()
    }

    /// VirtualServices changed, including those of others.
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

    /// Returns names of Services that a VirtualService affects.
    fn concerned(&self, virtual_service: &ObservedVirtualService) -> Vec<String> {
        let Some(configuration) = &self.standing.good else { return Vec::new() };
        let is_ours = |key: &Key| key.namespace == configuration.default_namespace;
        let by = |claim: Claim| self.claims.by(&claim).cloned().collect::<Vec<_>>();
        let of = virtual_service.service().filter(is_ours).map(|service| service.name);
        let hosts = virtual_service.mesh_hosts.iter().cloned().map(Claim::Host).flat_map(by);
        of.into_iter().chain(hosts).chain(by(Claim::VirtualService(virtual_service.key.clone()))).collect()
    }

    /// Forgets objects that are followed only during a term: VirtualServices and endpoints.
    pub(super) fn forget_feeds_of_term(&mut self) {
        self.virtual_services.clear();
        self.own_virtual_services = Overlay::default();
        self.forget_endpoints();
    }

    /// The API server answered a write of a VirtualService over this version. The watch will report it or has done so.
    pub fn virtual_service_answered(&mut self, after: ObservedVirtualService, over: Option<&str>) {
        let known = self.virtual_services.get(&after.key);
        if let Some(after) = self.own_virtual_services.answered(Arc::new(after), over, known) {
            self.virtual_services.apply(after);
        }
    }

    /// The same for a Service; `None` if it did not exist.
    pub fn service_answered(&mut self, after: ObservedService, over: Option<&str>) {
        let known = self.services.get(&after.key.name, &after.key.namespace);
        if let Some(after) = self.own_services.answered(Arc::new(after), over, known) {
            self.apply_service(&after);
        }
    }

    /// We deleted a VirtualService.
    pub fn virtual_service_deleted(&mut self, key: &Key) {
        self.virtual_services.delete(key);
    }

    /// We deleted a Service.
    pub fn service_deleted(&mut self, key: &Key) {
        self.delete_service(key);
    }
}
