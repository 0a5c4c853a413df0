//! A VirtualService: its hosts, its gateways, and what it refers to.

use super::port;
use crate::istio::export::Export;
use crate::istio::node::Node;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

/// The fields of a VirtualService that checks need.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct VirtualService {
    /// As written. A delegate has none.
    pub hosts: Vec<String>,
    /// `gateways`, including `mesh`.
    pub gateways: Vec<GatewayName>,
    pub export: Export,
    pub destinations: Vec<Destination>,
    pub delegates: Vec<Delegate>,
    /// Matches that name a gateway, namespace, labels or claim.
    pub matches: Vec<Match>,
    /// Hashes of its distinct matches: all conditions without their names. A route without a match has the hash of no
    /// conditions.
    pub taken: BTreeSet<u64>,
    /// `weight` of routes with a single destination.
    pub lone_weights: Vec<String>,
}

/// The name of a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GatewayName {
    pub field: String,
    pub written: String,
    /// `None` for `mesh`.
    pub named: Option<(String, String)>,
}

/// The service that requests are sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Destination {
    pub field: String,
    pub what: WhatDestination,
    pub host: String,
    pub subset: String,
    pub port: Option<u32>,
}

impl GatewayName {
    pub fn names(&self, namespace: &str, name: &str) -> bool {
        self.named.as_ref().is_some_and(|(own, it)| own == namespace && it == name)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WhatDestination {
    Http,
    Mirror,
    /// A TCP or TLS route.
    Stream,
}

/// A VirtualService that a route delegates to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delegate {
    pub field: String,
    pub namespace: String,
    pub name: String,
}

/// The conditions of a match on the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Match {
    pub field: String,
    pub gateways: Vec<GatewayName>,
    pub source_namespace: String,
    pub source_labels: BTreeMap<String, String>,
    /// A header that refers to a JWT claim.
    pub claim: Option<String>,
}

impl VirtualService {
    pub fn read(spec: &Node<'_>, namespace: &str) -> Self {
        let mut read = Self {
            hosts: spec.strings("hosts"),
            gateways: gateways(spec, namespace),
            export: Export::new(spec.texts("exportTo"), namespace),
            ..Self::default()
        };
        for (field, route) in
            ["http", "tls", "tcp"].into_iter().flat_map(|f| spec.list(f).into_iter().map(move |r| (f, r)))
        {
            read.taken.extend(taken(field, &route));
        }
        for route in spec.list("http") {
            read.http(&route, namespace);
        }
        for route in spec.list("tls").into_iter().chain(spec.list("tcp")) {
            read.matches(&route, namespace);
            read.routes(&route, WhatDestination::Stream);
        }
        read
    }

    /// Whether it applies to workload proxies: without gateways, or with `mesh` among them.
    pub fn is_of_mesh(&self) -> bool {
        self.gateways.is_empty() || self.gateways.iter().any(|gateway| gateway.named.is_none())
    }

    fn http(&mut self, route: &Node<'_>, namespace: &str) {
        self.matches(route, namespace);
        self.routes(route, WhatDestination::Http);
        if let Some(mirror) = route.present("mirror") {
            self.destinations.extend(destination(&mirror, WhatDestination::Mirror));
        }
        for mirror in route.list("mirrors") {
            self.destinations.extend(destination(&mirror.field("destination"), WhatDestination::Mirror));
        }
        if let Some(delegate) = route.present("delegate") {
            let own = delegate.text("namespace");
            self.delegates.push(Delegate {
                field: delegate.path(),
                namespace: if own.is_empty() { namespace.to_owned() } else { own.to_owned() },
                name: delegate.text("name").to_owned(),
            });
        }
    }

    fn routes(&mut self, route: &Node<'_>, what: WhatDestination) {
        let routes = route.list("route");
        if let [only] = &routes[..]
            && only.number("weight").is_some_and(|weight| weight != 0 && weight != 100)
        {
            self.lone_weights.push(only.at("weight"));
        }
        self.destinations.extend(routes.iter().filter_map(|route| destination(&route.field("destination"), what)));
    }

    fn matches(&mut self, route: &Node<'_>, namespace: &str) {
        for one in route.list("match") {
            let claim = one.entries("headers").into_iter().chain(one.entries("withoutHeaders"));
            let claim = claim.map(|(name, _)| name).find(|name| name.starts_with("@request.auth.claims"));
            let read = Match {
                gateways: gateways(&one, namespace),
                source_namespace: one.text("sourceNamespace").to_owned(),
                source_labels: one.labels("sourceLabels"),
                claim: claim.map(str::to_owned),
                field: one.path(),
            };
            if !read.gateways.is_empty()
                || !read.source_namespace.is_empty()
                || !read.source_labels.is_empty()
                || read.claim.is_some()
            {
                self.matches.push(read);
            }
        }
    }
}

fn taken(field: &str, route: &Node<'_>) -> Vec<u64> {
    let hash = |value: &serde_json::Value| {
        let mut hasher = DefaultHasher::new();
        (field, value.to_string()).hash(&mut hasher);
        hasher.finish()
    };
    let all = || vec![hash(&serde_json::json!({}))];
    let matches = route.list("match");
    if matches.is_empty() {
        return all();
    }
    let unnamed = |one: &Node<'_>| {
        let mut value = one.value.clone();
        if let Some(fields) = value.as_object_mut() {
            fields.shift_remove("name");
            // Each path begins with this.
            if fields.get("uri").is_some_and(|uri| uri == &serde_json::json!({"prefix": "/"})) {
                fields.shift_remove("uri");
            }
        }
        value.sort_all_objects();
        hash(&value)
    };
    matches.iter().map(unnamed).collect()
}

fn destination(node: &Node<'_>, what: WhatDestination) -> Option<Destination> {
    let host = node.text("host");
    (!host.is_empty()).then(|| Destination {
        field: node.path(),
        what,
        host: host.to_owned(),
        subset: node.text("subset").to_owned(),
        port: port(node.field("port").number("number")),
    })
}

fn gateways(node: &Node<'_>, namespace: &str) -> Vec<GatewayName> {
    let name = |entry: Node<'_>| {
        let written = entry.as_text();
        let named = match written.split_once('/') {
            Some((namespace, name)) => Some((namespace.to_owned(), name.to_owned())),
            None if written == "mesh" => None,
            None => Some(legacy(written, namespace)),
        };
        GatewayName { field: entry.path(), written: written.to_owned(), named }
    };
    node.list("gateways").into_iter().filter(|entry| !entry.as_text().is_empty()).map(name).collect()
}

/// `name` is in the own namespace. Older Istio referred to other namespaces as `name.namespace` and longer.
fn legacy(written: &str, namespace: &str) -> (String, String) {
    match written.split_once('.') {
        Some((name, rest)) => (rest.split('.').next().unwrap_or(rest).to_owned(), name.to_owned()),
        None => (namespace.to_owned(), written.to_owned()),
    }
}
