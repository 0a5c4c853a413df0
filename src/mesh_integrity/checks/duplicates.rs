//! Hosts, ports and routes that several objects define, visible to a common namespace.

use super::checked::Checked;
use crate::istio::export::Export;
use crate::mesh_integrity::code::Code;
use crate::mesh_integrity::finding::Finding;
use crate::mesh_integrity::object::{Object, Spec};
use crate::mesh_integrity::store::{Shared, StoreError};
use std::sync::Arc;

pub(super) fn check(checked: &mut Checked<'_>) -> Result<(), StoreError> {
    for Shared { host, part: port, objects } in checked.store.shared_ports()? {
        let Some(sharers) = sharers(checked, &objects) else { continue };
        let message = format!("Duplicate host:port combination: {host}:{port} ({} services)", sharers.len());
        let resource = format!("Service/* (host: {host}, port: {port})");
        checked.findings.push(
            finding(Code::OUT0101, resource, message, &sharers)
                .advice("remove one of them, or export them to different namespaces"),
        );
    }
    for Shared { host, objects, .. } in checked.store.shared_hosts()? {
        let Some(sharers) = sharers(checked, &objects) else { continue };
        let message = format!("Multiple services share the same host: {host} ({} services)", sharers.len());
        checked.findings.push(
            finding(Code::OUT0102, format!("Service/* (host: {host})"), message, &sharers)
                .advice("put all ports and endpoints of the host into one object"),
        );
    }
    for Shared { host, part: gateway, objects } in checked.store.shared_routes()? {
        let Some(sharers) = sharers(checked, &objects) else { continue };
        let message = format!(
            "Multiple VirtualServices define the same host {host} for Gateway {gateway} ({} vs)",
            sharers.len()
        );
        let resource = format!("VirtualService/* (host: {host}, gateway: {gateway})");
        let (code, advice) = if gateway == "mesh" {
            (
                Code::IST0109,
                format!("only {} counts, the oldest: move the routes of the others into it", sharers[0].key),
            )
        } else {
            let advice =
                format!("Istio tries the routes of {} first, the oldest: move all into one object", sharers[0].key);
            (Code::KIA1106, advice)
        };
        checked.findings.push(finding(code, resource, message, &sharers).advice(advice));
    }
    for Shared { host, part, objects } in checked.store.shared_rules()? {
        let Some(sharers) = sharers(checked, &objects) else { continue };
        let (namespace, subset) = part.split_once('/').unwrap_or((&part, ""));
        let what = if subset.is_empty() { "the policy".to_owned() } else { format!("the subset {subset}") };
        let message = format!("Multiple DestinationRules define {what} of host {host} ({} dr)", sharers.len());
        let resource = format!("DestinationRule/{namespace}/* (host: {host})");
        let advice = format!("what {} says counts, the oldest: put all of it into one object", sharers[0].key);
        checked.findings.push(finding(Code::KIA0201, resource, message, &sharers).advice(advice));
    }
    Ok(())
}

/// Those that share something with another, the oldest first.
fn sharers<'e>(checked: &Checked<'e>, objects: &[i64]) -> Option<Vec<&'e Arc<Object>>> {
    let all: Vec<_> = objects.iter().filter_map(|id| checked.mesh.by_id(*id)).collect();
    let meets = |one: &&Arc<Object>| {
        all.iter()
            .any(|other| other.key != one.key && export(one).is_some_and(|e| export(other).is_some_and(|o| e.meets(o))))
    };
    let mut sharers: Vec<_> = all.iter().copied().filter(meets).collect();
    sharers.sort_by(|one, other| {
        let age = |object: &Object| (object.created.clone(), object.key.name.clone(), object.key.namespace.clone());
        age(one).cmp(&age(other))
    });
    (sharers.len() > 1).then_some(sharers)
}

fn export(object: &Object) -> Option<&Export> {
    match &object.spec {
        Spec::Service(service) => Some(&service.export),
        Spec::ServiceEntry(entry) => Some(&entry.export),
        Spec::VirtualService(routes) => Some(&routes.export),
        Spec::DestinationRule(rule) => Some(&rule.export),
        _ => None,
    }
}

/// Of the youngest: the one that does not get what it asks for.
fn finding(code: Code, resource: String, message: String, sharers: &[&Arc<Object>]) -> Finding {
    let objects = sharers.iter().rev().map(|object| object.key.clone()).collect();
    let (field, severity, advice) = (String::new(), code.severity(), String::new());
    Finding { objects, field, code, severity, resource, message, advice }
}
