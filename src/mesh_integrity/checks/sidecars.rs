//! Sidecars: whose proxies they are for, and whether what they import exists.

use super::checked::Checked;
use super::gateways::text;
use crate::istio::host;
use crate::istio::read::Sidecar;
use crate::istio::sidecar::overlap::{Overlap, overlap};
use crate::mesh_integrity::code::Code;
use crate::mesh_integrity::finding::Finding;
use crate::mesh_integrity::mesh::Mesh;
use crate::mesh_integrity::object::{Key, Kind, Object, Spec, selects};
use crate::mesh_integrity::store::StoreError;

pub(super) fn check(checked: &mut Checked<'_>) -> Result<(), StoreError> {
    let mesh = checked.mesh;
    for object in checked.subjects(Kind::Sidecar) {
        let Spec::Sidecar(sidecar) = &object.spec else { continue };
        let mut found = overlaps(mesh, object, sidecar);
        found.extend(selection(mesh, object, sidecar));
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

/// Entries with wildcards: of namespaces that do not exist, or that no host has.
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

/// Earlier Sidecars for the same Pods.
fn overlaps(mesh: &Mesh, object: &Object, sidecar: &Sidecar) -> Vec<Finding> {
    let mut found = Vec::new();
    for other in mesh.in_namespace(Kind::Sidecar, &object.key.namespace) {
        let Spec::Sidecar(read) = &other.spec else { continue };
        if other.key >= object.key {
            continue;
        }
        let shared = || shared_workload(mesh, object, sidecar, read);
        let (code, message, advice) = match overlap(sidecar.selector.as_ref(), read.selector.as_ref()) {
            Some(Overlap::WithoutSelector) => (
                Code::IST0111,
                format!("Is for all Pods of the namespace, as {} is", other.key),
                "keep one of them, or give one a workloadSelector",
            ),
            Some(Overlap::SameSelection) => (
                Code::IST0110,
                format!("Selects Pods that {} selects", other.key),
                "make the selectors exclude each other",
            ),
            Some(Overlap::Possible) => match shared() {
                Some(workload) => (
                    Code::IST0110,
                    format!("Selects {workload}, as {} does", other.key),
                    "make the selectors exclude each other",
                ),
                None => continue,
            },
            None => continue,
        };
        found.push(
            Finding::new(code, &object.key, "spec.workloadSelector", message).with([other.key.clone()]).advice(advice),
        );
    }
    found
}

fn shared_workload<'m>(mesh: &'m Mesh, object: &'m Object, one: &Sidecar, other: &Sidecar) -> Option<&'m Key> {
    let (one, other) = (one.labels()?, other.labels()?);
    let mut workloads = mesh.workloads(&object.key.namespace);
    workloads
        .find(|(_, workload)| selects(one, &workload.labels) && selects(other, &workload.labels))
        .map(|(key, _)| key)
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
