//! Rules for DestinationRules.

use super::balancer;
use super::duration;
use super::faults::Faults;
use crate::istio::names;
use crate::istio::node::Node;
use std::collections::HashSet;
use std::net::IpAddr;

pub(super) fn check(spec: &Node<'_>, namespace: &str, faults: &mut Faults) {
    faults.check(|| "spec.host".to_owned(), names::wildcard_domain(spec.text("host")));
    policy(spec, namespace, faults);
    let mut subsets = HashSet::new();
    for subset in spec.list("subsets") {
        let name = subset.text("name");
        faults.check(|| subset.at("name"), names::dns_label(name));
        if !subsets.insert(name) {
            faults.error(subset.at("name"), "must be unique among the subsets");
        }
        faults.labels(&subset, "labels");
        policy(&subset, namespace, faults);
    }
    faults.export_to(spec, namespace, false);
    if let Some(selector) = spec.present("workloadSelector") {
        if !selector.is_filled("matchLabels") {
            faults.warning(selector.path(), "has no labels: the rule is for all workloads of the namespace");
        }
        faults.selector(&selector, "matchLabels");
        let export = spec.texts("exportTo");
        if !export.is_empty() && export.iter().any(|to| *to != "." && *to != namespace) {
            faults.error(spec.at("exportTo"), "must be the own namespace only: the rule has a workloadSelector");
        }
    }
}

const SETTINGS: [&str; 4] = ["loadBalancer", "connectionPool", "outlierDetection", "tls"];

fn policy(owner: &Node<'_>, namespace: &str, faults: &mut Faults) {
    let Some(policy) = owner.present("trafficPolicy") else { return };
    let others = ["portLevelSettings", "tunnel", "proxyProtocol", "retryBudget"];
    if !SETTINGS.iter().chain(&others).any(|field| policy.has(field)) {
        faults.error(policy.path(), "must have at least one field");
    }
    if policy.has("tunnel") && policy.has("proxyProtocol") {
        faults.error(policy.path(), "must not have both tunnel and proxyProtocol");
    }
    settings(&policy, namespace, faults);
    if let Some(tunnel) = policy.present("tunnel") {
        if !matches!(tunnel.text("protocol"), "" | "CONNECT" | "POST") {
            faults.error(tunnel.at("protocol"), "must be CONNECT or POST");
        }
        let host = tunnel.text("targetHost");
        if host.parse::<IpAddr>().is_err() {
            faults.check(|| tunnel.at("targetHost"), names::fqdn(host));
        }
        if !(1..=65535).contains(&tunnel.number("targetPort").unwrap_or_default()) {
            faults.error(tunnel.at("targetPort"), "must be 1 to 65535");
        }
    }
    for port in policy.list("portLevelSettings") {
        if !port.has("port") {
            faults.error(port.at("port"), "must be given");
        }
        faults.port(&port.field("port"), "number");
        if !SETTINGS.iter().any(|field| port.has(field)) {
            faults.error(port.path(), "must have at least one setting");
        }
        settings(&port, namespace, faults);
    }
}

/// Checks a connection pool of a DestinationRule or Sidecar.
pub(super) fn pool(pool: &Node<'_>, faults: &mut Faults) {
    if !pool.has("tcp") && !pool.has("http") {
        faults.error(pool.path(), "must have tcp or http");
    }
    let (tcp, http) = (pool.field("tcp"), pool.field("http"));
    let of_http = [
        "http1MaxPendingRequests",
        "http2MaxRequests",
        "maxRequestsPerConnection",
        "maxRetries",
        "maxConcurrentStreams",
    ];
    for (part, fields) in [(&tcp, &["maxConnections"][..]), (&http, &of_http)] {
        for field in fields {
            if part.number(field).is_some_and(|number| number < 0) {
                faults.error(part.at(field), "must be at least 0");
            }
        }
    }
    faults.duration(&tcp, "connectTimeout");
    faults.duration(&tcp, "maxConnectionDuration");
    // Zero means that idle connections stay.
    if duration::micros(tcp.text("idleTimeout")).is_some_and(|micros| micros >= 1_000) {
        faults.duration(&tcp, "idleTimeout");
    }
    faults.duration(&tcp.field("tcpKeepalive"), "time");
    faults.duration(&tcp.field("tcpKeepalive"), "interval");
    faults.duration(&http, "idleTimeout");
    if http.text("h2UpgradePolicy") == "UPGRADE" && http.is_true("useClientProtocol") {
        faults.error(http.at("useClientProtocol"), "must not be given with h2UpgradePolicy UPGRADE");
    }
    if let Some(alive) = http.present("http2KeepAlive") {
        for field in ["interval", "timeout"] {
            if !alive.has(field) {
                faults.error(alive.at(field), "must be given");
            }
            faults.duration(&alive, field);
        }
    }
}

fn settings(node: &Node<'_>, namespace: &str, faults: &mut Faults) {
    if let Some(pool) = node.present("connectionPool") {
        self::pool(&pool, faults);
    }
    if let Some(outlier) = node.present("outlierDetection") {
        for field in ["maxEjectionPercent", "minHealthPercent"] {
            if outlier.number(field).is_some_and(|percent| !(0..=100).contains(&percent)) {
                faults.error(outlier.at(field), "must be 0 to 100");
            }
        }
        faults.duration(&outlier, "interval");
        faults.duration(&outlier, "baseEjectionTime");
        if outlier.has("consecutiveLocalOriginFailures") && !outlier.is_true("splitExternalLocalOriginErrors") {
            faults.error(outlier.at("consecutiveLocalOriginFailures"), "needs splitExternalLocalOriginErrors");
        }
        if outlier.has("consecutiveErrors") {
            faults.warning(outlier.at("consecutiveErrors"), "is deprecated: use consecutive5xxErrors");
        }
    }
    if let Some(tls) = node.present("tls") {
        let inline = ["clientCertificate", "privateKey", "caCertificates"].iter().any(|field| tls.is_filled(field));
        if tls.is_filled("credentialName") && inline {
            faults.error(tls.path(), "must have credentialName or certificates of files, not both");
        }
        let mutual = tls.text("mode") == "MUTUAL" && !tls.is_filled("credentialName");
        if mutual && !(tls.is_filled("clientCertificate") && tls.is_filled("privateKey")) {
            faults.error(tls.path(), "must have clientCertificate and privateKey: the mode is MUTUAL");
        }
        let names_authority = tls.is_filled("caCertificates")
            || tls.is_filled("subjectAltNames")
            || (tls.is_filled("credentialName") && tls.text("mode") == "SIMPLE");
        if tls.is_true("insecureSkipVerify") && names_authority {
            let problem = "must not be given with caCertificates, credentialName or subjectAltNames";
            faults.error(tls.at("insecureSkipVerify"), problem);
        }
        if let Some(named) = tls.text("credentialName").strip_prefix("configmap://")
            && named.split_once('/').is_some_and(|(of, _)| of != namespace)
        {
            faults.error(tls.at("credentialName"), "must be a ConfigMap of the rule's own namespace");
        }
    }
    balancer::check(node, faults);
}
