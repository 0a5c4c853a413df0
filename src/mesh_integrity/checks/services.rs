//! Services, ServiceEntries, subsets and `exportTo`: names of ports, selectors, and namespaces that exist.

use super::checked::Checked;
use super::gateways::text;
use crate::istio::export::Export;
use crate::istio::host;
use crate::istio::read::DestinationRule;
use crate::mesh_integrity::code::Code;
use crate::mesh_integrity::finding::Finding;
use crate::mesh_integrity::mesh::Mesh;
use crate::mesh_integrity::object::{Key, Kind, Object, Service, Spec, Target, selects};
use std::collections::BTreeMap;

pub(super) fn check(checked: &mut Checked<'_>) {
    let mesh = checked.mesh;
    for object in checked.subjects(Kind::Service) {
        let Spec::Service(service) = &object.spec else { continue };
        let mut found = port_names(object, service);
        found.extend(selection(mesh, object, service));
        found.extend(rivals(mesh, object, service));
        found.extend(exports(mesh, object, &service.export, "metadata.annotations[networking.istio.io/exportTo]"));
        checked.findings.append(&mut found);
    }
    for object in checked.subjects(Kind::DestinationRule) {
        let Spec::DestinationRule(rule) = &object.spec else { continue };
        let mut found = subsets(mesh, object, rule);
        for (field, is_port) in &rule.unverified {
            let code = if *is_port { Code::IST0129 } else { Code::IST0128 };
            found.push(
                Finding::new(
                    code,
                    &object.key,
                    field.clone(),
                    "Asks for TLS and does not verify the server's certificate",
                )
                .advice("give caCertificates or credentialName"),
            );
        }
        found.extend(exports(mesh, object, &rule.export, "spec.exportTo"));
        checked.findings.append(&mut found);
    }
    for object in checked.subjects(Kind::VirtualService) {
        let Spec::VirtualService(routes) = &object.spec else { continue };
        let mut found = exports(mesh, object, &routes.export, "spec.exportTo");
        checked.findings.append(&mut found);
    }
    for object in checked.subjects(Kind::ServiceEntry) {
        let Spec::ServiceEntry(entry) = &object.spec else { continue };
        let mut found = exports(mesh, object, &entry.export, "spec.exportTo");
        for port in entry.ports.iter().filter(|port| matches!(port.protocol.as_str(), "TCP" | "")) {
            if !entry.has_addresses && matches!(entry.resolution.as_str(), "" | "NONE") {
                found.push(
                    Finding::new(
                        Code::IST0134,
                        &object.key,
                        port.field.clone(),
                        "A port of TCP without addresses takes all connections to the port",
                    )
                    .advice("give addresses"),
                );
            }
        }
        for other in mesh.of(Kind::ServiceEntry).filter(|other| other.key < object.key) {
            let Spec::ServiceEntry(read) = &other.spec else { continue };
            if !entry.export.meets(&read.export) {
                continue;
            }
            let Some(host) = entry.hosts.iter().find(|host| read.hosts.contains(host)) else { continue };
            let differs = entry
                .ports
                .iter()
                .find(|port| read.ports.iter().any(|one| one.number == port.number && one.protocol != port.protocol));
            if let Some(port) = differs {
                let message = format!("Port {} of host {host} is of another protocol in {}", port.number, other.key);
                found.push(
                    Finding::new(Code::IST0177, &object.key, port.field.clone(), message)
                        .with([other.key.clone()])
                        .advice("give both the same protocol"),
                );
            }
        }
        checked.findings.append(&mut found);
    }
}

const PROTOCOLS: [&str; 14] = [
    "http", "http2", "https", "grpc", "grpc-web", "tcp", "tls", "udp", "mongo", "redis", "mysql", "http3", "quic",
    "hbone",
];

fn port_names(object: &Object, service: &Service) -> Vec<Finding> {
    if service.is_of_istio {
        return Vec::new();
    }
    let mut found = Vec::new();
    for port in &service.ports {
        let name = if port.app_protocol.is_empty() { &port.name } else { &port.app_protocol };
        let prefix = name.split('-').next().unwrap_or_default();
        let known =
            PROTOCOLS.contains(&prefix) || PROTOCOLS.contains(&name.as_str()) || name.starts_with("kubernetes.io/");
        if service.is_external {
            if !matches!(prefix, "tcp" | "tls" | "https" | "mongo" | "mysql" | "redis" | "http" | "http2" | "grpc") {
                let message = format!("The port {} of an ExternalName Service gives no protocol", port.number);
                found.push(
                    Finding::new(Code::IST0150, &object.key, port.field.clone(), message)
                        .advice("name it tcp-…, tls-… or http-…"),
                );
            }
        } else if !known && port.protocol != "UDP" && ![25, 53, 3306, 27017].contains(&port.number) {
            let message = format!("The name {:?} of port {} gives no protocol", port.name, port.number);
            found.push(
                Finding::new(Code::IST0118, &object.key, port.field.clone(), message)
                    .advice("name it <protocol>-…, such as http-web, or give appProtocol"),
            );
        }
    }
    found
}

fn selection(mesh: &Mesh, object: &Object, service: &Service) -> Vec<Finding> {
    let namespace = &object.key.namespace;
    if service.selector.is_empty() || service.is_external {
        return Vec::new();
    }
    match mesh.is_selected(namespace, &service.selector) {
        None => return Vec::new(),
        Some(false) => {
            let message = format!("No workload of the namespace has the labels {}", text(&service.selector));
            return vec![
                Finding::new(Code::OUT0107, &object.key, "spec.selector", message)
                    .advice("correct the selector: requests to the Service fail"),
            ];
        }
        Some(true) => {}
    }
    let mut found = Vec::new();
    for port in &service.ports {
        let Target::Name(name) = &port.target else { continue };
        let mut selected = mesh.workloads(namespace).filter(|(_, one)| selects(&service.selector, &one.labels));
        if !selected.any(|(key, one)| key.kind == Kind::WorkloadEntry || one.port_names.contains(name)) {
            let message = format!("No selected workload has a port named {name}");
            found.push(
                Finding::new(Code::KIA0701, &object.key, format!("{}.targetPort", port.field), message)
                    .advice("name the port of the container so, or correct targetPort"),
            );
        }
    }
    found
}

/// Services on the same workloads that disagree about a port.
fn rivals(mesh: &Mesh, object: &Object, service: &Service) -> Vec<Finding> {
    let mut found = Vec::new();
    if service.selector.is_empty() {
        return found;
    }
    for other in mesh.in_namespace(Kind::Service, &object.key.namespace) {
        let Spec::Service(read) = &other.spec else { continue };
        if other.key >= object.key || read.selector.is_empty() {
            continue;
        }
        let protocol = |port: &super::super::object::ServicePort| {
            let name = if port.app_protocol.is_empty() { &port.name } else { &port.app_protocol };
            name.split('-').next().unwrap_or_default().to_owned()
        };
        let pairs = service.ports.iter().flat_map(|one| read.ports.iter().map(move |two| (one, two)));
        let clash = pairs.into_iter().find_map(|(one, two)| {
            let same_target = one.target == two.target;
            if one.number == two.number && protocol(one) != protocol(two) && one.protocol == two.protocol && same_target
            {
                Some((
                    Code::IST0116,
                    one,
                    format!("Port {} is {} here and {} in {}", one.number, protocol(one), protocol(two), other.key),
                ))
            } else if same_target
                && one.number != two.number
                && one.protocol == two.protocol
                && protocol(one) != protocol(two)
            {
                Some((
                    Code::IST0137,
                    one,
                    format!(
                        "Its target port is port {} here and port {} of another protocol in {}",
                        one.number, two.number, other.key
                    ),
                ))
            } else {
                None
            }
        });
        let Some((code, port, message)) = clash else { continue };
        let mut workloads = mesh.workloads(&object.key.namespace);
        if workloads.any(|(_, one)| selects(&service.selector, &one.labels) && selects(&read.selector, &one.labels)) {
            found.push(
                Finding::new(code, &object.key, port.field.clone(), message)
                    .with([other.key.clone()])
                    .advice("give the port one protocol in all Services of a workload"),
            );
        }
    }
    found
}

fn subsets(mesh: &Mesh, object: &Object, rule: &DestinationRule) -> Vec<Finding> {
    let full = host::full(&rule.host, &object.key.namespace, &mesh.options.domain);
    let end = format!(".svc.{}", mesh.options.domain);
    let service = full.strip_suffix(&end).and_then(|rest| rest.split_once('.'));
    let service = service.and_then(|(name, namespace)| {
        let key = Key { kind: Kind::Service, namespace: namespace.to_owned(), name: name.to_owned() };
        match &mesh.get(&key)?.spec {
            Spec::Service(service) => Some((namespace, service)),
            _ => None,
        }
    });
    let mut found = Vec::new();
    for subset in &rule.subsets {
        if subset.labels.is_empty() {
            let message = format!("The subset {} has no labels: it is the whole service", subset.name);
            found
                .push(Finding::new(Code::KIA0209, &object.key, subset.field.clone(), message).advice("give it labels"));
            continue;
        }
        let Some((namespace, service)) = service else { continue };
        let by_place = |key: &String| {
            key.starts_with("topology.") || key == "kubernetes.io/hostname" || key.starts_with("failure-domain.")
        };
        if subset.labels.keys().any(by_place) || service.selector.is_empty() {
            continue;
        }
        let mut labels: BTreeMap<String, String> = service.selector.clone();
        labels.extend(subset.labels.clone());
        if mesh.is_selected(namespace, &labels) == Some(false) {
            let message =
                format!("The labels {} of subset {} select no Pod of {}", text(&subset.labels), subset.name, rule.host);
            found.push(
                Finding::new(Code::IST0173, &object.key, subset.field.clone(), message)
                    .advice("correct the labels: requests to the subset fail with 503"),
            );
        }
    }
    found
}

/// Namespaces of `exportTo` that do not exist.
fn exports(mesh: &Mesh, object: &Object, export: &Export, field: &str) -> Vec<Finding> {
    let missing =
        export.named().iter().filter(|name| **name != object.key.namespace && mesh.has_namespace(name) == Some(false));
    let told = missing.map(|name| {
        Finding::new(
            Code::KIA0005,
            &object.key,
            field,
            format!("Is exported to namespace {name}, which does not exist"),
        )
        .advice("correct the namespace")
    });
    told.collect()
}
