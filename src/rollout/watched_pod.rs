//! A Pod as the watch hands it over: of the API server's 8 KB and more only what this room uses is decoded.

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A container or init container of the spec.
pub(super) use crate::injection::PodContainer as Container;

/// A core/v1 Pod, for `Api<WatchedPod>`; becomes an [`ObservedPod`](super::pod::ObservedPod).
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Document")]
pub struct WatchedPod {
    /// Name, namespace, uid and resourceVersion; the rest is left out.
    metadata: ObjectMeta,
    /// Whether it is being deleted.
    pub(super) deleting: bool,
    pub(super) labels: BTreeMap<Box<str>, Box<str>>,
    pub(super) annotations: Annotations,
    pub(super) containers: Vec<Container>,
    pub(super) init_containers: Vec<Container>,
    pub(super) status: Status,
}

/// The annotations that injection and upgrades leave on a Pod, as text. Names as in [`crate::api::keys`].
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Annotations {
    #[serde(rename = "kruise.io/sidecarset-hash")]
    pub hash: Option<Box<str>>,
    #[serde(rename = "kruise.io/sidecarset-hash-without-image")]
    pub hash_without_image: Option<Box<str>>,
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
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct PodCondition {
    #[serde(rename = "type")]
    pub kind: Box<str>,
    pub status: Box<str>,
}

/// What the kubelet says of a container.
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
}

/// The Pod's own shape.
#[derive(Deserialize)]
struct Document {
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    deletion_timestamp: Option<IgnoredAny>,
    labels: Option<BTreeMap<Box<str>, Box<str>>>,
    annotations: Option<Annotations>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    containers: Option<Vec<Container>>,
    init_containers: Option<Vec<Container>>,
}

impl From<Document> for WatchedPod {
    fn from(Document { metadata, spec, status }: Document) -> Self {
        Self {
            metadata: ObjectMeta {
                name: metadata.name,
                namespace: metadata.namespace,
                uid: metadata.uid,
                resource_version: metadata.resource_version,
                ..ObjectMeta::default()
            },
            deleting: metadata.deletion_timestamp.is_some(),
            labels: metadata.labels.unwrap_or_default(),
            annotations: metadata.annotations.unwrap_or_default(),
            containers: spec.containers.unwrap_or_default(),
            init_containers: spec.init_containers.unwrap_or_default(),
            status: status.unwrap_or_default(),
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
            keys::INJECTED_LIST,
            keys::IN_PLACE_STATE,
            keys::WORKING_HOT_UPGRADE,
        ];
        let annotations: serde_json::Map<_, _> = keys.iter().map(|key| ((*key).to_owned(), json!(key))).collect();
        let pod: WatchedPod = serde_json::from_value(json!({"metadata": {"annotations": annotations}})).unwrap();
        let read = pod.annotations;
        let read =
            [read.hash, read.hash_without_image, read.injected_list, read.in_place_state, read.working_hot_upgrade];
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
}
