//! A VirtualService's rules, those of HTTP routes apart.

use super::{FaultKind, Faults, host_or_ip, http, shadow};
use crate::istio::node::Node;
use crate::istio::{host, names};
use std::net::IpAddr;

pub(super) fn check(spec: &Node<'_>, namespace: &str, faults: &mut Faults) {
    let hosts = spec.list("hosts");
    let kinds = ["http", "tls", "tcp"];
    if hosts.is_empty() {
        for field in ["gateways", "tls", "tcp"] {
            if spec.is_filled(field) {
                faults.error(spec.at(field), "must not be given: without hosts it is a delegate, which has http only");
            }
        }
    }
    if !kinds.iter().any(|kind| spec.is_filled(kind)) {
        faults.error("spec", "must have http, tls or tcp");
    }
    let gateways = spec.texts("gateways");
    let is_of_mesh = !hosts.is_empty() && (gateways.is_empty() || gateways.contains(&"mesh"));
    gateway_names(spec, faults);
    self::hosts(&hosts, is_of_mesh, faults);
    for route in spec.list("http") {
        http::check(&route, hosts.is_empty(), is_of_mesh, faults);
    }
    shadow::check(&spec.list("http"), faults);
    for route in spec.list("tls") {
        if route.list("match").is_empty() {
            faults.error(route.at("match"), "must have a match");
        }
        for one in route.list("match") {
            if one.list("sniHosts").is_empty() {
                faults.error(one.at("sniHosts"), "must have a host");
            }
            for sni in one.list("sniHosts") {
                let name = sni.as_text();
                if name.parse::<IpAddr>().is_ok() {
                    faults.warning(sni.path(), "is an IP address, which no client names");
                }
                if !hosts.iter().any(|outer| host::covers(outer.as_text(), name)) {
                    faults.error(sni.path(), "must be covered by one of spec.hosts");
                }
            }
            caller(&one, faults);
        }
        stream(&route, faults);
    }
    for route in spec.list("tcp") {
        for one in route.list("match") {
            for subnet in one.list("destinationSubnets") {
                let text = subnet.as_text();
                if text.parse::<IpAddr>().is_err() && text.parse::<ipnet::IpNet>().is_err() {
                    faults.error(subnet.path(), "must be an IP address or a subnet");
                }
            }
            caller(&one, faults);
        }
        stream(&route, faults);
    }
    faults.export_to(spec, namespace, false);
}

fn hosts(hosts: &[Node<'_>], is_of_mesh: bool, faults: &mut Faults) {
    for (index, node) in hosts.iter().enumerate() {
        let name = node.as_text();
        let is_generated = name.starts_with("outbound_.");
        if name == "*" && is_of_mesh {
            faults.error(node.path(), "must not be '*' unless gateways are given, without mesh");
        } else if !is_generated {
            faults.check(|| node.path(), host_or_ip(name));
        }
        if let Some(earlier) = hosts[..index].iter().find(|earlier| host::overlap(earlier.as_text(), name)) {
            faults.error(node.path(), format!("overlaps with {}", earlier.path()));
        }
    }
}

/// Gateways that are named by a VirtualService or a match.
pub(super) fn gateway_names(node: &Node<'_>, faults: &mut Faults) {
    for gateway in node.list("gateways") {
        if let Some((namespace, name)) = gateway.as_text().split_once('/') {
            faults.check(|| gateway.path(), names::dns_label(namespace));
            faults.check(|| gateway.path(), names::dns_label(name));
            continue;
        }
        faults.check(|| gateway.path(), names::fqdn(gateway.as_text()));
        if gateway.as_text().contains('.') {
            faults.warning(gateway.path(), "has the old form of a name: use namespace/name");
        }
    }
}

/// What a match says of callers.
pub(super) fn caller(one: &Node<'_>, faults: &mut Faults) {
    faults.port(one, "port");
    faults.labels(one, "sourceLabels");
    gateway_names(one, faults);
    if one.is_filled("sourceNamespace") {
        faults.check(|| one.at("sourceNamespace"), names::dns_label(one.text("sourceNamespace")));
    }
}

fn stream(route: &Node<'_>, faults: &mut Faults) {
    if route.list("route").is_empty() {
        faults.error(route.at("route"), "must have a destination");
    }
    destinations(route, faults);
}

/// The weighted destinations of a route.
pub(super) fn destinations(route: &Node<'_>, faults: &mut Faults) {
    let routes = route.list("route");
    for one in &routes {
        if one.number("weight").is_some_and(|weight| weight < 0) {
            faults.error(one.at("weight"), "must be at least 0");
        }
        match one.present("destination") {
            Some(to) => destination(&to, faults),
            None => faults.error(one.at("destination"), "must be given"),
        }
    }
    let sum: i64 = routes.iter().filter_map(|one| one.number("weight")).sum();
    if routes.len() > 1 && sum == 0 {
        faults.error(route.at("route"), "must have weights: their sum is 0");
    }
}

pub(super) fn destination(to: &Node<'_>, faults: &mut Faults) {
    let host = to.text("host");
    if host.is_empty() || host == "*" {
        faults.error(to.at("host"), "must be the host of a service");
    } else {
        faults.check(|| to.at("host"), names::wildcard_domain(host));
    }
    if to.is_filled("subset") {
        faults.check(|| to.at("subset"), names::dns_label(to.text("subset")));
    }
    if to.has("port") {
        let port = to.field("port");
        match port.number("number") {
            Some(1..=65535) => {}
            _ => faults.error(port.at("number"), "must be 1 to 65535"),
        }
    }
}

/// A field that Istio still takes.
pub(super) fn deprecated(node: &Node<'_>, field: &str, instead: &str, faults: &mut Faults) {
    if node.has(field) {
        faults.add(FaultKind::Deprecated, node.at(field), format!("is deprecated: use {instead}"));
    }
}
