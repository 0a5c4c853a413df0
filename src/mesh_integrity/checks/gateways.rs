//! Gateways: their Pods, their ports, and hosts that several servers have.

use super::checked::Checked;
use crate::istio::host;
use crate::istio::read::{Gateway, Server};
use crate::mesh_integrity::code::{Code, Severity};
use crate::mesh_integrity::finding::Finding;
use crate::mesh_integrity::mesh::Mesh;
use crate::mesh_integrity::object::{Key, Kind, Object, Spec, Target, Workload, selects};
use std::collections::{BTreeMap, HashMap, HashSet};

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
    let subjects: Vec<_> = checked.subjects(Kind::Gateway).collect();
    if subjects.is_empty() {
        return;
    }
    let mut offers: HashMap<(u32, &str), Vec<Offer<'_>>> = HashMap::new();
    // The Gateways of each certificate, in the order of their keys.
    let mut certificates: HashMap<&str, Vec<(&Object, &Gateway)>> = HashMap::new();
    for object in mesh.of(Kind::Gateway) {
        let Spec::Gateway(gateway) = &object.spec else { continue };
        for server in &gateway.servers {
            for (namespace, host) in &server.hosts {
                let offer = Offer { object, gateway, server, namespace: namespace.as_ref(), host };
                offers.entry((server.port.unwrap_or_default(), host)).or_default().push(offer);
            }
            for certificate in &server.certificates {
                certificates.entry(certificate).or_default().push((object, gateway));
            }
        }
    }
    for object in subjects {
        let Spec::Gateway(gateway) = &object.spec else { continue };
        let selected = mesh.selected(None, &gateway.selector);
        let mut found = pods(mesh, object, gateway, &selected);
        found.extend(protocols(object, gateway));
        found.extend(credentials(mesh, object, gateway, &selected));
        let mut told: HashSet<&str> = HashSet::new();
        for server in &gateway.servers {
            for (namespace, host) in &server.hosts {
                let own = Offer { object, gateway, server, namespace: namespace.as_ref(), host };
                found.extend(overlaps(own, &offers));
            }
            for certificate in server.certificates.iter().filter(|certificate| told.insert(certificate)) {
                // Each Gateway has one finding: with the first of those that share it.
                let mut others = certificates.get(certificate.as_str()).into_iter().flatten();
                let first = others.find(|(other, read)| other.key != object.key && share_pods(gateway, read));
                let Some((other, _)) = first.filter(|(other, _)| other.key < object.key) else { continue };
                let message = format!("Uses the certificate {certificate} of {}, too", other.key);
                found.push(
                    Finding::new(Code::IST0138, &object.key, server.field.clone(), message)
                        .with([other.key.clone()])
                        .advice("put the hosts of a certificate into one Gateway: browsers reuse connections by certificate"),
                );
            }
        }
        checked.findings.append(&mut found);
    }
}

type Selected<'m> = BTreeMap<&'m Key, &'m Workload>;

/// Finds missing Secrets of servers, in the namespace of the gateway's Pods.
fn credentials(mesh: &Mesh, object: &Object, gateway: &Gateway, selected: &Selected<'_>) -> Vec<Finding> {
    let Some(namespace) = selected.keys().next().map(|pod| pod.namespace.as_str()) else { return Vec::new() };
    // Without a known Secret this cannot be checked.
    if mesh.in_namespace(Kind::Secret, namespace).next().is_none() {
        return Vec::new();
    }
    let mut found = Vec::new();
    for server in &gateway.servers {
        for (field, name) in &server.credentials {
            let key = Key { kind: Kind::Secret, namespace: namespace.to_owned(), name: name.clone() };
            let Some(Spec::Secret(secret)) = mesh.get(&key).map(|secret| &secret.spec) else {
                let message = format!("References non-existent {key}");
                found.push(
                    Finding::new(Code::IST0101, &object.key, field.clone(), message)
                        .advice("create the Secret in the namespace of the gateway's Pods, or correct its name"),
                );
                continue;
            };
            let problem = match (&secret.certificate, mesh.options.now) {
                (Err(problem), _) => *problem,
                (Ok((_, until)), Some(now)) if *until < now => "has a certificate that has expired",
                (Ok((from, _)), Some(now)) if *from > now => "has a certificate that is not valid yet",
                (Ok(_), _) => continue,
            };
            found.push(
                Finding::new(Code::IST0161, &object.key, field.clone(), format!("Uses {key}, which {problem}"))
                    .with([key])
                    .advice("put a certificate and its private key into the Secret: TLS of the server fails"),
            );
        }
    }
    found
}

/// Returns whether a Pod may be selected by both.
fn share_pods(one: &Gateway, other: &Gateway) -> bool {
    selects(&one.selector, &other.selector) || selects(&other.selector, &one.selector)
}

fn pods(mesh: &Mesh, object: &Object, gateway: &Gateway, selected: &Selected<'_>) -> Vec<Finding> {
    if gateway.selector.is_empty() {
        return Vec::new();
    }
    let selector = text(&gateway.selector);
    if selected.is_empty() {
        // This cannot be checked if all Pods are assumed.
        if !mesh.has_workloads(None) {
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
        for service in mesh.services_of(&workload.namespace, &read.labels).into_values() {
            has_service = true;
            for port in &service.ports {
                ports.push(port.number);
                if let Target::Number(target) = port.target {
                    ports.push(target);
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

/// Finds plain and TLS servers on one port of one Gateway.
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

/// Returns the first earlier server with this host, and the first with a wildcard that covers it. Only the first ones
/// are named, so that many Gateways of one host do not name all others.
fn overlaps<'e>(own: Offer<'e>, offers: &HashMap<(u32, &str), Vec<Offer<'e>>>) -> Vec<Finding> {
    let port = own.server.port.unwrap_or_default();
    let meets = |other: &Offer<'e>| {
        !std::ptr::eq(own.server, other.server)
            && own.server.bind == other.server.bind
            && (own.namespace.is_none() || other.namespace.is_none() || own.namespace == other.namespace)
            && share_pods(own.gateway, other.gateway)
    };
    let place = |offer: &Offer<'e>| (offer.object.key.clone(), offer.server.field.clone());
    // Of two with the same host, only one has the finding.
    let before = place(&own);
    let first = |host: &str, is_same: bool| -> Option<Offer<'e>> {
        let offers = offers.get(&(port, host)).into_iter().flatten().copied();
        offers.take_while(|other| !is_same || place(other) < before).find(meets)
    };
    let same = first(own.host, true).map(|other| overlap(own, own.host, other, true));
    let wider = host::wildcards(own.host).find_map(|name| Some(overlap(own, &name, first(&name, false)?, false)));
    same.into_iter().chain(wider).collect()
}

fn overlap(own: Offer<'_>, name: &str, other: Offer<'_>, is_same: bool) -> Finding {
    let port = own.server.port.unwrap_or_default();
    let is_within = own.object.key == other.object.key;
    let what = if is_within { other.server.field.clone() } else { other.object.key.to_string() };
    if is_same && !is_within {
        let message = format!("Has the host {name} on port {port} of the same Pods as {what}");
        return Finding::new(Code::IST0145, &own.object.key, own.server.field.clone(), message)
            .with([other.object.key.clone()])
            .advice("remove the host from one of the Gateways");
    }
    let ends_tls = |server: &Server| server.has_tls && !server.passes_through;
    let certain = is_same
        || (ends_tls(own.server) && ends_tls(other.server) && own.server.certificates != other.server.certificates);
    let message = format!("The host {} is also meant by {name} on port {port} of {what}", own.host);
    let finding = Finding::new(Code::KIA0301, &own.object.key, own.server.field.clone(), message)
        .advice(
            "browsers reuse connections between them: use one certificate and one server, or hosts that do not overlap",
        )
        .severity(if certain { Severity::Warning } else { Severity::Info });
    if is_within { finding } else { finding.with([other.object.key.clone()]) }
}

pub(super) fn text(labels: &BTreeMap<String, String>) -> String {
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}
