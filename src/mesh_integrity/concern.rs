//! The objects whose findings may change when an object changes.

use super::mesh::Mesh;
use super::object::{Key, Kind, Object, Spec, selects};
use super::store::{Store, StoreError};
use crate::istio::host;
use crate::istio::read::{Gateway, Sidecar, VirtualService};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Returns the objects that an object concerns, including itself. Call it before and after a change.
pub(super) fn concerned(mesh: &Mesh, store: &Store, key: &Key) -> Result<BTreeSet<Key>, StoreError> {
    let mut all = Concerned { mesh, keys: BTreeSet::from([key.clone()]) };
    let Some(id) = mesh.id(key) else { return Ok(all.keys) };
    all.keys.extend(store.neighbours(id)?.into_iter().filter_map(|id| mesh.key(id).cloned()));
    let Some(object) = mesh.get(key) else { return Ok(all.keys) };
    if all.shows_namespace(object) {
        return Ok(mesh.all().map(|(_, object)| object.key.clone()).collect());
    }
    match &object.spec {
        Spec::Namespace(_) => {
            all.every(&[Kind::VirtualService, Kind::DestinationRule, Kind::Service, Kind::ServiceEntry, Kind::Sidecar]);
        }
        Spec::Service(service) => {
            all.wildcards(&host::service(&key.name, &key.namespace, &mesh.options.domain));
            // Pods of one template have the same labels.
            let selected = mesh.selected(Some(&key.namespace), &service.selector);
            let alike: BTreeSet<_> = selected.into_values().map(|workload| &workload.labels).collect();
            for labels in alike {
                all.keys.extend(mesh.services_of(&key.namespace, labels).into_keys().cloned());
                all.gateways(|gateway| selects(&gateway.selector, labels));
            }
        }
        Spec::ServiceEntry(entry) => {
            for host in &entry.hosts {
                all.wildcards(host);
            }
            if entry.hosts.iter().any(|host| host::is_wildcard(host)) {
                all.every(&[Kind::VirtualService, Kind::DestinationRule, Kind::Sidecar]);
            }
        }
        Spec::Gateway(_) => {
            all.routes(|routes| routes.gateways.iter().any(|gateway| gateway.names(&key.namespace, &key.name)));
            all.every(&[Kind::Gateway]);
        }
        Spec::VirtualService(_) => {
            let hands_on = |routes: &VirtualService| {
                routes.delegates.iter().any(|to| to.namespace == key.namespace && to.name == key.name)
            };
            all.routes(hands_on);
        }
        Spec::DestinationRule(rule) => {
            if host::is_wildcard(&rule.host) {
                all.every(&[Kind::VirtualService]);
            }
        }
        Spec::Sidecar(_) if key.namespace == mesh.options.root_namespace => {
            all.every(&[Kind::Sidecar, Kind::VirtualService]);
        }
        Spec::Sidecar(_) => {
            all.of_namespace(Kind::Sidecar, &key.namespace);
            all.of_namespace(Kind::VirtualService, &key.namespace);
            all.routes(|routes| routes.matches.iter().any(|one| one.source_namespace == key.namespace));
        }
        Spec::Policy => {}
        Spec::RequestAuthentication(_) => all.routes(|routes| routes.matches.iter().any(|one| one.claim.is_some())),
        Spec::Secret(_) => all.gateways(|gateway| gateway.servers.iter().any(|server| !server.certificates.is_empty())),
        Spec::Workload(workload) => all.of_workload(store, key, &workload.labels)?,
    }
    Ok(all.keys)
}

struct Concerned<'m> {
    mesh: &'m Mesh,
    keys: BTreeSet<Key>,
}

impl Concerned<'_> {
    fn every(&mut self, kinds: &[Kind]) {
        self.keys.extend(kinds.iter().flat_map(|kind| self.mesh.of(*kind)).map(|object| object.key.clone()));
    }

    fn of_namespace(&mut self, kind: Kind, namespace: &str) {
        self.keys.extend(self.mesh.in_namespace(kind, namespace).map(|object| object.key.clone()));
    }

    fn some(&mut self, kind: Kind, is_meant: impl Fn(&Object) -> bool) {
        let meant = self.mesh.of(kind).filter(|object| is_meant(object));
        self.keys.extend(meant.map(|object| object.key.clone()));
    }

    fn routes(&mut self, is_meant: impl Fn(&VirtualService) -> bool) {
        self.some(
            Kind::VirtualService,
            |object| matches!(&object.spec, Spec::VirtualService(routes) if is_meant(routes)),
        );
    }

    fn gateways(&mut self, is_meant: impl Fn(&Gateway) -> bool) {
        self.some(Kind::Gateway, |object| matches!(&object.spec, Spec::Gateway(gateway) if is_meant(gateway)));
    }

    /// Returns Sidecars that import a host by a wildcard.
    fn wildcards(&mut self, host: &str) {
        let imports = |sidecar: &Sidecar| {
            sidecar
                .egress
                .iter()
                .any(|entry| host::is_wildcard(&entry.host) && entry.host != "*" && host::overlap(&entry.host, host))
        };
        self.some(Kind::Sidecar, |object| matches!(&object.spec, Spec::Sidecar(sidecar) if imports(sidecar)));
    }

    /// Returns whether only this object shows that its namespace exists.
    fn shows_namespace(&self, object: &Arc<Object>) -> bool {
        let namespace = object.key.namespace.as_str();
        Mesh::IN_NAMESPACES.contains(&object.key.kind)
            && self.mesh.namespace(namespace).is_none()
            && Mesh::IN_NAMESPACES
                .into_iter()
                .flat_map(|kind| self.mesh.in_namespace(kind, namespace))
                .all(|other| other.key == object.key)
    }

    fn of_workload(
        &mut self,
        store: &Store,
        key: &Key,
        labels: &std::collections::BTreeMap<String, String>,
    ) -> Result<(), StoreError> {
        let namespace = key.namespace.as_str();
        // The first and the last workload determine whether selectors can be checked.
        let kinds = || Kind::WORKLOADS.into_iter().chain([Kind::WorkloadEntry]);
        let is_alone = kinds().flat_map(|kind| self.mesh.in_namespace(kind, namespace)).all(|other| other.key == *key);
        let is_first = Kind::WORKLOADS
            .into_iter()
            .flat_map(|kind| self.mesh.of(kind))
            .all(|other| other.assumed || other.key == *key);
        let mesh = self.mesh;
        let services: Vec<&Key> = if is_alone {
            mesh.in_namespace(Kind::Service, namespace).map(|service| &service.key).collect()
        } else {
            mesh.services_of(namespace, labels).into_keys().collect()
        };
        for service in services {
            if let Some(id) = mesh.id(service) {
                self.keys.extend(store.neighbours(id)?.into_iter().filter_map(|id| mesh.key(id).cloned()));
            }
            self.keys.insert(service.clone());
        }
        self.gateways(|gateway| is_first || selects(&gateway.selector, labels));
        self.some(Kind::Sidecar, |object| {
            object.key.namespace == namespace
                && matches!(&object.spec, Spec::Sidecar(sidecar) if is_alone || sidecar.labels().is_some_and(|own| selects(own, labels)))
        });
        self.routes(|routes| {
            routes
                .matches
                .iter()
                .any(|one| !one.source_labels.is_empty() && (is_alone || selects(&one.source_labels, labels)))
        });
        Ok(())
    }
}
