//! Gateways: the Pods that they are for, their ports, and hosts that several servers have.

use super::checked::Checked;
use crate::istio::host;
use crate::istio::read::{Gateway, Server};
use crate::mesh_integrity::code::{Code, Severity};
use crate::mesh_integrity::finding::Finding;
use crate::mesh_integrity::mesh::Mesh;
use crate::mesh_integrity::object::{Kind, Object, Service, Spec, Target, selects};
use std::collections::{BTreeMap, HashMap};

/// A host of a server.
#[derive(Clone, Copy)]
struct Offer<'e> {
    object: &'e Object,
    gateway: &'e Gateway,
    server: &'e Server,
    namespace: Option<&'e String>,
    host: &'e str,
}

pub(super) fn check(checked: &mut Checked<'_>) {
    let mesh = checked.mesh;
    let mut offers: HashMap<(u32, &str), Vec<Offer<'_>>> = HashMap::new();
    let mut certificates: HashMap<&str, Vec<Offer<'_>>> = HashMap::new();
    for object in mesh.of(Kind::Gateway) {
        let Spec::Gateway(gateway) = &object.spec else { continue };
        for server in &gateway.servers {
            for (namespace, host) in &server.hosts {
                let offer = Offer { object, gateway, server, namespace: namespace.as_ref(), host };
                offers.entry((server.port.unwrap_or_default(), host)).or_default().push(offer);
            }
            for certificate in &server.certificates {
                let offer = Offer { object, gateway, server, namespace: None, host: "" };
                certificates.entry(certificate).or_default().push(offer);
            }
        }
    }
    for object in checked.subjects(Kind::Gateway) {
        let Spec::Gateway(gateway) = &object.spec else { continue };
        let mut found = pods(mesh, object, gateway);
        found.extend(protocols(object, gateway));
        let mut told: Vec<(&str, &str)> = Vec::new();
        for server in &gateway.servers {
            for (namespace, host) in &server.hosts {
                let own = Offer { object, gateway, server, namespace: namespace.as_ref(), host };
                found.extend(overlaps(own, &offers));
            }
            for certificate in &server.certificates {
                let others = certificates.get(certificate.as_str()).into_iter().flatten();
                for other in others.filter(|other| other.object.key < object.key && share_pods(gateway, other.gateway))
                {
                    if told.contains(&(certificate, &other.object.key.name)) {
                        continue;
                    }
                    told.push((certificate, &other.object.key.name));
                    let message = format!("Uses the certificate {certificate} of {}, too", other.object.key);
                    found.push(
                        Finding::new(Code::IST0138, &object.key, server.field.clone(), message)
                            .with([other.object.key.clone()])
                            .advice("put the hosts of a certificate into one Gateway: browsers reuse connections by certificate"),
                    );
                }
            }
        }
        checked.findings.append(&mut found);
    }
}

/// Whether some Pod may be meant by both.
fn share_pods(one: &Gateway, other: &Gateway) -> bool {
    selects(&one.selector, &other.selector) || selects(&other.selector, &one.selector)
}

fn pods(mesh: &Mesh, object: &Object, gateway: &Gateway) -> Vec<Finding> {
    if gateway.selector.is_empty() {
        return Vec::new();
    }
    let mut selected =
        mesh.all_workloads().filter(|(_, workload)| selects(&gateway.selector, &workload.labels)).peekable();
    let selector = text(&gateway.selector);
    if selected.peek().is_none() {
        // Where only the assumed Pods are known, nobody can tell.
        if !mesh.all_workloads().any(|(workload, _)| !workload.assumed) {
            return Vec::new();
        }
        let message = format!("References non-existent selector {selector}: no workload has these labels");
        return vec![
            Finding::new(Code::IST0101, &object.key, "spec.selector", message)
                .advice("correct the selector, or deploy the gateway's Pods"),
        ];
    }
    let mut ports: Vec<u32> = Vec::new();
    let mut has_service = false;
    for (workload, read) in selected {
        for service in mesh.in_namespace(Kind::Service, &workload.key.namespace) {
            let Spec::Service(Service { selector, ports: own, .. }) = &service.spec else { continue };
            if !selector.is_empty() && selects(selector, &read.labels) {
                has_service = true;
                for port in own {
                    ports.push(port.number);
                    if let Target::Number(target) = port.target {
                        ports.push(target);
                    }
                }
            }
        }
    }
    if !has_service {
        return Vec::new();
    }
    ports.sort_unstable();
    ports.dedup();
    let missing = gateway
        .servers
        .iter()
        .filter_map(|server| Some((server, server.port?)))
        .filter(|(_, port)| !ports.contains(port));
    let told = missing.map(|(server, port)| {
        let message = format!("The port {port} is of no Service of the Pods with {selector}");
        Finding::new(Code::IST0162, &object.key, format!("{}.port.number", server.field), message)
            .advice("add the port to the Service of the gateway's Pods, or correct it")
    });
    told.collect()
}

/// Plain and TLS servers on one port of one Gateway.
fn protocols(object: &Object, gateway: &Gateway) -> Option<Finding> {
    let is_tls = |server: &&Server| matches!(server.protocol.as_str(), "HTTPS" | "TLS");
    let (secure, plain): (Vec<_>, Vec<_>) = gateway.servers.iter().partition(is_tls);
    let server = secure
        .iter()
        .find(|server| plain.iter().any(|other| other.port == server.port && other.bind == server.bind))?;
    let message = format!("Port {} has servers of TLS and plain ones", server.port.unwrap_or_default());
    Some(
        Finding::new(Code::OUT0108, &object.key, server.field.clone(), message)
            .advice("give each its own port: Istio takes one of them only"),
    )
}

/// Servers that have a host of this one, and stand before it.
fn overlaps<'e>(own: Offer<'e>, offers: &HashMap<(u32, &str), Vec<Offer<'e>>>) -> Vec<Finding> {
    let port = own.server.port.unwrap_or_default();
    let names = std::iter::once(own.host.to_owned()).chain(host::wildcards(own.host));
    let mut found = Vec::new();
    for name in names {
        let is_same = name == own.host;
        for other in offers.get(&(port, name.as_str())).into_iter().flatten() {
            let is_itself = std::ptr::eq(own.server, other.server);
            let meets = own.server.bind == other.server.bind
                && share_pods(own.gateway, other.gateway)
                && (own.namespace.is_none() || other.namespace.is_none() || own.namespace == other.namespace);
            let is_within = own.object.key == other.object.key;
            // Of two with the same host, one tells it.
            let tells = !is_same || (&other.object.key, &other.server.field) < (&own.object.key, &own.server.field);
            if is_itself || !meets || !tells {
                continue;
            }
            let what = if is_within { other.server.field.clone() } else { other.object.key.to_string() };
            if is_same && !is_within {
                let message = format!("Has the host {name} on port {port} of the same Pods as {what}");
                found.push(
                    Finding::new(Code::IST0145, &own.object.key, own.server.field.clone(), message)
                        .with([other.object.key.clone()])
                        .advice("remove the host from one of the Gateways"),
                );
                continue;
            }
            let ends_tls = |server: &Server| server.has_tls && !server.passes_through;
            let certain = is_same
                || (ends_tls(own.server)
                    && ends_tls(other.server)
                    && own.server.certificates != other.server.certificates);
            let message = format!("The host {} is also meant by {name} on port {port} of {what}", own.host);
            let finding = Finding::new(Code::KIA0301, &own.object.key, own.server.field.clone(), message)
                .advice("browsers reuse connections between them: use one certificate and one server, or hosts that do not overlap")
                .severity(if certain { Severity::Warning } else { Severity::Info });
            found.push(if is_within { finding } else { finding.with([other.object.key.clone()]) });
        }
    }
    found
}

pub(super) fn text(labels: &BTreeMap<String, String>) -> String {
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}
