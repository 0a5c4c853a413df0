//! Hosts, ports and routes that several objects define, visible to a common namespace.

use super::checked::Checked;
use crate::istio::export::Export;
use crate::mesh_integrity::code::Code;
use crate::mesh_integrity::finding::Finding;
use crate::mesh_integrity::object::{Key, Object, Spec};
use crate::mesh_integrity::store::{Shared, StoreError};
use std::collections::{BTreeMap, BTreeSet, HashMap};
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
        protocols(checked, &host, &sharers);
        let message = format!("Multiple services share the same host: {host} ({} services)", sharers.len());
        checked.findings.push(
            finding(Code::OUT0102, format!("Service/* (host: {host})"), message, &sharers)
                .advice("put all ports and endpoints of the host into one object"),
        );
    }
    for Shared { host, part: gateway, objects } in checked.store.shared_routes()? {
        let Some(sharers) = sharers(checked, &objects) else { continue };
        // Istio merges the routes of a host at a gateway, but not within the mesh.
        let sharers = if gateway == "mesh" { sharers } else { rivals(&sharers) };
        if sharers.len() < 2 {
            continue;
        }
        let message = format!(
            "Multiple VirtualServices define the same host {host} for Gateway {gateway} ({} vs)",
            sharers.len()
        );
        let resource = format!("VirtualService/* (host: {host}, gateway: {gateway})");
        let oldest = oldest(&sharers);
        let (code, advice) = match (gateway == "mesh", oldest) {
            (true, Some(oldest)) => {
                (Code::IST0109, format!("only {oldest} counts, the oldest: move the routes of the others into it"))
            }
            (true, None) => (Code::IST0109, "only the oldest counts: move all routes into one object".to_owned()),
            (false, Some(oldest)) => {
                (Code::KIA1106, format!("the routes of {oldest} count, the oldest: give each request to one of them"))
            }
            (false, None) => {
                (Code::KIA1106, "the routes of the oldest count: give each request to one of them".to_owned())
            }
        };
        checked.findings.push(finding(code, resource, message, &sharers).advice(advice));
    }
    for Shared { host, part, objects } in checked.store.shared_rules()? {
        let Some(sharers) = sharers(checked, &objects) else { continue };
        let (namespace, subset) = part.split_once('/').unwrap_or((&part, ""));
        let what = if subset.is_empty() { "the policy".to_owned() } else { format!("the subset {subset}") };
        let message = format!("Multiple DestinationRules define {what} of host {host} ({} dr)", sharers.len());
        let resource = format!("DestinationRule/{namespace}/* (host: {host})");
        let advice = match oldest(&sharers) {
            Some(oldest) => format!("what {oldest} says counts, the oldest: put all of it into one object"),
            None => "what the oldest says counts: put all of it into one object".to_owned(),
        };
        checked.findings.push(finding(Code::KIA0201, resource, message, &sharers).advice(advice));
    }
    Ok(())
}

/// Finds ports of a host that ServiceEntries give several protocols.
fn protocols(checked: &mut Checked<'_>, host: &str, sharers: &[&Arc<Object>]) {
    let mut ports: BTreeMap<u32, BTreeMap<&str, BTreeSet<&Key>>> = BTreeMap::new();
    for object in sharers {
        let Spec::ServiceEntry(entry) = &object.spec else { continue };
        for port in &entry.ports {
            ports.entry(port.number).or_default().entry(&port.protocol).or_default().insert(&object.key);
        }
    }
    for (port, protocols) in ports.into_iter().filter(|(_, protocols)| protocols.len() > 1) {
        let objects: BTreeSet<&Key> = protocols.values().flatten().copied().collect();
        let mut objects = objects.into_iter().rev().cloned();
        let Some(last) = objects.next() else { continue };
        let name = |protocol: &&str| if protocol.is_empty() { "none" } else { protocol }.to_owned();
        let named: Vec<String> = protocols.keys().map(name).collect();
        let message = format!("Port {port} of host {host} has several protocols: {}", named.join(", "));
        let finding = Finding::new(Code::IST0177, &last, "spec.ports", message).with(objects);
        checked.findings.push(finding.advice("give the port one protocol in all ServiceEntries of the host"));
    }
}

/// Returns the objects that share something, the oldest first.
fn sharers<'e>(checked: &Checked<'e>, objects: &[i64]) -> Option<Vec<&'e Arc<Object>>> {
    let all: Vec<_> = objects.iter().filter_map(|id| checked.mesh.by_id(*id)).collect();
    let meets = |one: &&Arc<Object>| {
        all.iter()
            .any(|other| other.key != one.key && export(one).is_some_and(|e| export(other).is_some_and(|o| e.meets(o))))
    };
    let mut sharers: Vec<_> = all.iter().copied().filter(meets).collect();
    sharers.sort_by(|one, other| {
        // An object that does not exist yet is the youngest.
        let age = |object: &Object| {
            let (created, key) = (object.created.clone(), &object.key);
            (created.is_empty(), created, key.name.clone(), key.namespace.clone())
        };
        age(one).cmp(&age(other))
    });
    (sharers.len() > 1).then_some(sharers)
}

/// Returns the first of them, if it is known to be older than the second.
fn oldest<'s>(sharers: &'s [&Arc<Object>]) -> Option<&'s Key> {
    let (first, second) = (sharers.first()?, sharers.get(1)?);
    (!first.created.is_empty() && first.created != second.created).then_some(&first.key)
}

/// Returns those that have the same requests as another one: both have a route for all of them, or the same match.
fn rivals<'e>(sharers: &[&'e Arc<Object>]) -> Vec<&'e Arc<Object>> {
    let routes = |object: &'e Arc<Object>| match &object.spec {
        Spec::VirtualService(routes) => Some(routes),
        _ => None,
    };
    let mut seen: HashMap<u64, usize> = HashMap::new();
    for object in sharers {
        for taken in routes(object).into_iter().flat_map(|routes| &routes.taken) {
            *seen.entry(*taken).or_default() += 1;
        }
    }
    let has_rival = |object: &&&'e Arc<Object>| {
        routes(object)
            .is_some_and(|routes| routes.taken.iter().any(|taken| seen.get(taken).is_some_and(|count| *count > 1)))
    };
    sharers.iter().filter(has_rival).copied().collect()
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

/// Returns a finding of the youngest, which does not get what it requests.
fn finding(code: Code, resource: String, message: String, sharers: &[&Arc<Object>]) -> Finding {
    let objects = sharers.iter().rev().map(|object| object.key.clone()).collect();
    let (field, severity, advice) = (String::new(), code.severity(), String::new());
    Finding { objects, field, code, severity, resource, message, advice }
}
