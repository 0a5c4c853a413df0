//! Pure: what is to be written for all Services of one name: their VirtualService, and the placeholders of developers without a copy.

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

/// A VirtualService of somebody else has the name that the Service's would have.
pub const NAME_TAKEN: &str = "VirtualServiceNameTaken";
/// A VirtualService of somebody else is for the Service's host.
pub const HOST_TAKEN: &str = "VirtualServiceHostTaken";
/// A VirtualService of somebody else is for the Service's host in some namespaces, or may be followed instead of ours.
pub const HOST_SHARED: &str = "VirtualServiceHostShared";
/// A copy, or the Service itself, cannot be routed to.
pub const NOT_ROUTED: &str = "NotRouted";
/// The VirtualService would be refused by Istio.
pub const INVALID: &str = "InvalidVirtualService";
/// The API server refuses a write.
pub const WRITE_REFUSED: &str = "WriteRefused";
/// The template leads to a Service, or a port of one, that does not exist.
pub const DESTINATION_MISSING: &str = "DestinationMissing";

/// What is around the Services of one name.
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
    /// The ready endpoints, where the configuration asks for them.
    pub(super) ready: &'a ReadyEndpoints,
    /// The version in which VirtualServices are written.
    pub version: &'a str,
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// What is to be written, in this order: a VirtualService before another is deleted.
    pub writes: Vec<Write>,
    /// What a user has to know.
    pub findings: Vec<Finding>,
    /// What its VirtualService needs, if there is to be one.
    pub claims: BTreeSet<Claim>,
}

/// One write.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// There is none of its name: this one.
    Create(Box<DynamicObject>),
    /// These changes to the one that is there.
    Change(Arc<ObservedVirtualService>, Vec<PatchOperation>),
    /// It is of no use any more.
    Delete(Arc<ObservedVirtualService>),
    /// A placeholder is to be so.
    Placeholder(Box<DynamicObject>),
    /// A developer's manifest was applied over the placeholder, which it becomes.
    HandOver(Arc<ObservedService>),
    /// The placeholder is of no use any more.
    DeletePlaceholder(Arc<ObservedService>),
}

/// What is written by itself: trouble with one part does not hold up the others, for a developer may be the one who makes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The VirtualService.
    VirtualService,
    /// The placeholder in this namespace.
    Placeholder(String),
}

/// What a user has to know about a Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Finding {
    /// The Service.
    pub service: Key,
    /// In one word.
    pub reason: &'static str,
    /// In a sentence.
    pub note: String,
}

/// Whether there is room for a VirtualService.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// There is.
    Free,
    /// Its name is somebody else's. One of another name stays as it is.
    Taken,
    /// There shall be none.
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
    /// The Service that everybody uses, if it is there to be routed.
    fn service(&self) -> Option<&Arc<ObservedService>> {
        let service = self.services.get(self.name, &self.configuration.default_namespace)?;
        (!service.deleting && !EXCLUDED_SERVICES.contains(&self.name)).then_some(service)
    }

    fn key(&self) -> Key {
        Key::new(&self.configuration.default_namespace, self.name)
    }

    /// The VirtualService as it is to be; `Err`: it is not known, and what is there stays.
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
                find(&service.key, INVALID, format!("Its VirtualService is left as it is: {}", errors.join("; ")));
                Err(())
            }
        }
    }

    /// The copies that requests may be routed to, in the order of the developers.
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
            // What is there stays until there is room for the new one.
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

    /// What others have a word in.
    fn claims(&self, routed: &Routed) -> BTreeSet<Claim> {
        let hosts = routed.mesh_hosts().into_iter().map(Claim::Host);
        let targets = routed.targets.iter().map(|target| target.service.clone());
        let others = targets.filter(|target| *target != self.key());
        let name = Claim::VirtualService(routed.key());
        std::iter::once(name).chain(hosts).chain(others.map(Claim::Service)).collect()
    }

    /// Whether all that a template leads to is there: requests to what is not would fail.
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
            "No request to it is routed to developers, for the virtualServiceTemplate leads to what is not there: {}",
            missing.join("; ")
        );
        plan.findings.push(Finding { service: service.key.clone(), reason: DESTINATION_MISSING, note });
        false
    }

    /// Whether neither name nor hosts are those of somebody else's VirtualService.
    fn place(&self, service: &ObservedService, routed: &Routed, plan: &mut Plan) -> Place {
        let key = routed.key();
        // One that says so somewhere else is deleted: until it is gone it is like any other.
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
                "VirtualService {key} is somebody else's and is left as it is, so that of this Service cannot have the name; give it \
                 another one, or label it managed-by: virtualservice-operator to have it taken over"
            );
            find(NAME_TAKEN, note);
        }
        let ours = self.virtual_services.of_service(&service.key).next();
        let mut told: BTreeMap<(&'static str, &'static str), (String, usize)> = BTreeMap::new();
        for host in routed.mesh_hosts() {
            for other in self.virtual_services.for_host(&host).filter(|other| !is_ours(other) && other.key != key) {
                let (reason, consequence) = if !other.is_seen_in(&service.key.namespace) {
                    (HOST_SHARED, "Where it is exported to, requests may not be routed to developers")
                } else if ours.is_some_and(|ours| ours.is_followed_rather_than(other)) {
                    (HOST_SHARED, "Istio follows the older one, which is that of this Service")
                } else if self.configuration.is_developer(&other.key.namespace) {
                    // Or a developer could turn routing off for everybody.
                    (
                        HOST_SHARED,
                        "It is the older one, which Istio follows; that of this Service stays beside it, for it is a developer's: delete it",
                    )
                } else {
                    place = Place::Barred;
                    (
                        HOST_TAKEN,
                        "Istio follows only one: requests to this Service are not routed to developers as long as it is there",
                    )
                };
                let first = || format!("VirtualService {} is for the host {host}, too", other.key);
                told.entry((reason, consequence)).or_insert_with(|| (first(), 0)).1 += 1;
            }
        }
        // Of many the first is named: there may be thousands.
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
    /// The part that it belongs to.
    #[must_use]
    pub fn part(&self) -> Part {
        match self {
            Self::Create(_) | Self::Change(..) | Self::Delete(_) => Part::VirtualService,
            Self::Placeholder(object) => Part::Placeholder(object.metadata.namespace.clone().unwrap_or_default()),
            Self::HandOver(seen) | Self::DeletePlaceholder(seen) => Part::Placeholder(seen.key.namespace.clone()),
        }
    }
}

/// The reference of a VirtualService to its Service, as vs-operator has it. Across namespaces there is none.
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

/// What makes a VirtualService what it should be; nothing if it is that already. What others put into its metadata stays.
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
        // One of an earlier Service of this name is of no use: the garbage collector would delete the VirtualService for it.
        let is_earlier = |owner: &OwnerReference| owner.kind == ours.kind && owner.name == ours.name;
        let mut owners: Vec<_> = managed.owners.iter().filter(|owner| !is_earlier(owner)).cloned().collect();
        owners.push(ours);
        add(&["metadata", "ownerReferences"], json!(owners));
    }
    changes
}
