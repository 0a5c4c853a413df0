//! Pure: all VirtualServices, indexed by name, by their Service, and by the hosts to which they apply.

use super::key::Key;
use super::virtual_service::ObservedVirtualService;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// All VirtualServices as last seen.
#[derive(Debug, Default)]
pub struct VirtualServices {
    all: HashMap<Key, Arc<ObservedVirtualService>>,
    by_service: BTreeMap<Key, BTreeSet<Key>>,
    by_host: HashMap<String, BTreeSet<Key>>,
}

impl VirtualServices {
    /// Returns the VirtualService of this name.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<&Arc<ObservedVirtualService>> {
        self.all.get(key)
    }

    /// Returns their names.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.all.keys()
    }

    /// Returns the Services of our VirtualServices.
    pub fn services(&self) -> impl Iterator<Item = &Key> {
        self.by_service.keys()
    }

    /// Returns the number of our VirtualServices.
    #[must_use]
    pub fn ours(&self) -> usize {
        self.by_service.values().map(BTreeSet::len).sum()
    }

    /// Returns our VirtualServices of this Service.
    pub fn of_service(&self, service: &Key) -> impl Iterator<Item = &Arc<ObservedVirtualService>> {
        self.named(self.by_service.get(service))
    }

    /// Returns those that apply to this host in the mesh, by its full name.
    pub fn for_host(&self, host: &str) -> impl Iterator<Item = &Arc<ObservedVirtualService>> {
        self.named(self.by_host.get(host))
    }

    /// Inserts it. Returns its previous state.
    pub fn apply(&mut self, new: Arc<ObservedVirtualService>) -> Option<Arc<ObservedVirtualService>> {
        let before = self.delete(&new.key);
        if let Some(service) = new.service() {
            self.by_service.entry(service).or_default().insert(new.key.clone());
        }
        for host in &new.mesh_hosts {
            self.by_host.entry(host.clone()).or_default().insert(new.key.clone());
        }
        self.all.insert(new.key.clone(), new);
        before
    }

    /// Removes it. Returns its last state.
    pub fn delete(&mut self, key: &Key) -> Option<Arc<ObservedVirtualService>> {
        let before = self.all.remove(key)?;
        if let Some(service) = before.service()
            && let Some(keys) = self.by_service.get_mut(&service)
        {
            keys.remove(key);
            if keys.is_empty() {
                self.by_service.remove(&service);
            }
        }
        for host in &before.mesh_hosts {
            if let Some(keys) = self.by_host.get_mut(host) {
                keys.remove(key);
                if keys.is_empty() {
                    self.by_host.remove(host);
                }
            }
        }
        Some(before)
    }

    /// Removes all.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    fn named<'a>(&'a self, keys: Option<&'a BTreeSet<Key>>) -> impl Iterator<Item = &'a Arc<ObservedVirtualService>> {
        keys.into_iter().flatten().filter_map(|key| self.all.get(key))
    }
}

#[cfg(test)]
mod tests {
    use super::super::virtual_service::SERVICE;
    use super::*;
    use serde_json::json;

    fn seen(service: &str, host: &str) -> Arc<ObservedVirtualService> {
        Arc::new(ObservedVirtualService::read(json!({
            "metadata": {
                "name": "v", "namespace": "ns", "labels": {"managed-by": "virtualservice-operator"},
                "annotations": {SERVICE: service},
            },
            "spec": {"hosts": [host]},
        })))
    }

    #[test]
    fn each_is_found_by_what_it_says_now() {
        let mut all = VirtualServices::default();
        let (a, b) = (Key::new("ns", "a"), Key::new("ns", "b"));
        assert!(all.apply(seen("ns/a", "a.x")).is_none());
        assert_eq!((all.of_service(&a).count(), all.for_host("a.x").count(), all.ours()), (1, 1, 1));
        assert!(all.apply(seen("ns/b", "b.x")).is_some());
        assert_eq!((all.of_service(&a).count(), all.for_host("a.x").count()), (0, 0));
        assert_eq!((all.of_service(&b).count(), all.for_host("b.x").count()), (1, 1));
        all.delete(&Key::new("ns", "v"));
        assert_eq!((all.services().count(), all.keys().count(), all.by_host.len()), (0, 0, 0));
    }
}
