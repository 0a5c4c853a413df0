//! Pure: which Services have a ready endpoint, from their EndpointSlices.

use super::key::{Key, Metadata};
use crate::cluster::Event;
use serde::Deserialize;
use std::collections::{BTreeSet, HashMap};

/// Label of an EndpointSlice with the name of its Service.
const SERVICE: &str = "kubernetes.io/service-name";

/// An EndpointSlice as last seen.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ObservedSlice {
    metadata: Metadata,
    endpoints: Option<Vec<Endpoint>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Endpoint {
    conditions: Conditions,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Conditions {
    ready: Option<bool>,
}

/// The ready endpoints of all Services.
#[derive(Debug, Default)]
pub(super) struct ReadyEndpoints {
    /// Slices with a ready endpoint, and their Services.
    slices: HashMap<Key, Key>,
    /// The number of such slices for each Service.
    services: HashMap<Key, usize>,
    unlisted: BTreeSet<Key>,
    /// Whether there was a complete list.
    is_known: bool,
}

impl ObservedSlice {
    fn key(&self) -> Key {
        Key::new(&self.metadata.namespace, &self.metadata.name)
    }

    /// Returns the Service that has a ready endpoint in this slice.
    fn ready_service(&self) -> Option<Key> {
        // Absent means ready: https://kubernetes.io/docs/reference/kubernetes-api/service-resources/endpoint-slice-v1/
        let is_ready = |endpoint: &Endpoint| endpoint.conditions.ready != Some(false);
        let service = self.metadata.labels.get(SERVICE)?;
        self.endpoints.iter().flatten().any(is_ready).then(|| Key::new(&self.metadata.namespace, service))
    }
}

impl ReadyEndpoints {
    /// Whether a Service has a ready endpoint; `None` while it is unknown.
    pub fn is_ready(&self, service: &Key) -> Option<bool> {
        self.is_known.then(|| self.services.contains_key(service))
    }

    /// Whether there was a complete list.
    pub fn is_known(&self) -> bool {
        self.is_known
    }

    /// EndpointSlices changed. Returns the names of the Services whose readiness changed.
    pub fn event(&mut self, event: Event<ObservedSlice>) -> BTreeSet<String> {
        let mut turned = BTreeSet::new();
        match event {
            Event::Begin => self.unlisted = self.slices.keys().cloned().collect(),
            Event::Item(slice) | Event::Applied(slice) => {
                self.unlisted.remove(&slice.key());
                self.set(slice.key(), slice.ready_service(), &mut turned);
            }
            Event::End => {
                for gone in std::mem::take(&mut self.unlisted) {
                    self.set(gone, None, &mut turned);
                }
                if !self.is_known {
                    self.is_known = true;
                    turned.extend(self.services.keys().map(|service| service.name.clone()));
                }
            }
            Event::Deleted(slice) => self.set(slice.key(), None, &mut turned),
        }
        turned
    }

    fn set(&mut self, slice: Key, service: Option<Key>, turned: &mut BTreeSet<String>) {
        let before = match &service {
            Some(service) => self.slices.insert(slice, service.clone()),
            None => self.slices.remove(&slice),
        };
        if before == service {
            return;
        }
        if let Some(service) = service {
            let slices = self.services.entry(service.clone()).or_default();
            *slices += 1;
            if *slices == 1 {
                turned.insert(service.name);
            }
        }
        if let Some(before) = before
            && let Some(slices) = self.services.get_mut(&before)
        {
            *slices -= 1;
            if *slices == 0 {
                self.services.remove(&before);
                turned.insert(before.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn slice(name: &str, service: &str, ready: &Value) -> ObservedSlice {
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "dev", "labels": {SERVICE: service}},
            "endpoints": [{"conditions": {"ready": false}}, {"conditions": ready}],
        }))
        .unwrap()
    }

    #[test]
    fn a_service_is_ready_while_one_of_its_slices_has_a_ready_endpoint() {
        let (mut ready, app) = (ReadyEndpoints::default(), Key::new("dev", "app"));
        let (yes, no) = (json!({"ready": true}), json!({"ready": false}));
        ready.event(Event::Begin);
        ready.event(Event::Item(slice("1", "app", &yes)));
        assert_eq!(ready.is_ready(&app), None);
        assert_eq!(ready.event(Event::End), ["app".to_owned()].into());
        assert_eq!(ready.is_ready(&app), Some(true));
        assert_eq!(ready.event(Event::Applied(slice("2", "app", &json!({})))), [].into(), "ready already");
        assert_eq!(ready.event(Event::Applied(slice("1", "app", &no))), [].into());
        assert_eq!(ready.event(Event::Deleted(slice("2", "app", &yes))), ["app".to_owned()].into());
        assert_eq!(ready.is_ready(&app), Some(false));
        ready.event(Event::Applied(slice("1", "app", &yes)));
        assert_eq!(ready.event(Event::Applied(slice("1", "other", &yes))).len(), 2);
        ready.event(Event::Begin);
        assert_eq!(ready.event(Event::End), ["other".to_owned()].into());
    }
}
