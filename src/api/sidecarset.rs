//! `SidecarSet` of `apps.kruise.io`: the v1beta1 types (storage version and hub of conversion).
//!
//! v1alpha1 differs in two fields only and is converted as JSON ([`super::conversion`]). Container and volume bodies stay
//! raw JSON, so that fields newer than this program survive. Enumerations keep values they do not know: an object that is
//! already stored must stay readable, and judging it belongs to validation.

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

/// What to inject into which Pods, and how to upgrade it.
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
    /// Pods to inject. Required and not empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// Namespaces to inject. Absent: all of them; present: not empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
    /// Names the present content; becomes a label of its `ControllerRevision`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub custom_version: String,
    /// Injected at creation only, sorted by name. With `restartPolicy: Always` they are native sidecars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init_containers: Option<Vec<SidecarContainer>>,
    /// The sidecars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub containers: Option<Vec<SidecarContainer>>,
    /// Volumes the sidecars may mount; only those that are mounted are injected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "preserved_list")]
    pub volumes: Option<Vec<Map<String, Value>>>,
    /// Appended to the Pod's list, by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_pull_secrets: Option<Vec<ImagePullSecret>>,
    /// In-place upgrade of Pods that run already.
    #[serde(default)]
    pub update_strategy: UpdateStrategy,
    /// What happens when a Pod is created.
    #[serde(default)]
    pub injection_strategy: InjectionStrategy,
    /// `ControllerRevisions` to keep. Default 10, at least 1 in effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision_history_limit: Option<i32>,
    /// Annotations to put on the Pod.
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

/// A core `Container` with SidecarSet's own fields beside it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SidecarContainer {
    /// Side of the app containers. Default: before for containers, after for init containers.
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
    /// The container's name; empty where it has none.
    #[must_use]
    pub fn name(&self) -> &str {
        self.template.get("name").and_then(Value::as_str).unwrap_or_default()
    }

    /// Whether this is a native sidecar when it stands among the init containers (`restartPolicy: Always`).
    #[must_use]
    pub fn restarts_always(&self) -> bool {
        self.template.get("restartPolicy").and_then(Value::as_str) == Some("Always")
    }

    /// Whether it is to end once the containers of a Job have: it has the variable [`ENDS_WITH_JOB`].
    #[must_use]
    pub fn ends_with_job(&self) -> bool {
        let mut env = self.template.get("env").and_then(Value::as_array).into_iter().flatten();
        env.any(|variable| variable["name"] == ENDS_WITH_JOB && variable["value"] == "true")
    }
}

/// Side of the app containers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(with = "String")]
pub enum PodInjectPolicy {
    /// In front of the Pod's own containers.
    #[serde(rename = "BeforeAppContainer")]
    Before,
    /// Behind the Pod's own containers.
    #[serde(rename = "AfterAppContainer")]
    After,
    /// A value this version does not know; behaves as [`Self::After`], as an empty one does.
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
    /// A value this version does not know.
    #[serde(untagged)]
    Other(String),
}

/// Whether something is shared with the sidecar: `enabled` or `disabled`.
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
    /// Where the container's name is found; wins over `sourceContainerName`.
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

/// Where a container's name is found.
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
    /// App containers that count: an RE2 expression over their names, not anchored. Default `.*`.
    #[serde(default = "every_name")]
    pub target_containers_name_regex: String,
    /// `sum` or `max` over those containers.
    pub target_containers_mode: TargetContainersMode,
    /// The expressions.
    pub resources_expr: ResourcesExpr,
}

fn every_name() -> String {
    ".*".to_owned()
}

/// How several app containers become one figure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TargetContainersMode {
    /// Added up.
    #[default]
    Sum,
    /// The largest.
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

/// One expression a resource; an empty one leaves the resource unset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResourceExpressions {
    /// Over the variable `cpu`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cpu: String,
    /// Over the variable `memory`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub memory: String,
}

/// In-place upgrade of Pods that run already.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpdateStrategy {
    /// Default `RollingUpdate`.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub strategy: Option<UpdateStrategyType>,
    /// Stops upgrading; creation goes on.
    #[serde(default, skip_serializing_if = "is_false")]
    pub paused: bool,
    /// Only these Pods are upgraded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// Pods that keep the old version: a number or a percentage. Default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<IntOrString>,
    /// Pods that may be unavailable during the upgrade: a number or a percentage, rounded up. Default 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<IntOrString>,
    /// Which Pods come first.
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
    /// A value this version does not know.
    #[serde(untagged)]
    Other(String),
}

/// Which Pods are upgraded first: by one of the two lists.
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
    /// The Pods it counts for.
    pub match_selector: LabelSelector,
}

/// A label whose Pods are spread over the upgrade.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScatterTerm {
    /// The label's key.
    pub key: String,
    /// The label's value; `*` for each value present.
    #[serde(default)]
    pub value: String,
}

/// What happens when a Pod is created.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InjectionStrategy {
    /// Nothing is injected into new Pods.
    #[serde(default, skip_serializing_if = "is_false")]
    pub paused: bool,
    /// Another version of the set than the latest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<InjectRevision>,
}

/// Which version of the set is injected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InjectRevision {
    /// The newest `ControllerRevision` of this custom version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom_version: Option<String>,
    /// The `ControllerRevision` of this name; wins over `customVersion`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision_name: Option<String>,
    /// Default `Always`.
    #[serde(default)]
    pub policy: RevisionPolicy,
}

/// For which Pods the chosen version counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RevisionPolicy {
    /// For each new Pod.
    #[default]
    Always,
    /// For the share of new Pods that the update strategy's partition leaves behind.
    Partial,
}

/// Annotations to put on the Pod.
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

/// What happens to an annotation that the Pod has already.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(with = "String")]
pub enum PatchPolicy {
    /// It stays.
    Retain,
    /// It is replaced.
    Overwrite,
    /// Both are merged as JSON.
    MergePatchJson,
    /// A value this version does not know.
    #[serde(untagged)]
    Other(String),
}

/// What is known of the Pods of a set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SidecarSetStatus {
    /// Generation of the spec that this status speaks of.
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
    /// Name of the `ControllerRevision` of the present content.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub latest_revision: String,
    /// Hash collisions met when revisions were named.
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
