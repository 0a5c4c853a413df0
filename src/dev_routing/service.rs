//! Pure: a Service as last seen: its kind, its HTTP ports, and whether it is a placeholder.

use super::key::{Key, Metadata};
use super::mark::Mark;
use crate::cluster::{ObjectVersion, Versioned};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A Service as last seen, reduced to the fields that affect routes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedService {
    /// Its namespace and name.
    pub key: Key,
    /// Its uid.
    pub uid: Box<str>,
    /// Its resourceVersion.
    pub resource_version: String,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// How its name is resolved.
    pub kind: ServiceKind,
    /// Its ports.
    pub ports: Vec<Port>,
    /// Whether it selects Pods.
    pub has_selector: bool,
    /// Its placeholder mark, if it has one.
    pub mark: Option<Box<Mark>>,
}

/// How the name of a Service is resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ServiceKind {
    /// To its own address.
    #[default]
    Cluster,
    /// To the addresses of its Pods.
    Headless,
    /// To another name.
    ExternalName(String),
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name; empty if it has none.
    pub name: Box<str>,
    /// Its number.
    pub number: u16,
    /// Whether Istio routes HTTP at it, or detects the protocol.
    pub http: bool,
}

/// All Services, by name and namespace.
#[derive(Debug, Default)]
pub struct Services(HashMap<String, BTreeMap<String, Arc<ObservedService>>>);

/// The decoded fields of the object.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Document {
    metadata: Metadata,
    spec: Spec,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    #[serde(rename = "type")]
    type_: String,
    #[serde(rename = "clusterIP")]
    cluster_ip: String,
    external_name: String,
    selector: BTreeMap<String, String>,
    ports: Vec<SpecPort>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SpecPort {
    name: String,
    protocol: String,
    app_protocol: String,
    port: u16,
}

/// Istio protocols without HTTP routing.
const NOT_HTTP: [&str; 8] = ["https", "tls", "tcp", "udp", "mongo", "redis", "mysql", "kubernetes.io/wss"];

/// Istio protocols with HTTP routing.
const HTTP: [&str; 7] = ["http", "http2", "http_proxy", "grpc", "grpc-web", "kubernetes.io/h2c", "kubernetes.io/ws"];

/// Ports where the server speaks first, so that Istio cannot detect the protocol: mail, DNS, and two databases.
const SERVER_FIRST: [u16; 4] = [25, 53, 3306, 27017];

impl Versioned for ObservedService {
    fn version(&self) -> ObjectVersion<'_> {
        let Self { key, uid, resource_version, .. } = self;
        ObjectVersion { namespace: &key.namespace, name: &key.name, uid, resource_version }
    }
}

impl Services {
    /// Returns their names.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }

    /// Returns all Services.
    pub fn all(&self) -> impl Iterator<Item = &Arc<ObservedService>> {
        self.0.values().flat_map(BTreeMap::values)
    }

    /// Returns the Service of this name in this namespace.
    #[must_use]
    pub fn get(&self, name: &str, namespace: &str) -> Option<&Arc<ObservedService>> {
        self.0.get(name)?.get(namespace)
    }

    /// Returns the Services of this name, by namespace.
    #[must_use]
    pub fn of_name(&self, name: &str) -> &BTreeMap<String, Arc<ObservedService>> {
        static NONE: BTreeMap<String, Arc<ObservedService>> = BTreeMap::new();
        self.0.get(name).unwrap_or(&NONE)
    }

    /// Inserts a Service. Returns its previous state.
    pub fn insert(&mut self, service: Arc<ObservedService>) -> Option<Arc<ObservedService>> {
        let Key { namespace, name } = service.key.clone();
        self.0.entry(name).or_default().insert(namespace, service)
    }

    /// Removes a Service. Returns its last state.
    pub fn remove(&mut self, key: &Key) -> Option<Arc<ObservedService>> {
        let of_name = self.0.get_mut(&key.name)?;
        let gone = of_name.remove(&key.namespace);
        if of_name.is_empty() {
            self.0.remove(&key.name);
        }
        gone
    }
}

/// Never fails, so that a watch continues whatever is stored.
impl<'de> Deserialize<'de> for ObservedService {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::read)
    }
}

impl ObservedService {
    /// Reads a Service. It never fails.
    #[must_use]
    pub fn read(object: Value) -> Self {
        let Document { metadata, spec } = Document::deserialize(object).unwrap_or_default();
        Self {
            mark: Mark::read(&metadata).map(Box::new),
            key: Key::new(metadata.namespace, metadata.name),
            uid: metadata.uid.into_boxed_str(),
            resource_version: metadata.resource_version,
            deleting: metadata.deletion_timestamp.is_some(),
            has_selector: !spec.selector.is_empty(),
            kind: match spec.type_.as_str() {
                "ExternalName" => ServiceKind::ExternalName(spec.external_name),
                _ if spec.cluster_ip == "None" => ServiceKind::Headless,
                _ => ServiceKind::Cluster,
            },
            ports: spec.ports.into_iter().map(Port::from).collect(),
        }
    }

    /// Returns the ports at which Istio routes HTTP.
    #[must_use]
    pub fn http_ports(&self) -> Vec<&Port> {
        self.ports.iter().filter(|port| port.http).collect()
    }

    /// Returns why Istio cannot route requests to this Service by header, if it cannot.
    #[must_use]
    pub fn obstacle(&self) -> Option<&'static str> {
        if matches!(self.kind, ServiceKind::ExternalName(_)) {
            Some("it is of type ExternalName: it has no endpoints of its own")
        } else if self.http_ports().is_empty() {
            Some(
                "none of its ports is for HTTP; Istio goes by appProtocol and by the name of the port, such as http-web",
            )
        } else {
            None
        }
    }
}

impl From<SpecPort> for Port {
    fn from(port: SpecPort) -> Self {
        let http = matches!(port.protocol.as_str(), "" | "TCP") && is_http(&port);
        Self { name: port.name.into_boxed_str(), number: port.port, http }
    }
}

/// Whether Istio considers the port HTTP: by `appProtocol`, else by the name up to the first `-`. It detects unknown
/// protocols.
fn is_http(port: &SpecPort) -> bool {
    let named = if port.app_protocol.is_empty() { &port.name } else { &port.app_protocol };
    let named = named.to_ascii_lowercase();
    let protocol = if HTTP.contains(&named.as_str()) || NOT_HTTP.contains(&named.as_str()) {
        named.as_str()
    } else {
        named.split('-').next().unwrap_or_default()
    };
    HTTP.contains(&protocol) || !NOT_HTTP.contains(&protocol) && !SERVER_FIRST.contains(&port.port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn http(port: &Value) -> bool {
        ObservedService::read(json!({"spec": {"ports": [port]}})).ports[0].http
    }

    #[test]
    fn ports_are_for_http_as_istio_takes_them() {
        for port in [
            json!({"port": 80}),
            json!({"port": 80, "protocol": "TCP", "name": "web"}),
            json!({"port": 80, "name": "http"}),
            json!({"port": 53, "name": "http-dns"}),
            json!({"port": 80, "name": "grpc-web-x"}),
            json!({"port": 80, "name": "GRPC"}),
            json!({"port": 80, "name": "tcp", "appProtocol": "http2"}),
            json!({"port": 80, "name": "tcp", "appProtocol": "kubernetes.io/h2c"}),
            json!({"port": 80, "name": "tcp", "appProtocol": "http_proxy"}),
        ] {
            assert!(http(&port), "{port}");
        }
        for port in [
            json!({"port": 53, "protocol": "UDP"}),
            json!({"port": 80, "protocol": "UDP", "name": "http"}),
            json!({"port": 80, "name": "tcp"}),
            json!({"port": 80, "name": "tcp-http"}),
            json!({"port": 443, "name": "https-web"}),
            json!({"port": 80, "name": "http", "appProtocol": "redis"}),
            json!({"port": 80, "appProtocol": "kubernetes.io/wss"}),
            json!({"port": 3306}),
            json!({"port": 27017, "name": "db"}),
        ] {
            assert!(!http(&port), "{port}");
        }
    }

    #[test]
    fn a_service_is_read_whatever_is_in_it() {
        let read =
            |spec: Value| ObservedService::read(json!({"metadata": {"name": "a", "namespace": "b"}, "spec": spec}));
        assert_eq!(read(json!({"clusterIP": "None"})).kind, ServiceKind::Headless);
        assert_eq!(read(json!({"clusterIP": "10.0.0.1"})).kind, ServiceKind::Cluster);
        let external = read(json!({"type": "ExternalName", "externalName": "x.y"}));
        assert_eq!(external.kind, ServiceKind::ExternalName("x.y".to_owned()));
        assert!(external.obstacle().is_some());
        assert_eq!(ObservedService::read(json!([])), ObservedService::default());
    }
}
