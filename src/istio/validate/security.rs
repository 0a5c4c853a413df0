//! istiod's rules for PeerAuthentication and AuthorizationPolicy.
//!
//! Source: `ValidatePeerAuthentication`, `ValidateAuthorizationPolicy` and `pkg/config/security` of Istio 1.32.

use super::faults::{By, FaultKind, Faults};
use crate::api::istio::message::Type;
use crate::api::istio::security::{OPERATION, SOURCE};
use crate::istio::node::Node;
use ipnet::IpNet;
use serde_json::Value;
use std::net::IpAddr;

/// Source fields that a rule with the action CUSTOM must not have.
const NOT_OF_CUSTOM: [&str; 10] = [
    "principals",
    "notPrincipals",
    "requestPrincipals",
    "notRequestPrincipals",
    "namespaces",
    "notNamespaces",
    "serviceAccounts",
    "notServiceAccounts",
    "trustDomains",
    "notTrustDomains",
];

/// Source fields that also apply to TCP connections.
const OF_TCP: [&str; 10] = [
    "principals",
    "notPrincipals",
    "namespaces",
    "notNamespaces",
    "ipBlocks",
    "notIpBlocks",
    "remoteIpBlocks",
    "notRemoteIpBlocks",
    "serviceAccounts",
    "notServiceAccounts",
];

/// Conditions on keys with a single value.
const SINGLE_KEYS: [&str; 11] = [
    "source.ip",
    "remote.ip",
    "source.namespace",
    "source.serviceAccount",
    "source.principal",
    "source.trustDomain",
    "request.auth.principal",
    "request.auth.audiences",
    "request.auth.presenter",
    "destination.ip",
    "destination.port",
];

pub(super) fn peer_authentication(spec: &Node<'_>, faults: &mut Faults) {
    selector(spec, faults);
    if spec.has("portLevelMtls") && !spec.is_filled("portLevelMtls") {
        faults.add(FaultKind::Error(By::Both), spec.at("portLevelMtls"), "must have at least one port");
    }
    for (port, mtls) in spec.entries("portLevelMtls") {
        if !port.parse::<u16>().is_ok_and(|port| port > 0) {
            faults.add(FaultKind::Error(By::Both), mtls.path(), "must be for a port of 1 to 65535");
        }
    }
    if spec.is_filled("portLevelMtls") && !spec.field("selector").is_filled("matchLabels") {
        let problem = "must not be given without labels in selector.matchLabels";
        faults.add(FaultKind::Error(By::Both), spec.at("portLevelMtls"), problem);
    }
}

pub(super) fn authorization_policy(spec: &Node<'_>, faults: &mut Faults) {
    selector(spec, faults);
    let targets = ["selector", "targetRef", "targetRefs"].into_iter().filter(|field| spec.is_filled(field));
    if targets.count() > 1 {
        let problem = "must have at most one of selector, targetRef, targetRefs";
        faults.add(FaultKind::Error(By::Both), spec.path(), problem);
    }
    let action = spec.text("action");
    if matches!(action, "CUSTOM" | "DENY") && !spec.has("rules") {
        let problem = format!("must be given with action {action}: an empty rule, {{}}, is for all requests");
        faults.error(spec.at("rules"), problem);
    }
    match (action, spec.field("provider").is_filled("name")) {
        ("CUSTOM", false) => faults.error(spec.at("provider.name"), "must be given with action CUSTOM"),
        ("CUSTOM", true) => {}
        _ if spec.has("provider") => {
            faults.error(spec.at("provider"), "must not be given: only the action CUSTOM has a provider");
        }
        _ => {}
    }
    for rule in spec.list("rules") {
        check_rule(&rule, action, faults);
    }
}

fn selector(spec: &Node<'_>, faults: &mut Faults) {
    let selector = spec.field("selector");
    faults.selector(&selector, "matchLabels");
    if selector.is_present() && !selector.is_filled("matchLabels") {
        faults.warning(selector.path(), "has no labels: all workloads are meant");
    }
}

fn check_rule(rule: &Node<'_>, action: &str, faults: &mut Faults) {
    let from = parts(rule, ("from", "source", &SOURCE), faults);
    let to = parts(rule, ("to", "operation", &OPERATION), faults);
    for source in &from {
        check_source(source, action, faults);
    }
    for operation in &to {
        check_operation(operation, faults);
    }
    for condition in rule.list("when") {
        check_condition(&condition, action, faults);
    }
    let some =
        |parts: &[Node<'_>], fields: &[&str]| parts.iter().any(|part| fields.iter().any(|field| part.has(field)));
    let is_of_tcp =
        if to.is_empty() { from.is_empty() || some(&from, &OF_TCP) } else { some(&to, &["ports", "notPorts"]) };
    if action == "DENY" && !is_of_tcp {
        faults.warning(
            rule.path(),
            "denies all connections to ports of TCP: it has attributes of HTTP only; name the ports",
        );
    }
}

/// Returns the `source` of each `from`, or the `operation` of each `to`. None of them may be empty.
fn parts<'v>(rule: &Node<'v>, (list, part, message): (&str, &str, &Type), faults: &mut Faults) -> Vec<Node<'v>> {
    let is_known =
        |name: &str| matches!(message, Type::Message(fields) if fields.iter().any(|(field, _)| *field == name));
    let mut parts = Vec::new();
    for item in rule.list(list) {
        let Some(found) = item.present(part) else {
            faults.error(item.at(part), "must be given");
            continue;
        };
        let fields = found.value.as_object().into_iter().flatten();
        let is_empty = |values: &Value| values.as_array().is_none_or(Vec::is_empty);
        if fields.filter(|(name, _)| is_known(name)).all(|(_, values)| is_empty(values)) {
            faults.error(found.path(), "must not be empty");
        }
        parts.push(found);
    }
    parts
}

fn check_source(source: &Node<'_>, action: &str, faults: &mut Faults) {
    for (field, values) in entries(source) {
        if action == "CUSTOM" && NOT_OF_CUSTOM.contains(&field) {
            faults.error(values.path(), "must not be given with action CUSTOM");
        }
        check_values(field, &values, faults);
    }
    let named = |fields: &[&str]| fields.iter().any(|field| source.is_filled(field));
    if named(&["serviceAccounts", "notServiceAccounts"])
        && named(&["principals", "notPrincipals", "namespaces", "notNamespaces"])
    {
        let problem = "must not have service accounts together with namespaces or principals";
        faults.add(FaultKind::Error(By::Both), source.path(), problem);
    }
}

fn check_operation(operation: &Node<'_>, faults: &mut Faults) {
    for (field, values) in entries(operation) {
        check_values(field, &values, faults);
    }
}

/// Returns the lists of a source or operation.
fn entries<'v>(of: &Node<'v>) -> Vec<(&'v str, Node<'v>)> {
    let names = of.value.as_object().into_iter().flatten().map(|(name, _)| name.as_str());
    names.map(|name| (name, of.field(name))).collect()
}

fn check_values(field: &str, values: &Node<'_>, faults: &mut Faults) {
    if field.ends_with("erviceAccounts") && values.items().count() > 16 {
        faults.add(FaultKind::Error(By::Both), values.path(), "must have at most 16 items");
    }
    for value in values.items() {
        let text = value.as_text();
        let problem = match field {
            _ if text.is_empty() => Some("must not be empty"),
            "ipBlocks" | "notIpBlocks" | "remoteIpBlocks" | "notRemoteIpBlocks" => address(text),
            "ports" | "notPorts" => port(text),
            "paths" | "notPaths" => path(text),
            "serviceAccounts" | "notServiceAccounts" => service_account(text),
            "trustDomains" | "notTrustDomains" => trust_domain(text),
            _ => None,
        };
        if let Some(problem) = problem {
            faults.error(value.path(), problem);
        }
    }
}

fn check_condition(condition: &Node<'_>, action: &str, faults: &mut Faults) {
    let key = condition.text("key");
    if key.is_empty() {
        faults.add(FaultKind::Error(By::Both), condition.at("key"), "must be given");
        return;
    }
    if !condition.is_filled("values") && !condition.is_filled("notValues") {
        faults.error(condition.path(), "must have values or notValues");
    }
    let has_key =
        ["request.headers", "request.auth.claims", "experimental."].iter().any(|start| key.starts_with(start));
    if has_key {
        let in_brackets = key.strip_suffix(']').and_then(|key| key.split_once('['));
        if !in_brackets.is_some_and(|(name, inner)| !name.is_empty() && !inner.is_empty()) {
            faults.error(condition.at("key"), "must have a key in brackets, such as request.headers[x-user]");
        }
    } else if !SINGLE_KEYS.contains(&key) && key != "connection.sni" {
        faults.error(condition.at("key"), "is not an attribute of a request that Istio knows");
    }
    let is_of_caller =
        matches!(key, "source.namespace" | "source.serviceAccount" | "source.trustDomain" | "source.principal");
    if action == "CUSTOM" && (is_of_caller || key.starts_with("request.auth.")) {
        faults.error(condition.at("key"), "must not be given with action CUSTOM");
    }
    for value in condition.list("values").into_iter().chain(condition.list("notValues")) {
        let text = value.as_text();
        let problem = match key {
            _ if text.is_empty() => Some("must not be empty"),
            "source.ip" | "remote.ip" | "destination.ip" => address(text),
            "destination.port" => port(text),
            "source.serviceAccount" => service_account(text),
            "source.trustDomain" => trust_domain(text),
            _ => None,
        };
        if let Some(problem) = problem {
            faults.error(value.path(), problem);
        }
    }
}

fn address(text: &str) -> Option<&'static str> {
    let holds = text.parse::<IpAddr>().is_ok() || text.parse::<IpNet>().is_ok();
    (!holds).then_some("must be an IP address or a subnet")
}

fn port(text: &str) -> Option<&'static str> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok();
    (!is_number).then_some("must be the number of a port, in quotes")
}

/// `{*}` is one segment, and `{**}`, at most once, any number. Istio knows no other braces.
fn path(text: &str) -> Option<&'static str> {
    let is_template = text.contains("{*}") || text.contains("{**}");
    let mut any_was_there = false;
    for segment in text.trim_matches('/').split('/') {
        match segment {
            "{*}" | "{**}" if any_was_there => return Some("must have nothing of a template behind {**}"),
            "{**}" => any_was_there = true,
            "{*}" => {}
            _ if segment.contains(['{', '}']) => {
                return Some("must have '{' and '}' only as a segment {*}, or as a last one {**}");
            }
            _ if is_template && !is_literal(segment) => {
                return Some("must have only characters of a URL's path beside its template");
            }
            _ => {}
        }
    }
    None
}

/// A segment of a URL's path (RFC 3986, `pchar`), with at least one character.
fn is_literal(segment: &str) -> bool {
    !segment.is_empty()
        && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%!$&'()+,;:@=".contains(&byte))
}

fn service_account(text: &str) -> Option<&'static str> {
    let parts: Vec<&str> = text.split('/').collect();
    let holds =
        parts.len() <= 2 && parts.iter().all(|part| !part.is_empty()) && !text.contains('*') && text.len() <= 320;
    (!holds).then_some("must be a service account, or NAMESPACE/ACCOUNT, of at most 320 characters and without '*'")
}

fn trust_domain(text: &str) -> Option<&'static str> {
    let wildcards = text.matches('*').count();
    let stands_at_an_end = wildcards == 0 || text.starts_with('*') || text.ends_with('*');
    let holds = wildcards <= 1 && stands_at_an_end && !text.contains('/');
    (!holds).then_some("must be a trust domain, with at most one '*', at its start or end, and without '/'")
}
