//! `SidecarGenerator` of `networking.example.com`: an Istio Sidecar whose egress listeners come from a URL.
//!
//! These types are for writing and for the schema. The controller reads stored objects field by field, because the CRD of an
//! older installation accepted nearly anything.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;

/// API group of SidecarGenerators.
pub const GROUP: &str = "networking.example.com";
/// Their kind.
pub const KIND: &str = "SidecarGenerator";
/// Their group and version.
pub const API_VERSION: &str = "networking.example.com/v1alpha1";

/// `spec.refreshPeriod` where none is given.
pub const DEFAULT_REFRESH_PERIOD: &str = "1h";
/// `spec.caSecretRef.key` where none is given.
pub const DEFAULT_CA_KEY: &str = "ca.crt";

/// The source of a Sidecar's egress listeners, and how often it is read.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "networking.example.com",
    version = "v1alpha1",
    kind = "SidecarGenerator",
    plural = "sidecargenerators",
    singular = "sidecargenerator",
    shortname = "sgen",
    namespaced,
    derive = "PartialEq",
    status = "SidecarGeneratorStatus",
    doc = "Makes the Istio Sidecar of the same name and namespace from the egress listeners that a URL returns.",
    printcolumn = r#"{"name":"RECONCILED","type":"string","jsonPath":".status.conditions[?(@.type==\"Reconciled\")].status","description":"Whether the Sidecar matches the last answer of the URL."}"#,
    printcolumn = r#"{"name":"LAST","type":"date","jsonPath":".status.lastSidecarGeneratorUpdate","description":"Since the last good answer of the URL."}"#,
    printcolumn = r#"{"name":"NEXT","type":"string","format":"date-time","jsonPath":".status.nextSidecarGeneratorUpdate","description":"When the URL is requested next."}"#,
    printcolumn = r#"{"name":"AGE","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"REASON","type":"string","priority":1,"jsonPath":".status.conditions[?(@.type==\"Ready\")].reason","description":"Why it is ready, or not."}"#,
    printcolumn = r#"{"name":"PERIOD","type":"string","priority":1,"jsonPath":".spec.refreshPeriod","description":"How often the URL is requested."}"#
)]
#[serde(rename_all = "camelCase")]
pub struct SidecarGeneratorSpec {
    /// Returns a JSON list of egress listeners to a GET request. `http://` or `https://`. A user and password in it are sent
    /// as basic authentication.
    #[schemars(length(min = 1, max = 2048), extend("x-kubernetes-validations" = [{
        "rule": "isURL(self) && url(self).getScheme() in ['http', 'https'] && url(self).getHostname() != ''",
        "message": "must be a URL that begins with http:// or https:// and names a host",
    }]))]
    pub url: String,
    /// How often the URL is requested, as a Go duration such as `2m` or `1h30m`. Default `1h`.
    #[serde(default = "default_refresh_period")]
    #[schemars(schema_with = "period")]
    pub refresh_period: String,
    /// Whether to accept any certificate of the URL's server. Default false.
    #[serde(default, rename = "insecureSkipTLSVerify")]
    pub insecure_skip_tls_verify: bool,
    /// The Pods that the Sidecar applies to. Absent: all Pods of the namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload_selector: Option<WorkloadSelector>,
    /// Credentials for the URL's server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// A CA for the certificate of the URL's server, in addition to the system's CAs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<CaSecretRef>,
    /// The maximum random time added to each period, as a Go duration. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "jitter")]
    pub jitter: Option<String>,
    /// What to do with an answer without listeners: `Keep` the Sidecar unchanged (the default), or `Apply` the answer,
    /// so that nothing can be reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_empty: Option<OnEmpty>,
    /// The maximum share of the Sidecar's hosts, in percent, that an answer may remove. A larger change is not applied.
    /// Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub max_shrink_percent: Option<i32>,
    /// Stops fetching and writing while true. Default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
}

/// The Pods that a Sidecar applies to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkloadSelector {
    /// Labels that a Pod must have, all of them. Empty: all Pods of the namespace.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "labels")]
    pub labels: BTreeMap<String, String>,
}

/// Credentials for the URL's server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Auth {
    /// A Secret of the same namespace with `token`, or `username` and `password`, and/or `tls.crt` and `tls.key`. It is sent
    /// only to the hosts in the Secret's annotation `outrigger.dev/send-to`.
    pub secret_ref: SecretRef,
}

/// A Secret of the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretRef {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// A CA certificate in a Secret of the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CaSecretRef {
    /// The Secret's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key with one or more PEM certificates. Default `ca.crt`.
    #[serde(default = "default_ca_key")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// What to do with an answer without listeners.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnEmpty {
    /// Keep the Sidecar unchanged.
    #[default]
    Keep,
    /// Apply the answer, so that nothing can be reached.
    Apply,
}

/// The result of the URL's answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SidecarGeneratorStatus {
    /// The generation of the spec that this status describes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When the Sidecar was last updated from a good answer of the URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_sidecar_generator_update: Option<Time>,
    /// When the URL is requested next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_sidecar_generator_update: Option<Time>,
    /// `Reconciled`; `Ready`, `Reconciling` and `Stalled` as kstatus reads them; and `Overlapping`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

fn default_refresh_period() -> String {
    DEFAULT_REFRESH_PERIOD.to_owned()
}

fn default_ca_key() -> String {
    DEFAULT_CA_KEY.to_owned()
}

/// Without a sign, any digit other than 0 makes it longer than 0s. CEL's `duration()` would fail on an object that an older CRD
/// accepted. Unlike a rule that is false, a rule that fails makes the API server reject status updates of such an object.
fn period(generator: &mut SchemaGenerator) -> Schema {
    let mut period = jitter(generator);
    period.insert(
        "x-kubernetes-validations".to_owned(),
        json!([{"rule": "self.matches('[1-9]')", "message": "must be longer than 0s"}]),
    );
    period
}

/// A Go duration without a sign: <https://pkg.go.dev/time#ParseDuration>.
fn jitter(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 64,
        "pattern": r"^\+?(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+$",
    })
}

/// As in Istio's Sidecar, and for keys as in its other selectors.
fn labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 256,
        "additionalProperties": {
            "type": "string",
            "maxLength": 63,
            "x-kubernetes-validations": [{"rule": "!self.contains('*')", "message": "must not hold a *"}]
        },
        "x-kubernetes-validations": [{"rule": "self.all(key, !key.contains('*'))", "message": "no key may hold a *"}]
    })
}
