//! A Gateway: the Pods it selects, and its servers.

use super::port;
use crate::istio::node::Node;
use std::collections::BTreeMap;

/// The fields of a Gateway that checks need, of Istio or of Kubernetes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Gateway {
    /// All Pods if empty.
    pub selector: BTreeMap<String, String>,
    pub servers: Vec<Server>,
}

/// A server of a Gateway, or a listener.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Server {
    pub field: String,
    pub port: Option<u32>,
    pub protocol: String,
    pub bind: String,
    /// Namespaces that may use it (`None`: all), and the host.
    pub hosts: Vec<(Option<String>, String)>,
    pub has_tls: bool,
    pub passes_through: bool,
    /// The identity of its certificates: names of Secrets or files.
    pub certificates: Vec<String>,
    /// Secrets, and the fields that refer to them.
    pub credentials: Vec<(String, String)>,
}

impl Gateway {
    pub fn read(spec: &Node<'_>, namespace: &str) -> Self {
        let servers = spec.list("servers").into_iter().map(|server| Server::read(&server, namespace));
        Self { selector: spec.labels("selector"), servers: servers.collect() }
    }

    /// Reads a Gateway of `gateway.networking.k8s.io`. Istio does not decide which namespaces may use it.
    pub fn of_kubernetes(spec: &Node<'_>) -> Self {
        let listener = |listener: Node<'_>| {
            let host = listener.text("hostname");
            Server {
                port: port(listener.number("port")),
                protocol: listener.text("protocol").to_owned(),
                hosts: vec![(None, if host.is_empty() { "*".to_owned() } else { host.to_owned() })],
                field: listener.path(),
                ..Server::default()
            }
        };
        Self { selector: BTreeMap::new(), servers: spec.list("listeners").into_iter().map(listener).collect() }
    }
}

impl Server {
    fn read(server: &Node<'_>, own_namespace: &str) -> Self {
        let (listened, tls) = (server.field("port"), server.field("tls"));
        let host = |host: &str| match host.split_once('/') {
            None | Some(("*", _)) => (None, host.rsplit('/').next().unwrap_or(host).to_ascii_lowercase()),
            Some((".", host)) => (Some(own_namespace.to_owned()), host.to_ascii_lowercase()),
            Some((namespace, host)) => (Some(namespace.to_owned()), host.to_ascii_lowercase()),
        };
        let names = ["credentialName", "serverCertificate"].map(|field| tls.text(field));
        let names = names.into_iter().filter(|name| !name.is_empty()).chain(tls.texts("credentialNames"));
        Self {
            port: port(listened.number("number")),
            protocol: listened.text("protocol").to_ascii_uppercase(),
            bind: server.text("bind").to_owned(),
            hosts: server.texts("hosts").into_iter().map(host).collect(),
            has_tls: tls.is_present(),
            passes_through: tls.is_present() && matches!(tls.text("mode"), "" | "PASSTHROUGH" | "AUTO_PASSTHROUGH"),
            certificates: names.map(str::to_owned).collect(),
            credentials: credentials(&tls),
            field: server.path(),
        }
    }
}

/// Returns Secrets in the gateway's own namespace. Other certificate providers are URLs.
fn credentials(tls: &Node<'_>) -> Vec<(String, String)> {
    let one = tls.present("credentialName").into_iter();
    let named = one.chain(tls.list("credentialNames")).map(|node| (node.path(), node.as_text().to_owned()));
    named.filter(|(_, name)| !name.is_empty() && !name.contains("://")).collect()
}
