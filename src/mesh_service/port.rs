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
    /// `appProtocol` of a Service's port: what the spec says and the name does not. Of what is only assumed Istio finds out itself.
    pub app_protocol: Option<String>,
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

/// Of a port of which nothing is said.
const ASSUMED: &str = "HTTP";

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
    /// `protocol: TCP` beside a name is Kubernetes' word for whatever is no UDP, as ports of Services have it; HTTP is assumed. Only a
    /// name says that a port is of plain TCP: one that is not given is made of the protocol.
    pub fn read(port: &MeshPort) -> Self {
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

    /// A database is told to Envoy as HTTP by nobody but who wrote the spec.
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
