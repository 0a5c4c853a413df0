//! The rules of the `CustomResourceDefinitions` beyond the types of fields: required fields, exclusive fields, and sizes. The API
//! server rejects violations, even if istiod would accept them.
//!
//! Source: `kubernetes/customresourcedefinitions.gen.yaml` of `istio.io/api` 1.32.

use super::duration;
use super::faults::{By, FaultKind, Faults};
use serde_json::{Map, Value};
use std::collections::HashSet;
use std::fmt::Write;

/// The location of a rule as steps below `spec`, and the rule.
type Rule = (&'static [Step], Asked);

#[derive(Clone, Copy)]
enum Step {
    Field(&'static str),
    /// Each item of the list, or value of the mapping.
    Each,
}

/// A rule for a value that is present.
#[derive(Clone, Copy)]
enum Asked {
    /// A mapping has these fields.
    Fields(&'static [&'static str]),
    /// A mapping has at most one of these fields.
    OneOf(&'static [&'static str]),
    Numbers(f64, f64),
    /// A list has between this minimum and maximum number of items.
    Items(usize, usize),
    Entries(usize),
    Characters(usize),
    /// Labels have no `*`.
    NoWildcards,
    /// A duration is at least a millisecond.
    Duration,
    /// No two mappings of a list have the same value here.
    Unique(&'static str),
    Other(fn(&Map<String, Value>, Say<'_>)),
}

/// Receives a field below the checked one, and its problem.
type Say<'s> = &'s mut dyn FnMut(&str, &str);

use Asked::{Characters, Duration, Entries, Fields, Items, NoWildcards, Numbers, OneOf, Other, Unique};
use Step::{Each, Field as F};

const STRING_MATCH: Asked = OneOf(&["exact", "prefix", "regex"]);

const VIRTUAL_SERVICE: &[Rule] = &[
    (&[F("http"), Each, F("match"), Each, F("uri")], STRING_MATCH),
    (&[F("http"), Each, F("match"), Each, F("scheme")], STRING_MATCH),
    (&[F("http"), Each, F("match"), Each, F("method")], STRING_MATCH),
    (&[F("http"), Each, F("match"), Each, F("authority")], STRING_MATCH),
    (&[F("http"), Each, F("match"), Each, F("headers"), Each], STRING_MATCH),
    (&[F("http"), Each, F("match"), Each, F("withoutHeaders"), Each], STRING_MATCH),
    (&[F("http"), Each, F("match"), Each, F("queryParams"), Each], STRING_MATCH),
    (&[F("http"), Each, F("corsPolicy"), F("allowOrigins"), Each], STRING_MATCH),
    (&[F("http"), Each, F("corsPolicy"), F("maxAge")], Duration),
    (&[F("http"), Each, F("directResponse")], Fields(&["status"])),
    (&[F("http"), Each, F("directResponse"), F("body")], OneOf(&["string", "bytes"])),
    (&[F("http"), Each, F("fault"), F("abort")], OneOf(&["httpStatus", "grpcStatus", "http2Error"])),
    (&[F("http"), Each, F("fault"), F("delay")], OneOf(&["fixedDelay", "exponentialDelay"])),
    (&[F("http"), Each, F("fault"), F("delay"), F("fixedDelay")], Duration),
    (&[F("http"), Each, F("fault"), F("delay"), F("exponentialDelay")], Duration),
    (&[F("http"), Each, F("mirror")], Fields(&["host"])),
    (&[F("http"), Each, F("mirrors"), Each], Fields(&["destination"])),
    (&[F("http"), Each, F("mirrors"), Each, F("destination")], Fields(&["host"])),
    (&[F("http"), Each, F("redirect")], OneOf(&["port", "derivePort"])),
    (&[F("http"), Each, F("retries"), F("backoff")], Duration),
    (&[F("http"), Each, F("retries"), F("perTryTimeout")], Duration),
    (&[F("http"), Each, F("timeout")], Duration),
    (&[F("http"), Each, F("route"), Each], Fields(&["destination"])),
    (&[F("http"), Each, F("route"), Each, F("destination")], Fields(&["host"])),
    (&[F("tls"), Each], Fields(&["match"])),
    (&[F("tls"), Each, F("match"), Each], Fields(&["sniHosts"])),
    (&[F("tls"), Each, F("route"), Each], Fields(&["destination"])),
    (&[F("tls"), Each, F("route"), Each, F("destination")], Fields(&["host"])),
    (&[F("tcp"), Each, F("route"), Each], Fields(&["destination"])),
    (&[F("tcp"), Each, F("route"), Each, F("destination")], Fields(&["host"])),
];

const DESTINATION_RULE: &[Rule] = &[
    (&[], Fields(&["host"])),
    (&[F("subsets"), Each], Fields(&["name"])),
    (&[F("workloadSelector"), F("matchLabels")], NoWildcards),
    (&[F("workloadSelector"), F("matchLabels")], Entries(4096)),
];

/// A DestinationRule has policies for a whole host, and for each subset.
const POLICIES: [&[Step]; 2] = [&[F("trafficPolicy")], &[F("subsets"), Each, F("trafficPolicy")]];

const POLICY: &[Rule] = &[
    (&[F("portLevelSettings")], Items(0, 4096)),
    (&[F("retryBudget"), F("percent")], Numbers(0.0, 100.0)),
    (&[F("tunnel")], Fields(&["targetHost", "targetPort"])),
];

/// A policy has settings for all ports, and for each port.
const SETTINGS: [&[Step]; 2] = [&[], &[F("portLevelSettings"), Each]];

const SETTING: &[Rule] = &[
    (&[F("loadBalancer")], OneOf(&["simple", "consistentHash"])),
    (
        &[F("loadBalancer"), F("consistentHash")],
        OneOf(&["httpHeaderName", "httpCookie", "useSourceIp", "httpQueryParameterName"]),
    ),
    (&[F("loadBalancer"), F("consistentHash")], OneOf(&["ringHash", "maglev"])),
    (&[F("loadBalancer"), F("consistentHash"), F("httpCookie")], Fields(&["name"])),
    (&[F("loadBalancer"), F("consistentHash"), F("httpCookie"), F("attributes"), Each], Fields(&["name"])),
    (&[F("loadBalancer"), F("warmup")], Fields(&["duration"])),
    (&[F("loadBalancer"), F("warmup"), F("duration")], Duration),
    (&[F("loadBalancer"), F("warmup"), F("aggression")], Numbers(0.0, f64::MAX)),
    (&[F("loadBalancer"), F("warmup"), F("minimumPercent")], Numbers(0.0, 100.0)),
    (&[F("loadBalancer"), F("warmupDurationSecs")], Duration),
    (&[F("loadBalancer"), F("zoneAwareLbSetting"), F("minClusterSize")], Numbers(1.0, 4_294_967_295.0)),
    (&[F("outlierDetection"), F("baseEjectionTime")], Duration),
    (&[F("outlierDetection"), F("interval")], Duration),
    (&[F("outlierDetection"), F("outlierDetectionHttpErrorCodes"), Each], Numbers(100.0, 599.0)),
];

/// Locations of connection pools, relative to settings or a Sidecar.
const POOLS: [&[Step]; 3] =
    [&[F("connectionPool")], &[F("inboundConnectionPool")], &[F("ingress"), Each, F("connectionPool")]];

const POOL: &[Rule] = &[
    (&[F("tcp"), F("connectTimeout")], Duration),
    (&[F("tcp"), F("maxConnectionDuration")], Duration),
    (&[F("tcp"), F("tcpKeepalive"), F("interval")], Duration),
    (&[F("tcp"), F("tcpKeepalive"), F("time")], Duration),
    (&[F("http"), F("idleTimeout")], Duration),
    (&[F("http"), F("http2KeepAlive"), F("interval")], Duration),
    (&[F("http"), F("http2KeepAlive"), F("timeout")], Duration),
];

const GATEWAY: &[Rule] = &[
    (&[F("servers"), Each], Fields(&["port", "hosts"])),
    (&[F("servers"), Each, F("port")], Fields(&["number", "protocol", "name"])),
];

/// Locations of a server's TLS settings.
const SERVERS: [&[Step]; 2] = [&[F("servers"), Each, F("tls")], &[F("ingress"), Each, F("tls")]];

const SERVER_TLS: &[Rule] = &[
    (&[], OneOf(&["tlsCertificates", "credentialNames"])),
    (&[], OneOf(&["credentialName", "credentialNames"])),
    (&[F("credentialNames")], Items(1, 2)),
    (&[F("tlsCertificates")], Items(1, 2)),
];

const SERVICE_ENTRY: &[Rule] = &[
    (&[], Fields(&["hosts"])),
    (&[], OneOf(&["workloadSelector", "endpoints"])),
    (&[], Other(resolution)),
    (&[F("hosts")], Items(1, 256)),
    (&[], Other(any_host)),
    (&[F("addresses")], Items(0, 256)),
    (&[F("addresses"), Each], Characters(64)),
    (&[F("endpoints")], Items(0, 4096)),
    (&[F("endpoints"), Each], Other(endpoint)),
    (&[F("endpoints"), Each, F("address")], Characters(256)),
    (&[F("endpoints"), Each, F("labels")], Entries(256)),
    (&[F("endpoints"), Each, F("ports")], Entries(128)),
    (&[F("endpoints"), Each, F("ports"), Each], Numbers(1.0, 65_535.0)),
    (&[F("ports")], Items(0, 256)),
    (&[F("ports")], Unique("name")),
    (&[F("ports")], Unique("number")),
    (&[F("ports"), Each], Fields(&["number", "name"])),
    (&[F("ports"), Each, F("number")], Numbers(1.0, 65_535.0)),
    (&[F("ports"), Each, F("targetPort")], Numbers(1.0, 65_535.0)),
    (&[F("workloadSelector"), F("labels")], NoWildcards),
    (&[F("workloadSelector"), F("labels")], Entries(256)),
];

const SIDECAR: &[Rule] = &[
    (&[F("egress"), Each], Fields(&["hosts"])),
    (&[F("ingress"), Each], Fields(&["port"])),
    (&[F("outboundTrafficPolicy"), F("egressProxy")], Fields(&["host"])),
    (&[F("workloadSelector"), F("labels")], NoWildcards),
    (&[F("workloadSelector"), F("labels")], Entries(256)),
];

/// Of both policies.
const POLICY_OF_SECURITY: &[Rule] =
    &[(&[F("selector"), F("matchLabels")], NoWildcards), (&[F("selector"), F("matchLabels")], Entries(4096))];

fn any_host(spec: &Map<String, Value>, say: Say<'_>) {
    for (index, host) in spec.get("hosts").and_then(Value::as_array).into_iter().flatten().enumerate() {
        if host == "*" {
            say(&format!(".hosts[{index}]"), "must not be '*'");
        }
    }
}

fn resolution(spec: &Map<String, Value>, say: Say<'_>) {
    let resolution = spec.get("resolution").and_then(Value::as_str).unwrap_or("NONE");
    let list = |field: &str| spec.get(field).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let is_subnet = |address: &Value| address.as_str().is_some_and(|address| address.contains('/'));
    if !["NONE", "STATIC"].contains(&resolution)
        && let Some(index) = list("addresses").iter().position(is_subnet)
    {
        say(&format!(".addresses[{index}]"), "must not be a subnet: only resolution NONE and STATIC take subnets");
    }
    match resolution {
        "NONE" if spec.contains_key("endpoints") => say(".endpoints", "must not be given with resolution NONE"),
        "DNS_ROUND_ROBIN" if list("endpoints").len() > 1 => {
            say(".endpoints", "must have at most 1 item with resolution DNS_ROUND_ROBIN");
        }
        _ => {}
    }
}

fn endpoint(endpoint: &Map<String, Value>, say: Say<'_>) {
    if !endpoint.contains_key("address") && !endpoint.contains_key("network") {
        say(".address", "must be given");
    }
    if let Some(path) = endpoint.get("address").and_then(Value::as_str).and_then(|text| text.strip_prefix("unix://")) {
        if endpoint.contains_key("ports") {
            say(".ports", "must not be given: the address is a Unix socket");
        }
        if !path.starts_with(['/', '@']) || path.ends_with('/') {
            say(".address", "must be unix:// and an absolute path, or unix://@ and a name");
        }
    }
    for name in endpoint.get("ports").and_then(Value::as_object).into_iter().flatten().map(|(name, _)| name) {
        if crate::istio::names::dns_label(name).is_err() || name.len() > 62 {
            say(&format!(".ports[{name}]"), "must be named by at most 62 letters, digits and '-'");
        }
    }
}

/// Checks a `spec` by the rules of its kind's CustomResourceDefinition.
pub(super) fn check(kind: &str, spec: &Value, faults: &mut Faults) {
    let mut path = String::from("spec");
    match kind {
        "VirtualService" => rules(VIRTUAL_SERVICE, spec, &mut path, faults),
        "DestinationRule" => {
            rules(DESTINATION_RULE, spec, &mut path, faults);
            for policy in POLICIES {
                each(policy, spec, &mut path, &mut |policy, path| {
                    rules(POLICY, policy, path, faults);
                    for settings in SETTINGS {
                        each(settings, policy, path, &mut |setting, path| {
                            rules(SETTING, setting, path, faults);
                            each(POOLS[0], setting, path, &mut |pool, path| rules(POOL, pool, path, faults));
                        });
                    }
                });
            }
        }
        "Gateway" => {
            rules(GATEWAY, spec, &mut path, faults);
            each(SERVERS[0], spec, &mut path, &mut |tls, path| rules(SERVER_TLS, tls, path, faults));
        }
        "ServiceEntry" => rules(SERVICE_ENTRY, spec, &mut path, faults),
        "PeerAuthentication" | "AuthorizationPolicy" => rules(POLICY_OF_SECURITY, spec, &mut path, faults),
        "Sidecar" => {
            rules(SIDECAR, spec, &mut path, faults);
            each(SERVERS[1], spec, &mut path, &mut |tls, path| rules(SERVER_TLS, tls, path, faults));
            for pool in &POOLS[1..] {
                each(pool, spec, &mut path, &mut |pool, path| rules(POOL, pool, path, faults));
            }
        }
        _ => {}
    }
}

fn rules(rules: &[Rule], value: &Value, path: &mut String, faults: &mut Faults) {
    for (steps, asked) in rules {
        each(steps, value, path, &mut |value, path| asked.judge(value, path, faults));
    }
}

/// Calls the function for each value at the steps, with its path.
fn each(steps: &[Step], value: &Value, path: &mut String, take: &mut dyn FnMut(&Value, &mut String)) {
    let length = path.len();
    match (steps, value) {
        (_, Value::Null) => {} // which the types check
        ([], _) => take(value, path),
        ([Step::Field(name), rest @ ..], Value::Object(fields)) => {
            if let Some(value) = fields.get(*name) {
                path.push('.');
                path.push_str(name);
                each(rest, value, path, take);
            }
        }
        ([Step::Each, rest @ ..], Value::Array(items)) => {
            for (index, item) in items.iter().enumerate() {
                let _ = write!(path, "[{index}]"); // writing to a String cannot fail
                each(rest, item, path, take);
                path.truncate(length);
            }
        }
        ([Step::Each, rest @ ..], Value::Object(entries)) => {
            for (key, entry) in entries {
                let _ = write!(path, "[{key}]");
                each(rest, entry, path, take);
                path.truncate(length);
            }
        }
        _ => {}
    }
    path.truncate(length);
}

impl Asked {
    fn judge(self, value: &Value, path: &str, faults: &mut Faults) {
        let mut say = |below: &str, problem: &str| {
            faults.add(FaultKind::Error(By::Crd), format!("{path}{below}"), problem);
        };
        match (self, value) {
            (Self::Fields(names), Value::Object(fields)) => {
                for name in names.iter().filter(|name| !fields.contains_key(**name)) {
                    say(&format!(".{name}"), "must be given");
                }
            }
            (Self::OneOf(names), Value::Object(fields))
                if names.iter().filter(|name| fields.contains_key(**name)).count() > 1 =>
            {
                say("", &format!("must have at most one of {}", names.join(", ")));
            }
            (Self::Numbers(least, most), Value::Number(number))
                if number.as_f64().is_some_and(|number| !(least..=most).contains(&number)) =>
            {
                let to = if most < f64::MAX { format!("{least} to {most}") } else { format!("at least {least}") };
                say("", &format!("must be {to}"));
            }
            (Self::Items(least, most), Value::Array(items)) if !(least..=most).contains(&items.len()) => {
                let count = if least > 0 { format!("{least} to {most}") } else { format!("at most {most}") };
                say("", &format!("must have {count} items"));
            }
            (Self::Entries(most), Value::Object(entries)) if entries.len() > most => {
                say("", &format!("must have at most {most} entries"));
            }
            (Self::Characters(most), Value::String(text)) if text.chars().count() > most => {
                say("", &format!("must have at most {most} characters"));
            }
            (Self::Duration, Value::String(text)) if duration::micros(text).is_some_and(|micros| micros < 1_000) => {
                say("", "must be at least 1ms");
            }
            (Self::NoWildcards, Value::Object(labels)) => {
                for (key, label) in labels {
                    let label = label.as_str().unwrap_or_default();
                    if key.contains('*') || label.contains('*') {
                        say(&format!("[{key}]"), "must have no '*' in key or value");
                    } else if label.chars().count() > 63 {
                        say(&format!("[{key}]"), "must have a value of at most 63 characters");
                    }
                }
            }
            (Self::Unique(name), Value::Array(items)) => {
                let mut seen = HashSet::new();
                for (index, item) in items.iter().enumerate() {
                    if item.get(name).is_some_and(|one| !seen.insert(one.to_string())) {
                        say(&format!("[{index}].{name}"), "must be unique among the ports");
                    }
                }
            }
            (Self::Other(judge), Value::Object(fields)) => judge(fields, &mut say),
            _ => {} // of another type, which the types check
        }
    }
}
