//! Pure: the repairs of what is wrong, in the order in which to do them.
//!
//! Objects that outrigger made are repaired automatically. Repairs of other objects are advice, and outrigger does them
//! only if an annotation allows it ([`Consent`]). The advice is to create what is missing, and never to delete what
//! refers to it: a VirtualService whose Gateway is missing may carry the traffic of others.

use super::key::Key;
use super::observed::ObservedMeshService;
use super::violation;
use crate::api::mesh_service::{self as api, RepairAction, Violation};
use crate::mesh_integrity::{self, Code, Finding, Severity};
use std::collections::BTreeSet;

/// The type of a repair, as the status names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    /// Create an object.
    Create,
    /// Take over an object that has no owner.
    Adopt,
    /// Add a port to a Service.
    AddPort,
    /// Set the `appProtocol` of a port of a Service.
    SetProtocol,
    /// Change an object.
    Update,
}

/// The repairs that the annotation `outrigger.dev/mesh-repair` of a MeshService or of a Service allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Consent(BTreeSet<Act>);

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair {
    /// What to do.
    pub act: Act,
    /// The object, as `Kind/namespace/name`.
    pub resource: String,
    /// The exact change.
    pub action: String,
    /// Why.
    pub reason: String,
    /// The severity of the error.
    pub severity: Severity,
}

impl Act {
    /// The repairs that the annotation of a MeshService may allow.
    pub const OF_MESH_SERVICES: [Self; 1] = [Self::Adopt];
    /// The repairs that the annotation of a Service may allow.
    pub const OF_SERVICES: [Self; 2] = [Self::AddPort, Self::SetProtocol];

    /// Returns the repair in the form of the status.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "Create",
            Self::Adopt => "Adopt",
            Self::AddPort => "AddPort",
            Self::SetProtocol => "SetProtocol",
            Self::Update => "Update",
        }
    }
}

impl Consent {
    /// Reads the annotation: names of repairs, separated by commas. The second part has the unknown names.
    #[must_use]
    pub fn read(annotation: Option<&str>, among: &[Act]) -> (Self, Vec<String>) {
        let (mut acts, mut unknown) = (BTreeSet::new(), Vec::new());
        for name in annotation.unwrap_or_default().split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match among.iter().find(|act| act.as_str() == name) {
                Some(act) => _ = acts.insert(*act),
                None => unknown.push(name.to_owned()),
            }
        }
        (Self(acts), unknown)
    }

    /// Returns whether this is allowed.
    #[must_use]
    pub fn covers(&self, act: Act) -> bool {
        self.0.contains(&act)
    }
}

impl Repair {
    /// Returns the repair of a violation of the plan. The message of the violation says what to do.
    #[must_use]
    pub fn of_violation(told: &Violation, mesh_service: &ObservedMeshService) -> Option<Self> {
        let severity = match told.severity {
            api::Severity::Error => Severity::Error,
            api::Severity::Warning => Severity::Warning,
            api::Severity::Info => return None,
        };
        let asked = mesh_service.usable.as_ref().ok();
        let gateway = || asked.and_then(|asked| asked.gateway.as_ref()).map(|gateway| format!("Gateway/{gateway}"));
        let service = || asked.map(|asked| format!("Service/{}", asked.service));
        let namespace = || asked.map(|asked| format!("Namespace/{}", asked.service.namespace));
        let (act, resource) = match told.type_.as_str() {
            violation::GATEWAY_HOST_MISSING => (Act::Update, gateway()),
            violation::GATEWAY_NOT_MADE => (Act::Create, gateway()),
            violation::PORT_MISSING => (Act::AddPort, service()),
            violation::PORT_PROTOCOL => (Act::SetProtocol, service()),
            violation::NO_CONSENT => (Act::Update, namespace()),
            _ => (Act::Update, None),
        };
        Some(Self {
            act,
            resource: resource.unwrap_or_else(|| told.resource.clone()),
            action: told.message.clone(),
            reason: told.type_.clone(),
            severity,
        })
    }

    /// Returns the repair of a subset whose labels select no Pod.
    #[must_use]
    pub fn of_empty_subset(told: &Violation, mesh_service: &Key) -> Self {
        Self {
            act: Act::Update,
            resource: format!("MeshService/{mesh_service}"),
            action: "correct the labels of the subset, or start its Pods: requests to the subset fail with 503"
                .to_owned(),
            reason: told.message.clone(),
            severity: Severity::Warning,
        }
    }

    /// Returns the repair of a finding about the objects of a MeshService, if it is known.
    #[must_use]
    pub fn of(finding: &Finding, mesh_service: &Key, is_ours: impl Fn(&mesh_integrity::Key) -> bool) -> Option<Self> {
        let first = finding.objects.first().filter(|_| !finding.advice.is_empty())?;
        let owner = || format!("MeshService/{mesh_service}");
        let named = |key: &mesh_integrity::Key| if is_ours(key) { owner() } else { key.to_string() };
        let missing = finding.message.strip_prefix("References non-existent ").filter(|missing| is_object(missing));
        let (act, resource) = match finding.code {
            _ if missing.is_some() => (Act::Create, missing.unwrap_or_default().to_owned()),
            // The message begins with the Gateway that lacks the host.
            Code::IST0132 => (Act::Update, finding.message.split(' ').next().unwrap_or_default().to_owned()),
            // If objects contradict each other, the one to change is not ours.
            _ => (Act::Update, finding.objects.iter().find(|key| !is_ours(key)).map_or_else(|| named(first), named)),
        };
        Some(Self {
            act,
            resource,
            action: finding.advice.clone(),
            reason: finding.message.clone(),
            severity: finding.severity,
        })
    }
}

/// Returns whether this is `Kind/namespace/name`.
fn is_object(text: &str) -> bool {
    !text.contains(' ') && text.split('/').count() == 3
}

/// Orders the repairs: missing objects first, then by severity. Each occurs once.
#[must_use]
pub fn ordered(mut repairs: Vec<Repair>) -> Vec<RepairAction> {
    repairs.sort_by(|one, other| {
        let order = |repair: &Repair| (repair.act, std::cmp::Reverse(repair.severity));
        order(one).cmp(&order(other)).then_with(|| one.resource.cmp(&other.resource))
    });
    repairs.dedup_by(|later, earlier| (&later.resource, &later.action) == (&earlier.resource, &earlier.action));
    let action = |repair: Repair| RepairAction {
        type_: repair.act.as_str().to_owned(),
        resource: repair.resource,
        action: repair.action,
        reason: repair.reason,
    };
    repairs.into_iter().map(action).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh_integrity::{Engine, Options};
    use crate::mesh_service::sample::mesh;

    fn plan(objects: &str) -> Vec<String> {
        let engine = Engine::of_shared(Options::default(), mesh(objects)).unwrap();
        let is_ours = |key: &mesh_integrity::Key| key.name.starts_with("ours");
        let repairs = engine.findings().iter().filter_map(|found| Repair::of(found, &Key::new("shop", "web"), is_ours));
        ordered(repairs.collect()).into_iter().map(|action| format!("{} {}", action.type_, action.resource)).collect()
    }

    const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {ports: [{name: http, port: 80}]}
";

    #[test]
    fn what_is_missing_is_created_and_nothing_is_deleted() {
        let routes = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ours, namespace: shop}
spec:
  hosts: [a.example.com]
  gateways: [edge/public]
  http: [{route: [{destination: {host: web, subset: v1, port: {number: 80}}}]}, {name: x, match: [{uri: {exact: /x}}], route: [{destination: {host: cart}}]}]
";
        let plan = plan(&[SERVICE, routes].join("---"));
        assert_eq!(plan[..2], ["Create Gateway/edge/public", "Create Service/shop/cart"]);
        assert!(plan[2..].iter().all(|step| step == "Update MeshService/shop/web"), "{plan:?}");
        assert!(plan.len() > 2, "the subset");
    }

    #[test]
    fn of_two_that_contradict_each_other_the_other_is_named() {
        let rule = |name: &str| {
            format!(
                "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}, namespace: shop}}\nspec: \
                 {{hosts: [web], http: [{{route: [{{destination: {{host: web}}}}]}}]}}\n"
            )
        };
        let objects = [SERVICE.to_owned(), rule("ours"), rule("theirs")].join("---\n");
        assert_eq!(plan(&objects), ["Update VirtualService/shop/theirs"]);
    }

    #[test]
    fn a_gateway_that_lacks_the_host_is_told_to_whoever_has_it() {
        let objects = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: public, namespace: edge}
spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*.org']}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ours, namespace: shop}
spec: {hosts: [a.example.com], gateways: [edge/public], http: [{route: [{destination: {host: web}}]}]}
";
        assert_eq!(plan(&[SERVICE, objects].join("---")), ["Update Gateway/edge/public"]);
    }

    #[test]
    fn only_what_is_named_is_done() {
        let (consent, unknown) = Consent::read(Some("Adopt, Delete,"), &Act::OF_MESH_SERVICES);
        assert!(consent.covers(Act::Adopt) && !consent.covers(Act::Create));
        assert_eq!(unknown, ["Delete"]);
        let (consent, unknown) = Consent::read(Some("AddPort,Adopt"), &Act::OF_SERVICES);
        assert!(consent.covers(Act::AddPort) && !consent.covers(Act::SetProtocol) && !consent.covers(Act::Adopt));
        assert_eq!(unknown, ["Adopt"]);
        assert_eq!(Consent::read(None, &Act::OF_SERVICES), (Consent::default(), Vec::new()));
    }
}
