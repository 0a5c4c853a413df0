//! Services, ServiceEntries, subsets and `exportTo`: names of ports, selectors, and namespaces that exist.

use super::checked::Checked;
use super::gateways::text;
use crate::istio::export::Export;
use crate::istio::host;
use crate::istio::read::DestinationRule;
use crate::mesh_integrity::code::Code;
use crate::mesh_integrity::finding::Finding;
use crate::mesh_integrity::mesh::{MOST_WORKLOADS, Mesh};
use crate::mesh_integrity::object::{Key, Kind, Object, Service, ServicePort, Spec, Target};
use std::collections::{BTreeMap, BTreeSet};

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
        checked.findings.append(&mut found);
    }
}

const PROTOCOLS: [&str; 15] = [
    "http",
    "http2",
    "https",
    "http_proxy",
    "grpc",
    "grpc-web",
    "tcp",
    "tls",
    "udp",
    "mongo",
    "redis",
    "mysql",
    "http3",
    "quic",
    "hbone",
];

fn port_names(object: &Object, service: &Service) -> Vec<Finding> {
    if service.is_of_istio {
        return Vec::new();
    }
    let mut found = Vec::new();
    for port in &service.ports {
        let name = if port.app_protocol.is_empty() { &port.name } else { &port.app_protocol }.to_ascii_lowercase();
        let prefix = name.split('-').next().unwrap_or_default();
        let known =
            PROTOCOLS.contains(&prefix) || PROTOCOLS.contains(&name.as_str()) || name.starts_with("kubernetes.io/");
        if service.is_external {
            let is_bare = port.name == "tcp";
            if is_bare || (!known && port.protocol != "UDP") {
                let problem = if is_bare { "is named tcp alone" } else { "gives no protocol" };
                let message = format!("The port {} of an ExternalName Service {problem}", port.number);
                found.push(
                    Finding::new(Code::IST0150, &object.key, port.field.clone(), message).advice(
                        "name it tcp-…, tls-… or http-…: of TCP, other connections to the port are caught, too",
                    ),
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
    let selected = mesh.selected(Some(namespace), &service.selector);
    for port in &service.ports {
        let Target::Name(name) = &port.target else { continue };
        if !selected.iter().any(|(key, one)| key.kind == Kind::WorkloadEntry || one.port_names.contains(name)) {
            let message = format!("No selected workload has a port named {name}");
            found.push(
                Finding::new(Code::KIA0701, &object.key, format!("{}.targetPort", port.field), message)
                    .advice("name the port of the container so, or correct targetPort"),
            );
        }
    }
    found
}

/// Returns the first Service on the same workloads that contradicts a port.
fn rivals(mesh: &Mesh, object: &Object, service: &Service) -> Option<Finding> {
    let namespace = &object.key.namespace;
    let workloads = mesh.selected(Some(namespace), &service.selector);
    // Pods of one template have the same labels.
    let alike: BTreeSet<_> = workloads.values().map(|workload| &workload.labels).take(MOST_WORKLOADS).collect();
    let on_same: BTreeMap<_, _> = alike.into_iter().flat_map(|labels| mesh.services_of(namespace, labels)).collect();
    let others = on_same.into_iter().take_while(|(other, _)| **other < object.key);
    let (other, (code, port, message)) =
        others.into_iter().find_map(|(other, read)| Some((other, clash(service, read, other)?)))?;
    let advice = match code {
        Code::IST0116 => "give the port one protocol in all Services of a workload",
        _ => "give the target port one port in all Services of a workload: its proxy knows it by one of them",
    };
    Some(Finding::new(code, &object.key, port.field.clone(), message).with([other.clone()]).advice(advice))
}

/// Returns a port of a Service that another Service contradicts.
fn clash<'s>(service: &'s Service, read: &Service, other: &Key) -> Option<(Code, &'s ServicePort, String)> {
    let kind = |port: &ServicePort| format!("{}/{}", port.protocol, protocol(port));
    service.ports.iter().flat_map(|one| read.ports.iter().map(move |two| (one, two))).find_map(|(one, two)| {
        if one.number == two.number && one.protocol != two.protocol
            || one.number == two.number && one.target == two.target && protocol(one) != protocol(two)
        {
            let message = format!("Port {} is {} here and {} in {other}", one.number, kind(one), kind(two));
            Some((Code::IST0116, one, message))
        } else if one.number != two.number && one.target == two.target && one.protocol == two.protocol {
            let (here, there) = (one.number, two.number);
            let message = format!("Its target port is port {here} here and port {there} in {other}");
            Some((Code::IST0137, one, message))
        } else {
            None
        }
    })
}

/// Returns the protocol that the name of a port means.
fn protocol(port: &ServicePort) -> &str {
    let name = if port.app_protocol.is_empty() { &port.name } else { &port.app_protocol };
    name.split('-').next().unwrap_or_default()
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
        if service.selector.is_empty() {
            continue;
        }
        let is_selected = match subset_selector(&service.selector, &subset.labels) {
            Some(labels) => mesh.is_selected(namespace, &labels),
            None => mesh.has_workloads(Some(namespace)).then_some(false),
        };
        if is_selected == Some(false) {
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

/// Returns the labels of the Pods of a subset, for a Service with this selector; `None`: no Pod has both.
pub(crate) fn subset_selector(
    selector: &BTreeMap<String, String>,
    subset: &BTreeMap<String, String>,
) -> Option<BTreeMap<String, String>> {
    // Locality labels belong to Nodes. It is not known which Pods run there.
    let by_place = |key: &String| {
        key.starts_with("topology.") || key == "kubernetes.io/hostname" || key.starts_with("failure-domain.")
    };
    let mut labels = selector.clone();
    labels.extend(subset.clone());
    labels.retain(|key, value| value.is_empty() || !by_place(key));
    let contradicts = selector.iter().any(|(key, value)| labels.get(key).is_some_and(|own| own != value));
    (!contradicts).then_some(labels)
}

/// Finds namespaces of `exportTo` that do not exist.
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
