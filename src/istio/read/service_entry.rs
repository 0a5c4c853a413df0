//! A ServiceEntry: hosts outside of Kubernetes' Services.

use super::port;
use crate::istio::export::Export;
use crate::istio::node::Node;
use std::collections::BTreeMap;

/// What the checks need to know of a ServiceEntry.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ServiceEntry {
    pub hosts: Vec<String>,
    pub export: Export,
    pub ports: Vec<ServiceEntryPort>,
    pub has_addresses: bool,
    pub resolution: String,
    pub workload_selector: Option<BTreeMap<String, String>>,
    /// Labels of its endpoints.
    pub endpoints: Vec<BTreeMap<String, String>>,
}

/// A port of a ServiceEntry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServiceEntryPort {
    pub field: String,
    pub number: u32,
    pub protocol: String,
}

impl ServiceEntry {
    pub fn read(spec: &Node<'_>, namespace: &str) -> Self {
        let read_port = |entry: Node<'_>| {
            let number = port(entry.number("number"))?;
            Some(ServiceEntryPort {
                field: entry.path(),
                number,
                protocol: entry.text("protocol").to_ascii_uppercase(),
            })
        };
        Self {
            hosts: spec.strings("hosts"),
            export: Export::new(spec.texts("exportTo"), namespace),
            ports: spec.list("ports").into_iter().filter_map(read_port).collect(),
            has_addresses: spec.is_filled("addresses"),
            resolution: spec.text("resolution").to_owned(),
            workload_selector: spec.present("workloadSelector").map(|selector| selector.labels("labels")),
            endpoints: spec.list("endpoints").into_iter().map(|endpoint| endpoint.labels("labels")).collect(),
        }
    }
}
