//! Builds a plan: each object that a MeshService requests, if it may be made and Istio would accept it.

use super::key::Key;
use super::kind::MeshKind;
use super::mark::mark;
use super::observed::{ObservedMeshService, Usable};
use super::outcome::Plan;
use super::port::Port;
use super::rival::Rival;
use super::violation;
use super::world::World;
use crate::api::keys;
use crate::api::mesh_service::Severity;
use crate::istio::host;
use crate::istio::validate::{self, Fault, FaultKind};
use kube::api::{DynamicObject, TypeMeta};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// At most this many errors of one object are reported. An error may be repeated in each of its routes.
const MOST_FAULTS: usize = 8;

/// A plan that is being built.
pub(super) struct Builder<'a> {
    pub mesh_service: &'a ObservedMeshService,
    pub asked: &'a Usable,
    pub world: World<'a>,
    pub ports: Vec<Port>,
    pub plan: Plan,
}

impl<'a> Builder<'a> {
    pub fn new(mesh_service: &'a ObservedMeshService, asked: &'a Usable, world: World<'a>) -> Self {
        let left_out = MeshKind::ALL.into_iter().filter(|kind| !world.kinds.contains(*kind)).collect();
        let ports = Port::read_all(&asked.spec.ports);
        Self { mesh_service, asked, world, ports, plan: Plan { left_out, ..Plan::default() } }
    }

    /// Returns the full host name of the Service.
    pub fn host(&self) -> String {
        host::service(&self.asked.service.name, &self.asked.service.namespace, self.world.domain)
    }

    /// Returns the key of an object in the namespace of the Service. If that is not the namespace of the MeshService,
    /// the name begins with the MeshService's namespace, which has no dot.
    pub fn key(&self, suffix: &str) -> Key {
        let own = &self.mesh_service.key;
        let namespace = &self.asked.service.namespace;
        let name = if *namespace == own.namespace {
            format!("{}{suffix}", own.name)
        } else {
            format!("{}.{}{suffix}", own.namespace, own.name)
        };
        Key::new(namespace, name)
    }

    /// Returns other MeshServices that name the same object and may have objects in a namespace.
    pub(super) fn rivals(&self, namespace: &str, names_same: impl Fn(&Rival<'a>) -> bool) -> Vec<Rival<'a>> {
        let others = self.world.rivals.iter().filter(|rival| *rival.key != self.mesh_service.key && names_same(rival));
        let may_be = |rival: &&Rival<'a>| {
            let allow = |namespace: &str| self.world.consents.allow(namespace, &rival.key.namespace);
            allow(namespace) && rival.service.is_none_or(|service| allow(&service.namespace))
        };
        others.filter(may_be).copied().collect()
    }

    /// Reports a violation of the MeshService.
    pub fn tell(&mut self, type_: &str, severity: Severity, message: String) {
        let violation = violation::told(self.mesh_service, type_, severity, message);
        if !self.plan.violations.contains(&violation) {
            self.plan.violations.push(violation);
        }
    }

    /// Returns whether objects of a kind are made, and reports it if they are requested and are not.
    pub fn makes(&mut self, kind: MeshKind) -> bool {
        if self.world.kinds.contains(kind) {
            return true;
        }
        let is_policy = matches!(kind, MeshKind::PeerAuthentication | MeshKind::AuthorizationPolicy);
        let severity = if is_policy { Severity::Warning } else { Severity::Info };
        let message = format!("No {kind} is made: --mesh-kinds leaves it out");
        self.tell(violation::KIND_LEFT_OUT, severity, message);
        false
    }

    /// Keeps the object as it is, if it exists.
    pub fn keep(&mut self, kind: MeshKind, key: Key) {
        self.plan.kept.insert((kind, key));
    }

    /// Adds an object of a kind that is made, unless Istio would refuse it. `field` returns the field of the
    /// MeshService that a field of the object comes from.
    pub fn add(&mut self, kind: MeshKind, key: Key, spec: Value, field: impl Fn(&str) -> Option<String>) {
        let own = &self.mesh_service.key.namespace;
        if !self.world.consents.allow_kind(&key.namespace, own, kind) {
            let message = format!(
                "The Namespace {} lets no {kind} of {own} in: add it to its annotation {}, as {own}:{kind}+…. No {kind} is written",
                key.namespace,
                keys::ALLOW_MESH_FROM
            );
            self.tell(violation::NO_CONSENT, Severity::Error, message);
            return self.keep(kind, key); // routes wait for a requested policy
        }
        let resource = kind.resource();
        let types = TypeMeta { api_version: resource.api_version, kind: resource.kind };
        let metadata = mark(self.mesh_service, &key);
        let mut judged = json!({
            "apiVersion": types.api_version, "kind": types.kind, "metadata": {"name": key.name, "namespace": key.namespace},
        });
        judged["spec"] = spec; // moved: it may be large
        let faults = validate::object(kind.as_str(), "v1", &judged, &key.namespace);
        if self.tell_faults(kind, &key, &faults, field) {
            self.keep(kind, key);
        } else {
            let data = Map::from_iter([("spec".to_owned(), judged["spec"].take())]).into();
            self.plan.objects.push(DynamicObject { types: Some(types), metadata, data });
        }
    }

    /// Returns whether Istio refuses the object.
    fn tell_faults(
        &mut self,
        kind: MeshKind,
        key: &Key,
        faults: &[Fault],
        field: impl Fn(&str) -> Option<String>,
    ) -> bool {
        let (errors, warnings): (Vec<_>, Vec<_>) =
            faults.iter().partition(|fault| matches!(fault.kind, FaultKind::Error(_)));
        let is_refused = !errors.is_empty();
        let mut seen = BTreeSet::new();
        for fault in if is_refused { errors } else { warnings } {
            let at = field(&fault.field).unwrap_or_else(|| format!("{kind} {key}, {}", fault.field));
            let (type_, severity, message) = if is_refused {
                let message = format!("{at}: {}. The {kind} {key} is not written", fault.problem);
                (violation::INVALID_OBJECT, Severity::Error, message)
            } else {
                (violation::WARNED, Severity::Warning, format!("{at}: {}", fault.problem))
            };
            if seen.len() < MOST_FAULTS && seen.insert(message.clone()) {
                self.tell(type_, severity, message);
            }
        }
        is_refused
    }
}
