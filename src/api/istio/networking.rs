//! The messages of `networking.istio.io` except those of Sidecars, field by field.
//!
//! Source: `networking/v1alpha3` of `istio.io/api` 1.32.

use super::message::{Field, Type};
use super::sidecar::{CONNECTION_POOL, DESTINATION, SERVER_TLS};
use Type::{Bool, Double, Duration, Enum, Labels, List, Map, Message, OptionalBool, Signed, Text, Unsigned};

pub(crate) const VIRTUAL_SERVICE: &[Field] = &[
    ("hosts", List(&Text)),
    ("gateways", List(&Text)),
    ("http", List(&Message(HTTP_ROUTE))),
    ("tls", List(&Message(&[("match", List(&Message(TLS_MATCH))), ("route", List(&ROUTE))]))),
    ("tcp", List(&Message(&[("match", List(&Message(TCP_MATCH))), ("route", List(&ROUTE))]))),
    ("exportTo", List(&Text)),
];

const ROUTE: Type = Message(&[("destination", Message(DESTINATION)), ("weight", Signed), ("headers", HEADERS)]);

pub(crate) const HEADERS: Type = Message(&[("request", HEADER_OPERATIONS), ("response", HEADER_OPERATIONS)]);

const HEADER_OPERATIONS: Type = Message(&[("set", Labels), ("add", Labels), ("remove", List(&Text))]);

const STRING_MATCH: Type = Message(&[("exact", Text), ("prefix", Text), ("regex", Text)]);

const MATCHES: Type = Map(&STRING_MATCH);

pub(crate) const PERCENT: Type = Message(&[("value", Double)]);

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
    ("retries", RETRIES),
    ("fault", FAULT),
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

pub(crate) const FAULT: Type = Message(&[
    (
        "delay",
        Message(&[
            ("percent", Signed),
            ("fixedDelay", Duration),
            ("exponentialDelay", Duration),
            ("percentage", PERCENT),
        ]),
    ),
    ("abort", Message(&[("httpStatus", Signed), ("grpcStatus", Text), ("http2Error", Text), ("percentage", PERCENT)])),
]);

pub(crate) const RETRIES: Type = Message(&[
    ("attempts", Signed),
    ("perTryTimeout", Duration),
    ("retryOn", Text),
    ("retryRemoteLocalities", OptionalBool),
    ("retryIgnorePreviousHosts", OptionalBool),
    ("backoff", Duration),
]);

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

pub(crate) const GATEWAY: &[Field] = &[
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

pub(crate) const SERVICE_ENTRY: &[Field] = &[
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

pub(crate) const DESTINATION_RULE: &[Field] = &[
    ("host", Text),
    ("trafficPolicy", Message(TRAFFIC_POLICY)),
    ("subsets", List(&Message(&[("name", Text), ("labels", Labels), ("trafficPolicy", Message(TRAFFIC_POLICY))]))),
    ("exportTo", List(&Text)),
    ("workloadSelector", Message(&[("matchLabels", Labels)])),
];

pub(crate) const TRAFFIC_POLICY: &[Field] = &[
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
