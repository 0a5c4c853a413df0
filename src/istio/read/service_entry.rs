//! A ServiceEntry: hosts other than Kubernetes Services.

use super::port;
use crate::istio::export::Export;
use crate::istio::node::Node;

/// The fields of a ServiceEntry that checks need.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ServiceEntry {
    pub hosts: Vec<String>,
    pub export: Export,
    pub ports: Vec<ServiceEntryPort>,
}

/// A port of a ServiceEntry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServiceEntryPort {
    pub number: u32,
    pub protocol: String,
}

impl ServiceEntry {
    pub fn read(spec: &Node<'_>, namespace: &str) -> Self {
        let read_port = |entry: Node<'_>| {
            let number = port(entry.number("number"))?;
            Some(ServiceEntryPort { number, protocol: entry.text("protocol").to_ascii_uppercase() })
        };
        Self {
            hosts: spec.strings("hosts"),
            export: Export::new(spec.texts("exportTo"), namespace),
            ports: spec.list("ports").into_iter().filter_map(read_port).collect(),
        }
    }
}
