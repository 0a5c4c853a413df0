//! The VirtualServices of a MeshService: one for the hosts that its gateway has, one for the Service's own names in the mesh.

use super::build::Builder;
use super::key::Key;
use super::kind::MeshKind;
use super::port::{Port, Routing};
use super::violation;
use crate::api::mesh_service::{MeshServiceSpec, Severity};
use kube::api::DynamicObject;
use serde_json::{Map, Value, json};

/// The targets of the routes of a MeshService, and their options.
struct Routes<'b> {
    spec: &'b MeshServiceSpec,
    ports: &'b [Port],
    /// The host of the Service.
    host: String,
}

/// A host, and the field that it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host {
    pub name: String,
    pub field: String,
}

/// Returns the hosts of the gateway that are not names of the Service.
pub(super) fn gateway_hosts(builder: &Builder<'_>) -> Vec<Host> {
    let hosts = builder.asked.spec.hosts.iter().enumerate().filter(|(_, host)| !is_own(builder, host));
    hosts.map(|(index, host)| Host { name: host.clone(), field: format!("spec.hosts[{index}]") }).collect()
}

/// Returns whether a host is a name of the Service.
fn is_own(builder: &Builder<'_>, host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    let full = builder.host();
    let Key { namespace, name } = &builder.asked.service;
    host == full || host == *name || host == format!("{name}.{namespace}") || host == format!("{name}.{namespace}.svc")
}

pub(super) fn build(builder: &mut Builder<'_>) {
    let asked = builder.asked;
    let through_gateway = gateway_hosts(builder);
    let is_for_mesh = asked.spec.hosts.len() > through_gateway.len() || asked.spec.hosts.is_empty();
    match &asked.gateway {
        None => {
            for host in &through_gateway {
                let message = format!(
                    "{}: {} is no name of the Service and leads nowhere: give the Gateway through which it is reached in \
                     spec.gateway, or remove it",
                    host.field, host.name
                );
                builder.tell(violation::NO_EFFECT, Severity::Error, message);
            }
        }
        Some(gateway) if through_gateway.is_empty() => {
            let message = format!("spec.gateway: no host in spec.hosts is reached through {gateway}");
            builder.tell(violation::NO_EFFECT, Severity::Warning, message);
        }
        Some(_) => {}
    }
    if !builder.makes(MeshKind::VirtualService) {
        return;
    }
    let is_usable = weights(builder) && has_subsets(builder);
    if let Some(gateway) = asked.gateway.as_ref().filter(|_| !through_gateway.is_empty()) {
        virtual_service(builder, builder.key(""), &through_gateway, Some(gateway), is_usable);
    }
    if is_for_mesh {
        let own = Host { name: builder.host(), field: "spec.serviceName".to_owned() };
        virtual_service(builder, builder.key("-mesh"), &[own], None, is_usable);
    }
}

/// Reports subsets whose shares do not add up; returns whether requests can be distributed to them.
fn weights(builder: &mut Builder<'_>) -> bool {
    let weighted = builder.asked.spec.subsets.iter().filter_map(|subset| Some((&subset.name, subset.weight?)));
    let weighted: Vec<_> = weighted.collect();
    let sum: i64 = weighted.iter().map(|(_, weight)| i64::from(*weight)).sum();
    if weighted.is_empty() || sum == 100 {
        return true;
    }
    if sum <= 0 || weighted.iter().any(|(_, weight)| *weight < 0) {
        let message = "spec.subsets: no subset has a weight of more than 0, so no request can be routed: the weights must make 100";
        builder.tell(violation::WEIGHTS, Severity::Error, message.to_owned());
        return false;
    }
    let total: f64 = weighted.iter().map(|(_, weight)| f64::from(*weight)).sum();
    let shares = weighted.iter().map(|(name, weight)| format!("{name} {:.1} %", f64::from(*weight) * 100.0 / total));
    let shares = shares.collect::<Vec<_>>().join(", ");
    let message = format!("spec.subsets: the weights make {sum}, not 100. Istio takes them as shares: {shares}");
    builder.tell(violation::WEIGHTS, Severity::Warning, message);
    true
}

/// Reports routes to subsets that no DestinationRule has; returns whether all routes have a target.
fn has_subsets(builder: &mut Builder<'_>) -> bool {
    let is_rule = |object: &DynamicObject| {
        object.types.as_ref().is_some_and(|types| types.kind == MeshKind::DestinationRule.as_str())
    };
    let has_weights = builder.asked.spec.subsets.iter().any(|subset| subset.weight.is_some());
    if !has_weights || builder.plan.objects.iter().any(is_rule) {
        return true;
    }
    let message = "spec.subsets: no DestinationRule with them is written, so requests that are routed to them would fail. No VirtualService \
                   is written, and what there is stays";
    builder.tell(violation::SUBSETS_NOT_MADE, Severity::Error, message.to_owned());
    false
}

fn virtual_service(builder: &mut Builder<'_>, key: Key, hosts: &[Host], gateway: Option<&Key>, is_usable: bool) {
    let routes = Routes { spec: &builder.asked.spec, ports: &builder.ports, host: builder.host() };
    let names: Vec<&str> = hosts.iter().map(|host| host.name.as_str()).collect();
    let mut spec = json!({"hosts": names});
    if let Some(gateway) = gateway {
        spec["gateways"] = json!([gateway.to_string()]);
    }
    let lists = [
        ("http", routes.http(gateway.is_some())),
        ("tls", routes.tls(&names, gateway.is_some())),
        ("tcp", routes.tcp()),
    ];
    let (mut has_any, has_http) = (false, !lists[0].1.is_empty());
    for (field, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
        has_any = true;
        spec[field] = list.into();
    }
    if !has_http && let Some(field) = routes.field_of_http() {
        let message = format!("{field}: has no effect: no port is of HTTP");
        builder.tell(violation::NO_EFFECT, Severity::Warning, message);
    }
    if !has_any {
        return; // UDP alone, which nothing routes
    }
    if !is_usable {
        builder.keep(MeshKind::VirtualService, key);
        return;
    }
    builder.add(MeshKind::VirtualService, key, spec, |field| field_of(field, hosts));
}

/// Returns the field of the MeshService that one of a VirtualService comes from.
fn field_of(field: &str, hosts: &[Host]) -> Option<String> {
    if let Some(place) = field.strip_prefix("spec.hosts[") {
        let index: usize = place.strip_suffix(']')?.parse().ok()?;
        return hosts.get(index).map(|host| host.field.clone());
    }
    let (_, below) = field.strip_prefix("spec.http[")?.split_once("].")?;
    let below = match below.strip_prefix("mirrorPercentage") {
        Some(rest) => format!("mirror.percentage{rest}"),
        None => below.to_owned(),
    };
    let top = below.split(['.', '[']).next().unwrap_or_default();
    ["fault", "mirror", "headers", "timeout", "retries"].contains(&top).then(|| format!("spec.{below}"))
}

impl Routes<'_> {
    fn of(&self, routing: Routing) -> impl Iterator<Item = &Port> {
        self.ports.iter().filter(move |port| port.routing() == routing)
    }

    /// Returns the port for requests at other numbers, such as port 443 of a gateway for a Service that has 8080, and
    /// the other ports. The mesh has no such port: the spec does not apply to ports that it does not list.
    fn told_apart(&self, routing: Routing, is_for_gateway: bool) -> (Option<&Port>, Vec<&Port>) {
        let mut ports = self.of(routing);
        let first = if is_for_gateway { ports.next() } else { None };
        (first, ports.collect())
    }

    /// Decrypted requests of a gateway go to the first TLS port if there is no HTTP port.
    fn http(&self, is_for_gateway: bool) -> Vec<Value> {
        let (first, others) = self.told_apart(Routing::Http, is_for_gateway);
        let first = first.or_else(|| self.told_apart(Routing::Tls, is_for_gateway).0);
        let others = others.into_iter().map(|port| self.http_route(Some(json!([{"port": port.number}])), port));
        others.chain(first.map(|port| self.http_route(None, port))).collect()
    }

    fn http_route(&self, matched: Option<Value>, port: &Port) -> Value {
        let MeshServiceSpec { fault, mirror, headers, timeout, retries, .. } = self.spec;
        let mut route = Map::new();
        let mut set = |field: &str, value: Option<Value>| {
            if let Some(value) = value {
                route.insert(field.to_owned(), value);
            }
        };
        set("match", matched);
        set("fault", fault.clone().map(Value::Object));
        if let Some(mut mirror) = mirror.clone() {
            let percentage = mirror.shift_remove("percentage");
            set("mirror", Some(mirror.into()));
            set("mirrorPercentage", percentage);
        }
        set("headers", headers.clone().map(Value::Object));
        set("timeout", timeout.clone().map(Value::String));
        set("retries", retries.clone().map(Value::Object));
        set("route", Some(self.destinations(port)));
        route.into()
    }

    /// By name and number.
    fn tls(&self, names: &[&str], is_for_gateway: bool) -> Vec<Value> {
        let (first, others) = self.told_apart(Routing::Tls, is_for_gateway);
        let others = others.into_iter().map(|port| (json!([{"port": port.number, "sniHosts": names}]), port));
        let all = others.chain(first.map(|port| (json!([{"sniHosts": names}]), port)));
        all.map(|(matched, port)| json!({"match": matched, "route": self.destinations(port)})).collect()
    }

    fn tcp(&self) -> Vec<Value> {
        let route = |port| json!({"match": [{"port": port}], "route": null});
        self.of(Routing::Tcp)
            .map(|port| {
                let mut route = route(port.number);
                route["route"] = self.destinations(port);
                route
            })
            .collect()
    }

    /// Returns the subsets that have a weight; if none has, the Service.
    fn destinations(&self, port: &Port) -> Value {
        let weighted = self.spec.subsets.iter().filter_map(|subset| Some((subset.name.as_str(), subset.weight?)));
        let weighted: Vec<_> = weighted.collect();
        let to = json!({"host": self.host, "port": {"number": port.number}});
        if weighted.is_empty() {
            return json!([{"destination": to}]);
        }
        let is_alone = weighted.len() == 1;
        let destination = |(subset, weight): (&str, i32)| {
            let mut to = to.clone();
            to["subset"] = subset.into();
            if is_alone { json!({"destination": to}) } else { json!({"destination": to, "weight": weight}) }
        };
        weighted.into_iter().map(destination).collect()
    }

    /// Returns a present field that concerns HTTP requests.
    fn field_of_http(&self) -> Option<&'static str> {
        let MeshServiceSpec { fault, mirror, headers, timeout, retries, .. } = self.spec;
        let fields = [
            ("spec.fault", fault.is_some()),
            ("spec.mirror", mirror.is_some()),
            ("spec.headers", headers.is_some()),
            ("spec.timeout", timeout.is_some()),
            ("spec.retries", retries.is_some()),
        ];
        fields.into_iter().find(|(_, is_there)| *is_there).map(|(field, _)| field)
    }
}
