//! `MeshService` of `mesh.istio.operator`: one object for a service in the mesh. Its Istio objects are created from it.
//! Fields that are copied to Istio's objects unchanged, such as traffic policies, are a [`Message`]: JSON whose schema is in the
//! CRD.

mod schema;
mod status;

pub use status::{ConsistencyState, ManagedResource, MeshServiceStatus, RepairAction, Severity, Violation};

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// API group of MeshServices.
pub const GROUP: &str = "mesh.istio.operator";
/// Their kind.
pub const KIND: &str = "MeshService";
/// Their group and version.
pub const API_VERSION: &str = "mesh.istio.operator/v1alpha1";

/// A message of Istio's API in JSON.
pub type Message = Map<String, Value>;

/// A service in the mesh.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "mesh.istio.operator",
    version = "v1alpha1",
    kind = "MeshService",
    plural = "meshservices",
    singular = "meshservice",
    namespaced,
    derive = "PartialEq",
    status = "MeshServiceStatus",
    doc = "A service in the mesh. Its Istio objects are created from this object and kept up to date.",
    printcolumn = r#"{"name":"SERVICE","type":"string","jsonPath":".spec.serviceName","description":"The Service."}"#,
    printcolumn = r#"{"name":"STATE","type":"string","jsonPath":".status.consistencyState","description":"Whether its objects and related objects are consistent."}"#,
    printcolumn = r#"{"name":"READY","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status","description":"Whether all its objects match its spec."}"#,
    printcolumn = r#"{"name":"AGE","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"REASON","type":"string","priority":1,"jsonPath":".status.conditions[?(@.type==\"Ready\")].reason","description":"The reason why it is or is not ready."}"#,
    printcolumn = r#"{"name":"HOSTS","type":"string","priority":1,"jsonPath":".spec.hosts","description":"The hosts that are routed to the Service."}"#,
    printcolumn = r#"{"name":"CHECKED","type":"date","priority":1,"jsonPath":".status.lastChecked","description":"Time since the last check."}"#
)]
#[serde(rename_all = "camelCase")]
pub struct MeshServiceSpec {
    /// The Service. It is created only if the annotation `outrigger.dev/service-selector` selects its Pods.
    #[schemars(schema_with = "schema::dns_label")]
    pub service_name: String,
    /// The namespace of the Service and of most created objects. Default: that of this object. Another namespace must have the
    /// annotation `outrigger.dev/allow-mesh-from` with the namespace of this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::dns_label")]
    pub namespace: Option<String>,
    /// The ports of the Service.
    #[schemars(length(min = 1, max = 32), extend("x-kubernetes-validations" = schema::distinct_ports()))]
    pub ports: Vec<MeshPort>,
    /// Hosts whose requests are routed to the Service: by the gateway, and for names of the Service itself also in the mesh.
    /// Default: the name of the Service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::hosts")]
    pub hosts: Vec<String>,
    /// The Gateway for requests to the hosts. Default: none, only requests from the mesh are routed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<MeshGateway>,
    /// Policy for all requests to the Service, as in a DestinationRule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::traffic_policy")]
    pub traffic_policy: Option<Message>,
    /// Versions of the Service, by labels of their Pods.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-validations" = schema::distinct_names()))]
    pub subsets: Vec<MeshSubset>,
    /// Delays and errors injected into HTTP requests, as in a VirtualService.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::fault")]
    pub fault: Option<Message>,
    /// The destination that HTTP requests are also sent to, and the share of the requests. Its answers are dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::mirror")]
    pub mirror: Option<Message>,
    /// Headers that are set, added or removed, as in a VirtualService.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::headers")]
    pub headers: Option<Message>,
    /// Timeout of HTTP requests. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::duration")]
    pub timeout: Option<String>,
    /// Retries of HTTP requests, as in a VirtualService.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::retries")]
    pub retries: Option<Message>,
    /// Services outside of the mesh, as in ServiceEntries. Default of `exportTo`: only the namespace of the entry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::service_entries")]
    pub service_entries: Vec<Message>,
    /// Additional fields of the DestinationRule. Its policies and subsets take precedence over those above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::destination_rule")]
    pub destination_rule: Option<Message>,
    /// How Pods of the Service accept connections, as in a PeerAuthentication. Default of `selector`: that of the Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::peer_authentication")]
    pub peer_authentication: Option<Message>,
    /// Which requests Pods of the Service accept, as in an AuthorizationPolicy. Default of `selector`: that of the Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::authorization")]
    pub authorization: Option<Message>,
}

/// A port of the Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MeshPort {
    /// Its name. Default: the protocol and the number, such as `http-80`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::port_name")]
    pub name: Option<String>,
    /// Its number.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// The port of the Pods. Default: the same number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub target_port: Option<i32>,
    /// Its protocol. Default: the protocol that Istio reads from the name (`http`, `grpc-web`, `tls-1` …), else `HTTP`. `TCP` has
    /// no effect with a name that has no protocol, as in a Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::protocol")]
    pub protocol: Option<String>,
}

/// The Gateway of a Service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MeshGateway {
    /// Its name.
    #[schemars(schema_with = "schema::dns_label")]
    pub name: String,
    /// Its namespace. Default: that of this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::dns_label")]
    pub namespace: Option<String>,
    /// Labels of the gateway's Pods, for a Gateway that is created. Default: `istio: ingressgateway`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::labels")]
    pub selector: BTreeMap<String, String>,
    /// TLS of the HTTP servers, for a Gateway that is created, as in a Gateway. Default: no TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::server_tls")]
    pub tls: Option<Message>,
}

/// A version of a Service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MeshSubset {
    /// Its name.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Labels of its Pods, in addition to those that the Service selects by.
    #[schemars(schema_with = "schema::labels")]
    pub labels: BTreeMap<String, String>,
    /// Its share of the requests, in percent. Default: none. If no subset has a share, requests are spread over the Pods of all
    /// subsets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub weight: Option<i32>,
    /// Policy for requests to it, as in a DestinationRule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::traffic_policy")]
    pub traffic_policy: Option<Message>,
}
