//! A DestinationRule: its host, its subsets, and how it trusts servers.

use crate::istio::export::Export;
use crate::istio::node::Node;
use std::collections::BTreeMap;

/// What the checks need to know of a DestinationRule.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct DestinationRule {
    pub host: String,
    pub export: Export,
    pub selects_workloads: bool,
    pub has_policy: bool,
    pub subsets: Vec<Subset>,
    /// Fields of `tls` that verify no server, and whether they are of a port.
    pub unverified: Vec<(String, bool)>,
}

/// A subset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subset {
    pub field: String,
    pub name: String,
    pub labels: BTreeMap<String, String>,
}

impl DestinationRule {
    pub fn read(spec: &Node<'_>, namespace: &str) -> Self {
        let mut unverified = Vec::new();
        policy(&spec.field("trafficPolicy"), &mut unverified);
        let subsets = spec.list("subsets").into_iter().map(|subset| {
            policy(&subset.field("trafficPolicy"), &mut unverified);
            Subset { name: subset.text("name").to_owned(), labels: subset.labels("labels"), field: subset.path() }
        });
        let subsets = subsets.collect();
        Self {
            host: spec.text("host").to_owned(),
            export: Export::new(spec.texts("exportTo"), namespace),
            selects_workloads: spec.has("workloadSelector"),
            has_policy: spec.has("trafficPolicy"),
            subsets,
            unverified,
        }
    }
}

fn policy(policy: &Node<'_>, unverified: &mut Vec<(String, bool)>) {
    if let Some(tls) = policy.present("tls").filter(is_unverified) {
        unverified.push((tls.path(), false));
    }
    let ports = policy.list("portLevelSettings");
    let of_ports = ports.iter().filter_map(|port| port.present("tls")).filter(is_unverified);
    unverified.extend(of_ports.map(|tls| (tls.path(), true)));
}

/// Whether TLS is asked for, and nothing says whose certificates are good.
fn is_unverified(tls: &Node<'_>) -> bool {
    matches!(tls.text("mode"), "SIMPLE" | "MUTUAL")
        && !["caCertificates", "credentialName"].iter().any(|field| tls.is_filled(field))
        && !tls.is_true("insecureSkipVerify")
}
