//! The messages of Istio's API, field by field, and whether an object has the shape of one. A file with a field that is newer
//! than Istio 1.32 is refused by it, too.

use super::duration;
use super::faults::Faults;
use crate::api::decode::type_of;
use crate::istio::node::Node;
use crate::istio::proto_json::{Field, Type};
use crate::istio::sidecar::schema::{CONNECTION_POOL, DESTINATION, SERVER_TLS, SIDECAR};
use Type::{Bool, Duration, Enum, Labels, List, Message, OptionalBool, Signed, Text, Unsigned};

/// The fields of a kind's `spec`.
pub(super) fn of(kind: &str) -> Option<&'static [Field]> {
    Some(match kind {
        "VirtualService" => VIRTUAL_SERVICE,
        "DestinationRule" => DESTINATION_RULE,
        "Gateway" => GATEWAY,
        "ServiceEntry" => SERVICE_ENTRY,
        "Sidecar" => SIDECAR,
        _ => return None,
    })
}

pub(super) const VIRTUAL_SERVICE: &[Field] = &[
    ("hosts", List(&Text)),
    ("gateways", List(&Text)),
    ("http", List(&Message(HTTP_ROUTE))),
    ("tls", List(&Message(&[("match", List(&Message(TLS_MATCH))), ("route", List(&ROUTE))]))),
    ("tcp", List(&Message(&[("match", List(&Message(TCP_MATCH))), ("route", List(&ROUTE))]))),
    ("exportTo", List(&Text)),
];

const ROUTE: Type = Message(&[("destination", Message(DESTINATION)), ("weight", Signed), ("headers", HEADERS)]);

const HEADERS: Type = Message(&[("request", HEADER_OPERATIONS), ("response", HEADER_OPERATIONS)]);

const HEADER_OPERATIONS: Type = Message(&[("set", Labels), ("add", Labels), ("remove", List(&Text))]);

const STRING_MATCH: Type = Message(&[("exact", Text), ("prefix", Text), ("regex", Text)]);

/// Stands for a mapping to matches, whose entries [`check`] looks into.
const MATCHES: &[Field] = &[("", STRING_MATCH)];

const PERCENT: Type = Message(&[("value", Any)]);

/// A number with decimals, as a text of which nothing is asked.
#[allow(non_upper_case_globals)]
const Any: Type = Message(&[]);

const HTTP_ROUTE: &[Field] = &[
    ("name", Text),
    ("match", List(&Message(HTTP_MATCH))),
    ("route", List(&ROUTE)),
    (
        "redirect",
        Message(&[
            ("uri", Text),
            ("prefixRewrite", Text),
            ("authority", Text),
            ("port", Unsigned),
            ("derivePort", Enum(&["FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"])),
            ("scheme", Text),
            ("redirectCode", Unsigned),
        ]),
    ),
    ("directResponse", Message(&[("status", Unsigned), ("body", Message(&[("string", Text), ("bytes", Text)]))])),
    ("delegate", Message(&[("name", Text), ("namespace", Text)])),
    (
        "rewrite",
        Message(&[
            ("uri", Text),
            ("authority", Text),
            ("uriRegexRewrite", Message(&[("match", Text), ("rewrite", Text)])),
        ]),
    ),
    ("timeout", Duration),
    (
        "retries",
        Message(&[
            ("attempts", Signed),
            ("perTryTimeout", Duration),
            ("retryOn", Text),
            ("retryRemoteLocalities", OptionalBool),
            ("retryIgnorePreviousHosts", OptionalBool),
            ("backoff", Duration),
        ]),
    ),
    (
        "fault",
        Message(&[
            (
                "delay",
                Message(&[
                    ("percent", Signed),
                    ("fixedDelay", Duration),
                    ("exponentialDelay", Duration),
                    ("percentage", PERCENT),
                ]),
            ),
            (
                "abort",
                Message(&[("httpStatus", Signed), ("grpcStatus", Text), ("http2Error", Text), ("percentage", PERCENT)]),
            ),
        ]),
    ),
    ("mirror", Message(DESTINATION)),
    ("mirrors", List(&Message(&[("destination", Message(DESTINATION)), ("percentage", PERCENT)]))),
    ("mirrorPercent", Unsigned),
    ("mirror_percent", Unsigned),
    ("mirrorPercentage", PERCENT),
    (
        "corsPolicy",
        Message(&[
            ("allowOrigin", List(&Text)),
            ("allowOrigins", List(&STRING_MATCH)),
            ("allowMethods", List(&Text)),
            ("allowHeaders", List(&Text)),
            ("exposeHeaders", List(&Text)),
            ("maxAge", Duration),
            ("allowCredentials", OptionalBool),
            ("unmatchedPreflights", Enum(&["UNSPECIFIED", "FORWARD", "IGNORE"])),
        ]),
    ),
    ("headers", HEADERS),
];

const HTTP_MATCH: &[Field] = &[
    ("name", Text),
    ("uri", STRING_MATCH),
    ("scheme", STRING_MATCH),
    ("method", STRING_MATCH),
    ("authority", STRING_MATCH),
    ("headers", Message(MATCHES)),
    ("port", Unsigned),
    ("sourceLabels", Labels),
    ("gateways", List(&Text)),
    ("queryParams", Message(MATCHES)),
    ("ignoreUriCase", Bool),
    ("withoutHeaders", Message(MATCHES)),
    ("sourceNamespace", Text),
    ("statPrefix", Text),
];

const TLS_MATCH: &[Field] = &[
    ("sniHosts", List(&Text)),
    ("destinationSubnets", List(&Text)),
    ("port", Unsigned),
    ("sourceLabels", Labels),
    ("gateways", List(&Text)),
    ("sourceNamespace", Text),
];

const TCP_MATCH: &[Field] = &[
    ("destinationSubnets", List(&Text)),
    ("port", Unsigned),
    ("sourceSubnet", Text),
    ("sourceLabels", Labels),
    ("gateways", List(&Text)),
    ("sourceNamespace", Text),
];

const GATEWAY: &[Field] = &[
    (
        "servers",
        List(&Message(&[
            ("port", Message(GATEWAY_PORT)),
            ("bind", Text),
            ("hosts", List(&Text)),
            ("tls", Message(SERVER_TLS)),
            ("defaultEndpoint", Text),
            ("name", Text),
        ])),
    ),
    ("selector", Labels),
];

const GATEWAY_PORT: &[Field] = &[("number", Unsigned), ("protocol", Text), ("name", Text), ("targetPort", Unsigned)];

const SERVICE_ENTRY: &[Field] = &[
    ("hosts", List(&Text)),
    ("addresses", List(&Text)),
    ("ports", List(&Message(GATEWAY_PORT))),
    ("location", Enum(&["MESH_EXTERNAL", "MESH_INTERNAL"])),
    ("resolution", Enum(&["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"])),
    (
        "endpoints",
        List(&Message(&[
            ("address", Text),
            ("ports", Any),
            ("labels", Labels),
            ("network", Text),
            ("locality", Text),
            ("weight", Unsigned),
            ("serviceAccount", Text),
        ])),
    ),
    ("workloadSelector", Message(&[("labels", Labels)])),
    ("exportTo", List(&Text)),
    ("subjectAltNames", List(&Text)),
];

const DESTINATION_RULE: &[Field] = &[
    ("host", Text),
    ("trafficPolicy", Message(TRAFFIC_POLICY)),
    ("subsets", List(&Message(&[("name", Text), ("labels", Labels), ("trafficPolicy", Message(TRAFFIC_POLICY))]))),
    ("exportTo", List(&Text)),
    ("workloadSelector", Message(&[("matchLabels", Labels)])),
];

const TRAFFIC_POLICY: &[Field] = &[
    ("loadBalancer", LOAD_BALANCER),
    ("connectionPool", Message(CONNECTION_POOL)),
    ("outlierDetection", OUTLIER_DETECTION),
    ("tls", CLIENT_TLS),
    (
        "portLevelSettings",
        List(&Message(&[
            ("port", Message(&[("number", Unsigned)])),
            ("loadBalancer", LOAD_BALANCER),
            ("connectionPool", Message(CONNECTION_POOL)),
            ("outlierDetection", OUTLIER_DETECTION),
            ("tls", CLIENT_TLS),
        ])),
    ),
    ("tunnel", Message(&[("protocol", Text), ("targetHost", Text), ("targetPort", Unsigned)])),
    ("proxyProtocol", Message(&[("version", Enum(&["V1", "V2"]))])),
    ("retryBudget", Message(&[("percent", Any), ("minRetryConcurrency", Unsigned), ("budgetInterval", Duration)])),
];

/// Deep and rarely wrong: only that it is an object is asked.
const LOAD_BALANCER: Type = Any;

const OUTLIER_DETECTION: Type = Message(&[
    ("consecutiveErrors", Signed),
    ("splitExternalLocalOriginErrors", Bool),
    ("consecutiveLocalOriginFailures", Unsigned),
    ("consecutiveGatewayErrors", Unsigned),
    ("consecutive5xxErrors", Unsigned),
    ("interval", Duration),
    ("baseEjectionTime", Duration),
    ("maxEjectionPercent", Signed),
    ("minHealthPercent", Signed),
    ("outlierDetectionHttpErrorCodes", Any),
]);

const CLIENT_TLS: Type = Message(&[
    ("mode", Enum(&["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"])),
    ("clientCertificate", Text),
    ("privateKey", Text),
    ("caCertificates", Text),
    ("credentialName", Text),
    ("subjectAltNames", List(&Text)),
    ("sni", Text),
    ("insecureSkipVerify", OptionalBool),
    ("caCrl", Text),
]);

/// Whether a value has the shape of a message; all that has not is said.
pub(super) fn check(fields: &'static [Field], node: &Node<'_>, faults: &mut Faults) {
    if node.is_present() {
        value(&Message(fields), node, faults);
    }
}

fn value(expected: &Type, node: &Node<'_>, faults: &mut Faults) {
    let found = node.value;
    let is_number = |least: i64, most: i64| found.as_i64().is_some_and(|number| (least..=most).contains(&number));
    let problem = match expected {
        Message([]) => return,
        Text if !found.is_string() => "must be a string".to_owned(),
        Bool | OptionalBool if !found.is_boolean() => "must be true or false".to_owned(),
        Signed if !is_number(i32::MIN.into(), i32::MAX.into()) => "must be a whole number".to_owned(),
        Unsigned if !is_number(0, u32::MAX.into()) => "must be a whole number of at least 0".to_owned(),
        Enum(names) if !found.as_str().is_some_and(|name| names.contains(&name)) => {
            format!("must be one of {}", names.join(", "))
        }
        Duration if found.as_str().and_then(duration::micros).is_none() => {
            "must be a duration such as 1.5s, 500ms or 1m30s".to_owned()
        }
        List(_) if !found.is_array() => "must be a list".to_owned(),
        Labels | Message(_) if !found.is_object() => "must be a mapping".to_owned(),
        List(items) => {
            for item in node.items() {
                if item.is_present() {
                    value(items, &item, faults);
                } else {
                    faults.error(item.path(), "must not be null");
                }
            }
            return;
        }
        Labels => {
            for (key, entry) in node.value.as_object().into_iter().flatten() {
                if !entry.is_string() {
                    faults.error(format!("{}[{key}]", node.path()), "must be a string");
                }
            }
            return;
        }
        Message([("", entry)]) => {
            for key in node.value.as_object().into_iter().flatten().map(|(key, _)| key) {
                match node.present(key) {
                    Some(one) => value(entry, &one, faults),
                    None => faults.error(node.at(key), "must not be null"),
                }
            }
            return;
        }
        Message(fields) => {
            for key in node.value.as_object().into_iter().flatten().map(|(key, _)| key) {
                match fields.iter().find(|(name, _)| name == key) {
                    None => faults.error(node.at(key), "is not known to Istio"),
                    Some((_, field_type)) => {
                        if let Some(one) = node.present(key) {
                            value(field_type, &one, faults);
                        }
                    }
                }
            }
            return;
        }
        _ => return,
    };
    // A text in the place of another says enough by itself.
    let instead = if found.is_string() { String::new() } else { format!(", not {}", type_of(found)) };
    faults.error(node.path(), problem + &instead);
}
