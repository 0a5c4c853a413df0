//! TLS and TCP routes of a VirtualService.

use super::destination::Destination;
use super::zero::is_default;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `TLSRoute`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct TlsRoute {
    /// Any of these.
    #[serde(rename = "match", skip_serializing_if = "is_default")]
    pub matches: Vec<L4Match>,
    /// The destinations.
    #[serde(skip_serializing_if = "is_default")]
    pub route: Vec<L4Destination>,
}

/// `TCPRoute`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct TcpRoute {
    /// Any of these; empty matches every connection.
    #[serde(rename = "match", skip_serializing_if = "is_default")]
    pub matches: Vec<L4Match>,
    /// The destinations.
    #[serde(skip_serializing_if = "is_default")]
    pub route: Vec<L4Destination>,
}

/// `TLSMatchAttributes` and `L4MatchAttributes`, which differ in one field each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct L4Match {
    /// Only TLS: requested server names.
    #[serde(skip_serializing_if = "is_default")]
    pub sni_hosts: Vec<String>,
    /// Called addresses.
    #[serde(skip_serializing_if = "is_default")]
    pub destination_subnets: Vec<String>,
    /// The called port.
    #[serde(skip_serializing_if = "is_default")]
    pub port: u32,
    /// Only TCP: the client's addresses.
    #[serde(skip_serializing_if = "is_default")]
    pub source_subnet: String,
    /// Labels of the client.
    #[serde(skip_serializing_if = "is_default")]
    pub source_labels: BTreeMap<String, String>,
    /// Gateways to which it applies.
    #[serde(skip_serializing_if = "is_default")]
    pub gateways: Vec<String>,
    /// Namespace of the client.
    #[serde(skip_serializing_if = "is_default")]
    pub source_namespace: String,
}

/// `RouteDestination`: one destination, with its share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct L4Destination {
    /// The destination.
    pub destination: Destination,
    /// Its share, relative to the others.
    #[serde(skip_serializing_if = "is_default")]
    pub weight: i32,
}
