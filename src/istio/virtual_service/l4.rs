//! Routes of TLS and TCP in a VirtualService.

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
    /// Where connections go.
    #[serde(skip_serializing_if = "is_default")]
    pub route: Vec<L4Destination>,
}

/// `TCPRoute`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct TcpRoute {
    /// Any of these; none: every connection.
    #[serde(rename = "match", skip_serializing_if = "is_default")]
    pub matches: Vec<L4Match>,
    /// Where connections go.
    #[serde(skip_serializing_if = "is_default")]
    pub route: Vec<L4Destination>,
}

/// `TLSMatchAttributes` and `L4MatchAttributes`, which differ in one field each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct L4Match {
    /// Of TLS only: names that the client asks for.
    #[serde(skip_serializing_if = "is_default")]
    pub sni_hosts: Vec<String>,
    /// Addresses that the client calls.
    #[serde(skip_serializing_if = "is_default")]
    pub destination_subnets: Vec<String>,
    /// The port that the client calls.
    #[serde(skip_serializing_if = "is_default")]
    pub port: u32,
    /// Of TCP only: addresses of the client.
    #[serde(skip_serializing_if = "is_default")]
    pub source_subnet: String,
    /// Labels of the client.
    #[serde(skip_serializing_if = "is_default")]
    pub source_labels: BTreeMap<String, String>,
    /// Gateways at which it counts.
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
    /// Where.
    pub destination: Destination,
    /// Its share, in proportion to the others'.
    #[serde(skip_serializing_if = "is_default")]
    pub weight: i32,
}
