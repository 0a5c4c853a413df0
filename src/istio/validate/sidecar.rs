//! A Sidecar's rules. Those of egress are the ones by which our own are written.

use super::faults::Faults;
use crate::istio::node::Node;
use crate::istio::sidecar::{self, egress};
use crate::istio::sidecar::{Sidecar, WorkloadSelector};
use serde_json::Value;
use std::collections::HashSet;

pub(super) fn check(spec: &Node<'_>, namespace: &str, faults: &mut Faults) {
    let parts = ["egress", "ingress", "outboundTrafficPolicy", "inboundConnectionPool"];
    if !parts.iter().any(|part| spec.is_filled(part) || (spec.has(part) && !spec.raw_is_list(part))) {
        faults.error("spec", "must have egress, ingress, outboundTrafficPolicy or inboundConnectionPool");
    }
    let selector =
        spec.present("workloadSelector").map(|selector| WorkloadSelector { labels: selector.labels("labels") });
    let listeners = egress::read(spec.present("egress").map_or(&Value::Null, |egress| egress.value));
    let found = match listeners {
        Ok(listeners) if !listeners.is_empty() => {
            sidecar::validate(&Sidecar { workload_selector: selector, egress: listeners }, namespace)
        }
        _ => selector.as_ref().map(sidecar::validate_selector).unwrap_or_default(),
    };
    for error in found.errors {
        faults.error(format!("spec.{}", error.field), error.problem);
    }
    for warning in found.warnings {
        faults.warning(format!("spec.{}", warning.field), warning.problem);
    }
    let mut numbers = HashSet::new();
    for listener in spec.list("ingress") {
        let port = listener.field("port");
        if !port.is_present() {
            faults.error(listener.at("port"), "must be given");
            continue;
        }
        faults.port(&port, "number");
        if !port.text("protocol").is_empty() {
            faults.known_protocol(&port);
        }
        if port.number("targetPort").is_some_and(|target| target > 0) {
            faults.error(port.at("targetPort"), "has no effect on a Sidecar");
        }
        if port.number("number").is_some_and(|number| !numbers.insert(number)) {
            faults.error(port.at("number"), "must be unique among the listeners");
        }
        if let Some(tls) = listener.present("tls") {
            if matches!(tls.text("mode"), "ISTIO_MUTUAL" | "AUTO_PASSTHROUGH") || tls.is_filled("credentialName") {
                faults.error(tls.path(), "must be of mode SIMPLE or MUTUAL, with certificates from files");
            }
            super::gateway::options(&tls, faults);
        }
    }
    let policy = spec.field("outboundTrafficPolicy");
    if policy.has("egressProxy") && policy.text("mode") != "ALLOW_ANY" {
        faults.error(policy.at("egressProxy"), "must only be given with mode ALLOW_ANY");
    }
}
