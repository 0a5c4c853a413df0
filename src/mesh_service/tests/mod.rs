//! The common part of these tests: a small world, from objects as users write them.

mod claims;
mod hostile;
mod service_ports;
mod table;
mod written;

use super::{
    Consents, Key, MeshKind, MeshKinds, ObservedGateway, ObservedMeshService, ObservedService, Plan, World, plan,
};
use crate::api::keys;
use crate::documents::parse;
use serde_json::Value;

/// MeshServices, and the objects around them.
#[derive(Default)]
pub(super) struct Fake {
    pub mesh_services: Vec<ObservedMeshService>,
    services: Vec<ObservedService>,
    gateways: Vec<ObservedGateway>,
    consents: Consents,
    kinds: MeshKinds,
}

impl Fake {
    /// Reads YAML, where `apiVersion` is optional. The default namespace is `shop`; each MeshService is younger than
    /// those before it.
    pub fn of(yaml: &str) -> Self {
        let mut fake = Self::default();
        let has_version = yaml.contains("apiVersion: ");
        let yaml = if has_version { yaml } else { &yaml.replace("kind: ", "apiVersion: any/v1\nkind: ") };
        for document in parse("given.yaml", yaml.as_bytes()).unwrap() {
            let mut object = document.value.clone();
            let kind = object["kind"].as_str().unwrap().to_owned();
            let metadata = &mut object["metadata"];
            if metadata["namespace"].is_null() && kind != "Namespace" {
                metadata["namespace"] = "shop".into();
            }
            match kind.as_str() {
                "MeshService" => {
                    metadata["uid"] = format!("uid-of-{}", metadata["name"].as_str().unwrap()).into();
                    let second = fake.mesh_services.len();
                    metadata["creationTimestamp"] = format!("2026-11-29T10:00:{second:02}Z").into();
                    fake.mesh_services.push(ObservedMeshService::read(object));
                }
                "Service" => fake.services.push(ObservedService::read(object)),
                "Gateway" => fake.gateways.push(ObservedGateway::read(object)),
                "Namespace" => {
                    let annotation = metadata["annotations"][keys::ALLOW_MESH_FROM].as_str();
                    fake.consents.set(metadata["name"].as_str().unwrap(), annotation);
                }
                other => panic!("{other}"),
            }
        }
        fake
    }

    pub fn with(mut self, kinds: impl IntoIterator<Item = MeshKind>) -> Self {
        self.kinds = kinds.into_iter().collect();
        self
    }

    /// Returns the plan for the MeshService of this place.
    pub fn plan(&self, place: usize) -> Plan {
        let mesh_service = &self.mesh_services[place];
        let asked = mesh_service.usable.as_ref().ok();
        let rivals: Vec<_> = self.mesh_services.iter().filter_map(ObservedMeshService::as_rival).collect();
        let world = World {
            consents: &self.consents,
            service: self.services.iter().find(|service| asked.is_some_and(|asked| asked.service == service.key)),
            gateway: self
                .gateways
                .iter()
                .find(|gateway| asked.and_then(|asked| asked.gateway.as_ref()) == Some(&gateway.key)),
            rivals: &rivals,
            kinds: &self.kinds,
            root_namespace: "istio-system",
            domain: "cluster.local",
        };
        plan(mesh_service, world)
    }
}

/// Returns the objects of a plan, as `Kind namespace/name`.
pub(super) fn names(plan: &Plan) -> Vec<String> {
    plan.objects.iter().map(|object| format!("{} {}", kind(object), Key::of(&object.metadata))).collect()
}

fn kind(object: &kube::api::DynamicObject) -> &str {
    &object.types.as_ref().unwrap().kind
}

/// Returns the spec of the object of this kind whose name ends with this.
pub(super) fn spec<'p>(plan: &'p Plan, of: MeshKind, end: &str) -> &'p Value {
    let is = |object: &&kube::api::DynamicObject| {
        kind(object) == of.as_str() && object.metadata.name.as_deref().is_some_and(|name| name.ends_with(end))
    };
    let object = plan.objects.iter().find(is).unwrap_or_else(|| panic!("no {of} {end} in {:?}\n{plan:?}", names(plan)));
    &object.data["spec"]
}

/// Returns the violations of a plan, as `type: message`.
pub(super) fn said(plan: &Plan) -> Vec<String> {
    plan.violations.iter().map(|violation| format!("{}: {}", violation.type_, violation.message)).collect()
}
