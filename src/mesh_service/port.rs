//! Ports of a MeshService: what they are called, and what Istio takes their traffic for.

use crate::api::mesh_service::MeshPort;

/// A port with its defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Port {
    pub number: i32,
    pub target: i32,
    pub name: String,
    /// As Istio writes it, such as `GRPC`.
    pub protocol: &'static str,
    /// Whether the name says the protocol, as Istio reads names.
    pub is_told_by_name: bool,
}

/// How traffic is routed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Routing {
    /// By requests.
    Http,
    /// By the name that the client asks for in its first message (SNI).
    Tls,
    /// By the port alone.
    Tcp,
    /// Not at all: Istio leaves it as it is.
    None,
}

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
    /// `protocol: TCP` is Kubernetes' word for whatever is no UDP, as ports of Services have it; HTTP is assumed. Only a name says that a
    /// port is of plain TCP.
    pub fn read(port: &MeshPort) -> Self {
        let named = port.name.as_deref().and_then(of_name);
        let given = port.protocol.as_deref().and_then(of_text);
        let protocol = named.or(given.filter(|protocol| *protocol != "TCP")).unwrap_or("HTTP");
        let default_name = || {
            let protocol = given.unwrap_or("TCP").to_ascii_lowercase().replace('_', "-");
            format!("{protocol}-{}", port.port)
        };
        Self {
            number: port.port,
            target: port.target_port.unwrap_or(port.port),
            name: port.name.clone().unwrap_or_else(default_name),
            protocol,
            is_told_by_name: named.is_some(),
        }
    }

    pub fn routing(&self) -> Routing {
        match self.protocol {
            "HTTPS" | "TLS" => Routing::Tls,
            "HTTP" | "HTTP2" | "HTTP_PROXY" | "GRPC" | "GRPC-WEB" => Routing::Http,
            "UDP" => Routing::None,
            _ => Routing::Tcp,
        }
    }

    /// `protocol` of a Service's port.
    pub fn transport(&self) -> &'static str {
        if self.protocol == "UDP" { "UDP" } else { "TCP" }
    }

    /// `appProtocol` of a Service's port, where its name does not say it.
    pub fn app_protocol(&self) -> Option<String> {
        (!self.is_told_by_name && self.protocol != "UDP").then(|| self.protocol.to_ascii_lowercase())
    }
}

/// What a port's name says: it is a protocol, or begins with one and `-`.
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
    fn a_name_defaults_to_protocol_and_number() {
        for (protocol, name, app_protocol) in [
            (None, "tcp-80", Some("http")),
            (Some("TLS"), "tls-80", Some("tls")),
            (Some("HTTP_PROXY"), "http-proxy-80", Some("http_proxy")),
            (Some("UDP"), "udp-80", None),
        ] {
            let port = port(None, protocol);
            assert_eq!((port.name.as_str(), port.app_protocol().as_deref()), (name, app_protocol));
        }
        assert_eq!(port(Some("grpc"), None).app_protocol(), None);
        assert_eq!(port(Some("web"), None).app_protocol().as_deref(), Some("http"));
    }
}
