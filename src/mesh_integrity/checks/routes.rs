//! VirtualServices: their gateways and delegates, and whether callers use them.

use super::checked::Checked;
use super::gateways::text;
use crate::istio::host;
use crate::istio::read::{Gateway, GatewayName, Match, Sidecar, VirtualService};
use crate::mesh_integrity::code::Code;
use crate::mesh_integrity::finding::Finding;
use crate::mesh_integrity::mesh::Mesh;
use crate::mesh_integrity::object::{Key, Kind, Object, Spec, selects};
use crate::mesh_integrity::store::{Reference, StoreError};

pub(super) fn check(checked: &mut Checked<'_>) -> Result<(), StoreError> {
    let mesh = checked.mesh;
    for object in checked.subjects(Kind::VirtualService) {
        let Spec::VirtualService(routes) = &object.spec else { continue };
        let mut found: Vec<Finding> = Vec::new();
        found.extend(routes.gateways.iter().filter_map(|gateway| offered(mesh, object, routes, gateway)));
        found.extend(delegates(mesh, object, routes));
        found.extend(outside(object, routes));
        found.extend(routes.matches.iter().filter_map(|one| claims(mesh, object, routes, one)));
        found.extend(unreached(mesh, object, routes));
        found.extend(routes.lone_weights.iter().map(|field| {
            Finding::new(Code::KIA1104, &object.key, field.clone(), "The weight of the only destination has no effect")
                .advice("remove the weight, or add the other destinations")
        }));
        checked.findings.append(&mut found);
    }
    unaffected(checked)
}

fn gateway<'m>(mesh: &'m Mesh, named: &(String, String)) -> Option<(&'m Key, &'m Gateway)> {
    let (namespace, name) = named;
    [Kind::Gateway, Kind::KubernetesGateway].into_iter().find_map(|kind| {
        let key = Key { kind, namespace: namespace.clone(), name: name.clone() };
        let object = mesh.get(&key)?;
        match &object.spec {
            Spec::Gateway(gateway) => Some((&object.key, gateway)),
            _ => None,
        }
    })
}

/// Finds a gateway that has none of the hosts.
fn offered(mesh: &Mesh, object: &Object, routes: &VirtualService, bound: &GatewayName) -> Option<Finding> {
    let (key, gateway) = gateway(mesh, bound.named.as_ref()?)?;
    let offers = |written: &String| {
        let full = host::full(written, &object.key.namespace, &mesh.options.domain);
        let offers = gateway.servers.iter().flat_map(|server| &server.hosts);
        offers
            .filter(|(namespace, _)| namespace.as_ref().is_none_or(|only| *only == object.key.namespace))
            .any(|(_, offer)| host::overlap(offer, &full))
    };
    if routes.hosts.is_empty() || routes.hosts.iter().any(offers) {
        return None;
    }
    let message = format!("{key} offers none of the hosts {}", routes.hosts.join(", "));
    Some(
        Finding::new(Code::IST0132, &object.key, bound.field.clone(), message)
            .advice("add a host to a server of the Gateway, or correct the hosts"),
    )
}

fn delegates(mesh: &Mesh, object: &Object, routes: &VirtualService) -> Vec<Finding> {
    let judge = |delegate: &crate::istio::read::Delegate| {
        let key =
            Key { kind: Kind::VirtualService, namespace: delegate.namespace.clone(), name: delegate.name.clone() };
        let finding = |code, message: String| Finding::new(code, &object.key, delegate.field.clone(), message);
        let Some(Spec::VirtualService(target)) = mesh.get(&key).map(|target| &target.spec) else {
            let message = format!("References non-existent {key}");
            return Some(
                finding(Code::OUT0104, message).advice("create the delegate, or correct its name and namespace"),
            );
        };
        if !target.export.reaches(&object.key.namespace) {
            let message = format!("References {key}, which is not exported to namespace {}", object.key.namespace);
            return Some(finding(Code::OUT0104, message).advice("add the namespace to exportTo of the delegate"));
        }
        if !target.hosts.is_empty() {
            let message = format!("Hands on to {key}, which has hosts");
            return Some(finding(Code::OUT0105, message).advice("remove hosts and gateways from the delegate"));
        }
        if !target.delegates.is_empty() {
            let message = format!("Hands on to {key}, which hands on itself");
            return Some(finding(Code::OUT0105, message).advice("hand on once: a delegate has destinations only"));
        }
        None
    };
    routes.delegates.iter().filter_map(judge).collect()
}

/// Finds matches of gateways that the VirtualService is not bound to.
fn outside<'o>(object: &'o Object, routes: &'o VirtualService) -> impl Iterator<Item = Finding> + 'o {
    let bound = move |one: &GatewayName| {
        (one.named.is_none() && routes.gateways.is_empty())
            || routes.gateways.iter().any(|bound| bound.named == one.named)
    };
    let named = routes.matches.iter().flat_map(|one| &one.gateways);
    // A delegate has the gateways of the VirtualService that delegates to it.
    named.filter(move |one| !routes.hosts.is_empty() && !bound(one)).map(move |one| {
        let message = format!("Matches the gateway {}, which spec.gateways does not have", one.written);
        Finding::new(Code::OUT0106, &object.key, one.field.clone(), message)
            .advice("add it to spec.gateways: the match never has a request")
    })
}

/// Routing by claims needs a RequestAuthentication that verifies them.
fn claims(mesh: &Mesh, object: &Object, routes: &VirtualService, one: &Match) -> Option<Finding> {
    let claim = one.claim.as_ref()?;
    let bound = routes.gateways.iter().filter_map(|bound| gateway(mesh, bound.named.as_ref()?));
    let verified = |selector: &std::collections::BTreeMap<String, String>| {
        mesh.of(Kind::RequestAuthentication).any(|policy| match &policy.spec {
            Spec::RequestAuthentication(labels) => selects(labels, selector),
            _ => false,
        })
    };
    let (key, _) =
        bound.into_iter().find(|(key, gateway)| key.kind == Kind::Gateway && !verified(&gateway.selector))?;
    let message = format!("Routes by {claim}, and no RequestAuthentication is for the Pods of {key}");
    Some(
        Finding::new(Code::IST0149, &object.key, one.field.clone(), message)
            .advice("create a RequestAuthentication whose selector has the labels of the gateway's Pods"),
    )
}

/// Returns the Sidecar of a namespace that applies to all its Pods.
fn default_sidecar<'m>(mesh: &'m Mesh, namespace: &'m str) -> Option<(&'m Key, &'m Sidecar)> {
    mesh.in_namespace(Kind::Sidecar, namespace).find_map(|sidecar| match &sidecar.spec {
        Spec::Sidecar(read) if read.labels().is_none() => Some((&sidecar.key, read)),
        _ => None,
    })
}

/// Finds callers that are the only ones of a route and do not import its hosts.
fn unreached(mesh: &Mesh, object: &Object, routes: &VirtualService) -> Vec<Finding> {
    if !routes.is_of_mesh() || routes.hosts.is_empty() {
        return Vec::new();
    }
    let own = &object.key.namespace;
    let misses = |namespace: &str| {
        let (key, sidecar) = default_sidecar(mesh, namespace)?;
        let full = |written: &String| host::full(written, own, &mesh.options.domain).into_owned();
        let imported = routes.hosts.iter().any(|written| sidecar.imports(own, &full(written)));
        (!imported).then(|| key.clone())
    };
    let mut found = Vec::new();
    let finding = |field: String, sidecar: &Key, namespace: &str| {
        let message = format!(
            "{sidecar} does not import {}: callers in namespace {namespace} miss the route",
            routes.hosts.join(", ")
        );
        Finding::new(Code::OUT0109, &object.key, field, message)
            .with([sidecar.clone()])
            .advice(format!("add {own}/{} to the egress of the Sidecar", routes.hosts[0]))
    };
    if routes.export.named() == std::slice::from_ref(own)
        && let Some(sidecar) = misses(own)
    {
        found.push(finding("spec.hosts".to_owned(), &sidecar, own));
    }
    for one in routes.matches.iter().filter(|one| !one.source_namespace.is_empty() && one.source_namespace != *own) {
        if let Some(sidecar) = misses(&one.source_namespace) {
            found.push(finding(one.field.clone(), &sidecar, &one.source_namespace));
        }
        if !routes.export.reaches(&one.source_namespace) {
            let message = format!(
                "Is for callers in namespace {}, to which the VirtualService is not exported",
                one.source_namespace
            );
            found.push(
                Finding::new(Code::OUT0109, &object.key, one.field.clone(), message)
                    .advice("add the namespace to exportTo, or remove the match"),
            );
        }
    }
    for one in routes.matches.iter().filter(|one| !one.source_labels.is_empty()) {
        let callers = if one.source_namespace.is_empty() { own } else { &one.source_namespace };
        if routes.export.named() == std::slice::from_ref(own)
            && mesh.is_selected(callers, &one.source_labels) == Some(false)
        {
            let message = format!("No workload of namespace {callers} has the labels {}", text(&one.source_labels));
            found.push(
                Finding::new(Code::OUT0109, &object.key, one.field.clone(), message).advice("correct sourceLabels"),
            );
        }
    }
    found
}

/// Finds requests that come through a gateway and bypass the subset rules of the mesh.
fn unaffected(checked: &mut Checked<'_>) -> Result<(), StoreError> {
    for Reference { object, field, host, .. } in checked.store.missed_subset_rules()? {
        let Some(key) = checked.mesh.key(object) else { continue };
        let message =
            format!("Requests from the gateway to {host} miss the subset rules of the VirtualService of that host");
        checked.findings.push(
            Finding::new(Code::IST0140, key, field, message)
                .advice("name the subset here, or bind the other VirtualService to the gateway, too"),
        );
    }
    Ok(())
}
