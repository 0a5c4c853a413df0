//! The messages of `security.istio.io` that outrigger writes, field by field.
//!
//! Source: `security/v1beta1` of `istio.io/api` 1.32.

use super::message::{Field, Type};
use Type::{Enum, Labels, List, Map, Message, Text};

/// `PeerAuthentication`.
pub(crate) const PEER_AUTHENTICATION: &[Field] =
    &[("selector", SELECTOR), ("mtls", MTLS), ("portLevelMtls", Map(&MTLS))];

/// `AuthorizationPolicy`.
pub(crate) const AUTHORIZATION_POLICY: &[Field] = &[
    ("selector", SELECTOR),
    ("targetRef", TARGET),
    ("targetRefs", List(&TARGET)),
    ("rules", List(&RULE)),
    ("action", Enum(&["ALLOW", "DENY", "AUDIT", "CUSTOM"])),
    ("provider", PROVIDER),
];

pub(crate) const SELECTOR: Type = Message(&[("matchLabels", Labels)]);

pub(crate) const MTLS: Type = Message(&[("mode", Enum(&["UNSET", "DISABLE", "PERMISSIVE", "STRICT"]))]);

pub(crate) const PROVIDER: Type = Message(&[("name", Text)]);

const TARGET: Type = Message(&[("group", Text), ("kind", Text), ("name", Text), ("namespace", Text)]);

pub(crate) const RULE: Type = Message(&[
    ("from", List(&Message(&[("source", SOURCE)]))),
    ("to", List(&Message(&[("operation", OPERATION)]))),
    ("when", List(&Message(&[("key", Text), ("values", List(&Text)), ("notValues", List(&Text))]))),
]);

pub(crate) const SOURCE: Type = Message(&[
    ("principals", List(&Text)),
    ("notPrincipals", List(&Text)),
    ("requestPrincipals", List(&Text)),
    ("notRequestPrincipals", List(&Text)),
    ("namespaces", List(&Text)),
    ("notNamespaces", List(&Text)),
    ("ipBlocks", List(&Text)),
    ("notIpBlocks", List(&Text)),
    ("remoteIpBlocks", List(&Text)),
    ("notRemoteIpBlocks", List(&Text)),
    ("serviceAccounts", List(&Text)),
    ("notServiceAccounts", List(&Text)),
    ("trustDomains", List(&Text)),
    ("notTrustDomains", List(&Text)),
]);

pub(crate) const OPERATION: Type = Message(&[
    ("hosts", List(&Text)),
    ("notHosts", List(&Text)),
    ("ports", List(&Text)),
    ("notPorts", List(&Text)),
    ("methods", List(&Text)),
    ("notMethods", List(&Text)),
    ("paths", List(&Text)),
    ("notPaths", List(&Text)),
]);
