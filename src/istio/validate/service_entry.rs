//! A ServiceEntry's rules.

use super::faults::{Faults, host_or_ip};
use crate::istio::node::Node;
use std::collections::HashSet;

pub(super) fn check(spec: &Node<'_>, namespace: &str, faults: &mut Faults) {
    if spec.list("hosts").is_empty() {
        faults.error("spec.hosts", "must have a host");
    }
    for host in spec.list("hosts") {
        if host.as_text() == "*" {
            faults.error(host.path(), "must not be '*'");
        } else {
            faults.check(|| host.path(), host_or_ip(host.as_text()));
        }
    }
    let (mut names, mut numbers) = (HashSet::new(), HashSet::new());
    for port in spec.list("ports") {
        if port.text("name").is_empty() {
            faults.error(port.at("name"), "must be given");
        } else if !names.insert(port.text("name")) {
            faults.error(port.at("name"), "must be unique among the ports");
        }
        faults.known_protocol(&port);
        if !(1..=65535).contains(&port.number("number").unwrap_or_default()) {
            faults.error(port.at("number"), "must be 1 to 65535");
        } else if !numbers.insert(port.number("number")) {
            faults.error(port.at("number"), "must be unique among the ports");
        }
    }
    if spec.has("workloadSelector") && spec.is_filled("endpoints") {
        faults.error(spec.at("endpoints"), "must not be given with workloadSelector");
    }
    let wildcard = spec.texts("hosts").iter().any(|host| host.starts_with('*'));
    match spec.text("resolution") {
        "" | "NONE" if spec.is_filled("endpoints") => {
            faults.error(spec.at("endpoints"), "must not be given with resolution NONE");
        }
        "STATIC" if !spec.is_filled("endpoints") && !spec.has("workloadSelector") => {
            faults.error(spec.at("endpoints"), "must be given with resolution STATIC");
        }
        "DNS" | "DNS_ROUND_ROBIN" if wildcard && !spec.is_filled("endpoints") => {
            faults.error(spec.at("hosts"), "must have no wildcard with resolution DNS and without endpoints");
        }
        _ => {}
    }
    faults.export_to(spec, namespace, true);
}
