//! The status of a MeshService.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The status of a MeshService.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MeshServiceStatus {
    /// Whether its objects are consistent with each other and with related objects.
    #[serde(default)]
    pub consistency_state: ConsistencyState,
    /// The Service of its objects, as `NAMESPACE/NAME`. No other MeshService that names it takes it over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Time of the check with this result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_checked: Option<Time>,
    /// Problems that were found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub violations: Vec<Violation>,
    /// Actions that would repair it, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repair_actions: Vec<RepairAction>,
    /// Objects that were created.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub managed_resources: Vec<ManagedResource>,
    /// `Ready`, `Reconciling` and `Stalled` as kstatus reads them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// Whether the objects of a MeshService are consistent with each other and with related objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConsistencyState {
    /// Not known yet.
    #[default]
    Checking,
    /// They are.
    Consistent,
    /// They are not, and no repair is known.
    Inconsistent,
    /// They are not, and a repair is known.
    RepairPending,
    /// A repair was tried and failed.
    RepairFailed,
}

/// A problem.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Violation {
    /// Kind of the violation, in one word.
    #[serde(rename = "type")]
    pub type_: String,
    /// The object to change, as `Kind/namespace/name`.
    pub resource: String,
    /// The problem and its solution.
    pub message: String,
    /// Its severity.
    pub severity: Severity,
}

/// The severity of a violation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Severity {
    /// Requests fail, or a requested object is missing.
    Error,
    /// A field does not have the effect that it seems to have.
    Warning,
    /// Information.
    Info,
}

/// An action that repairs a violation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct RepairAction {
    /// Kind of the action, in one word.
    #[serde(rename = "type")]
    pub type_: String,
    /// The object, as `Kind/namespace/name`.
    pub resource: String,
    /// The change of the object.
    pub action: String,
    /// The reason.
    pub reason: String,
}

/// An object that was created.
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

    /// istio-integrity-operator wrote `lastChecked: null`.
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
