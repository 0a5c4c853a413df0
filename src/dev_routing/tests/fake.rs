//! A cluster in memory. Planned writes come back as events, and each write is recorded.

use super::super::configuration::KEY;
use super::super::index::ObservedNamespace;
use super::super::plan::{Finding, Write};
use super::super::{Key, ObservedService, ObservedVirtualService, QueueKey, RoutingIndex};
use crate::cluster::Event;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub struct Fake {
    pub index: RoutingIndex,
    pub services: BTreeMap<Key, Value>,
    pub virtual_services: BTreeMap<Key, Value>,
    /// The writes, as `verb kind namespace/name`.
    pub writes: Vec<String>,
    pub findings: BTreeSet<Finding>,
    touched: BTreeSet<QueueKey>,
    version: u64,
}

impl Fake {
    /// Starts with these namespaces and this configuration.
    pub fn new(namespaces: &[&str], configuration: &str) -> Self {
        let mut fake = Self {
            index: RoutingIndex::default(),
            services: BTreeMap::new(),
            virtual_services: BTreeMap::new(),
            writes: Vec::new(),
            findings: BTreeSet::new(),
            touched: BTreeSet::new(),
            version: 10,
        };
        fake.index.begin_term("v1");
        for namespace in namespaces {
            fake.namespace(namespace, true);
        }
        fake.configure(configuration);
        fake
    }

    pub fn configure(&mut self, text: &str) {
        let object = json!({"metadata": {"name": "c", "namespace": "ns"}, "data": {KEY: text}});
        self.config_map(Some(object));
    }

    pub fn config_map(&mut self, object: Option<Value>) {
        let touched = self.index.config_map_event(object.map(super::super::annotated::ObservedConfigMap::read));
        self.touched.extend(touched);
    }

    pub fn namespace(&mut self, name: &str, exists: bool) {
        let namespace = ObservedNamespace { name: name.to_owned(), deleting: false };
        let event = if exists { Event::Applied(namespace) } else { Event::Deleted(namespace) };
        self.touched.extend(self.index.namespaces_event(event));
    }

    /// Somebody writes a Service.
    pub fn service(&mut self, namespace: &str, name: &str) {
        self.service_with(namespace, name, json!({"spec": {"ports": [{"port": 80}], "selector": {"app": name}}}));
    }

    pub fn service_with(&mut self, namespace: &str, name: &str, mut object: Value) {
        self.version += 1;
        let uid = self
            .services
            .get(&Key::new(namespace, name))
            .map_or(json!(self.version.to_string()), |known| known["metadata"]["uid"].clone());
        object["metadata"]["uid"] = uid;
        object["metadata"]["name"] = json!(name);
        object["metadata"]["namespace"] = json!(namespace);
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.services.insert(Key::new(namespace, name), object.clone());
        let event = Event::Applied(Arc::new(ObservedService::read(object)));
        self.touched.extend(self.index.services_event(event));
    }

    pub fn delete_service(&mut self, namespace: &str, name: &str) {
        let object = self.services.remove(&Key::new(namespace, name)).unwrap();
        let event = Event::Deleted(Arc::new(ObservedService::read(object)));
        self.touched.extend(self.index.services_event(event));
    }

    /// Somebody writes a VirtualService.
    pub fn virtual_service(&mut self, namespace: &str, name: &str, mut object: Value) {
        self.version += 1;
        object["metadata"]["name"] = json!(name);
        object["metadata"]["namespace"] = json!(namespace);
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let created = self.virtual_services.get(&Key::new(namespace, name)).map(|known| known["metadata"].clone());
        let created = created.map(|metadata| metadata["creationTimestamp"].clone());
        let now = jiff::Timestamp::from_second(self.version.try_into().unwrap()).unwrap();
        object["metadata"]["creationTimestamp"] = created.unwrap_or_else(|| json!(now));
        self.virtual_services.insert(Key::new(namespace, name), object.clone());
        let event = Event::Applied(Arc::new(ObservedVirtualService::read(object)));
        self.touched.extend(self.index.virtual_services_event(event));
    }

    pub fn delete_virtual_service(&mut self, namespace: &str, name: &str) {
        let object = self.virtual_services.remove(&Key::new(namespace, name)).unwrap();
        let event = Event::Deleted(Arc::new(ObservedVirtualService::read(object)));
        self.touched.extend(self.index.virtual_services_event(event));
    }

    /// Another process takes over, which knows only the existing objects.
    pub fn restart(&mut self) {
        let mut index = RoutingIndex::default();
        std::mem::swap(&mut index.standing, &mut self.index.standing);
        for namespace in ["default", "dev-a", "dev-b", "dev-c", "routes"] {
            index.namespaces_event(Event::Applied(ObservedNamespace { name: namespace.to_owned(), deleting: false }));
        }
        let services = self.services.values().cloned().map(|object| Arc::new(ObservedService::read(object)));
        for event in Event::list(services) {
            index.services_event(event);
        }
        let all = self.virtual_services.values().cloned().map(|object| Arc::new(ObservedVirtualService::read(object)));
        for event in Event::list(all) {
            index.virtual_services_event(event);
        }
        self.touched = index.begin_term("v1").into_iter().collect();
        self.index = index;
    }

    /// Queues these keys.
    pub fn touch(&mut self, keys: Vec<QueueKey>) {
        self.touched.extend(keys);
    }

    /// Works until the queue is empty. Returns the writes.
    pub fn settle(&mut self) -> Vec<String> {
        self.writes.clear();
        for _ in 0..100_000 {
            let Some(key) = self.touched.pop_first() else { return self.writes.clone() };
            let QueueKey::Services(name) = key else { continue };
            let Some(plan) = self.index.plan(&name) else { continue };
            self.findings.retain(|finding| finding.service.name != name);
            self.findings.extend(plan.findings);
            let again = !plan.writes.is_empty();
            for write in plan.writes {
                self.write(write);
            }
            if again {
                self.touched.insert(QueueKey::Services(name));
            }
        }
        panic!("it never settles: {:?}", &self.writes[..20]);
    }

    fn write(&mut self, write: Write) {
        match write {
            Write::Create(object) => {
                let object = serde_json::to_value(object).unwrap();
                let (namespace, name) = names(&object);
                self.writes.push(format!("create virtualservice {namespace}/{name}"));
                assert!(!self.virtual_services.contains_key(&Key::new(&namespace, &name)), "{object}");
                self.virtual_service(&namespace, &name, object);
            }
            Write::Change(seen, changes) => {
                let Key { namespace, name } = seen.key.clone();
                self.writes.push(format!("change virtualservice {namespace}/{name}"));
                let mut object = self.virtual_services[&seen.key].clone();
                json_patch::patch(&mut object, &changes).unwrap();
                self.virtual_service(&namespace, &name, object);
            }
            Write::Delete(seen) => {
                self.writes.push(format!("delete virtualservice {}", seen.key));
                self.delete_virtual_service(&seen.key.namespace, &seen.key.name);
            }
            Write::Placeholder(object) => {
                let object = serde_json::to_value(object).unwrap();
                let (namespace, name) = names(&object);
                self.writes.push(format!("apply placeholder {namespace}/{name}"));
                self.service_with(&namespace, &name, object);
            }
            Write::HandOver(seen) => {
                let Key { namespace, name } = seen.key.clone();
                self.writes.push(format!("hand over {namespace}/{name}"));
                let spec = &self.services[&seen.key]["spec"];
                let spec = json!({"ports": spec["ports"], "selector": spec["selector"], "type": "ClusterIP"});
                self.service_with(&namespace, &name, json!({"spec": spec}));
            }
            Write::DeletePlaceholder(seen) => {
                self.writes.push(format!("delete placeholder {}", seen.key));
                self.delete_service(&seen.key.namespace, &seen.key.name);
            }
        }
    }

    /// Returns the developers that a VirtualService in `default` routes to; `None` if it does not exist.
    pub fn routed(&self, service: &str) -> Option<Vec<String>> {
        let object = self.virtual_services.get(&Key::new("default", format!("{service}-virtual-service")))?;
        let routes = object["spec"]["http"].as_array().unwrap();
        let (last, others) = routes.split_last().unwrap();
        assert!(last["match"].is_null(), "{object}");
        let named = others.iter().map(|route| &route["match"][0]["headers"]["x-developer"]["exact"]);
        Some(named.map(|name| name.as_str().unwrap().to_owned()).collect())
    }

    /// Whether the placeholder exists.
    pub fn has_placeholder(&self, namespace: &str, name: &str) -> bool {
        let object = self.services.get(&Key::new(namespace, name));
        object.is_some_and(|object| object["spec"]["type"] == "ExternalName")
    }

    pub fn reasons(&self) -> Vec<&'static str> {
        self.findings.iter().map(|finding| finding.reason).collect()
    }
}

fn names(object: &Value) -> (String, String) {
    let text = |field: &str| object["metadata"][field].as_str().unwrap().to_owned();
    (text("namespace"), text("name"))
}
