//! Pure: why an object is not written, and its repair.

use super::key::Key;
use super::repair::{Act, Repair};
use super::seen::{Giving, Seen};
use super::violation;
use super::watched::ObjectKey;
use crate::api::keys;
use crate::api::mesh_service::{Severity, Violation};
use crate::mesh_integrity;

/// Why an object is not written.
pub(super) struct Obstacle {
    pub violation: Violation,
    pub repair: Repair,
}

impl Obstacle {
    fn new(violation: Violation, act: Act, resource: String, action: String) -> Box<Self> {
        let reason = violation.message.clone();
        let repair = Repair { act, resource, action, reason, severity: mesh_integrity::Severity::Error };
        Box::new(Self { violation, repair })
    }
}

/// Returns the obstacle of a missing namespace.
pub(super) fn missing_namespace(namespace: &ObjectKey, object: &ObjectKey) -> Box<Obstacle> {
    let violation = Violation {
        type_: violation::FOREIGN_KEY.to_owned(),
        resource: object.to_string(),
        message: format!("References non-existent {namespace}"),
        severity: Severity::Error,
    };
    let action = "create the namespace, or correct its name in the spec".to_owned();
    Obstacle::new(violation, Act::Create, namespace.to_string(), action)
}

/// Returns the obstacle of an object that exists and is not ours.
pub(super) fn taken(mesh_service: &Key, seen: &Seen) -> Box<Obstacle> {
    let (is_nobodys, whose) = match (&seen.owner, &seen.giving) {
        (Some(owner), _) => (false, format!("was made for MeshService/{owner}")),
        (None, Giving::Controlled(controller)) => (false, format!("is controlled by {controller}")),
        (None, _) => (true, "was not made for this MeshService".to_owned()),
    };
    let resource = seen.key.to_string();
    let violation = Violation {
        type_: violation::NAME_TAKEN.to_owned(),
        resource: resource.clone(),
        message: format!("There is one of this name already, which {whose}; it is left as it is"),
        severity: Severity::Error,
    };
    if !is_nobodys {
        return Obstacle::new(violation, Act::Update, resource, "rename one of them".to_owned());
    }
    let or_ask = if seen.key.kind.is_policy() {
        String::new()
    } else {
        format!(", or give the MeshService {}: Adopt", keys::MESH_REPAIR)
    };
    let action = format!(
        "to have MeshService/{mesh_service} take it over, give it the annotation {}: \"true\"{or_ask}; else rename one of them",
        keys::ADOPT,
    );
    Obstacle::new(violation, Act::Adopt, resource, action)
}
