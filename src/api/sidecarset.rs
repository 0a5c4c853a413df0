//! `SidecarSet` of `apps.kruise.io`: the v1beta1 types (the storage version, and the hub of conversion).
//!
//! v1alpha1 differs in two fields only and is converted as JSON ([`super::conversion`]). Container and volume bodies stay
//! raw JSON, so that fields newer than this program survive. Enumerations keep unknown values: a stored object must stay
//! readable, and validation decides about its values.

use super::keys::ENDS_WITH_JOB;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// API group of SidecarSets.
pub const GROUP: &str = "apps.kruise.io";
/// Kind of SidecarSets.
pub const KIND: &str = "SidecarSet";

/// The containers to inject into Pods, and how to upgrade them.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "apps.kruise.io",
    version = "v1beta1",
    kind = "SidecarSet",
    plural = "sidecarsets",
    singular = "sidecarset",
    derive = "PartialEq",
    status = "SidecarSetStatus",
    doc = "Injects sidecar containers into the Pods it selects, and upgrades them.",
    printcolumn = r#"{"name":"MATCHED","type":"integer","jsonPath":".status.matchedPods","description":"Pods the set is injected into."}"#,
    printcolumn = r#"{"name":"UPDATED","type":"integer","jsonPath":".status.updatedPods","description":"Matched Pods with the latest containers."}"#,
    printcolumn = r#"{"name":"READY","type":"integer","jsonPath":".status.readyPods","description":"Matched Pods that are ready."}"#,
    printcolumn = r#"{"name":"AGE","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct SidecarSetSpec {
    /// Pods to inject. Required, must not be empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// Namespaces to inject. Absent: all of them. Must not be empty if present.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
    /// The name of the current content. It becomes a label of its `ControllerRevision`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub custom_version: String,
    /// Injected only at creation, sorted by name. With `restartPolicy: Always` they are native sidecars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init_containers: Option<Vec<SidecarContainer>>,
    /// The sidecars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub containers: Option<Vec<SidecarContainer>>,
    /// Volumes that the sidecars may mount. Only mounted ones are injected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "preserved_list")]
    pub volumes: Option<Vec<Map<String, Value>>>,
    /// Appended to the Pod's list, by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_pull_secrets: Option<Vec<ImagePullSecret>>,
    /// In-place upgrade of running Pods.
    #[serde(default)]
    pub update_strategy: UpdateStrategy,
    /// Injection into new Pods.
    #[serde(default)]
    pub injection_strategy: InjectionStrategy,
    /// The number of `ControllerRevisions` to keep. Default 10; at least 1 is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision_history_limit: Option<i32>,
    /// Annotations to set on the Pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch_pod_metadata: Option<Vec<PatchPodMetadata>>,
}

/// A Secret for pulling images, in the Pod's namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImagePullSecret {
    /// Its name.
    #[serde(default)]
    pub name: String,
}

/// A core `Container` with the additional fields of SidecarSets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SidecarContainer {
    /// Position relative to the app containers. Default: before for containers, after for init containers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_inject_policy: Option<PodInjectPolicy>,
    /// How a running Pod gets another image. The type cannot change for a container of the same name.
    #[serde(default)]
    pub upgrade_strategy: ContainerUpgradeStrategy,
    /// Whether the app containers' `volumeMounts` are copied. Default `disabled`.
    #[serde(default)]
    pub share_volume_policy: SharePolicy,
    /// Whether the app containers' `volumeDevices` are copied. Absent: no (and absent from the hash).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share_volume_device_policy: Option<SharePolicy>,
    /// Environment variables to copy from app containers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transfer_env: Option<Vec<TransferEnv>>,
    /// Resources computed from the app containers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources_policy: Option<ResourcesPolicy>,
    /// The container itself, as the user wrote it.
    #[serde(flatten)]
    #[schemars(schema_with = "preserved")]
    pub template: Map<String, Value>,
}

impl SidecarContainer {
    /// Returns the container's name; empty if it has none.
    #[must_use]
    pub fn name(&self) -> &str {
        self.template.get("name").and_then(Value::as_str).unwrap_or_default()
    }

    /// Whether this is a native sidecar if it is an init container (`restartPolicy: Always`).
    #[must_use]
    pub fn restarts_always(&self) -> bool {
        self.template.get("restartPolicy").and_then(Value::as_str) == Some("Always")
    }

    /// Whether it ends with the containers of a Job: it has the variable [`ENDS_WITH_JOB`].
    #[must_use]
    pub fn ends_with_job(&self) -> bool {
        let mut env = self.template.get("env").and_then(Value::as_array).into_iter().flatten();
        env.any(|variable| variable["name"] == ENDS_WITH_JOB && variable["value"] == "true")
    }
}

/// Position relative to the app containers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(with = "String")]
pub enum PodInjectPolicy {
    /// Before the Pod's own containers.
    #[serde(rename = "BeforeAppContainer")]
    Before,
    /// After the Pod's own containers.
    #[serde(rename = "AfterAppContainer")]
    After,
    /// An unknown value. It counts as [`Self::After`], as an empty one does.
    #[serde(untagged)]
    Other(String),
}

/// How a running Pod gets another image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContainerUpgradeStrategy {
    /// Default `ColdUpgrade`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upgrade_type: Option<UpgradeType>,
    /// Placeholder image of the idle twin of a hot upgrade.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hot_upgrade_empty_image: String,
}

/// Kinds of upgrade.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(with = "String")]
pub enum UpgradeType {
    /// The container restarts with the new image.
    ColdUpgrade,
    /// Two containers take turns.
    HotUpgrade,
    /// An unknown value.
    #[serde(untagged)]
    Other(String),
}

/// Whether something is shared with the sidecar.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SharePolicy {
    /// `enabled` or `disabled`.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
}

impl SharePolicy {
    /// Whether sharing is on.
    #[must_use]
    pub fn enabled(&self) -> bool {
        self.policy.as_deref() == Some("enabled")
    }
}

/// Environment variables to copy from one app container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TransferEnv {
    /// The container to copy from.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source_container_name: String,
    /// Where to find the container's name. Takes precedence over `sourceContainerName`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_container_name_from: Option<SourceContainerNameSource>,
    /// One variable to copy.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub env_name: String,
    /// More variables to copy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env_names: Option<Vec<String>>,
}

impl TransferEnv {
    /// Names of the variables to copy.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let names = self.env_names.iter().flatten().chain([&self.env_name]);
        names.map(String::as_str).filter(|name| !name.is_empty())
    }
}

/// Where to find a container's name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourceContainerNameSource {
    /// A field of the Pod: `metadata.labels['key']` or `metadata.annotations['key']`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field_ref: Option<FieldRef>,
}

/// A field of the Pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FieldRef {
    /// Default `v1`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub api_version: String,
    /// Path of the field.
    pub field_path: String,
}

/// Resources computed from the app containers when a Pod is created.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourcesPolicy {
    /// The app containers to aggregate: an RE2 expression on their names, not anchored. Default `.*`.
    #[serde(default = "every_name")]
    pub target_containers_name_regex: String,
    /// `sum` or `max` of those containers.
    pub target_containers_mode: TargetContainersMode,
    /// The expressions.
    pub resources_expr: ResourcesExpr,
}

fn every_name() -> String {
    ".*".to_owned()
}

/// How the amounts of several app containers are combined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TargetContainersMode {
    /// Their sum.
    #[default]
    Sum,
    /// Their maximum.
    Max,
}

/// Expressions for limits and requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResourcesExpr {
    /// Expressions for limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<ResourceExpressions>,
    /// Expressions for requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<ResourceExpressions>,
}

/// One expression for each resource. An empty one leaves the resource unset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResourceExpressions {
    /// An expression in the variable `cpu`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cpu: String,
    /// An expression in the variable `memory`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub memory: String,
}

/// In-place upgrade of running Pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpdateStrategy {
    /// Default `RollingUpdate`.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub strategy: Option<UpdateStrategyType>,
    /// Pauses upgrades. Injection into new Pods continues.
    #[serde(default, skip_serializing_if = "is_false")]
    pub paused: bool,
    /// The Pods to upgrade. Absent: all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// The number or percentage of Pods that keep the old version. Default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<IntOrString>,
    /// The number or percentage (rounded up) of Pods that may be unavailable during the upgrade. Default 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<IntOrString>,
    /// The order of upgrades.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority_strategy: Option<PriorityStrategy>,
    /// Labels whose Pods are spread over the upgrade.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scatter_strategy: Option<Vec<ScatterTerm>>,
}

/// Kinds of update strategy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(with = "String")]
pub enum UpdateStrategyType {
    /// Pods are upgraded in place, a few at a time.
    RollingUpdate,
    /// Only new Pods get the new containers.
    NotUpdate,
    /// An unknown value.
    #[serde(untagged)]
    Other(String),
}

/// The order of upgrades, by one of the two lists.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PriorityStrategy {
    /// By the trailing number of a label's value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_priority: Option<Vec<OrderTerm>>,
    /// By the sum of matching weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_priority: Option<Vec<WeightTerm>>,
}

/// A label whose value ends in a number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderTerm {
    /// The label's key.
    pub ordered_key: String,
}

/// A weight for the Pods of a selector.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WeightTerm {
    /// 0 to 100.
    #[serde(default)]
    pub weight: i32,
    /// The Pods that get the weight.
    pub match_selector: LabelSelector,
}

/// A label whose Pods are spread over the upgrade.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScatterTerm {
    /// The label's key.
    pub key: String,
    /// The label's value. `*` stands for each existing value.
    #[serde(default)]
    pub value: String,
}

/// Injection into new Pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InjectionStrategy {
    /// Pauses injection into new Pods.
    #[serde(default, skip_serializing_if = "is_false")]
    pub paused: bool,
    /// The version to inject, if not the latest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<InjectRevision>,
}

/// The version of the set to inject.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InjectRevision {
    /// The newest `ControllerRevision` of this custom version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom_version: Option<String>,
    /// The `ControllerRevision` of this name. Takes precedence over `customVersion`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision_name: Option<String>,
    /// Default `Always`.
    #[serde(default)]
    pub policy: RevisionPolicy,
}

/// The Pods that get the chosen version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RevisionPolicy {
    /// Every new Pod.
    #[default]
    Always,
    /// The share of new Pods that the update strategy's partition keeps on the old version.
    Partial,
}

/// Annotations to set on the Pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PatchPodMetadata {
    /// The annotations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    /// Default `Retain`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch_policy: Option<PatchPolicy>,
}

/// What happens to an annotation that the Pod already has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(with = "String")]
pub enum PatchPolicy {
    /// It stays.
    Retain,
    /// It is replaced.
    Overwrite,
    /// Both are merged as JSON.
    MergePatchJson,
    /// An unknown value.
    #[serde(untagged)]
    Other(String),
}

/// The state of a set's Pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SidecarSetStatus {
    /// The generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub observed_generation: i64,
    /// Pods that were injected by this set.
    #[serde(default)]
    pub matched_pods: i32,
    /// Matched Pods with the latest containers.
    #[serde(default)]
    pub updated_pods: i32,
    /// Matched Pods that are ready.
    #[serde(default)]
    pub ready_pods: i32,
    /// Updated Pods that are ready.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub updated_ready_pods: i32,
    /// Name of the `ControllerRevision` of the current content.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub latest_revision: String,
    /// The number of hash collisions when revisions were named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collision_count: Option<i32>,
    /// `Ready`, `Reconciling` and `Stalled`, as kstatus reads them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_false(value: &bool) -> bool {
    !value
}

fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn preserved(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

fn preserved_list(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "nullable": true,
        "description": "Volumes the sidecars may mount; only those that are mounted are injected.",
        "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}
    })
}
