//! Rules for routes of all protocols: destinations, and conditions on callers.

use super::faults::{FaultKind, Faults};
use crate::istio::names;
use crate::istio::node::Node;

/// Checks the gateways of a VirtualService or match.
pub(super) fn gateway_names(node: &Node<'_>, faults: &mut Faults) {
    for gateway in node.list("gateways") {
        if let Some((namespace, name)) = gateway.as_text().split_once('/') {
            let parts = [namespace, name].into_iter().try_for_each(names::dns_label);
            faults.check(|| gateway.path(), parts.map_err(|_| "must be mesh, NAME or NAMESPACE/NAME"));
            continue;
        }
        faults.check(|| gateway.path(), names::fqdn(gateway.as_text()));
        if gateway.as_text().contains('.') {
            faults.warning(gateway.path(), "has the old form of a name: use namespace/name");
        }
    }
}

/// Checks the conditions of a match on callers.
pub(super) fn caller(one: &Node<'_>, faults: &mut Faults) {
    faults.port(one, "port");
    faults.labels(one, "sourceLabels");
    gateway_names(one, faults);
    if one.is_filled("sourceNamespace") {
        faults.check(|| one.at("sourceNamespace"), names::dns_label(one.text("sourceNamespace")));
    }
}

/// Checks the weighted destinations of a route.
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

/// Reports a field that Istio still accepts.
pub(super) fn deprecated(node: &Node<'_>, field: &str, instead: &str, faults: &mut Faults) {
    if node.has(field) {
        faults.add(FaultKind::Deprecated, node.at(field), format!("is deprecated: use {instead}"));
    }
}
