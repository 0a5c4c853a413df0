//! A DestinationRule's rules.

use super::faults::{Faults, host_or_ip};
use crate::istio::names;
use crate::istio::node::Node;
use std::collections::HashSet;

pub(super) fn check(spec: &Node<'_>, namespace: &str, faults: &mut Faults) {
    faults.check(|| "spec.host".to_owned(), host_or_ip(spec.text("host")));
    policy(spec, faults);
    let mut subsets = HashSet::new();
    for subset in spec.list("subsets") {
        let name = subset.text("name");
        faults.check(|| subset.at("name"), names::dns_label(name));
        if !subsets.insert(name) {
            faults.error(subset.at("name"), "must be unique among the subsets");
        }
        faults.labels(&subset, "labels");
        policy(&subset, faults);
    }
    faults.export_to(spec, namespace, false);
    if let Some(selector) = spec.present("workloadSelector") {
        if !selector.is_filled("matchLabels") {
            faults.warning(selector.path(), "has no labels: the rule is for all workloads of the namespace");
        }
        let export = spec.texts("exportTo");
        if !export.is_empty() && export.iter().any(|to| *to != "." && *to != namespace) {
            faults.error(spec.at("exportTo"), "must be the own namespace only: the rule has a workloadSelector");
        }
    }
}

const SETTINGS: [&str; 4] = ["loadBalancer", "connectionPool", "outlierDetection", "tls"];

fn policy(owner: &Node<'_>, faults: &mut Faults) {
    let Some(policy) = owner.present("trafficPolicy") else { return };
    let others = ["portLevelSettings", "tunnel", "proxyProtocol", "retryBudget"];
    if !SETTINGS.iter().chain(&others).any(|field| policy.has(field)) {
        faults.error(policy.path(), "must have at least one field");
    }
    if policy.has("tunnel") && policy.has("proxyProtocol") {
        faults.error(policy.path(), "must not have both tunnel and proxyProtocol");
    }
    settings(&policy, faults);
    for port in policy.list("portLevelSettings") {
        if !port.has("port") {
            faults.error(port.at("port"), "must be given");
        }
        faults.port(&port.field("port"), "number");
        if !SETTINGS.iter().any(|field| port.has(field)) {
            faults.error(port.path(), "must have at least one setting");
        }
        settings(&port, faults);
    }
}

fn settings(node: &Node<'_>, faults: &mut Faults) {
    if let Some(pool) = node.present("connectionPool") {
        if !pool.has("tcp") && !pool.has("http") {
            faults.error(pool.path(), "must have tcp or http");
        }
        let (tcp, http) = (pool.field("tcp"), pool.field("http"));
        for (part, fields) in [
            (&tcp, &["maxConnections"][..]),
            (&http, &["http1MaxPendingRequests", "http2MaxRequests", "maxRequestsPerConnection", "maxRetries"]),
        ] {
            for field in fields {
                if part.number(field).is_some_and(|number| number < 0) {
                    faults.error(part.at(field), "must be at least 0");
                }
            }
        }
        faults.duration(&tcp, "connectTimeout");
        faults.duration(&http, "idleTimeout");
        if http.text("h2UpgradePolicy") == "UPGRADE" && http.is_true("useClientProtocol") {
            faults.error(http.at("useClientProtocol"), "must not be given with h2UpgradePolicy UPGRADE");
        }
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
        if tls.is_true("insecureSkipVerify") && (tls.is_filled("caCertificates") || tls.is_filled("subjectAltNames")) {
            faults.error(tls.at("insecureSkipVerify"), "must not be given with caCertificates or subjectAltNames");
        }
    }
    let hash = node.field("loadBalancer").field("consistentHash");
    if hash.has("httpCookie") && hash.field("httpCookie").text("name").is_empty() {
        faults.error(hash.field("httpCookie").at("name"), "must be given");
    }
}
