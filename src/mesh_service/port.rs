//! Ports of a MeshService: their names, and the protocol that Istio assumes.

use crate::api::mesh_service::MeshPort;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// A port with its defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Port {
    pub number: i32,
    pub target: i32,
    pub name: String,
    /// In Istio's form, such as `GRPC`.
    pub protocol: &'static str,
    /// The `appProtocol` of the Service's port: set if the spec gives a protocol that the name does not. A protocol that is only assumed is not
    /// written, and Istio detects it.
    pub app_protocol: Option<String>,
}

/// How traffic is routed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Routing {
    /// Requests are routed.
    Http,
    /// Connections are routed by the server name in the client's first message (SNI).
    Tls,
    /// Connections are routed by the port.
    Tcp,
    /// Not at all.
    None,
}

/// The protocol of a port for which none is given.
const ASSUMED: &str = "HTTP";

/// Ports for which Istio does not detect the protocol, because the server may speak first: SMTP, DNS, `MySQL` and `MongoDB`.
const SERVER_FIRST: [i64; 4] = [25, 53, 3306, 27017];

/// Longer names first: `grpc-web` is not `grpc`.
const PROTOCOLS: [(&str, &str); 12] = [
    ("grpc-web", "GRPC-WEB"),
    ("http_proxy", "HTTP_PROXY"),
    ("grpc", "GRPC"),
    ("http2", "HTTP2"),
    ("https", "HTTPS"),
    ("http", "HTTP"),
    ("mongo", "MONGO"),
    ("mysql", "MYSQL"),
    ("redis", "REDIS"),
    ("tcp", "TCP"),
    ("tls", "TLS"),
    ("udp", "UDP"),
];

impl Port {
    /// Reads all ports. A default name that another port has already gets a number.
    pub fn read_all(ports: &[MeshPort]) -> Vec<Self> {
        let mut taken: BTreeSet<String> = ports.iter().filter_map(|port| port.name.clone()).collect();
        let read = |port: &MeshPort| {
            let mut read = Self::read(port);
            if port.name.is_none() {
                let first = read.name.clone();
                let mut number = 1;
                while !taken.insert(read.name.clone()) {
                    number += 1;
                    read.name = format!("{first}-{number}");
                }
            }
            read
        };
        ports.iter().map(read).collect()
    }

    /// Reads a port. Most Services have `protocol: TCP` at every port that is not UDP, so next to a name it means HTTP.
    /// Only the name makes a port plain TCP. A default name is made from the protocol.
    fn read(port: &MeshPort) -> Self {
        let given = port.protocol.as_deref().and_then(of_text);
        let name = port.name.clone().unwrap_or_else(|| {
            let protocol = given.unwrap_or(ASSUMED).to_ascii_lowercase().replace('_', "-");
            format!("{protocol}-{}", port.port)
        });
        let said = given.filter(|protocol| *protocol != "TCP");
        let named = of_name(&name).filter(|_| port.name.is_some() || said.is_none());
        let protocol = named.or(said).unwrap_or(ASSUMED);
        let app_protocol = said.filter(|said| *said != "UDP" && of_name(&name) != Some(*said) && protocol == *said);
        Self {
            number: port.port,
            target: port.target_port.unwrap_or(port.port),
            name,
            protocol,
            app_protocol: app_protocol.map(str::to_ascii_lowercase),
        }
    }

    pub fn routing(&self) -> Routing {
        routing_of(self.protocol)
    }

    /// Returns it as a port of a Service.
    pub(super) fn of_service(&self) -> Value {
        let mut of_service = json!({
            "name": self.name, "port": self.number, "targetPort": self.target, "protocol": self.transport(),
        });
        if let Some(app_protocol) = &self.app_protocol {
            of_service["appProtocol"] = app_protocol.as_str().into();
        }
        of_service
    }

    /// Returns `protocol` of a Service's port.
    pub fn transport(&self) -> &'static str {
        if self.protocol == "UDP" { "UDP" } else { "TCP" }
    }
}

/// Returns how Istio routes traffic of a protocol.
pub(super) fn routing_of(protocol: &str) -> Routing {
    match protocol {
        "HTTPS" | "TLS" => Routing::Tls,
        "HTTP" | "HTTP2" | "HTTP_PROXY" | "GRPC" | "GRPC-WEB" => Routing::Http,
        "UDP" => Routing::None,
        _ => Routing::Tcp,
    }
}

/// Returns the protocol that Istio assumes for a port of a Service, by its `appProtocol` or else by its name. `None` if
/// Istio detects it.
///
/// Source: `ConvertProtocol` of Istio 1.32.
pub(super) fn taken_for(number: i64, name: &str, app_protocol: Option<&str>) -> Option<&'static str> {
    match app_protocol {
        Some("kubernetes.io/h2c") => return Some("HTTP2"),
        Some("kubernetes.io/ws") => return Some("HTTP"),
        Some("kubernetes.io/wss") => return Some("HTTPS"),
        _ => {}
    }
    of_name(app_protocol.unwrap_or(name)).or_else(|| SERVER_FIRST.contains(&number).then_some("TCP"))
}

/// Returns the protocol that a port's name gives: the name is a protocol, or begins with one and `-`.
fn of_name(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    let says =
        |protocol: &str| name.strip_prefix(protocol).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
    PROTOCOLS.iter().find(|(protocol, _)| says(protocol)).map(|(_, protocol)| *protocol)
}

fn of_text(text: &str) -> Option<&'static str> {
    PROTOCOLS.iter().find(|(_, protocol)| protocol.eq_ignore_ascii_case(text)).map(|(_, protocol)| *protocol)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(name: Option<&str>, protocol: Option<&str>) -> Port {
        Port::read(&MeshPort {
            name: name.map(str::to_owned),
            port: 80,
            target_port: None,
            protocol: protocol.map(str::to_owned),
        })
    }

    #[test]
    fn a_port_is_of_the_protocol_that_its_name_says_else_of_the_one_given_else_of_http() {
        for (name, protocol, expected, routing) in [
            (None, None, "HTTP", Routing::Http),
            (None, Some("TCP"), "TCP", Routing::Tcp),
            (None, Some("tcp"), "TCP", Routing::Tcp),
            (None, Some("HTTP_PROXY"), "HTTP_PROXY", Routing::Http),
            (Some("web"), Some("grpc"), "GRPC", Routing::Http),
            (Some("web"), Some("TCP"), "HTTP", Routing::Http),
            (Some("grpc"), Some("TCP"), "GRPC", Routing::Http),
            (Some("grpc-web-1"), None, "GRPC-WEB", Routing::Http),
            (Some("https"), Some("TLS"), "HTTPS", Routing::Tls),
            (Some("web"), Some("TLS"), "TLS", Routing::Tls),
            (Some("tcp-raw"), None, "TCP", Routing::Tcp),
            (Some("tcpish"), None, "HTTP", Routing::Http),
            (None, Some("mongo"), "MONGO", Routing::Tcp),
            (Some("dns"), Some("UDP"), "UDP", Routing::None),
        ] {
            let port = port(name, protocol);
            assert_eq!((port.protocol, port.routing()), (expected, routing), "{name:?} {protocol:?}");
        }
    }

    #[test]
    fn a_name_that_is_not_given_is_no_other_ports() {
        let port = |name: Option<&str>, port: i32, protocol: &str| MeshPort {
            name: name.map(str::to_owned),
            port,
            target_port: None,
            protocol: Some(protocol.to_owned()),
        };
        let ports =
            [port(None, 81, "TCP"), port(Some("tcp-81"), 80, "TCP"), port(None, 53, "UDP"), port(None, 53, "TCP")];
        let names: Vec<_> = Port::read_all(&ports).into_iter().map(|port| port.name).collect();
        assert_eq!(names, ["tcp-81-2", "tcp-81", "udp-53", "tcp-53"]);
    }

    /// Only the spec can declare a database as HTTP.
    #[test]
    fn a_service_says_no_protocol_that_the_spec_does_not_say() {
        for (name, protocol, expected, app_protocol) in [
            (None, None, "http-80", None),
            (None, Some("TCP"), "tcp-80", None),
            (None, Some("TLS"), "tls-80", None),
            (None, Some("HTTP_PROXY"), "http-proxy-80", Some("http_proxy")),
            (None, Some("UDP"), "udp-80", None),
            (Some("db"), Some("TCP"), "db", None),
            (Some("web"), None, "web", None),
            (Some("web"), Some("HTTP"), "web", Some("http")),
            (Some("dns"), Some("UDP"), "dns", None),
            (Some("grpc"), Some("HTTP"), "grpc", None),
        ] {
            let port = port(name, protocol);
            assert_eq!((port.name.as_str(), port.app_protocol.as_deref()), (expected, app_protocol), "{protocol:?}");
        }
    }
}
