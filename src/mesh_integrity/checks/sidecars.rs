//! Sidecars: the proxies that they apply to, and whether their imports exist.

use super::checked::Checked;
use super::gateways::text;
use crate::istio::host;
use crate::istio::read::Sidecar;
use crate::mesh_integrity::code::Code;
use crate::mesh_integrity::finding::Finding;
use crate::mesh_integrity::mesh::{MOST_WORKLOADS, Mesh};
use crate::mesh_integrity::object::{Key, Kind, Object, Spec};
use crate::mesh_integrity::store::StoreError;
use std::collections::{BTreeMap, HashMap};

pub(super) fn check(checked: &mut Checked<'_>) -> Result<(), StoreError> {
    let mesh = checked.mesh;
    let subjects: Vec<_> = checked.subjects(Kind::Sidecar).collect();
    let first = if subjects.is_empty() { First::new() } else { first_with_selectors(mesh) };
    for object in subjects {
        let Spec::Sidecar(sidecar) = &object.spec else { continue };
        let mut found: Vec<Finding> = overlaps(mesh, object, sidecar, &first).into_iter().collect();
        found.extend(selection(mesh, object, sidecar));
        found.extend(ambient(mesh, object, sidecar));
        if let Some(field) = &sidecar.unsaid_mode {
            found.push(
                Finding::new(
                    Code::KIA1007,
                    &object.key,
                    field.clone(),
                    "outboundTrafficPolicy has no mode, which means REGISTRY_ONLY",
                )
                .advice("write the mode"),
            );
        }
        if let Some(field) = &sidecar.egress_proxy {
            found.push(Finding::new(Code::IST0002, &object.key, field.clone(), "egressProxy has no effect"));
        }
        let mut wild = wildcards(checked, object, sidecar)?;
        found.append(&mut wild);
        checked.findings.append(&mut found);
    }
    let wildcards = checked.store.wildcards()?;
    for reference in checked.store.unseen_egress()? {
        let Some(object) = mesh.by_id(reference.object) else { continue };
        let (host, namespace) = (&reference.host, &reference.name);
        let seen = reference
            .owners
            .iter()
            .any(|(owner, export)| (namespace == "*" || namespace == owner) && export.reaches(&object.key.namespace));
        let covered = wildcards.iter().any(|(outer, subset, export)| {
            subset.is_empty() && export.reaches(&object.key.namespace) && host::covers(outer, host)
        });
        if seen || covered {
            continue;
        }
        let (message, advice) = match reference.owners.first() {
            None => (
                format!("Imports {namespace}/{host}, which no service has"),
                "correct the host, or create the service".to_owned(),
            ),
            Some((owner, _)) if namespace != "*" && namespace != owner => {
                (format!("Imports {namespace}/{host}, which is of namespace {owner}"), format!("write {owner}/{host}"))
            }
            Some(_) => (
                format!("Imports {namespace}/{host}, which is not exported to namespace {}", object.key.namespace),
                "add the namespace to exportTo of the service".to_owned(),
            ),
        };
        checked.findings.push(Finding::new(Code::KIA1004, &object.key, reference.field, message).advice(advice));
    }
    Ok(())
}

/// Finds entries with wildcards whose namespace does not exist, or that match no host.
fn wildcards(checked: &Checked<'_>, object: &Object, sidecar: &Sidecar) -> Result<Vec<Finding>, StoreError> {
    let mut found = Vec::new();
    for entry in &sidecar.egress {
        let namespace = entry.namespace.as_deref();
        if let Some(name) = namespace
            && name != object.key.namespace
            && checked.mesh.has_namespace(name) == Some(false)
        {
            let message = format!("Names the namespace {name} in {}, which does not exist", entry.written);
            found.push(
                Finding::new(Code::KIA1004, &object.key, entry.field.clone(), message).advice("correct the namespace"),
            );
        } else if let Some(end) = entry.host.strip_prefix('*')
            && !end.is_empty()
            && !entry.excluded
            && !checked.store.has_host_like(namespace, end)?
        {
            let message = format!("Imports {}, which no service has", entry.written);
            found.push(
                Finding::new(Code::KIA1004, &object.key, entry.field.clone(), message)
                    .advice("correct the host, or create the service"),
            );
        }
    }
    Ok(found)
}

/// The first Sidecar of each namespace and selector.
type First<'m> = HashMap<(&'m str, Option<&'m BTreeMap<String, String>>), &'m Key>;

fn first_with_selectors(mesh: &Mesh) -> First<'_> {
    let mut first = First::new();
    for object in mesh.of(Kind::Sidecar) {
        if let Spec::Sidecar(sidecar) = &object.spec {
            first.entry((&object.key.namespace, sidecar.labels())).or_insert(&object.key);
        }
    }
    first
}

/// Returns the finding if an earlier Sidecar applies to the same Pods. Each of many Sidecars names the first.
fn overlaps(mesh: &Mesh, object: &Object, sidecar: &Sidecar, first: &First<'_>) -> Option<Finding> {
    let finding = |code, message: String, other: &Key, advice| {
        let finding = Finding::new(code, &object.key, "spec.workloadSelector", message).with([other.clone()]);
        Some(finding.advice(advice))
    };
    let exclude = "make the selectors exclude each other";
    let labels = sidecar.labels();
    let same = first.get(&(object.key.namespace.as_str(), labels)).filter(|other| ***other < object.key);
    match (labels, same) {
        (None, None) => None,
        (None, Some(other)) => {
            let message = format!("Is for all Pods of the namespace, as {other} is");
            finding(Code::IST0111, message, other, "keep one of them, or give one a workloadSelector")
        }
        (Some(_), Some(other)) => finding(Code::IST0110, format!("Selects Pods that {other} selects"), other, exclude),
        (Some(labels), None) => {
            let selected = mesh.selected(Some(&object.key.namespace), labels);
            let shared = selected.iter().take(MOST_WORKLOADS).find_map(|(workload, read)| {
                let others = mesh.sidecars_of(&object.key.namespace, &read.labels);
                others.into_iter().next().filter(|other| **other < object.key).map(|other| (workload, other))
            });
            let (workload, other) = shared?;
            finding(Code::IST0110, format!("Selects {workload}, as {other} does"), other, exclude)
        }
    }
}

/// Returns why a Sidecar has no proxies.
fn ambient(mesh: &Mesh, object: &Object, sidecar: &Sidecar) -> Option<Finding> {
    let namespace = &object.key.namespace;
    let (field, message) = if let Some(labels) = sidecar.labels() {
        let selected = mesh.selected(Some(namespace), labels);
        let (workload, _) = selected.iter().find(|(_, workload)| workload.is_ambient)?;
        ("spec.workloadSelector", format!("Selects {workload}, which is in ambient mode and has no sidecar"))
    } else {
        let Spec::Namespace(own) = &mesh.namespace(namespace)?.spec else { return None };
        own.is_ambient.then_some(())?;
        ("", format!("Is for namespace {namespace}, whose Pods are in ambient mode and have no sidecars"))
    };
    Some(
        Finding::new(Code::IST0167, &object.key, field, message)
            .advice("remove the Sidecar, or the label of ambient mode"),
    )
}

fn selection(mesh: &Mesh, object: &Object, sidecar: &Sidecar) -> Option<Finding> {
    let labels = sidecar.labels()?;
    if object.key.namespace == mesh.options.root_namespace {
        return Some(
            Finding::new(
                Code::KIA1006,
                &object.key,
                "spec.workloadSelector",
                "Is no default of the mesh, for it has a selector",
            )
            .advice("remove the workloadSelector, or move the Sidecar to the namespace of its Pods"),
        );
    }
    if mesh.is_selected(&object.key.namespace, labels) != Some(false) {
        return None;
    }
    let message =
        format!("References non-existent selector {}: no workload of the namespace has these labels", text(labels));
    Some(
        Finding::new(Code::IST0101, &object.key, "spec.workloadSelector", message)
            .advice("correct the labels: the Sidecar is for nobody"),
    )
}
