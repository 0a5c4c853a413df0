//! A Pod from the watch: of the API server's 8 KB and more, only the parts used in this module are decoded.

use crate::cluster::{ObjectVersion, Versioned};
use crate::injection::Amounts;
use crate::injection::annotations::listed;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A container or init container of the spec.
pub(super) use crate::injection::PodContainer as Container;

/// The maximum bytes kept of a Pod's labels, containers and annotations. A larger Pod is not counted, because its author chose them,
/// and there may be any number of such Pods. A Pod with 60 containers is smaller. The hashes of variables, mounts and args are not
/// included; their number is limited where they are kept ([`ObservedPod`](super::pod::ObservedPod)).
const LARGEST: usize = 64 * 1024;

/// The condition that says whether a Pod's sets can update it in place.
pub(super) const UPGRADABLE: &str = "SidecarSetUpgradable";

/// The kubelet's conditions for a resize that is pending or impossible, and for one in progress.
pub(super) const RESIZES: [&str; 2] = ["PodResizePending", "PodResizeInProgress"];

/// The overhead of a text in bytes.
const A_TEXT: usize = 64;

/// A core/v1 Pod for `Api<WatchedPod>`. It becomes an [`ObservedPod`](super::pod::ObservedPod).
///
/// For a Pod that no set was injected into, or that is too large to be counted, only the metadata is kept.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "Document")]
pub struct WatchedPod {
    /// Name, namespace, uid and resourceVersion. Other fields are dropped.
    metadata: ObjectMeta,
    /// The number of bytes to keep, if that is too many.
    pub(super) too_large: Option<usize>,
    /// Whether it is being deleted.
    pub(super) deleting: bool,
    /// The creation time as text.
    pub(super) created: Option<Box<str>>,
    /// Whether it is assigned to a node.
    pub(super) assigned: bool,
    pub(super) labels: BTreeMap<Box<str>, Box<str>>,
    pub(super) annotations: Annotations,
    pub(super) containers: Vec<Container>,
    pub(super) init_containers: Vec<Container>,
    pub(super) status: Status,
}

/// The annotations of injection and upgrades on a Pod, as text. The names are in [`crate::api::keys`].
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Annotations {
    #[serde(rename = "kruise.io/sidecarset-hash")]
    pub hash: Option<Box<str>>,
    #[serde(rename = "kruise.io/sidecarset-hash-without-image")]
    pub hash_without_image: Option<Box<str>>,
    #[serde(rename = "outrigger.dev/sidecarset-hash-rest")]
    pub hash_of_rest: Option<Box<str>>,
    #[serde(rename = "kruise.io/sidecarset-injected-list")]
    pub injected_list: Option<Box<str>>,
    #[serde(rename = "kruise.io/sidecarset-inplace-update-state")]
    pub in_place_state: Option<Box<str>>,
    #[serde(rename = "kruise.io/sidecarset-working-hotupgrade-container")]
    pub working_hot_upgrade: Option<Box<str>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Status {
    pub phase: Option<Box<str>>,
    pub conditions: Option<Vec<PodCondition>>,
    pub container_statuses: Option<Vec<ContainerStatus>>,
    pub init_container_statuses: Option<Vec<ContainerStatus>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PodCondition {
    #[serde(rename = "type")]
    pub kind: Box<str>,
    pub status: Box<str>,
    #[serde(default)]
    pub reason: Option<Box<str>>,
    #[serde(default)]
    pub last_transition_time: Option<Box<str>>,
    #[serde(default)]
    pub message: Option<Box<str>>,
}

/// The kubelet's status of a container.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ContainerStatus {
    pub name: Box<str>,
    #[serde(default)]
    pub image: Box<str>,
    #[serde(default, rename = "imageID")]
    pub image_id: Box<str>,
    #[serde(default)]
    pub ready: bool,
    #[serde(default)]
    pub restart_count: i64,
    /// Its actual amounts.
    #[serde(default, rename = "resources")]
    pub amounts: Option<Amounts>,
}

/// The structure of a Pod.
#[derive(Deserialize)]
struct Document {
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Option<Status>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    deletion_timestamp: Option<IgnoredAny>,
    creation_timestamp: Option<Box<str>>,
    labels: Option<BTreeMap<Box<str>, Box<str>>>,
    annotations: Option<Annotations>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    node_name: Option<IgnoredAny>,
    containers: Option<Vec<Container>>,
    init_containers: Option<Vec<Container>>,
}

impl From<Document> for WatchedPod {
    fn from(Document { metadata, spec, status }: Document) -> Self {
        let metadata_kept = ObjectMeta {
            name: metadata.name,
            namespace: metadata.namespace,
            uid: metadata.uid,
            resource_version: metadata.resource_version,
            ..ObjectMeta::default()
        };
        let deleting = metadata.deletion_timestamp.is_some();
        let annotations = metadata.annotations.unwrap_or_default();
        if listed(annotations.injected_list.as_deref().unwrap_or_default()).next().is_none() {
            return Self { metadata: metadata_kept, deleting, ..Self::default() };
        }
        let pod = Self {
            metadata: metadata_kept,
            too_large: None,
            deleting,
            created: metadata.creation_timestamp,
            assigned: spec.node_name.is_some(),
            labels: metadata.labels.unwrap_or_default(),
            annotations,
            containers: spec.containers.unwrap_or_default(),
            init_containers: spec.init_containers.unwrap_or_default(),
            status: status.unwrap_or_default(),
        };
        let size = pod.texts().map(|text| A_TEXT + text.len()).sum();
        if size <= LARGEST {
            return pod;
        }
        Self { metadata: pod.metadata, deleting, too_large: Some(size), ..Self::default() }
    }
}

impl WatchedPod {
    /// A Pod of which only the version is known.
    #[must_use]
    pub(super) fn named(version: ObjectVersion<'_>) -> Self {
        let ObjectVersion { namespace, name, uid, resource_version } = version;
        let [namespace, name, uid, resource_version] =
            [namespace, name, uid, resource_version].map(|text| Some(text.to_owned()));
        Self {
            metadata: ObjectMeta { namespace, name, uid, resource_version, ..ObjectMeta::default() },
            ..Self::default()
        }
    }

    /// Returns everything its author wrote that is kept.
    fn texts(&self) -> impl Iterator<Item = &str> {
        let Annotations { hash, hash_without_image, hash_of_rest, injected_list, in_place_state, working_hot_upgrade } =
            &self.annotations;
        let annotations = [hash, hash_without_image, hash_of_rest, injected_list, in_place_state, working_hot_upgrade];
        let labels = self.labels.iter().flat_map(|(key, value)| [key, value]);
        let containers = self.containers.iter().chain(&self.init_containers).flat_map(|c| [&c.name, &c.image]);
        let statuses = [&self.status.container_statuses, &self.status.init_container_statuses];
        let statuses = statuses.into_iter().flatten().flatten();
        let told = self.status.conditions.iter().flatten();
        let told = told.filter(|condition| *condition.kind == *UPGRADABLE || RESIZES.contains(&&*condition.kind));
        let told = told.filter_map(|condition| condition.message.as_ref());
        let statuses = statuses.flat_map(|status| [&status.name, &status.image, &status.image_id]);
        annotations.into_iter().flatten().chain(labels).chain(containers).chain(statuses).chain(told).map(AsRef::as_ref)
    }
}

impl Versioned for WatchedPod {
    fn version(&self) -> ObjectVersion<'_> {
        let ObjectMeta { namespace, name, uid, resource_version, .. } = &self.metadata;
        ObjectVersion {
            namespace: namespace.as_deref().unwrap_or_default(),
            name: name.as_deref().unwrap_or_default(),
            uid: uid.as_deref().unwrap_or_default(),
            resource_version: resource_version.as_deref().unwrap_or_default(),
        }
    }
}

impl Resource for WatchedPod {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Pod".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "pods".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::keys;
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    #[test]
    fn it_is_asked_for_as_a_core_pod() {
        assert_eq!(WatchedPod::api_version(&()), Pod::api_version(&()));
        assert_eq!(WatchedPod::kind(&()), Pod::kind(&()));
        assert_eq!(WatchedPod::url_path(&(), Some("a")), Pod::url_path(&(), Some("a")));
    }

    #[test]
    fn the_annotations_are_those_of_the_keys() {
        let keys = [
            keys::HASH,
            keys::HASH_WITHOUT_IMAGE,
            keys::HASH_OF_REST,
            keys::INJECTED_LIST,
            keys::IN_PLACE_STATE,
            keys::WORKING_HOT_UPGRADE,
        ];
        let annotations: serde_json::Map<_, _> = keys.iter().map(|key| ((*key).to_owned(), json!(key))).collect();
        let pod: WatchedPod = serde_json::from_value(json!({"metadata": {"annotations": annotations}})).unwrap();
        let read = pod.annotations;
        let read = [
            read.hash,
            read.hash_without_image,
            read.hash_of_rest,
            read.injected_list,
            read.in_place_state,
            read.working_hot_upgrade,
        ];
        assert_eq!(read.map(|text| text.unwrap().into_string()), keys.map(str::to_owned));
    }

    #[test]
    fn a_pod_with_nothing_in_it_can_be_read() {
        for pod in [
            json!({"metadata": {}}),
            json!({"metadata": {"name": "a", "labels": null, "annotations": null, "deletionTimestamp": null},
                   "spec": {"containers": null}, "status": null}),
            json!({"metadata": {}, "spec": {}, "status": {"conditions": null, "containerStatuses": null}}),
        ] {
            let pod: WatchedPod = serde_json::from_value(pod).unwrap();
            assert!(!pod.deleting && pod.labels.is_empty() && pod.containers.is_empty());
        }
    }
    #[test]
    fn of_a_pod_that_no_set_was_injected_into_only_the_metadata_are_kept() {
        let mut pod = json!({
            "metadata": {"name": "p", "labels": {"a": "b"}, "annotations": {keys::HASH: "{}", keys::INJECTED_LIST: " ,"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]}
        });
        let of = |pod: &serde_json::Value| -> WatchedPod { serde_json::from_value(pod.clone()).unwrap() };
        assert_eq!(of(&pod).texts().count(), 0);
        pod["metadata"]["annotations"][keys::INJECTED_LIST] = json!("s");
        assert_eq!(of(&pod).texts().collect::<Vec<_>>(), ["{}", "s", "a", "b", "c", "i"]);
    }

    #[test]
    fn of_a_pod_that_is_too_large_to_be_counted_only_the_metadata_are_kept() {
        let of = |containers: usize| -> WatchedPod {
            let names = (0..containers).map(|number| format!("a-container-{number}"));
            let image = |name: &str| format!("registry.example.com/some-team/{name}");
            let digest = format!("@sha256:{}", "0".repeat(64));
            let spec = names.clone().map(|name| json!({"image": image(&name), "name": name}));
            let statuses = names.map(
                |name| json!({"image": image(&name), "imageID": image(&name) + &digest, "name": name, "ready": true}),
            );
            serde_json::from_value(json!({
                "metadata": {"name": "p", "uid": "u", "annotations": {keys::INJECTED_LIST: "s"}},
                "spec": {"containers": spec.collect::<Vec<_>>()},
                "status": {"containerStatuses": statuses.collect::<Vec<_>>()}
            }))
            .unwrap()
        };
        let large = of(60);
        assert_eq!((large.containers.len(), large.too_large), (60, None));
        let too_large = of(600);
        assert_eq!(too_large.texts().count(), 0);
        assert!(too_large.too_large.is_some_and(|size| size > LARGEST));
        assert_eq!((too_large.meta().name.as_deref(), too_large.meta().uid.as_deref()), (Some("p"), Some("u")));
    }
}
