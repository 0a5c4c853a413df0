//! Whether Istio takes a VirtualService: the rules of istiod's webhook for its hosts, gateways, routes and matches.
//!
//! Source: `pkg/config/validation` of Istio 1.32. What is not checked here is left to the webhook: whether an expression is RE2, and
//! the variables of Envoy in headers.

mod http;
mod l4;
mod reachable;

pub use self::http::header_name;

use super::destination::Destination;
use super::hosts::{is_for_mesh, resolve};
use super::spec::VirtualService;
use crate::api::decode::FieldError;
use crate::istio::names;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// What is to be said about a VirtualService, in the order of its fields, which are named below `spec`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Why it would be refused.
    pub errors: Vec<FieldError>,
    /// What Istio takes, but which is not what it looks like.
    pub warnings: Vec<FieldError>,
}

/// All that is wrong with a VirtualService in this namespace.
#[must_use]
pub fn validate(virtual_service: &VirtualService, namespace: &str) -> Findings {
    let mut findings = Findings::default();
    findings.gateways(virtual_service);
    findings.hosts(virtual_service, namespace);
    findings.export_to(&virtual_service.export_to, namespace);
    let VirtualService { hosts, http, tls, tcp, gateways, .. } = virtual_service;
    if http.is_empty() && tls.is_empty() && tcp.is_empty() {
        findings.error("http", "must have a route, as there is none in tls and tcp either");
    }
    let (is_delegate, for_mesh) = (hosts.is_empty(), is_for_mesh(gateways));
    for (index, route) in http.iter().enumerate() {
        findings.http_route(&format!("http[{index}]"), route, is_delegate, for_mesh);
    }
    for (index, route) in tls.iter().enumerate() {
        findings.tls_route(&format!("tls[{index}]"), route, hosts);
    }
    for (index, route) in tcp.iter().enumerate() {
        findings.tcp_route(&format!("tcp[{index}]"), route);
    }
    findings.reachable(http);
    findings
}

impl Findings {
    fn error(&mut self, field: impl Into<String>, problem: impl Into<String>) {
        self.errors.push(FieldError::new(field, problem));
    }

    fn warning(&mut self, field: impl Into<String>, problem: impl Into<String>) {
        self.warnings.push(FieldError::new(field, problem));
    }

    fn check(&mut self, field: impl Into<String>, checked: Result<(), &'static str>) {
        if let Err(problem) = checked {
            self.error(field, problem);
        }
    }

    fn gateways(&mut self, virtual_service: &VirtualService) {
        let VirtualService { hosts, gateways, tls, tcp, .. } = virtual_service;
        if hosts.is_empty() {
            let set = [("gateways", gateways.is_empty()), ("tls", tls.is_empty()), ("tcp", tcp.is_empty())];
            for (field, _) in set.into_iter().filter(|(_, is_empty)| !is_empty) {
                self.error(field, "must not be set without hosts: it is for VirtualServices that delegate to this one");
            }
        }
        self.gateway_names("gateways", gateways);
    }

    fn gateway_names(&mut self, field: &str, gateways: &[String]) {
        for (index, gateway) in gateways.iter().enumerate() {
            let at = format!("{field}[{index}]");
            match gateway.split_once('/') {
                Some((namespace, name)) if [namespace, name].iter().all(|part| names::dns_label(part).is_ok()) => {}
                Some(_) => self.error(at, "must be mesh, NAME or NAMESPACE/NAME"),
                None => self.check(at, names::fqdn(gateway)),
            }
        }
    }

    fn hosts(&mut self, virtual_service: &VirtualService, namespace: &str) {
        let VirtualService { hosts, gateways, .. } = virtual_service;
        for (index, host) in hosts.iter().enumerate() {
            let at = || format!("hosts[{index}]");
            if host == "*" && is_for_mesh(gateways) {
                self.error(at(), "must not be * for the proxies of the mesh");
            } else if host.parse::<IpAddr>().is_err() {
                self.check(at(), names::wildcard_domain(host));
            }
            let earlier = hosts[..index].iter().position(|other| {
                overlap(&resolve(other, namespace), &resolve(host, namespace)) || overlap(other, host)
            });
            if let Some(earlier) = earlier {
                self.error(at(), format!("must not overlap with hosts[{earlier}]"));
            }
        }
    }

    fn export_to(&mut self, export_to: &[String], namespace: &str) {
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        for (index, to) in export_to.iter().enumerate() {
            let at = || format!("exportTo[{index}]");
            if !matches!(to.as_str(), "." | "*") {
                self.check(at(), names::dns_label(to).map_err(|_| "must be '.', '*' or a namespace"));
            }
            if let Some(earlier) = seen.insert(if to == "." { namespace } else { to }, index) {
                self.error(at(), format!("must not repeat exportTo[{earlier}]"));
            }
        }
        if export_to.len() > 1 && export_to.iter().any(|to| to == "*") {
            self.error("exportTo", "must have nothing beside '*'");
        }
    }

    fn destination(&mut self, field: &str, destination: &Destination) {
        let Destination { host, subset, port } = destination;
        if host == "*" {
            self.error(format!("{field}.host"), "must not be *");
        } else if host.parse::<IpAddr>().is_err() {
            self.check(format!("{field}.host"), names::wildcard_domain(host));
        }
        if !subset.is_empty() {
            self.check(format!("{field}.subset"), names::dns_label(subset));
        }
        if let Some(port) = port {
            self.port(&format!("{field}.port.number"), port.number);
        }
    }

    /// `destinations` has the weight of each.
    fn weights(&mut self, field: &str, destinations: impl ExactSizeIterator<Item = i32>) {
        let several = destinations.len() > 1;
        let mut sum = 0_i64;
        for (index, weight) in destinations.enumerate() {
            if weight < 0 {
                self.error(format!("{field}[{index}].weight"), "must not be negative");
            }
            sum += i64::from(weight);
        }
        if several && sum == 0 {
            self.error(field, "must have a weight above 0");
        }
    }

    fn port(&mut self, field: &str, number: u32) {
        if !(1..=65_535).contains(&number) {
            self.error(field, "must be 1 to 65535");
        }
    }

    fn labels(&mut self, field: &str, labels: &BTreeMap<String, String>) {
        for (key, value) in labels {
            self.check(format!("{field}[{key}]"), names::label_key(key).and_then(|()| names::label_value(value)));
        }
    }
}

/// Whether two hosts, with or without a wildcard, have a name in common.
fn overlap(one: &str, other: &str) -> bool {
    match (one.strip_prefix('*'), other.strip_prefix('*')) {
        (Some(one), Some(other)) => one.ends_with(other) || other.ends_with(one),
        (Some(end), None) => other.ends_with(end),
        (None, Some(end)) => one.ends_with(end),
        (None, None) => one == other,
    }
}
