//! Pure: what is to be written for all Services of one name: their VirtualService, and the placeholders of developers without a copy.

use super::configuration::{Configuration, EXCLUDED_NAMESPACES, EXCLUDED_SERVICES};
use super::endpoints::ReadyEndpoints;
use super::key::Key;
use super::placeholder;
use super::routes::{self, Routed};
use super::service::ObservedService;
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
/// A VirtualService of somebody else is for the Service's host in some namespaces.
pub const HOST_SHARED: &str = "VirtualServiceHostShared";
/// A copy, or the Service itself, cannot be routed to.
pub const NOT_ROUTED: &str = "NotRouted";
/// The VirtualService would be refused by Istio.
pub const INVALID: &str = "InvalidVirtualService";

/// What is around the Services of one name.
#[derive(Clone, Copy, Debug)]
pub struct Around<'a> {
    /// The configuration.
    pub configuration: &'a Configuration,
    /// Their name.
    pub name: &'a str,
    /// The Services of that name, by namespace.
    pub services: &'a BTreeMap<String, Arc<ObservedService>>,
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
    /// What its VirtualService is to have, if there is to be one: whoever else comes to have it matters.
    pub claim: Option<Claim>,
}

/// A name and hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The name.
    pub name: Key,
    /// Whole names for which it counts in the mesh.
    pub hosts: Vec<String>,
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

/// Plans for the Services of one name.
#[must_use]
pub fn plan(around: Around<'_>) -> Plan {
    let mut plan = Plan::default();
    let service = around.service();
    if around.configuration.require_ready_endpoints && !around.ready.is_known() {
        return plan; // soon
    }
    around.virtual_service(service, &mut plan);
    around.placeholders(service, &mut plan);
    plan
}

impl Around<'_> {
    /// The Service that everybody uses, if it is there to be routed.
    fn service(&self) -> Option<&Arc<ObservedService>> {
        let service = self.services.get(&self.configuration.default_namespace)?;
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
        let Configuration { default_namespace, developers, require_ready_endpoints, .. } = self.configuration;
        let copies = developers.iter().filter_map(|developer| self.services.get(developer)).map(AsRef::as_ref);
        let is_real =
            |copy: &&ObservedService| !copy.deleting && !placeholder::is_placeholder_for(copy, default_namespace);
        let is_ready =
            |copy: &&ObservedService| !require_ready_endpoints || self.ready.is_ready(&copy.key).unwrap_or_default();
        copies.filter(is_real).filter(is_ready).collect()
    }

    fn virtual_service(&self, service: Option<&Arc<ObservedService>>, plan: &mut Plan) {
        let Ok(routed) = self.routed(service, plan) else { return };
        let wanted = service.zip(routed).filter(|(service, routed)| self.is_free(service, routed, plan));
        let mut kept = None;
        if let Some((service, Routed { rendered, .. })) = &wanted {
            let key = Key::new(&rendered.namespace, &rendered.name);
            match self.virtual_services.get(&key) {
                None => plan.writes.push(Write::Create(Box::new(self.object(service, rendered)))),
                Some(present) if present.deleting => {} // once it is gone
                Some(present) => {
                    let changes = changes(present, service, rendered);
                    if !changes.is_empty() {
                        plan.writes.push(Write::Change(Arc::clone(present), changes));
                    }
                }
            }
            kept = Some(key);
        }
        let own = self.key();
        let others = self.virtual_services.of_service(&own);
        let of_no_use = others.filter(|other| Some(&other.key) != kept.as_ref() && !other.deleting);
        plan.writes.extend(of_no_use.filter(|other| other.has_shape_for(&own)).cloned().map(Write::Delete));
    }

    /// Whether neither name nor hosts are those of somebody else's VirtualService.
    fn is_free(&self, service: &ObservedService, routed: &Routed, plan: &mut Plan) -> bool {
        let rendered = &routed.rendered;
        let key = Key::new(&rendered.namespace, &rendered.name);
        let written = ObservedVirtualService::read(json!({
            "metadata": {"namespace": rendered.namespace}, "spec": rendered.virtual_service.spec(),
        }));
        let hosts = written.mesh_hosts;
        plan.claim = Some(Claim { name: key.clone(), hosts: hosts.clone() });
        let is_ours = |other: &ObservedVirtualService| {
            other.service().is_some_and(|of| of == service.key) || other.key == key && other.may_be_taken()
        };
        let mut is_free = true;
        let mut find = |reason, note| {
            plan.findings.push(Finding { service: service.key.clone(), reason, note });
        };
        if self.virtual_services.get(&key).is_some_and(|present| !is_ours(present)) {
            is_free = false;
            let note = format!(
                "VirtualService {key} is somebody else's and is left as it is, so no request is routed to developers; give it \
                 another name, or label it managed-by: virtualservice-operator to have it taken over"
            );
            find(NAME_TAKEN, note);
        }
        for host in &hosts {
            for other in self.virtual_services.for_host(host).filter(|other| !is_ours(other) && other.key != key) {
                if other.is_seen_in(&service.key.namespace) {
                    is_free = false;
                    let note = format!(
                        "VirtualService {} is for the host {host}, too, and Istio follows only one: requests to this Service are \
                         not routed to developers as long as it is there",
                        other.key
                    );
                    find(HOST_TAKEN, note);
                } else {
                    let note = format!(
                        "VirtualService {} is for the host {host}, too: where it is exported to, requests may not be routed to \
                         developers",
                        other.key
                    );
                    find(HOST_SHARED, note);
                }
            }
        }
        is_free
    }

    fn object(&self, service: &ObservedService, rendered: &Rendered) -> DynamicObject {
        let mut object = DynamicObject::new(&rendered.name, &resource(self.version)).within(&rendered.namespace);
        object.metadata.labels = Some(rendered.labels.clone());
        let annotations = annotations(service, rendered);
        object.metadata.annotations = (!annotations.is_empty()).then_some(annotations);
        object.metadata.owner_references = owner(service, rendered).map(|owner| vec![owner]);
        object.data(json!({"spec": rendered.virtual_service.spec()}))
    }

    fn placeholders(&self, service: Option<&Arc<ObservedService>>, plan: &mut Plan) {
        let Configuration { default_namespace, developers, placeholders, .. } = self.configuration;
        let wanted = |namespace: &str| *placeholders && service.is_some() && self.configuration.is_developer(namespace);
        for present in self.services.values() {
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
        let absent = developers.iter().filter(|developer| wanted(developer) && !self.services.contains_key(*developer));
        for developer in absent.filter(|developer| self.namespaces.contains(*developer)) {
            let object = placeholder::object(self.configuration, &Key::new(developer, self.name), ABSENT);
            plan.writes.push(Write::Placeholder(Box::new(object)));
        }
    }
}

impl Finding {
    /// Whether its Service is not routed at all.
    #[must_use]
    pub fn is_of_whole_service(&self) -> bool {
        matches!(self.reason, NAME_TAKEN | HOST_TAKEN | INVALID)
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
fn changes(present: &ObservedVirtualService, service: &ObservedService, rendered: &Rendered) -> Vec<PatchOperation> {
    let Some(managed) = &present.managed else { return Vec::new() };
    let mut changes = Vec::new();
    let mut add = |path: &[&str], value: Value| {
        let path = PointerBuf::from_tokens(path.iter().copied());
        changes.push(PatchOperation::Add(AddOperation { path, value }));
    };
    let spec = rendered.virtual_service.spec();
    if managed.spec != spec {
        add(&["spec"], spec);
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
