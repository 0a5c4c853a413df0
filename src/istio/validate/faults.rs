//! Problems of an object's fields, and rules that many fields share.

use super::duration;
use crate::istio::names::{self, Checked};
use crate::istio::node::Node;
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

/// A problem of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub kind: FaultKind,
    pub field: String,
    pub problem: String,
}

/// How Istio treats a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// The object is rejected.
    Error(By),
    /// It is accepted with a warning.
    Warning,
    /// A route that is never used.
    Unreachable,
    /// A match that is never used.
    Ineffective,
    /// A field without effect, or one that will be removed.
    Deprecated,
    /// A TCP port that needs addresses.
    Unaddressed,
}

/// Who rejects an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// The API server, because of the CustomResourceDefinition.
    Crd,
    /// istiod's webhook.
    Istiod,
    Both,
}

impl By {
    fn and(self, other: Self) -> Self {
        if self == other { self } else { Self::Both }
    }
}

/// The problems of an object, in the order of the rules.
#[derive(Debug, Default)]
pub(super) struct Faults(pub Vec<Fault>);

impl Faults {
    pub fn add(&mut self, kind: FaultKind, field: impl Into<String>, problem: impl Into<String>) {
        self.0.push(Fault { kind, field: field.into(), problem: problem.into() });
    }

    /// Merges errors of the two rule sets about the same field into one.
    pub fn joined(self) -> Vec<Fault> {
        let mut joined: Vec<Fault> = Vec::with_capacity(self.0.len());
        let mut places: HashMap<String, usize> = HashMap::new();
        for fault in self.0 {
            let place = *places.entry(fault.field.clone()).or_insert(joined.len());
            if joined.get(place) == Some(&fault) {
                continue;
            }
            if let (Some(Fault { kind: FaultKind::Error(earlier), .. }), FaultKind::Error(by)) =
                (joined.get_mut(place), fault.kind)
                && *earlier != by
            {
                *earlier = earlier.and(by);
                continue;
            }
            joined.push(fault);
        }
        joined
    }

    pub fn error(&mut self, field: impl Into<String>, problem: impl Into<String>) {
        self.add(FaultKind::Error(By::Istiod), field, problem);
    }

    pub fn warning(&mut self, field: impl Into<String>, problem: impl Into<String>) {
        self.add(FaultKind::Warning, field, problem);
    }

    pub fn check(&mut self, field: impl FnOnce() -> String, checked: Checked) {
        if let Err(problem) = checked {
            self.error(field(), problem);
        }
    }

    pub fn metadata(&mut self, object: &Value) {
        let known = ["apiVersion", "kind", "metadata", "spec", "status"];
        for field in object.as_object().into_iter().flatten().map(|(field, _)| field) {
            if !known.contains(&field.as_str()) {
                self.add(
                    FaultKind::Error(By::Both),
                    field,
                    "is not known: the fields of an object are apiVersion, kind, metadata, spec and status",
                );
            }
        }
        let metadata = Node::root(object, "metadata");
        if metadata.text("name").is_empty() && metadata.text("generateName").is_empty() {
            self.add(FaultKind::Error(By::Both), "metadata.name", "must be given");
        }
        if object.get("kind").is_some_and(|kind| kind == "Gateway") && metadata.text("name").contains('.') {
            self.error("metadata.name", "must be a DNS label: a Gateway's name has no '.'");
        }
        let reserved = [
            "istio.io/dry-run",
            "internal.istio.io/webhook-always-reject",
            "internal.istio.io/parents",
            "internal.istio.io/parent-namespace",
        ];
        for (name, value) in metadata.entries("annotations") {
            if reserved.contains(&name) {
                self.error(value.path(), "may not be set here");
            }
        }
    }

    /// Checks `exportTo` of an object. `~` is allowed only with `none_allowed`.
    pub fn export_to(&mut self, spec: &Node<'_>, namespace: &str, none_allowed: bool) {
        let entries = spec.list("exportTo");
        let mut seen = HashSet::new();
        for entry in &entries {
            let text = entry.as_text();
            match text {
                "." | "*" => {}
                "~" if none_allowed => {}
                "~" => self.error(entry.path(), "must not be '~': only a ServiceEntry may be seen by nobody"),
                other => self.check(|| entry.path(), names::dns_label(other)),
            }
            if !seen.insert(if text == "." { namespace } else { text }) {
                self.error(entry.path(), "is a duplicate ('.' is the own namespace)");
            }
        }
        let public = entries.iter().any(|entry| entry.as_text() == "*");
        if entries.len() > 1 && (public || entries.iter().any(|entry| entry.as_text() == "~")) {
            self.error(spec.at("exportTo"), "must have nothing beside '*' or '~'");
        }
    }

    /// Checks a port number if it is present. 0 is invalid.
    pub fn port(&mut self, node: &Node<'_>, field: &str) {
        if let Some(number) = node.number(field)
            && !(0..=65535).contains(&number)
        {
            self.error(node.at(field), "must be 1 to 65535");
        }
    }

    pub fn known_protocol(&mut self, port: &Node<'_>) {
        self.check(|| port.at("protocol"), names::protocol(port.text("protocol")));
    }

    /// Checks a duration of at least a millisecond.
    pub fn duration(&mut self, node: &Node<'_>, field: &str) {
        if node.has(field)
            && let Some(micros) = duration::micros(node.text(field))
        {
            if micros < 1_000 {
                self.error(node.at(field), "must be at least 1ms");
            } else if micros % 1_000 != 0 {
                self.error(node.at(field), "must be of whole milliseconds");
            }
        }
    }

    /// Checks labels that select workloads.
    pub fn selector(&mut self, node: &Node<'_>, field: &str) {
        for (key, value) in node.entries(field) {
            if key.is_empty() {
                self.error(value.path(), "must have a key");
            } else if key.contains('*') || value.as_text().contains('*') {
                self.error(value.path(), "must have no '*' in key or value");
            }
        }
    }

    pub fn labels(&mut self, node: &Node<'_>, field: &str) {
        for (key, value) in node.entries(field) {
            self.check(|| value.path(), names::label_key(key));
            self.check(|| value.path(), names::label_value(value.as_text()));
        }
    }

    /// Checks a percentage: 0, or at least 0.0001.
    pub fn percentage(&mut self, node: &Node<'_>, field: &str) {
        let Some(value) = node.field(field).fraction("value") else { return };
        if !(0.0..=100.0).contains(&value) || (value > 0.0 && value < 0.0001) {
            self.error(format!("{}.value", node.at(field)), "must be 0, or 0.0001 to 100");
        }
    }
}

/// A host with or without a wildcard, or an IP address.
pub(super) fn host_or_ip(host: &str) -> Checked {
    if host.parse::<IpAddr>().is_ok() { Ok(()) } else { names::wildcard_domain(host) }
}

/// A DNS name of egress hosts and servers: without a partial wildcard in a label.
pub(super) fn whole_name(name: &str) -> Checked {
    if name == "*" {
        return Ok(());
    }
    if !name.contains('.') {
        return Err("must be a whole DNS name or '*': a name without '.' is not taken here");
    }
    if name.starts_with('*') && !name.starts_with("*.") {
        return Err("must have '*' only as the whole of its first label");
    }
    host_or_ip(name)
}
