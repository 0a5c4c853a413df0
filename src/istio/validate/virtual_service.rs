//! Rules for VirtualServices, except for HTTP routes.

use super::faults::{Faults, host_or_ip};
use super::route::{caller, destinations, gateway_names};
use super::{http, shadow};
use crate::istio::host;
use crate::istio::node::Node;
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
    shadow::check_http(&spec.list("http"), faults);
    for field in ["tls", "tcp"] {
        shadow::check(&spec.list(field), faults);
    }
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

fn stream(route: &Node<'_>, faults: &mut Faults) {
    if route.list("route").is_empty() {
        faults.error(route.at("route"), "must have a destination");
    }
    destinations(route, faults);
}
