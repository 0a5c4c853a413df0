//! HTTP routes of a VirtualService.

use super::destination::Destination;
use super::zero::is_default;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `HTTPRoute`: what happens to matching requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct HttpRoute {
    /// For logs and metrics.
    #[serde(skip_serializing_if = "is_default")]
    pub name: String,
    /// Any of these; empty matches every request.
    #[serde(rename = "match", skip_serializing_if = "is_default")]
    pub matches: Vec<HttpMatch>,
    /// The destinations.
    #[serde(skip_serializing_if = "is_default")]
    pub route: Vec<HttpDestination>,
    /// A redirect instead of destinations.
    #[serde(skip_serializing_if = "is_default")]
    pub redirect: Option<Redirect>,
    /// A direct response instead of destinations.
    #[serde(skip_serializing_if = "is_default")]
    pub direct_response: Option<DirectResponse>,
    /// A VirtualService with further routes.
    #[serde(skip_serializing_if = "is_default")]
    pub delegate: Option<Delegate>,
    /// Changes of path and authority.
    #[serde(skip_serializing_if = "is_default")]
    pub rewrite: Option<Rewrite>,
    /// The time limit for an answer.
    #[serde(skip_serializing_if = "is_default")]
    pub timeout: Option<String>,
    /// The retries.
    #[serde(skip_serializing_if = "is_default")]
    pub retries: Option<Retries>,
    /// Injected faults.
    #[serde(skip_serializing_if = "is_default")]
    pub fault: Option<Fault>,
    /// The destination of mirrored requests.
    #[serde(skip_serializing_if = "is_default")]
    pub mirror: Option<Destination>,
    /// Several destinations of mirrored requests.
    #[serde(skip_serializing_if = "is_default")]
    pub mirrors: Vec<Mirror>,
    /// The share of mirrored requests.
    #[serde(skip_serializing_if = "is_default")]
    pub mirror_percentage: Option<Percent>,
    /// Deprecated.
    #[serde(alias = "mirror_percent", skip_serializing_if = "is_default")]
    pub mirror_percent: Option<u32>,
    /// Cross-origin requests.
    #[serde(skip_serializing_if = "is_default")]
    pub cors_policy: Option<CorsPolicy>,
    /// Changes of headers.
    #[serde(skip_serializing_if = "is_default")]
    pub headers: Option<Headers>,
}

/// `HTTPMatchRequest`: all conditions must hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct HttpMatch {
    /// For logs.
    #[serde(skip_serializing_if = "is_default")]
    pub name: String,
    /// The path.
    #[serde(skip_serializing_if = "is_default")]
    pub uri: Option<StringMatch>,
    /// The scheme.
    #[serde(skip_serializing_if = "is_default")]
    pub scheme: Option<StringMatch>,
    /// The method.
    #[serde(skip_serializing_if = "is_default")]
    pub method: Option<StringMatch>,
    /// The authority.
    #[serde(skip_serializing_if = "is_default")]
    pub authority: Option<StringMatch>,
    /// Headers that must match.
    #[serde(skip_serializing_if = "is_default")]
    pub headers: BTreeMap<String, StringMatch>,
    /// Headers that must not match.
    #[serde(skip_serializing_if = "is_default")]
    pub without_headers: BTreeMap<String, StringMatch>,
    /// Query parameters.
    #[serde(skip_serializing_if = "is_default")]
    pub query_params: BTreeMap<String, StringMatch>,
    /// The port that the client called.
    #[serde(skip_serializing_if = "is_default")]
    pub port: Option<u32>,
    /// Labels of the client.
    #[serde(skip_serializing_if = "is_default")]
    pub source_labels: BTreeMap<String, String>,
    /// Namespace of the client.
    #[serde(skip_serializing_if = "is_default")]
    pub source_namespace: String,
    /// Gateways to which it applies.
    #[serde(skip_serializing_if = "is_default")]
    pub gateways: Vec<String>,
    /// Whether the case of the path does not matter.
    #[serde(skip_serializing_if = "is_default")]
    pub ignore_uri_case: bool,
    /// For metrics.
    #[serde(skip_serializing_if = "is_default")]
    pub stat_prefix: String,
}

/// `StringMatch`: at most one of these; empty matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct StringMatch {
    /// The whole text.
    #[serde(skip_serializing_if = "is_default")]
    pub exact: Option<String>,
    /// Its beginning.
    #[serde(skip_serializing_if = "is_default")]
    pub prefix: Option<String>,
    /// The whole text, as an RE2 expression.
    #[serde(skip_serializing_if = "is_default")]
    pub regex: Option<String>,
}

/// `HTTPRouteDestination`: one destination, with its share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct HttpDestination {
    /// The destination.
    pub destination: Destination,
    /// Its share, relative to the others.
    #[serde(skip_serializing_if = "is_default")]
    pub weight: i32,
    /// Changes of headers.
    #[serde(skip_serializing_if = "is_default")]
    pub headers: Option<Headers>,
}

/// Changes of headers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Headers {
    /// Of the request.
    #[serde(skip_serializing_if = "is_default")]
    pub request: Option<HeaderOperations>,
    /// Of the answer.
    #[serde(skip_serializing_if = "is_default")]
    pub response: Option<HeaderOperations>,
}

/// Changes of headers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct HeaderOperations {
    /// Headers to overwrite.
    #[serde(skip_serializing_if = "is_default")]
    pub set: BTreeMap<String, String>,
    /// Headers to add.
    #[serde(skip_serializing_if = "is_default")]
    pub add: BTreeMap<String, String>,
    /// Headers to remove.
    #[serde(skip_serializing_if = "is_default")]
    pub remove: Vec<String>,
}

/// `HTTPRedirect`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Redirect {
    /// The path.
    #[serde(skip_serializing_if = "is_default")]
    pub uri: String,
    /// The replacement of the matched prefix.
    #[serde(skip_serializing_if = "is_default")]
    pub prefix_rewrite: String,
    /// The authority.
    #[serde(skip_serializing_if = "is_default")]
    pub authority: String,
    /// The scheme.
    #[serde(skip_serializing_if = "is_default")]
    pub scheme: String,
    /// The status.
    #[serde(skip_serializing_if = "is_default")]
    pub redirect_code: u32,
    /// The port.
    #[serde(skip_serializing_if = "is_default")]
    pub port: Option<u32>,
    /// The source of the port.
    #[serde(skip_serializing_if = "is_default")]
    pub derive_port: Option<RedirectPort>,
}

/// `RedirectPortSelection`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RedirectPort {
    /// 80 or 443.
    FromProtocolDefault,
    /// The port of the request.
    FromRequestPort,
}

/// `HTTPDirectResponse`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct DirectResponse {
    /// The status.
    pub status: u32,
    /// The body.
    #[serde(skip_serializing_if = "is_default")]
    pub body: Option<Body>,
}

/// `HTTPBody`: one of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Body {
    /// As text.
    #[serde(skip_serializing_if = "is_default")]
    pub string: Option<String>,
    /// In base64.
    #[serde(skip_serializing_if = "is_default")]
    pub bytes: Option<String>,
}

/// `Delegate`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Delegate {
    /// Its name.
    #[serde(skip_serializing_if = "is_default")]
    pub name: String,
    /// Its namespace.
    #[serde(skip_serializing_if = "is_default")]
    pub namespace: String,
}

/// `HTTPRewrite`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Rewrite {
    /// The replacement of the path or of the matched prefix.
    #[serde(skip_serializing_if = "is_default")]
    pub uri: String,
    /// The authority.
    #[serde(skip_serializing_if = "is_default")]
    pub authority: String,
    /// A replacement by RE2.
    #[serde(skip_serializing_if = "is_default")]
    pub uri_regex_rewrite: Option<RegexRewrite>,
}

/// `RegexRewrite`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct RegexRewrite {
    /// The expression to match.
    #[serde(rename = "match", skip_serializing_if = "is_default")]
    pub pattern: String,
    /// The replacement.
    #[serde(skip_serializing_if = "is_default")]
    pub rewrite: String,
}

/// `HTTPRetry`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Retries {
    /// The number of retries; 0: none.
    pub attempts: i32,
    /// The time limit for each attempt.
    #[serde(skip_serializing_if = "is_default")]
    pub per_try_timeout: Option<String>,
    /// The conditions, separated by commas.
    #[serde(skip_serializing_if = "is_default")]
    pub retry_on: String,
    /// Whether to retry in other localities.
    #[serde(skip_serializing_if = "is_default")]
    pub retry_remote_localities: Option<bool>,
    /// Whether to retry at other hosts only.
    #[serde(skip_serializing_if = "is_default")]
    pub retry_ignore_previous_hosts: Option<bool>,
    /// The pause.
    #[serde(skip_serializing_if = "is_default")]
    pub backoff: Option<String>,
}

/// `HTTPFaultInjection`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Fault {
    /// Delays.
    #[serde(skip_serializing_if = "is_default")]
    pub delay: Option<Delay>,
    /// Errors.
    #[serde(skip_serializing_if = "is_default")]
    pub abort: Option<Abort>,
}

/// `Delay`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Delay {
    /// The length of the delay.
    #[serde(skip_serializing_if = "is_default")]
    pub fixed_delay: Option<String>,
    /// Not implemented in Istio.
    #[serde(skip_serializing_if = "is_default")]
    pub exponential_delay: Option<String>,
    /// The share of requests.
    #[serde(skip_serializing_if = "is_default")]
    pub percentage: Option<Percent>,
    /// Deprecated.
    #[serde(skip_serializing_if = "is_default")]
    pub percent: Option<i32>,
}

/// `Abort`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Abort {
    /// The HTTP status.
    #[serde(skip_serializing_if = "is_default")]
    pub http_status: Option<i32>,
    /// The gRPC status.
    #[serde(skip_serializing_if = "is_default")]
    pub grpc_status: Option<String>,
    /// Not implemented in Istio.
    #[serde(skip_serializing_if = "is_default")]
    pub http2_error: Option<String>,
    /// The share of requests.
    #[serde(skip_serializing_if = "is_default")]
    pub percentage: Option<Percent>,
}

/// `HTTPMirrorPolicy`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Mirror {
    /// The destination.
    pub destination: Destination,
    /// The share of requests.
    #[serde(skip_serializing_if = "is_default")]
    pub percentage: Option<Percent>,
}

/// `Percent`
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Percent {
    /// 0 to 100.
    pub value: f64,
}

/// `CorsPolicy`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct CorsPolicy {
    /// Deprecated.
    #[serde(skip_serializing_if = "is_default")]
    pub allow_origin: Vec<String>,
    /// Origins.
    #[serde(skip_serializing_if = "is_default")]
    pub allow_origins: Vec<StringMatch>,
    /// Methods.
    #[serde(skip_serializing_if = "is_default")]
    pub allow_methods: Vec<String>,
    /// Headers of the request.
    #[serde(skip_serializing_if = "is_default")]
    pub allow_headers: Vec<String>,
    /// Headers of the answer.
    #[serde(skip_serializing_if = "is_default")]
    pub expose_headers: Vec<String>,
    /// How long a preflight is valid.
    #[serde(skip_serializing_if = "is_default")]
    pub max_age: Option<String>,
    /// Whether credentials are allowed.
    #[serde(skip_serializing_if = "is_default")]
    pub allow_credentials: Option<bool>,
    /// How to treat preflights that match nothing.
    #[serde(skip_serializing_if = "is_default")]
    pub unmatched_preflights: UnmatchedPreflights,
}

/// `UnmatchedPreflights`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum UnmatchedPreflights {
    /// Istio's default.
    #[default]
    Unspecified,
    /// Forward to the service.
    Forward,
    /// Do not answer.
    Ignore,
}

impl StringMatch {
    /// Matches exactly this text.
    #[must_use]
    pub fn exact(text: impl Into<String>) -> Self {
        Self { exact: Some(text.into()), ..Self::default() }
    }

    /// Matches texts with this prefix.
    #[must_use]
    pub fn prefix(text: impl Into<String>) -> Self {
        Self { prefix: Some(text.into()), ..Self::default() }
    }

    /// Matches this expression as a whole.
    #[must_use]
    pub fn regex(pattern: impl Into<String>) -> Self {
        Self { regex: Some(pattern.into()), ..Self::default() }
    }
}

impl HttpRoute {
    /// Routes all requests to a destination.
    #[must_use]
    pub fn to(destination: Destination) -> Self {
        Self { route: vec![HttpDestination { destination, ..HttpDestination::default() }], ..Self::default() }
    }
}

impl HttpMatch {
    /// Matches a header.
    #[must_use]
    pub fn header(name: &str, is: StringMatch) -> Self {
        Self { headers: BTreeMap::from([(name.to_owned(), is)]), ..Self::default() }
    }
}
