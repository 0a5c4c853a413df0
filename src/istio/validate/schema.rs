//! The messages of Istio's API, field by field, and whether an object has the shape of one. A file with a field that is newer
//! than Istio 1.32 is refused by it, too.

use super::duration;
use super::faults::{By, FaultKind, Faults};
use crate::api::decode::type_of;
use crate::istio::node::Node;
use crate::istio::proto_json::{Field, Type};
use crate::istio::sidecar::schema::{CONNECTION_POOL, DESTINATION, SERVER_TLS, SIDECAR};
use Type::{Bool, Double, Duration, Enum, Labels, List, Map, Message, OptionalBool, Signed, Text, Unsigned};
use serde_json::Value;

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

const MATCHES: Type = Map(&STRING_MATCH);

const PERCENT: Type = Message(&[("value", Double)]);

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
    ("headers", MATCHES),
    ("port", Unsigned),
    ("sourceLabels", Labels),
    ("gateways", List(&Text)),
    ("queryParams", MATCHES),
    ("ignoreUriCase", Bool),
    ("withoutHeaders", MATCHES),
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
            ("ports", Map(&Unsigned)),
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
    ("retryBudget", Message(&[("percent", Double), ("minRetryConcurrency", Unsigned), ("budgetInterval", Duration)])),
];

const LOAD_BALANCER: Type = Message(&[
    ("simple", Enum(&["UNSPECIFIED", "LEAST_CONN", "RANDOM", "PASSTHROUGH", "ROUND_ROBIN", "LEAST_REQUEST"])),
    (
        "consistentHash",
        Message(&[
            ("httpHeaderName", Text),
            (
                "httpCookie",
                Message(&[
                    ("name", Text),
                    ("path", Text),
                    ("ttl", Duration),
                    ("attributes", List(&Message(&[("name", Text), ("value", Text)]))),
                ]),
            ),
            ("useSourceIp", Bool),
            ("httpQueryParameterName", Text),
            ("ringHash", Message(&[("minimumRingSize", Unsigned)])),
            ("maglev", Message(&[("tableSize", Unsigned)])),
            ("minimumRingSize", Unsigned),
        ]),
    ),
    (
        "localityLbSetting",
        Message(&[
            ("distribute", List(&Message(&[("from", Text), ("to", Map(&Unsigned))]))),
            ("failover", List(&Message(&[("from", Text), ("to", Text)]))),
            ("failoverPriority", List(&Text)),
            ("enabled", OptionalBool),
        ]),
    ),
    (
        "zoneAwareLbSetting",
        Message(&[
            ("failover", List(&Message(&[("from", Text), ("to", Text)]))),
            ("failoverPriority", List(&Text)),
            ("enabled", OptionalBool),
            ("minClusterSize", Unsigned),
        ]),
    ),
    ("warmupDurationSecs", Duration),
    ("warmup", Message(&[("duration", Duration), ("minimumPercent", Double), ("aggression", Double)])),
    ("backendUtilization", Message(&[])),
]);

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
    ("outlierDetectionHttpErrorCodes", List(&Unsigned)),
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

/// Fields that may be `null`, other than those whose type says so.
const NULLABLE: [&str; 9] = [
    "aggression",
    "consecutive5xxErrors",
    "consecutiveGatewayErrors",
    "consecutiveLocalOriginFailures",
    "minClusterSize",
    "minimumPercent",
    "mirrorPercent",
    "mirror_percent",
    "percent",
];

/// Whether a value has the shape of a message; all that has not is said. Returns whether istiod can read it, which reads more than the
/// API server does.
pub(super) fn check(fields: &'static [Field], node: &Node<'_>, faults: &mut Faults) -> bool {
    let before = faults.0.len();
    if node.is_present() {
        value(&Message(fields), node, faults);
    }
    faults.0[before..].iter().all(|fault| fault.kind == FaultKind::Error(By::Crd))
}

fn value(expected: &Type, node: &Node<'_>, faults: &mut Faults) {
    let found = node.value;
    let problem = match expected {
        Message([]) if found.is_object() => return,
        Message(fields) if found.is_object() => return message(fields, node, faults),
        List(items) if found.is_array() => {
            for item in node.items() {
                entry(items, &item, faults);
            }
            return;
        }
        Labels | Map(_) if found.is_object() => {
            let values = if let Map(values) = expected { values } else { &Text };
            for one in node.values() {
                entry(values, &one, faults);
            }
            return;
        }
        Text => (!found.is_string()).then(|| "must be a string".to_owned()),
        Bool | OptionalBool => (!found.is_boolean()).then(|| "must be true or false".to_owned()),
        Signed => whole(found, i32::MIN.into(), i32::MAX.into()).then(|| "must be a whole number".to_owned()),
        Unsigned => whole(found, 0, u32::MAX.into()).then(|| "must be a whole number of at least 0".to_owned()),
        Double => (!found.is_number()).then(|| "must be a number".to_owned()),
        Enum(names) => (!found.as_str().is_some_and(|name| names.contains(&name)))
            .then(|| format!("must be one of {}", names.join(", "))),
        Duration => found
            .as_str()
            .and_then(duration::micros)
            .is_none()
            .then(|| "must be a duration such as \"1.5s\"".to_owned()),
        List(_) => Some("must be a list".to_owned()),
        Labels | Map(_) | Message(_) => Some("must be a mapping".to_owned()),
    };
    let Some(problem) = problem else { return };
    // istiod reads numbers in quotes, and enumerations by number.
    let is_read_by_istiod = match (expected, found) {
        (Signed | Unsigned | Double, Value::String(text)) => text.parse::<f64>().is_ok(),
        (Enum(names), Value::Number(place)) => {
            place.as_u64().is_some_and(|place| usize::try_from(place).is_ok_and(|place| place < names.len()))
        }
        _ => false,
    };
    // A text in the place of another says enough by itself.
    let instead =
        if found.is_string() && !is_read_by_istiod { String::new() } else { format!(", not {}", type_of(found)) };
    let by = if is_read_by_istiod { By::Crd } else { By::Both };
    faults.add(FaultKind::Error(by), node.path(), problem + &instead);
}

/// Whether a value is no whole number of a range.
fn whole(found: &Value, least: i64, most: i64) -> bool {
    !found.as_i64().is_some_and(|number| (least..=most).contains(&number))
}

/// An item of a list, or a value of a mapping.
fn entry(expected: &Type, node: &Node<'_>, faults: &mut Faults) {
    if node.is_present() {
        value(expected, node, faults);
    } else {
        faults.add(FaultKind::Error(By::Crd), node.path(), "must not be null");
    }
}

fn message(fields: &'static [Field], node: &Node<'_>, faults: &mut Faults) {
    for (key, found) in node.value.as_object().into_iter().flatten() {
        let Some((_, field_type)) = fields.iter().find(|(name, _)| name == key) else {
            // istiod ignores it.
            faults.add(FaultKind::Error(By::Crd), node.at(key), "is not known to Istio");
            continue;
        };
        if !found.is_null() {
            value(field_type, &node.field(key), faults);
        } else if !matches!(field_type, OptionalBool) && !NULLABLE.contains(&key.as_str()) {
            faults.add(FaultKind::Error(By::Crd), node.at(key), "must not be null");
        }
    }
}
