//! The Gateway of a MeshService: made if it does not exist, and otherwise only checked.

use super::build::Builder;
use super::key::Key;
use super::kind::MeshKind;
use super::port::{Port, Routing};
use super::route::{self, Host};
use super::violation;
use super::world::ObservedGateway;
use crate::api::keys;
use crate::api::mesh_service::{MeshGateway, Severity};
use crate::istio::host;
use serde_json::{Value, json};

/// The default selector of a Gateway that is made: the Pods of Istio's own gateway.
const DEFAULT_SELECTOR: (&str, &str) = ("istio", "ingressgateway");

/// The port of plain HTTP.
const PLAIN_HTTP: i32 = 80;

/// The port of HTTPS, where clients do not expect plain HTTP.
const HTTPS: i32 = 443;

pub(super) fn build(builder: &mut Builder<'_>) {
    let asked = builder.asked;
    let (Some(key), Some(wanted)) = (&asked.gateway, &asked.spec.gateway) else { return };
    let hosts = route::gateway_hosts(builder);
    if hosts.is_empty() {
        return;
    }
    match builder.world.gateway {
        Some(gateway) if gateway.owner.as_ref() != Some(&builder.mesh_service.key) => missing(builder, gateway, &hosts),
        present => {
            if let Err(problem) = may_be_made(builder, key, present.is_some()) {
                let message = format!("The Gateway {key} does not exist, and is not made: {problem}");
                if present.is_none() {
                    builder.tell(violation::GATEWAY_NOT_MADE, Severity::Error, message);
                }
                return;
            }
            plain(builder, wanted);
            match servers(&builder.ports, wanted, &asked.service.namespace, &hosts) {
                Ok(servers) => {
                    let (label, value) = DEFAULT_SELECTOR;
                    let selector =
                        if wanted.selector.is_empty() { json!({label: value}) } else { json!(wanted.selector) };
                    let spec = json!({"selector": selector, "servers": servers});
                    builder.add(MeshKind::Gateway, key.clone(), spec, |field| field_of(field, &hosts));
                }
                Err(problem) => {
                    let message = format!("The Gateway {key} is not written: {problem}");
                    builder.tell(violation::GATEWAY_NOT_MADE, Severity::Error, message);
                    builder.keep(MeshKind::Gateway, key.clone());
                }
            }
        }
    }
}

/// Returns why this MeshService may not have the Gateway, if so. It keeps a Gateway that was made for it: otherwise an
/// older MeshService could take the Gateway from it.
fn may_be_made(builder: &Builder<'_>, key: &Key, is_present: bool) -> Result<(), String> {
    let own = &builder.mesh_service.key;
    if !builder.world.consents.allow_kind(&key.namespace, &own.namespace, MeshKind::Gateway) {
        return Err(format!(
            "create it, or annotate the Namespace {} {}: {}",
            key.namespace,
            keys::ALLOW_MESH_FROM,
            own.namespace
        ));
    }
    if !builder.world.kinds.contains(MeshKind::Gateway) {
        return Err("--mesh-kinds leaves it out: create it".to_owned());
    }
    let own = builder.mesh_service.as_rival().filter(|_| !is_present);
    let rivals = builder.rivals(&key.namespace, |rival| rival.gateway == Some(key));
    let oldest = rivals.iter().chain(&own).min_by_key(|rival| rival.by_age()).map(|rival| rival.key);
    match oldest.filter(|oldest| own.is_some() && **oldest != builder.mesh_service.key) {
        Some(oldest) => Err(format!("the MeshService {oldest} is older, names it, too, and has it made")),
        None => Ok(()),
    }
}

/// Reports TLS at port 80, where clients do not expect it. With `gateway.tls` all HTTP servers use TLS.
fn plain(builder: &mut Builder<'_>, wanted: &MeshGateway) {
    let is_plain = |port: &Port| port.number == PLAIN_HTTP && port.routing() == Routing::Http;
    if wanted.tls.is_some() && builder.ports.iter().any(is_plain) {
        let message = format!(
            "spec.gateway.tls: port {PLAIN_HTTP} of the gateway is served with TLS, too: clients that speak plain HTTP there get no answer. \
             List port {HTTPS} instead, or leave the Gateway to somebody who writes one"
        );
        builder.tell(violation::TLS_AT_PORT_80, Severity::Warning, message);
    }
}

/// Reports the hosts that a Gateway of another owner does not have.
fn missing(builder: &mut Builder<'_>, gateway: &ObservedGateway, hosts: &[Host]) {
    let namespace = &builder.asked.service.namespace;
    for Host { name, field } in hosts {
        let wanted = name.to_ascii_lowercase();
        let mut offered = gateway.servers.iter().flat_map(|server| &server.hosts);
        let is_offered =
            offered.any(|(to, host)| to.as_ref().is_none_or(|to| to == namespace) && host::overlap(host, &wanted));
        if is_offered {
            continue;
        }
        let place = match &gateway.owner {
            Some(owner) => format!("add it to spec.hosts of the MeshService {owner}, for which the Gateway was made"),
            None => format!("add {namespace}/{name} to the hosts of one of its servers"),
        };
        let message =
            format!("{field}: the Gateway {} offers no host {name} to the namespace {namespace}: {place}", gateway.key);
        builder.tell(violation::GATEWAY_HOST_MISSING, Severity::Error, message);
    }
}

/// Returns a server for each port, for the hosts of this namespace's VirtualServices.
fn servers(ports: &[Port], wanted: &MeshGateway, namespace: &str, hosts: &[Host]) -> Result<Vec<Value>, String> {
    let hosts: Vec<String> = hosts.iter().map(|host| format!("{namespace}/{}", host.name)).collect();
    let server = |port: &Port| {
        let (protocol, tls) = match (port.routing(), &wanted.tls) {
            (Routing::Http | Routing::Tls, Some(tls)) => ("HTTPS", Some(Value::Object(tls.clone()))),
            (Routing::Tls, None) => ("TLS", Some(json!({"mode": "PASSTHROUGH"}))),
            (Routing::Http, None) if port.number == HTTPS => {
                return Err(format!(
                    "port {} would be served without TLS: give spec.gateway.tls, or name the port https, for a Service that has its own \
                     certificate",
                    port.number
                ));
            }
            (Routing::Http | Routing::Tcp | Routing::None, _) => (port.protocol, None),
        };
        let name = format!("{}-{}", protocol.to_ascii_lowercase().replace('_', "-"), port.number);
        let mut server = json!({"port": {"number": port.number, "name": name, "protocol": protocol}, "hosts": hosts});
        if let Some(tls) = tls {
            server["tls"] = tls;
        }
        Ok(server)
    };
    ports.iter().filter(|port| port.routing() != Routing::None).map(server).collect()
}

/// Returns the field of the MeshService that a field of its Gateway comes from.
fn field_of(field: &str, hosts: &[Host]) -> Option<String> {
    if let Some(below) = field.strip_prefix("spec.selector") {
        return Some(format!("spec.gateway.selector{below}"));
    }
    let (_, below) = field.strip_prefix("spec.servers[")?.split_once("].")?;
    if let Some(place) = below.strip_prefix("hosts[") {
        let index: usize = place.strip_suffix(']')?.parse().ok()?;
        return hosts.get(index).map(|host| host.field.clone());
    }
    below.strip_prefix("tls").map(|below| format!("spec.gateway.tls{below}"))
}
