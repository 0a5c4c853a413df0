//! Routes of TLS and TCP.

use super::super::l4::{L4Destination, L4Match, TcpRoute, TlsRoute};
use super::{Findings, overlap};
use crate::istio::names;
use std::net::IpAddr;

impl Findings {
    pub(super) fn tls_route(&mut self, field: &str, route: &TlsRoute, hosts: &[String]) {
        if route.matches.is_empty() {
            self.error(format!("{field}.match"), "must have a match");
        }
        for (index, matches) in route.matches.iter().enumerate() {
            let at = format!("{field}.match[{index}]");
            if matches.sni_hosts.is_empty() {
                self.error(format!("{at}.sniHosts"), "must have a host");
            }
            for (index, sni) in matches.sni_hosts.iter().enumerate() {
                let at = format!("{at}.sniHosts[{index}]");
                self.check(&at, names::wildcard_domain(sni));
                if !hosts.iter().any(|host| overlap(host, sni)) {
                    self.error(at, "must be one of spec.hosts");
                }
            }
            self.l4_match(&at, matches);
        }
        self.l4_destinations(field, &route.route);
    }

    pub(super) fn tcp_route(&mut self, field: &str, route: &TcpRoute) {
        for (index, matches) in route.matches.iter().enumerate() {
            self.l4_match(&format!("{field}.match[{index}]"), matches);
        }
        self.l4_destinations(field, &route.route);
    }

    fn l4_match(&mut self, field: &str, matches: &L4Match) {
        for (index, subnet) in matches.destination_subnets.iter().enumerate() {
            self.subnet(format!("{field}.destinationSubnets[{index}]"), subnet);
        }
        if !matches.source_subnet.is_empty() {
            self.subnet(format!("{field}.sourceSubnet"), &matches.source_subnet);
        }
        if matches.port != 0 {
            self.port(&format!("{field}.port"), matches.port);
        }
        self.labels(&format!("{field}.sourceLabels"), &matches.source_labels);
        self.gateway_names(&format!("{field}.gateways"), &matches.gateways);
        if !matches.source_namespace.is_empty() {
            self.check(format!("{field}.sourceNamespace"), names::dns_label(&matches.source_namespace));
        }
    }

    fn l4_destinations(&mut self, field: &str, route: &[L4Destination]) {
        let field = format!("{field}.route");
        if route.is_empty() {
            self.error(&field, "must have a destination");
        }
        for (index, L4Destination { destination, .. }) in route.iter().enumerate() {
            self.destination(&format!("{field}[{index}].destination"), destination);
        }
        self.weights(&field, route.iter().map(|to| to.weight));
    }

    fn subnet(&mut self, field: String, subnet: &str) {
        let (address, bits) = subnet.split_once('/').map_or((subnet, None), |(address, bits)| (address, Some(bits)));
        let longest = match address.parse() {
            Ok(IpAddr::V4(_)) => 32,
            Ok(IpAddr::V6(_)) => 128,
            Err(_) => return self.error(field, "must be an IP address, or one with the length of a prefix"),
        };
        if bits.is_some_and(|bits| !bits.parse::<u8>().is_ok_and(|bits| bits <= longest)) {
            self.error(field, "must be an IP address, or one with the length of a prefix");
        }
    }
}
