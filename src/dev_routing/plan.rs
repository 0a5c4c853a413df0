//! Pure: plans for all Services of one name: their VirtualService, and the placeholders of developers without a copy.

use super::claims::Claim;
use super::configuration::Configuration;
use super::endpoints::ReadyEndpoints;
use super::excluded::{EXCLUDED_NAMESPACES, EXCLUDED_SERVICES};
use super::key::Key;
use super::placeholder;
use super::routes::{self, Routed, Target};
use super::service::{ObservedService, ServiceKind, Services};
use super::template::Rendered;
use super::virtual_service::{ObservedVirtualService, SERVICE, resource};
use super::virtual_services::VirtualServices;
use crate::cluster::apply::ABSENT;
use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, PatchOperation};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::DynamicObject;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Another VirtualService already has the name.
pub const NAME_TAKEN: &str = "VirtualServiceNameTaken";
/// Another VirtualService applies to the Service's host.
pub const HOST_TAKEN: &str = "VirtualServiceHostTaken";
/// Another VirtualService applies to the Service's host in some namespaces, or Istio may use it instead of ours.
pub const HOST_SHARED: &str = "VirtualServiceHostShared";
/// A copy, or the Service itself, cannot be routed.
pub const NOT_ROUTED: &str = "NotRouted";
/// Istio would reject the VirtualService.
pub const INVALID: &str = "InvalidVirtualService";
/// The API server rejects a write.
pub const WRITE_REFUSED: &str = "WriteRefused";
/// The template refers to a Service, or to a port, that does not exist.
pub const DESTINATION_MISSING: &str = "DestinationMissing";

/// The state around the Services of one name.
#[derive(Clone, Copy, Debug)]
pub struct Around<'a> {
    /// The configuration.
    pub configuration: &'a Configuration,
    /// Their name.
    pub name: &'a str,
    /// All Services.
    pub services: &'a Services,
    /// Namespaces that are not being deleted.
    pub namespaces: &'a BTreeSet<String>,
    /// All VirtualServices.
    pub virtual_services: &'a VirtualServices,
    /// The ready endpoints, if the configuration needs them.
    pub(super) ready: &'a ReadyEndpoints,
    /// The version in which VirtualServices are written.
    pub version: &'a str,
}

/// The plan.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The writes, in order: a VirtualService is written before another is deleted.
    pub writes: Vec<Write>,
    /// Findings for users.
    pub findings: Vec<Finding>,
    /// What its VirtualService depends on, if there should be one.
    pub claims: BTreeSet<Claim>,
}

/// One write.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// Create it. It does not exist.
    Create(Box<DynamicObject>),
    /// Change the existing one.
    Change(Arc<ObservedVirtualService>, Vec<PatchOperation>),
    /// Delete it. It is no longer needed.
    Delete(Arc<ObservedVirtualService>),
    /// Apply a placeholder.
    Placeholder(Box<DynamicObject>),
    /// A developer's manifest was applied over the placeholder, which becomes the developer's Service.
    HandOver(Arc<ObservedService>),
    /// Delete the placeholder. It is no longer needed.
    DeletePlaceholder(Arc<ObservedService>),
}

/// A part that is written independently. A problem of one part does not delay others, because a developer may cause it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The VirtualService.
    VirtualService,
    /// The placeholder in this namespace.
    Placeholder(String),
}

/// A finding about a Service for users.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Finding {
    /// The Service.
    pub service: Key,
    /// One word.
    pub reason: &'static str,
    /// A sentence.
    pub note: String,
}

/// Whether a VirtualService can be written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It can.
    Free,
    /// Its name belongs to somebody else. An existing one with another name stays.
    Taken,
    /// There must be none.
    Barred,
}

/// Plans for the Services of one name.
#[must_use]
pub fn plan(around: Around<'_>) -> Plan {
    let mut plan = Plan::default();
    let service = around.service();
    if !around.configuration.require_ready_endpoints || around.ready.is_known() {
        around.virtual_service(service, &mut plan);
    }
    around.placeholders(service, &mut plan);
    plan
}

impl Around<'_> {
    /// Returns the shared Service, if it exists and may be routed.
    fn service(&self) -> Option<&Arc<ObservedService>> {
        let service = self.services.get(self.name, &self.configuration.default_namespace)?;
        (!service.deleting && !EXCLUDED_SERVICES.contains(&self.name)).then_some(service)
    }

    fn key(&self) -> Key {
        Key::new(&self.configuration.default_namespace, self.name)
    }

    /// Returns the desired VirtualService. On `Err` it is unknown, and the existing one stays.
    fn routed(&self, service: Option<&Arc<ObservedService>>, plan: &mut Plan) -> Result<Option<Routed>, ()> {
        let Some(service) = service else { return Ok(None) };
        let copies = self.copies();
        let mut find = |about: &Key, reason, note: String| {
            plan.findings.push(Finding { service: about.clone(), reason, note });
        };
        if let Some(obstacle) = service.obstacle() {
            if !copies.is_empty() {
                let note = format!("Requests to it are not routed to developers' copies: {obstacle}");
                find(&service.key, NOT_ROUTED, note);
            }
            return Ok(None);
        }
        match routes::virtual_service(self.configuration, service, &copies) {
            Ok(routed) => {
                for (copy, problem) in &routed.left_out {
                    let note = format!("No request is routed to it, all go to {}: {problem}", service.key);
                    find(copy, NOT_ROUTED, note);
                }
                Ok(Some(routed))
            }
            Err(errors) => {
                let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
                find(&service.key, INVALID, format!("Its VirtualService is not changed: {}", errors.join("; ")));
                Err(())
            }
        }
    }

    /// Returns the copies that can be routed, in the order of the developers.
    fn copies(&self) -> Vec<&ObservedService> {
        let Configuration { developers, require_ready_endpoints, .. } = self.configuration;
        let copies = developers.iter().filter_map(|developer| self.services.get(self.name, developer));
        let copies = copies.map(AsRef::as_ref);
        let is_real = |copy: &&ObservedService| !copy.deleting && !placeholder::is_placeholder(copy);
        let is_ready =
            |copy: &&ObservedService| !require_ready_endpoints || self.ready.is_ready(&copy.key).unwrap_or_default();
        copies.filter(is_real).filter(is_ready).collect()
    }

    fn virtual_service(&self, service: Option<&Arc<ObservedService>>, plan: &mut Plan) {
        let Ok(routed) = self.routed(service, plan) else { return };
        let wanted = service.zip(routed).map(|(service, routed)| {
            plan.claims = self.claims(&routed);
            let place = self.place(service, &routed, plan);
            let is_there = self.leads_to_what_is_there(service, &routed, plan);
            (service, routed, if is_there { place } else { Place::Barred })
        });
        let own = self.key();
        let ours = self.virtual_services.of_service(&own);
        let ours = ours.filter(|other| !other.deleting && other.has_shape_for(&own));
        let Some((service, routed, place @ (Place::Free | Place::Taken))) = wanted else {
            plan.writes.extend(ours.cloned().map(Write::Delete));
            return;
        };
        let key = routed.key();
        match self.virtual_services.get(&key) {
            // The existing one stays until the new one can be written.
            _ if place == Place::Taken || !self.namespaces.contains(&key.namespace) => return,
            Some(present) if present.deleting => return,
            None => plan.writes.push(Write::Create(Box::new(self.object(service, &routed)))),
            Some(present) => {
                let changes = changes(present, service, &routed);
                if !changes.is_empty() {
                    plan.writes.push(Write::Change(Arc::clone(present), changes));
                }
            }
        }
        plan.writes.extend(ours.filter(|other| other.key != key).cloned().map(Write::Delete));
    }

    /// Returns the objects of others that it depends on.
    fn claims(&self, routed: &Routed) -> BTreeSet<Claim> {
        let hosts = routed.mesh_hosts().into_iter().map(Claim::Host);
        let targets = routed.targets.iter().map(|target| target.service.clone());
        let others = targets.filter(|target| *target != self.key());
        let name = Claim::VirtualService(routed.key());
        std::iter::once(name).chain(hosts).chain(others.map(Claim::Service)).collect()
    }

    /// Whether all destinations of a template exist. Requests to others would fail.
    fn leads_to_what_is_there(&self, service: &ObservedService, routed: &Routed, plan: &mut Plan) -> bool {
        let missing = routed.targets.iter().filter_map(|Target { service, port }| {
            let target = self.services.get(&service.name, &service.namespace).filter(|target| !target.deleting);
            let Some(target) = target else { return Some(format!("Service {service} does not exist")) };
            let has = |number: &u32| target.ports.iter().any(|port| u32::from(port.number) == *number);
            let absent = port.filter(|number| !has(number) && !matches!(target.kind, ServiceKind::ExternalName(_)));
            absent.map(|number| format!("Service {service} has no port {number}"))
        });
        let missing: Vec<String> = missing.collect();
        if missing.is_empty() {
            return true;
        }
        let note = format!(
            "No request to it is routed to developers, because the virtualServiceTemplate refers to missing objects: \
             {}",
            missing.join("; ")
        );
        plan.findings.push(Finding { service: service.key.clone(), reason: DESTINATION_MISSING, note });
        false
    }

    /// Whether name and hosts are free of VirtualServices of others.
    fn place(&self, service: &ObservedService, routed: &Routed, plan: &mut Plan) -> Place {
        let key = routed.key();
        // One of ours in another place is deleted. Until it is gone it counts like any other.
        let own_namespaces = [&key.namespace, &service.key.namespace];
        let is_ours = |other: &ObservedVirtualService| {
            other.service().is_some_and(|of| of == service.key)
                && (!other.deleting || own_namespaces.contains(&&other.key.namespace))
        };
        let mut place = Place::Free;
        let mut find = |reason, note| {
            plan.findings.push(Finding { service: service.key.clone(), reason, note });
        };
        let present = self.virtual_services.get(&key);
        if present.is_some_and(|present| !is_ours(present) && !present.may_be_taken()) {
            place = Place::Taken;
            let note = format!(
                "VirtualService {key} belongs to somebody else and is not changed, so the VirtualService of this \
                 Service cannot have its name; rename it, or label it managed-by: virtualservice-operator to let \
                 outrigger take it over"
            );
            find(NAME_TAKEN, note);
        }
        let ours = self.virtual_services.of_service(&service.key).next();
        let mut told: BTreeMap<(&'static str, &'static str), (String, usize)> = BTreeMap::new();
        for host in routed.mesh_hosts() {
            for other in self.virtual_services.for_host(&host).filter(|other| !is_ours(other) && other.key != key) {
                let (reason, consequence) = if !other.is_seen_in(&service.key.namespace) {
                    (HOST_SHARED, "In the namespaces that can see it, requests may not be routed to developers")
                } else if ours.is_some_and(|ours| ours.is_followed_rather_than(other)) {
                    (HOST_SHARED, "Istio uses the older one, which is that of this Service")
                } else if self.configuration.is_developer(&other.key.namespace) {
                    // Otherwise a developer could disable routing for everybody.
                    (
                        HOST_SHARED,
                        "It is the older one, which Istio uses. The VirtualService of this Service is kept, because \
                         the other one is a developer's: delete it",
                    )
                } else {
                    place = Place::Barred;
                    (
                        HOST_TAKEN,
                        "Istio uses only one: requests to this Service are not routed to developers while it exists",
                    )
                };
                let first = || format!("VirtualService {} is for the host {host}, too", other.key);
                told.entry((reason, consequence)).or_insert_with(|| (first(), 0)).1 += 1;
            }
        }
        // Only the first of many is named, because there may be thousands.
        for ((reason, consequence), (first, others)) in told {
            let others = if others > 1 { ", and it is not the only one" } else { "" };
            find(reason, format!("{first}{others}. {consequence}"));
        }
        place
    }

    fn object(&self, service: &ObservedService, Routed { rendered, spec, .. }: &Routed) -> DynamicObject {
        let mut object = DynamicObject::new(&rendered.name, &resource(self.version)).within(&rendered.namespace);
        object.metadata.labels = Some(rendered.labels.clone());
        let annotations = annotations(service, rendered);
        object.metadata.annotations = (!annotations.is_empty()).then_some(annotations);
        object.metadata.owner_references = owner(service, rendered).map(|owner| vec![owner]);
        object.data(json!({"spec": spec}))
    }

    fn placeholders(&self, service: Option<&Arc<ObservedService>>, plan: &mut Plan) {
        let Configuration { default_namespace, developers, placeholders, .. } = self.configuration;
        let wanted = |namespace: &str| *placeholders && service.is_some() && self.configuration.is_developer(namespace);
        let named = self.services.of_name(self.name);
        for present in named.values() {
            let namespace = present.key.namespace.as_str();
            let is_excluded = EXCLUDED_NAMESPACES.contains(&namespace) || EXCLUDED_SERVICES.contains(&self.name);
            if present.deleting || is_excluded || !placeholder::is_placeholder_for(present, default_namespace) {
                continue;
            }
            if present.has_selector {
                plan.writes.push(Write::HandOver(Arc::clone(present)));
            } else if wanted(namespace) {
                if !placeholder::is_complete(present, default_namespace) {
                    let object = placeholder::object(self.configuration, &present.key, &present.resource_version);
                    plan.writes.push(Write::Placeholder(Box::new(object)));
                }
            } else if placeholder::is_untouched(present, default_namespace) {
                plan.writes.push(Write::DeletePlaceholder(Arc::clone(present)));
            }
        }
        let absent = developers.iter().filter(|developer| wanted(developer) && !named.contains_key(*developer));
        for developer in absent.filter(|developer| self.namespaces.contains(*developer)) {
            let object = placeholder::object(self.configuration, &Key::new(developer, self.name), ABSENT);
            plan.writes.push(Write::Placeholder(Box::new(object)));
        }
    }
}

impl Write {
    /// Returns the part that it belongs to.
    #[must_use]
    pub fn part(&self) -> Part {
        match self {
            Self::Create(_) | Self::Change(..) | Self::Delete(_) => Part::VirtualService,
            Self::Placeholder(object) => Part::Placeholder(object.metadata.namespace.clone().unwrap_or_default()),
            Self::HandOver(seen) | Self::DeletePlaceholder(seen) => Part::Placeholder(seen.key.namespace.clone()),
        }
    }
}

/// Returns the owner reference of a VirtualService, as in vs-operator. There is none across namespaces.
fn owner(service: &ObservedService, rendered: &Rendered) -> Option<OwnerReference> {
    (rendered.namespace == service.key.namespace).then(|| OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Service".to_owned(),
        name: service.key.name.clone(),
        uid: service.uid.to_string(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    })
}

fn annotations(service: &ObservedService, rendered: &Rendered) -> BTreeMap<String, String> {
    let mut annotations = rendered.annotations.clone();
    if rendered.namespace != service.key.namespace {
        annotations.insert(SERVICE.to_owned(), service.key.to_string());
    }
    annotations
}

/// Returns the changes of an existing VirtualService; empty if there are none. Metadata set by others stays.
fn changes(present: &ObservedVirtualService, service: &ObservedService, routed: &Routed) -> Vec<PatchOperation> {
    let Routed { rendered, spec, .. } = routed;
    let Some(managed) = &present.managed else { return Vec::new() };
    let mut changes = Vec::new();
    let mut add = |path: &[&str], value: Value| {
        let path = PointerBuf::from_tokens(path.iter().copied());
        changes.push(PatchOperation::Add(AddOperation { path, value }));
    };
    if managed.spec != *spec {
        add(&["spec"], spec.clone());
    }
    let annotations = annotations(service, rendered);
    for (field, wanted, present) in
        [("labels", &rendered.labels, &managed.labels), ("annotations", &annotations, &managed.annotations)]
    {
        let missing: Vec<_> = wanted.iter().filter(|(key, value)| present.get(*key) != Some(value)).collect();
        if present.is_empty() && !missing.is_empty() {
            add(&["metadata", field], json!(wanted));
        } else {
            for (key, value) in missing {
                add(&["metadata", field, key], value.as_str().into());
            }
        }
    }
    if let Some(ours) = owner(service, rendered)
        && !managed.owners.contains(&ours)
    {
        // A reference to an earlier Service of this name must go, because the garbage collector would delete the
        // VirtualService.
        let is_earlier = |owner: &OwnerReference| owner.kind == ours.kind && owner.name == ours.name;
        let mut owners: Vec<_> = managed.owners.iter().filter(|owner| !is_earlier(owner)).cloned().collect();
        owners.push(ours);
        add(&["metadata", "ownerReferences"], json!(owners));
    }
    changes
}
