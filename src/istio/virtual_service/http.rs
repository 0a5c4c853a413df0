//! Routes of HTTP in a VirtualService.

use super::destination::Destination;
use super::zero::is_default;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `HTTPRoute`: what happens to the requests that it matches.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct HttpRoute {
    /// For logs and metrics.
    #[serde(skip_serializing_if = "is_default")]
    pub name: String,
    /// Any of these; none: every request.
    #[serde(rename = "match", skip_serializing_if = "is_default")]
    pub matches: Vec<HttpMatch>,
    /// Where the requests go.
    #[serde(skip_serializing_if = "is_default")]
    pub route: Vec<HttpDestination>,
    /// A redirect instead.
    #[serde(skip_serializing_if = "is_default")]
    pub redirect: Option<Redirect>,
    /// An answer of the proxy instead.
    #[serde(skip_serializing_if = "is_default")]
    pub direct_response: Option<DirectResponse>,
    /// Another VirtualService has the routes.
    #[serde(skip_serializing_if = "is_default")]
    pub delegate: Option<Delegate>,
    /// What is changed in path and authority.
    #[serde(skip_serializing_if = "is_default")]
    pub rewrite: Option<Rewrite>,
    /// How long an answer may take.
    #[serde(skip_serializing_if = "is_default")]
    pub timeout: Option<String>,
    /// How often and when a request is tried again.
    #[serde(skip_serializing_if = "is_default")]
    pub retries: Option<Retries>,
    /// Faults that are made on purpose.
    #[serde(skip_serializing_if = "is_default")]
    pub fault: Option<Fault>,
    /// Who gets a copy.
    #[serde(skip_serializing_if = "is_default")]
    pub mirror: Option<Destination>,
    /// Several who get a copy.
    #[serde(skip_serializing_if = "is_default")]
    pub mirrors: Vec<Mirror>,
    /// Of how many requests.
    #[serde(skip_serializing_if = "is_default")]
    pub mirror_percentage: Option<Percent>,
    /// Deprecated.
    #[serde(alias = "mirror_percent", skip_serializing_if = "is_default")]
    pub mirror_percent: Option<u32>,
    /// Cross-origin requests.
    #[serde(skip_serializing_if = "is_default")]
    pub cors_policy: Option<CorsPolicy>,
    /// What is changed in headers.
    #[serde(skip_serializing_if = "is_default")]
    pub headers: Option<Headers>,
}

/// `HTTPMatchRequest`: all of what it names must be so.
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
    /// Headers that it has.
    #[serde(skip_serializing_if = "is_default")]
    pub headers: BTreeMap<String, StringMatch>,
    /// Headers that it has not.
    #[serde(skip_serializing_if = "is_default")]
    pub without_headers: BTreeMap<String, StringMatch>,
    /// Parameters of the query.
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
    /// Gateways at which it counts.
    #[serde(skip_serializing_if = "is_default")]
    pub gateways: Vec<String>,
    /// Whether the case of the path does not matter.
    #[serde(skip_serializing_if = "is_default")]
    pub ignore_uri_case: bool,
    /// For metrics.
    #[serde(skip_serializing_if = "is_default")]
    pub stat_prefix: String,
}

/// `StringMatch`: at most one of them; none: whatever it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct StringMatch {
    /// The whole text.
    #[serde(skip_serializing_if = "is_default")]
    pub exact: Option<String>,
    /// Its begin.
    #[serde(skip_serializing_if = "is_default")]
    pub prefix: Option<String>,
    /// The whole text, by RE2.
    #[serde(skip_serializing_if = "is_default")]
    pub regex: Option<String>,
}

/// `HTTPRouteDestination`: one destination, with its share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct HttpDestination {
    /// Where.
    pub destination: Destination,
    /// Its share, in proportion to the others'.
    #[serde(skip_serializing_if = "is_default")]
    pub weight: i32,
    /// What is changed in headers.
    #[serde(skip_serializing_if = "is_default")]
    pub headers: Option<Headers>,
}

/// What is changed in headers.
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
    /// Overwritten.
    #[serde(skip_serializing_if = "is_default")]
    pub set: BTreeMap<String, String>,
    /// Added.
    #[serde(skip_serializing_if = "is_default")]
    pub add: BTreeMap<String, String>,
    /// Removed.
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
    /// What takes the place of the prefix that matched.
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
    /// Where the port comes from.
    #[serde(skip_serializing_if = "is_default")]
    pub derive_port: Option<RedirectPort>,
}

/// `RedirectPortSelection`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RedirectPort {
    /// 80 or 443.
    FromProtocolDefault,
    /// As the request had it.
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
    /// The path, or the prefix that matched.
    #[serde(skip_serializing_if = "is_default")]
    pub uri: String,
    /// The authority.
    #[serde(skip_serializing_if = "is_default")]
    pub authority: String,
    /// By RE2.
    #[serde(skip_serializing_if = "is_default")]
    pub uri_regex_rewrite: Option<RegexRewrite>,
}

/// `RegexRewrite`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct RegexRewrite {
    /// What is looked for.
    #[serde(rename = "match", skip_serializing_if = "is_default")]
    pub pattern: String,
    /// What takes its place.
    #[serde(skip_serializing_if = "is_default")]
    pub rewrite: String,
}

/// `HTTPRetry`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Retries {
    /// How often; 0: never.
    pub attempts: i32,
    /// How long each may take.
    #[serde(skip_serializing_if = "is_default")]
    pub per_try_timeout: Option<String>,
    /// When, separated by commas.
    #[serde(skip_serializing_if = "is_default")]
    pub retry_on: String,
    /// Whether in other localities, too.
    #[serde(skip_serializing_if = "is_default")]
    pub retry_remote_localities: Option<bool>,
    /// Whether at other hosts only.
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
    /// Waits.
    #[serde(skip_serializing_if = "is_default")]
    pub delay: Option<Delay>,
    /// Fails.
    #[serde(skip_serializing_if = "is_default")]
    pub abort: Option<Abort>,
}

/// `Delay`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Delay {
    /// For how long.
    #[serde(skip_serializing_if = "is_default")]
    pub fixed_delay: Option<String>,
    /// Istio does not have it yet.
    #[serde(skip_serializing_if = "is_default")]
    pub exponential_delay: Option<String>,
    /// Of how many requests.
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
    /// With this status of HTTP.
    #[serde(skip_serializing_if = "is_default")]
    pub http_status: Option<i32>,
    /// With this status of gRPC.
    #[serde(skip_serializing_if = "is_default")]
    pub grpc_status: Option<String>,
    /// Istio does not have it yet.
    #[serde(skip_serializing_if = "is_default")]
    pub http2_error: Option<String>,
    /// Of how many requests.
    #[serde(skip_serializing_if = "is_default")]
    pub percentage: Option<Percent>,
}

/// `HTTPMirrorPolicy`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Mirror {
    /// Who gets a copy.
    pub destination: Destination,
    /// Of how many requests.
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
    /// For how long a preflight holds.
    #[serde(skip_serializing_if = "is_default")]
    pub max_age: Option<String>,
    /// Whether with credentials.
    #[serde(skip_serializing_if = "is_default")]
    pub allow_credentials: Option<bool>,
    /// What happens to preflights that match nothing.
    #[serde(skip_serializing_if = "is_default")]
    pub unmatched_preflights: UnmatchedPreflights,
}

/// `UnmatchedPreflights`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum UnmatchedPreflights {
    /// As Istio has it.
    #[default]
    Unspecified,
    /// On to the service.
    Forward,
    /// Not answered.
    Ignore,
}

impl StringMatch {
    /// This text.
    #[must_use]
    pub fn exact(text: impl Into<String>) -> Self {
        Self { exact: Some(text.into()), ..Self::default() }
    }

    /// What begins with this text.
    #[must_use]
    pub fn prefix(text: impl Into<String>) -> Self {
        Self { prefix: Some(text.into()), ..Self::default() }
    }

    /// What this expression matches as a whole.
    #[must_use]
    pub fn regex(pattern: impl Into<String>) -> Self {
        Self { regex: Some(pattern.into()), ..Self::default() }
    }
}

impl HttpRoute {
    /// All requests go there.
    #[must_use]
    pub fn to(destination: Destination) -> Self {
        Self { route: vec![HttpDestination { destination, ..HttpDestination::default() }], ..Self::default() }
    }
}

impl HttpMatch {
    /// A header is so.
    #[must_use]
    pub fn header(name: &str, is: StringMatch) -> Self {
        Self { headers: BTreeMap::from([(name.to_owned(), is)]), ..Self::default() }
    }
}
