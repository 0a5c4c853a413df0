//! A DestinationRule: its host, its subsets, and how it verifies servers.

use crate::istio::export::Export;
use crate::istio::node::Node;
use std::collections::BTreeMap;

/// The fields of a DestinationRule that checks need.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct DestinationRule {
    pub host: String,
    pub export: Export,
    pub selects_workloads: bool,
    pub has_policy: bool,
    pub subsets: Vec<Subset>,
    /// Fields of `tls` that do not verify the server, and whether they are for a port.
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
        let selects_workloads = spec.has("workloadSelector");
        policy(&spec.field("trafficPolicy"), selects_workloads, &mut unverified);
        let subsets = spec.list("subsets").into_iter().map(|subset| {
            policy(&subset.field("trafficPolicy"), selects_workloads, &mut unverified);
            Subset { name: subset.text("name").to_owned(), labels: subset.labels("labels"), field: subset.path() }
        });
        let subsets = subsets.collect();
        Self {
            host: spec.text("host").to_owned(),
            export: Export::new(spec.texts("exportTo"), namespace),
            selects_workloads,
            has_policy: spec.has("trafficPolicy"),
            subsets,
            unverified,
        }
    }
}

fn policy(policy: &Node<'_>, selects_workloads: bool, unverified: &mut Vec<(String, bool)>) {
    let is_unverified = |tls: &Node<'_>| is_unverified(tls, selects_workloads);
    if let Some(tls) = policy.present("tls").filter(is_unverified) {
        unverified.push((tls.path(), false));
    }
    let ports = policy.list("portLevelSettings");
    let of_ports = ports.iter().filter_map(|port| port.present("tls")).filter(is_unverified);
    unverified.extend(of_ports.map(|tls| (tls.path(), true)));
}

/// Whether TLS is used without a way to verify the server's certificate. Workload proxies use `credentialName` only in rules that select
/// them.
fn is_unverified(tls: &Node<'_>, selects_workloads: bool) -> bool {
    let names_authority = tls.is_filled("caCertificates") || (selects_workloads && tls.is_filled("credentialName"));
    matches!(tls.text("mode"), "SIMPLE" | "MUTUAL") && !names_authority && !tls.is_true("insecureSkipVerify")
}
