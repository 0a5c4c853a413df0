//! Rules for ServiceEntries.

use super::faults::{FaultKind, Faults};
use super::gateway::is_socket_path;
use crate::istio::names;
use crate::istio::node::Node;
use std::collections::HashSet;
use std::net::IpAddr;

pub(super) fn check(spec: &Node<'_>, namespace: &str, faults: &mut Faults) {
    let resolution = match spec.text("resolution") {
        "" => "NONE",
        resolution => resolution,
    };
    hosts(spec, resolution, faults);
    let has_subnet = addresses(spec, faults);
    if has_subnet && !matches!(resolution, "NONE" | "STATIC") {
        faults.error(spec.at("addresses"), "must have no subnets: only resolution NONE and STATIC take them");
    }
    // Istio assigns addresses to hosts that it resolves.
    let is_addressed = spec.is_filled("addresses")
        || (resolution != "NONE" && !spec.texts("hosts").iter().any(|host| host.starts_with('*')));
    let names = ports(spec, is_addressed, faults);
    if let Some(selector) = spec.present("workloadSelector") {
        if !selector.is_filled("labels") {
            faults.warning(selector.path(), "has no labels: the entry is for all workloads of the namespace");
        }
        faults.selector(&selector, "labels");
        if spec.has("endpoints") {
            faults.error(spec.at("endpoints"), "must not be given with workloadSelector");
        }
        if resolution == "NONE" {
            faults.warning(selector.path(), "has no effect with resolution NONE");
        }
    }
    match resolution {
        "NONE" => {
            if spec.is_filled("endpoints") {
                faults.error(spec.at("endpoints"), "must not be given with resolution NONE");
            }
        }
        "DYNAMIC_DNS" => dynamic(spec, faults),
        _ => {
            if resolution == "DNS_ROUND_ROBIN" && spec.list("endpoints").len() > 1 {
                faults.error(spec.at("endpoints"), "must have at most 1 item with resolution DNS_ROUND_ROBIN");
            }
            for endpoint in spec.list("endpoints") {
                self::endpoint(&endpoint, resolution == "STATIC", &names, faults);
            }
        }
    }
    if resolution != "NONE" && spec.list("hosts").len() > 1 {
        let of_names = |port: &Node<'_>| {
            let protocol = port.text("protocol").to_ascii_uppercase();
            protocol.starts_with("HTTP") || protocol.starts_with("GRPC") || protocol == "TLS"
        };
        if let Some(port) = spec.list("ports").iter().find(|port| !of_names(port)) {
            faults
                .error(port.at("protocol"), "must be of HTTP or TLS: other protocols cannot tell several hosts apart");
        }
    }
    faults.export_to(spec, namespace, true);
}

fn hosts(spec: &Node<'_>, resolution: &str, faults: &mut Faults) {
    if spec.list("hosts").is_empty() {
        faults.error("spec.hosts", "must have a host");
    }
    for host in spec.list("hosts") {
        let name = host.as_text();
        if name == "*" {
            faults.error(host.path(), "must not be '*'");
            continue;
        }
        faults.check(|| host.path(), names::wildcard_domain(name));
        if resolution != "DYNAMIC_DNS" && name.starts_with('*') && !name.starts_with("*.") {
            faults.warning(host.path(), "has '*' as a part of its first label");
        }
        let has_endpoints = spec.is_filled("endpoints");
        if matches!(resolution, "DNS" | "DNS_ROUND_ROBIN") && !has_endpoints && names::fqdn(name).is_err() {
            let problem = format!("must have no wildcard with resolution {resolution} and without endpoints");
            faults.error(host.path(), problem);
        }
    }
}

/// Returns whether they include a subnet.
fn addresses(spec: &Node<'_>, faults: &mut Faults) -> bool {
    let mut has_subnet = false;
    for address in spec.list("addresses") {
        let text = address.as_text();
        has_subnet |= text.contains('/');
        if text.parse::<IpAddr>().is_err() && text.parse::<ipnet::IpNet>().is_err() {
            faults.error(address.path(), "must be an IP address or a subnet");
        }
    }
    has_subnet
}

/// Returns their names.
fn ports<'v>(spec: &Node<'v>, is_addressed: bool, faults: &mut Faults) -> HashSet<&'v str> {
    let (mut names, mut numbers) = (HashSet::new(), HashSet::new());
    for port in spec.list("ports") {
        let name = port.text("name");
        faults.check(|| port.at("name"), names::dns_label(name));
        if !names.insert(name) {
            faults.error(port.at("name"), "must be unique among the ports");
        }
        if !port.text("protocol").is_empty() {
            faults.known_protocol(&port);
        }
        if !is_addressed && matches!(port.text("protocol").to_ascii_uppercase().as_str(), "" | "TCP") {
            let problem = "is of TCP and has no addresses: it takes all connections to the port";
            faults.add(FaultKind::Unaddressed, port.path(), problem);
        }
        if !(1..=65535).contains(&port.number("number").unwrap_or_default()) {
            faults.error(port.at("number"), "must be 1 to 65535");
        } else if !numbers.insert(port.number("number")) {
            faults.error(port.at("number"), "must be unique among the ports");
        }
        faults.port(&port, "targetPort");
    }
    names
}

fn endpoint(endpoint: &Node<'_>, is_static: bool, names: &HashSet<&str>, faults: &mut Faults) {
    let address = endpoint.text("address");
    if is_static && address.is_empty() {
        if endpoint.is_filled("network") {
            faults.warning(endpoint.at("address"), "is absent: the endpoint is that of a network");
        } else {
            faults.error(endpoint.at("address"), "must be given");
            return;
        }
    }
    if is_static && let Some(path) = address.strip_prefix("unix://") {
        if !is_socket_path(path) {
            faults.error(endpoint.at("address"), "must be unix:// and an absolute path, or unix://@ and a name");
        }
        if endpoint.is_filled("ports") {
            faults.error(endpoint.at("ports"), "must not be given: the address is a Unix socket");
        }
        if names.len() != 1 {
            faults.error(endpoint.at("address"), "must not be a Unix socket: the entry has several ports");
        }
    } else if address.parse::<IpAddr>().is_err() {
        if is_static && !address.is_empty() {
            faults.error(endpoint.at("address"), "must be an IP address with resolution STATIC");
        } else if !is_static && (address.is_empty() || names::fqdn(address).is_err()) {
            faults.error(endpoint.at("address"), "must be an IP address or a host without wildcard");
        }
    }
    for (name, number) in endpoint.entries("ports") {
        if !names.contains(name) {
            faults.error(number.path(), "must be one of spec.ports");
        }
        if !number.value.as_i64().is_some_and(|number| (1..=65535).contains(&number)) {
            faults.error(number.path(), "must be 1 to 65535");
        }
    }
    faults.labels(endpoint, "labels");
}

/// Checks hosts that are resolved on demand.
fn dynamic(spec: &Node<'_>, faults: &mut Faults) {
    for host in spec.list("hosts").iter().filter(|host| !host.as_text().starts_with('*')) {
        faults.error(host.path(), "must be a wildcard with resolution DYNAMIC_DNS");
    }
    for field in ["addresses", "endpoints"].into_iter().filter(|field| spec.is_filled(field)) {
        faults.error(spec.at(field), "must not be given with resolution DYNAMIC_DNS");
    }
    for port in spec.list("ports") {
        let protocol = port.text("protocol").to_ascii_uppercase();
        if !["HTTP", "TLS", "GRPC", "HTTP2"].contains(&protocol.as_str()) {
            faults.error(port.at("protocol"), "must be HTTP, HTTP2, GRPC or TLS with resolution DYNAMIC_DNS");
        }
    }
}
