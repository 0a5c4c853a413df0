//! Rules for Sidecars. The rules for egress are those by which outrigger's own are written.

use super::destination_rule::pool;
use super::faults::Faults;
use super::gateway::{is_socket_path, options};
use super::route::destination;
use crate::istio::names;
use crate::istio::node::Node;
use crate::istio::sidecar::{self, Sidecar, egress};
use serde_json::Value;
use std::collections::HashSet;
use std::net::IpAddr;

pub(super) fn check(spec: &Node<'_>, namespace: &str, faults: &mut Faults) {
    let is_given = spec.is_filled("egress")
        || spec.is_filled("ingress")
        || spec.has("outboundTrafficPolicy")
        || spec.has("inboundConnectionPool");
    if !is_given {
        faults.error("spec", "must have egress, ingress, outboundTrafficPolicy or inboundConnectionPool");
    }
    if let Some(selector) = spec.present("workloadSelector") {
        if !selector.is_filled("labels") {
            faults.warning(selector.path(), "has no labels: the Sidecar is for all Pods of the namespace");
        }
        faults.selector(&selector, "labels");
    }
    egress(spec, namespace, faults);
    let mut numbers = HashSet::new();
    for listener in spec.list("ingress") {
        ingress(&listener, &mut numbers, faults);
    }
    if let Some(pool) = spec.present("inboundConnectionPool") {
        self::pool(&pool, faults);
    }
    let policy = spec.field("outboundTrafficPolicy");
    if let Some(proxy) = policy.present("egressProxy") {
        if policy.text("mode") != "ALLOW_ANY" {
            faults.error(proxy.path(), "must only be given with mode ALLOW_ANY");
            return;
        }
        faults.check(|| proxy.at("host"), names::fqdn(proxy.text("host")));
        if proxy.has("port") {
            destination(&proxy, faults);
        } else {
            faults.error(proxy.at("port"), "must be given");
        }
    }
}

fn egress(spec: &Node<'_>, namespace: &str, faults: &mut Faults) {
    for listener in spec.list("egress").iter().filter(|listener| !listener.is_present()) {
        faults.error(format!("{}.hosts", listener.path()), "must have a host");
    }
    let listeners = egress::read(spec.present("egress").map_or(&Value::Null, |egress| egress.value));
    let Ok(listeners) = listeners else { return };
    if listeners.is_empty() {
        return;
    }
    let found = sidecar::validate(&Sidecar { workload_selector: None, egress: listeners }, namespace);
    for error in found.errors {
        faults.error(format!("spec.{}", error.field), error.problem);
    }
    for warning in found.warnings {
        faults.warning(format!("spec.{}", warning.field), warning.problem);
    }
}

fn ingress(listener: &Node<'_>, numbers: &mut HashSet<Option<i64>>, faults: &mut Faults) {
    let port = listener.field("port");
    if !port.is_present() {
        faults.error(listener.at("port"), "must be given");
        return;
    }
    if !(1..=65535).contains(&port.number("number").unwrap_or_default()) {
        faults.error(port.at("number"), "must be 1 to 65535");
    } else if !numbers.insert(port.number("number")) {
        faults.error(port.at("number"), "must be unique among the listeners");
    }
    if port.is_filled("name") {
        faults.check(|| port.at("name"), names::dns_label(port.text("name")));
    }
    if port.is_filled("protocol") {
        faults.known_protocol(&port);
    }
    if port.number("targetPort").is_some_and(|target| target > 0) {
        faults.error(port.at("targetPort"), "has no effect on a Sidecar");
    }
    if listener.is_filled("bind") && listener.text("bind").parse::<IpAddr>().is_err() {
        faults.error(listener.at("bind"), "must be an IP address");
    }
    if listener.is_filled("defaultEndpoint") && !is_endpoint(listener.text("defaultEndpoint")) {
        let problem = "must be 127.0.0.1:PORT, 0.0.0.0:PORT, [::1]:PORT, [::]:PORT, :PORT or unix:// and a path";
        faults.error(listener.at("defaultEndpoint"), problem);
    }
    let protocol = port.text("protocol").to_ascii_uppercase();
    if let Some(tls) = listener.present("tls") {
        if matches!(tls.text("mode"), "ISTIO_MUTUAL" | "AUTO_PASSTHROUGH") {
            faults.error(tls.at("mode"), "must not be ISTIO_MUTUAL or AUTO_PASSTHROUGH in a Sidecar");
        }
        let unsupported = ["subjectAltNames", "credentialName", "credentialNames", "tlsCertificates"];
        for field in unsupported.into_iter().filter(|field| tls.is_filled(field)) {
            faults.error(tls.at(field), "is not supported in a Sidecar");
        }
        if tls.is_true("httpsRedirect") {
            faults.error(tls.at("httpsRedirect"), "is not supported in a Sidecar");
        }
        if !matches!(protocol.as_str(), "HTTPS" | "TLS") {
            faults.error(tls.path(), "must only be given on ports of HTTPS and TLS");
        }
        options(&tls, faults);
    }
    if let Some(pool) = listener.present("connectionPool") {
        self::pool(&pool, faults);
        let is_http = matches!(protocol.as_str(), "HTTP" | "HTTP2" | "HTTP_PROXY" | "GRPC" | "GRPC-WEB");
        if pool.has("http") && !is_http {
            faults.warning(pool.at("http"), "has no effect: the port is not of HTTP");
        }
    }
}

/// Whether it is an address to which a Sidecar may forward requests: the Pod itself.
fn is_endpoint(text: &str) -> bool {
    if let Some(path) = text.strip_prefix("unix://") {
        return is_socket_path(path);
    }
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    matches!(host, "" | "127.0.0.1" | "0.0.0.0" | "[::1]" | "[::]") && port.parse().is_ok_and(|port: u16| port > 0)
}
