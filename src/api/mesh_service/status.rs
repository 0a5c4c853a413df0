//! The status of a MeshService.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What became of a MeshService.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MeshServiceStatus {
    /// Whether its objects, and those around them, fit together.
    #[serde(default)]
    pub consistency_state: ConsistencyState,
    /// The Service, as `NAMESPACE/NAME`, that its objects are for. No other MeshService that names it takes it over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When it was checked with this result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_checked: Option<Time>,
    /// What does not fit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub violations: Vec<Violation>,
    /// What would repair it, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repair_actions: Vec<RepairAction>,
    /// The objects that were made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub managed_resources: Vec<ManagedResource>,
    /// `Ready`, `Reconciling` and `Stalled` as kstatus reads them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// Whether the objects of a MeshService, and those around them, fit together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConsistencyState {
    /// Not known yet.
    #[default]
    Checking,
    /// They do.
    Consistent,
    /// They do not, and what would repair it is for somebody to find out.
    Inconsistent,
    /// They do not, and it is known what would repair it.
    RepairPending,
    /// What would repair it was tried, and failed.
    RepairFailed,
}

/// Something that does not fit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Violation {
    /// What kind of violation, in one word.
    #[serde(rename = "type")]
    pub type_: String,
    /// The object to change, as `Kind/namespace/name`.
    pub resource: String,
    /// What is wrong, and what to do.
    pub message: String,
    /// How bad it is.
    pub severity: Severity,
}

/// How bad a violation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Severity {
    /// Requests fail, or something that was asked for is not there.
    Error,
    /// Something is not what it looks like.
    Warning,
    /// Something to know.
    Info,
}

/// What would repair a violation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct RepairAction {
    /// What kind of action, in one word.
    #[serde(rename = "type")]
    pub type_: String,
    /// The object, as `Kind/namespace/name`.
    pub resource: String,
    /// What to do with it.
    pub action: String,
    /// Why.
    pub reason: String,
}

/// An object that was made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct ManagedResource {
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its group and version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The seed's operator wrote `lastChecked: null`.
    #[test]
    fn m10_what_is_not_known_is_absent_and_not_null() {
        let nothing = serde_json::to_value(MeshServiceStatus::default()).unwrap();
        assert_eq!(nothing, json!({"consistencyState": "Checking"}));
    }

    #[test]
    fn a_status_of_the_seeds_operator_is_read() {
        let status = json!({
            "consistencyState": "Inconsistent", "lastChecked": null,
            "violations": [{"type": "ReconciliationError", "resource": "web", "message": "x", "severity": "Error"}],
        });
        let read: MeshServiceStatus = serde_json::from_value(status).unwrap();
        assert_eq!((read.consistency_state, read.violations.len()), (ConsistencyState::Inconsistent, 1));
    }
}
