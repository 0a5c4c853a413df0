//! The messages of a Sidecar's `spec`, field by field in the order of Istio's `.proto` files. The order affects the
//! hash.
//!
//! Source: `networking/v1alpha3/{sidecar,gateway,destination_rule,virtual_service}.proto` of `istio.io/api` 1.31. Newer fields
//! are unknown.

use super::message::{Field, Type};
use Type::{Bool, Duration, Enum, Labels, List, Message, OptionalBool, Signed, Text, Unsigned};

/// `Sidecar`.
pub(crate) const SIDECAR: &[Field] = &[
    ("workloadSelector", Message(&[("labels", Labels)])),
    ("ingress", List(&Message(INGRESS_LISTENER))),
    ("egress", List(&Message(EGRESS_LISTENER))),
    ("inboundConnectionPool", Message(CONNECTION_POOL)),
    ("outboundTrafficPolicy", Message(OUTBOUND_TRAFFIC_POLICY)),
];

/// `IstioEgressListener`.
pub(crate) const EGRESS_LISTENER: &[Field] =
    &[("port", Message(PORT)), ("bind", Text), ("captureMode", CAPTURE_MODE), ("hosts", List(&Text))];

const INGRESS_LISTENER: &[Field] = &[
    ("port", Message(PORT)),
    ("bind", Text),
    ("captureMode", CAPTURE_MODE),
    ("defaultEndpoint", Text),
    ("tls", Message(SERVER_TLS)),
    ("connectionPool", Message(CONNECTION_POOL)),
];

const PORT: &[Field] = &[("number", Unsigned), ("protocol", Text), ("name", Text), ("targetPort", Unsigned)];

const CAPTURE_MODE: Type = Enum(&["DEFAULT", "IPTABLES", "NONE"]);

const OUTBOUND_TRAFFIC_POLICY: &[Field] =
    &[("mode", Enum(&["REGISTRY_ONLY", "ALLOW_ANY"])), ("egressProxy", Message(DESTINATION))];

pub(crate) const DESTINATION: &[Field] =
    &[("host", Text), ("subset", Text), ("port", Message(&[("number", Unsigned)]))];

pub(crate) const CONNECTION_POOL: &[Field] = &[("tcp", Message(TCP_POOL)), ("http", Message(HTTP_POOL))];

const TCP_POOL: &[Field] = &[
    ("maxConnections", Signed),
    ("connectTimeout", Duration),
    ("tcpKeepalive", Message(&[("probes", Unsigned), ("time", Duration), ("interval", Duration)])),
    ("maxConnectionDuration", Duration),
    ("idleTimeout", Duration),
];

const HTTP_POOL: &[Field] = &[
    ("http1MaxPendingRequests", Signed),
    ("http2MaxRequests", Signed),
    ("maxRequestsPerConnection", Signed),
    ("maxRetries", Signed),
    ("idleTimeout", Duration),
    ("h2UpgradePolicy", Enum(&["DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"])),
    ("useClientProtocol", Bool),
    ("maxConcurrentStreams", Signed),
    ("http2KeepAlive", Message(&[("interval", Duration), ("timeout", Duration)])),
];

pub(crate) const SERVER_TLS: &[Field] = &[
    ("httpsRedirect", Bool),
    ("mode", Enum(&["PASSTHROUGH", "SIMPLE", "MUTUAL", "AUTO_PASSTHROUGH", "ISTIO_MUTUAL", "OPTIONAL_MUTUAL"])),
    ("serverCertificate", Text),
    ("privateKey", Text),
    ("caCertificates", Text),
    ("caCrl", Text),
    ("credentialName", Text),
    ("credentialNames", List(&Text)),
    ("caCertCredentialName", Text),
    ("tlsCertificates", List(&Message(&[("serverCertificate", Text), ("privateKey", Text), ("caCertificates", Text)]))),
    ("subjectAltNames", List(&Text)),
    ("verifyCertificateSpki", List(&Text)),
    ("verifyCertificateHash", List(&Text)),
    ("minProtocolVersion", TLS_VERSION),
    ("maxProtocolVersion", TLS_VERSION),
    ("cipherSuites", List(&Text)),
    ("ecdhCurves", List(&Text)),
    ("insecureSkipVerify", OptionalBool),
];

const TLS_VERSION: Type = Enum(&["TLS_AUTO", "TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3"]);
