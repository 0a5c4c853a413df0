//! The kept data of a Pod. It is as small as counting and upgrading allow, because 100,000 Pods are kept.

use super::text::{Text, Texts};
use super::watched_pod::{Container, ContainerStatus, RESIZES, UPGRADABLE, WatchedPod};
use crate::api::shorten::shortened;
use crate::cluster::ObjectVersion;
use crate::injection::Fingerprint;
use crate::injection::annotations::{Record, RecordOfRest, listed};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;

/// The maximum length of the name of a recorded set, which is a DNS label.
const LONGEST_NAME: usize = 63;

/// The maximum number of sets that are read from a Pod, the first by name. It is well above the number of sets injected into a Pod. They
/// are not checked for existence: a Pod with 32 invented names counts for no other set, as it would without the annotation.
const MOST_SETS: usize = 32;

/// A Pod as last seen. Its size is limited, whatever its author wrote. For a Pod that no set was injected into, or that is
/// too large ([`WatchedPod`]), only name and state are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "they are independent")]
pub struct ObservedPod {
    /// Its namespace.
    pub namespace: Text,
    /// Its name.
    pub name: Box<str>,
    /// Its uid.
    pub uid: Box<str>,
    /// Its resourceVersion.
    pub resource_version: Box<str>,
    /// Its labels, by key.
    pub labels: Box<[(Text, Text)]>,
    /// Its phase.
    pub phase: PodPhase,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Whether its `Ready` condition is true.
    pub ready: bool,
    /// The time of the last change of `Ready`, in seconds since 1970; 0 if it is not reported.
    pub ready_since: i64,
    /// The creation time, in seconds since 1970.
    pub created: i64,
    /// Whether it is assigned to a node.
    pub assigned: bool,
    /// The highest restart count of its containers.
    pub restarts: u32,
    /// The condition about in-place updates by its sets, as JSON text.
    pub upgradable: Option<Text>,
    /// The annotation with the hashes, as text. An update rewrites it.
    pub hash_record: Option<Text>,
    /// The annotation with the state of in-place updates, as text.
    pub in_place_record: Option<Text>,
    /// The kubelet's reason for a pending change of its containers' resources.
    pub resize: Option<Text>,
    /// Whether these three are kept. They may be too long, and then they cannot be rewritten.
    pub has_records: bool,
    /// Its containers, in order.
    pub containers: Box<[ObservedContainer]>,
    /// Its init containers, in order.
    pub init_containers: Box<[ObservedInitContainer]>,
    /// The number of containers in its status.
    pub reported_containers: usize,
    /// The sets that were injected into it, by name.
    pub injected: Box<[InjectedSet]>,
    /// For each hot container, its name in the set and its working twin.
    pub working: Box<[(Text, Text)]>,
}

/// The phase of a Pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PodPhase {
    /// Not running yet.
    Pending,
    /// At least one container runs or starts.
    Running,
    /// Ended with success.
    Succeeded,
    /// Ended without success.
    Failed,
    /// Absent or unknown.
    #[default]
    Unknown,
}

/// A container of a Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedContainer {
    /// Its name.
    pub name: Text,
    /// The image in the spec.
    pub image: Text,
    /// The other properties that identify it as a set's; `None` if no injector marked it.
    pub fingerprint: Option<Arc<Fingerprint>>,
    /// Its status from the kubelet.
    pub status: Option<ObservedStatus>,
}

/// The status of a container from the kubelet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedStatus {
    /// The running image, as the container runtime names it.
    pub image: Text,
    /// The running image, by digest.
    pub image_id: Text,
    /// Whether the container is ready.
    pub ready: bool,
    /// Whether it has the requested amounts of CPU and memory, as far as that is reported.
    pub is_resized: bool,
    /// Its restart count.
    pub restarts: u32,
}

/// An init container of a Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedInitContainer {
    /// Its name.
    pub name: Text,
    /// The image in the spec.
    pub image: Text,
    /// The other properties that identify it as a set's; `None` if no injector marked it.
    pub fingerprint: Option<Arc<Fingerprint>>,
    /// Whether it is a native sidecar (`restartPolicy: Always`).
    pub native: bool,
    /// The status of a native sidecar from the kubelet.
    pub status: Option<ObservedStatus>,
}

/// A Pod's record of one set that was injected into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InjectedSet {
    /// Name of the set.
    pub name: Text,
    /// The set's hash; `None` if it is not recorded.
    pub hash: Option<Text>,
    /// The set's hash without images; `None` if it is not recorded.
    pub hash_without_image: Option<Text>,
    /// The hash of fields that these do not cover; `None` if it is not recorded.
    pub hash_of_rest: Option<Text>,
    /// The `ControllerRevision` that was injected.
    pub revision: Option<Text>,
    /// For each container whose image was changed in place, what ran before.
    pub ran_before: Box<[RanBefore]>,
}

/// The image and restarts of a container before its image was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RanBefore {
    /// Its name.
    pub container: Text,
    /// The image, by digest.
    pub image_id: Text,
    /// Its restart count; `None` if it is not recorded, as by OpenKruise.
    pub restarts: Option<u32>,
}

/// An image sent for a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentImage {
    /// The image.
    pub image: Box<str>,
    /// What ran there before.
    pub before: RanBefore,
}

/// The maximum bytes kept of annotations and a condition that an update rewrites. 30 sets take less.
const LONGEST_RECORDS: usize = 8 * 1024;

/// The maximum number of hashes kept for the fingerprints of a Pod's containers. A Pod with ten sidecars has a few
/// hundred.
const MOST_HASHES: usize = 1024;

/// An entry of [`crate::api::keys::IN_PLACE_STATE`].
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct InPlaceState {
    last_container_statuses: HashMap<String, LastStatus>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct LastStatus {
    #[serde(rename = "imageID")]
    image_id: String,
    /// Written by outrigger only.
    restart_count: Option<u32>,
}

impl ObservedPod {
    /// Keeps the needed parts of a Pod. An unreadable annotation or entry counts as absent.
    #[must_use]
    pub fn of(pod: &WatchedPod, texts: &mut Texts) -> Self {
        let metadata = kube::Resource::meta(pod);
        let boxed = |text: &Option<String>| text.as_deref().unwrap_or_default().into();
        let injected = injected(pod, texts);
        let statuses = pod.status.container_statuses.as_deref().unwrap_or_default();
        let init_statuses = pod.status.init_container_statuses.as_deref().unwrap_or_default();
        let condition = |kind: &str| pod.status.conditions.iter().flatten().find(|condition| *condition.kind == *kind);
        let ready = condition("Ready");
        let restarts = statuses.iter().chain(init_statuses).map(|status| status.restart_count).max();
        let upgradable = condition(UPGRADABLE).and_then(|condition| condition.message.as_deref());
        let records = [pod.annotations.hash.as_deref(), pod.annotations.in_place_state.as_deref(), upgradable];
        let has_records = records.iter().flatten().map(|text| text.len()).sum::<usize>() <= LONGEST_RECORDS;
        let [hash_record, in_place_record, upgradable] =
            records.map(|text| text.filter(|_| has_records).map(|text| texts.share(text)));
        let mut room = MOST_HASHES;
        Self {
            namespace: texts.share(metadata.namespace.as_deref().unwrap_or_default()),
            name: boxed(&metadata.name),
            uid: boxed(&metadata.uid),
            resource_version: boxed(&metadata.resource_version),
            labels: pod.labels.iter().map(|(key, value)| (texts.share(key), texts.share(value))).collect(),
            phase: PodPhase::of(pod.status.phase.as_deref()),
            deleting: pod.deleting,
            ready: ready.is_some_and(|condition| &*condition.status == "True"),
            ready_since: seconds(ready.and_then(|condition| condition.last_transition_time.as_deref())),
            created: seconds(pod.created.as_deref()),
            assigned: pod.assigned,
            restarts: u32::try_from(restarts.unwrap_or_default()).unwrap_or_default(),
            upgradable,
            resize: resize(pod, texts),
            hash_record,
            in_place_record,
            has_records,
            containers: pod
                .containers
                .iter()
                .map(|container| observed_container(container, statuses, texts, &mut room))
                .collect(),
            init_containers: pod
                .init_containers
                .iter()
                .map(|container| observed_init_container(container, init_statuses, texts, &mut room))
                .collect(),
            reported_containers: statuses.len(),
            injected,
            working: working(pod, texts),
        }
    }

    /// Whether this is the same version of the Pod.
    #[must_use]
    pub fn is_as_in(&self, pod: &WatchedPod) -> bool {
        let metadata = kube::Resource::meta(pod);
        let is = |text: &str, other: &Option<String>| !text.is_empty() && other.as_deref() == Some(text);
        is(&self.uid, &metadata.uid) && is(&self.resource_version, &metadata.resource_version)
    }

    /// Identifies the Pod and its version.
    #[must_use]
    pub fn version(&self) -> ObjectVersion<'_> {
        let Self { namespace, name, uid, resource_version, .. } = self;
        ObjectVersion { namespace, name, uid, resource_version }
    }

    /// Returns the value of a label.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        self.label_text(key).map(|value| &**value)
    }

    /// Returns the shared text of a label's value.
    #[must_use]
    pub fn label_text(&self, key: &str) -> Option<&Text> {
        let position = self.labels.binary_search_by(|(label, _)| (**label).cmp(key)).ok()?;
        Some(&self.labels[position].1)
    }

    /// Returns its container of this name.
    #[must_use]
    pub fn container(&self, name: &str) -> Option<&ObservedContainer> {
        self.containers.iter().find(|container| &*container.name == name)
    }

    /// Returns its init container of this name.
    #[must_use]
    pub fn init_container(&self, name: &str) -> Option<&ObservedInitContainer> {
        self.init_containers.iter().find(|container| &*container.name == name)
    }

    /// Whether it runs or will run: it has not ended and is not being deleted.
    #[must_use]
    pub fn is_active(&self) -> bool {
        !self.deleting && !matches!(self.phase, PodPhase::Succeeded | PodPhase::Failed)
    }

    /// Returns the working twin of the hot container `base`.
    #[must_use]
    pub fn working(&self, base: &str) -> Option<&str> {
        self.working.iter().find(|(name, _)| &**name == base).map(|(_, working)| &**working)
    }
}

impl PodPhase {
    fn of(phase: Option<&str>) -> Self {
        match phase {
            Some("Pending") => Self::Pending,
            Some("Running") => Self::Running,
            Some("Succeeded") => Self::Succeeded,
            Some("Failed") => Self::Failed,
            _ => Self::Unknown,
        }
    }
}

/// Returns the fingerprint, if the limit allows it.
fn fingerprint(container: &Container, texts: &mut Texts, room: &mut usize) -> Option<Arc<Fingerprint>> {
    let fingerprint = container.fingerprint.as_ref()?;
    let left = room.checked_sub(fingerprint.len());
    *room = left.unwrap_or(*room);
    let kept = if left.is_some() { fingerprint } else { &Fingerprint::cut() };
    Some(texts.fingerprints.share(kept))
}

fn observed_container(
    container: &Container,
    statuses: &[ContainerStatus],
    texts: &mut Texts,
    room: &mut usize,
) -> ObservedContainer {
    let status = statuses.iter().find(|status| status.name == container.name);
    ObservedContainer {
        name: texts.share(&container.name),
        image: texts.share(&container.image),
        fingerprint: fingerprint(container, texts, room),
        status: status.map(|status| observed_status(container, status, texts)),
    }
}

fn observed_status(container: &Container, status: &ContainerStatus, texts: &mut Texts) -> ObservedStatus {
    let (image, image_id) = (texts.share(&status.image), texts.share(&status.image_id));
    let told = status.amounts.as_ref().filter(|told| !told.is_empty());
    let is_resized = told.is_none_or(|told| told.have(&container.amounts));
    let restarts = u32::try_from(status.restart_count).unwrap_or_default();
    ObservedStatus { image, image_id, ready: status.ready, is_resized, restarts }
}

/// The maximum bytes kept of the kubelet's message about a resize.
const LONGEST_RESIZE: usize = 256;

/// Returns why a resize is pending or impossible.
fn resize(pod: &WatchedPod, texts: &mut Texts) -> Option<Text> {
    let conditions = pod.status.conditions.iter().flatten();
    let mut told = conditions.filter(|condition| RESIZES.contains(&&*condition.kind) && *condition.status == *"True");
    // A resize in progress has no reason.
    let (condition, reason) = told.find_map(|condition| Some((condition, condition.reason.as_deref()?)))?;
    let message = condition.message.as_deref().unwrap_or_default();
    Some(texts.share(&shortened(format!("{} {reason}: {message}", condition.kind), LONGEST_RESIZE)))
}

fn observed_init_container(
    container: &Container,
    statuses: &[ContainerStatus],
    texts: &mut Texts,
    room: &mut usize,
) -> ObservedInitContainer {
    let native = container.restart_policy.as_deref() == Some("Always");
    let status = statuses.iter().find(|status| native && status.name == container.name);
    ObservedInitContainer {
        status: status.map(|status| observed_status(container, status, texts)),
        name: texts.share(&container.name),
        image: texts.share(&container.image),
        fingerprint: fingerprint(container, texts, room),
        native,
    }
}

/// Returns the Pod's record of its injected sets. Records of containers that it does not have are dropped.
fn injected(pod: &WatchedPod, texts: &mut Texts) -> Box<[InjectedSet]> {
    let WatchedPod { annotations, containers, init_containers, .. } = pod;
    let names = listed(annotations.injected_list.as_deref().unwrap_or_default());
    let mut names: Vec<&str> = names.filter(|name| name.len() <= LONGEST_NAME).collect();
    if names.is_empty() {
        return Box::default();
    }
    names.sort_unstable();
    names.dedup();
    names.truncate(MOST_SETS);
    let record = Record::parse(annotations.hash.as_deref()).unwrap_or_default();
    let record_without_image = Record::parse(annotations.hash_without_image.as_deref()).unwrap_or_default();
    let record_of_rest = RecordOfRest::parse(annotations.hash_of_rest.as_deref());
    let states: HashMap<String, Value> = json(annotations.in_place_state.as_deref());
    let injected = names.into_iter().map(|name| {
        let recorded = record.recorded(name).unwrap_or_default();
        let without_image = record_without_image.recorded(name).unwrap_or_default();
        let state: Option<InPlaceState> = states.get(name).and_then(|state| InPlaceState::deserialize(state).ok());
        let before = state.unwrap_or_default().last_container_statuses;
        let mut filled = |text: &str| (!text.is_empty()).then(|| texts.share(text));
        InjectedSet {
            hash: filled(&recorded.hash),
            hash_without_image: filled(&without_image.hash),
            hash_of_rest: filled(record_of_rest.recorded(name).unwrap_or_default()),
            revision: recorded.revision.as_deref().and_then(&mut filled),
            name: texts.share(name),
            ran_before: containers
                .iter()
                .chain(init_containers)
                .filter_map(|Container { name, .. }| Some((name, before.get(&**name)?)))
                .map(|(name, last)| RanBefore {
                    container: texts.share(name),
                    image_id: texts.share(&last.image_id),
                    restarts: last.restart_count,
                })
                .collect(),
        }
    });
    injected.collect()
}

/// Returns the working twin of each hot container. A name that is not one of the twins, or not a container, is ignored.
fn working(pod: &WatchedPod, texts: &mut Texts) -> Box<[(Text, Text)]> {
    let map: HashMap<String, Value> = json(pod.annotations.working_hot_upgrade.as_deref());
    let bases = pod.containers.iter().chain(&pod.init_containers).filter_map(|Container { name, .. }| {
        let base = name.strip_suffix("-1").or_else(|| name.strip_suffix("-2"))?;
        (map.get(base)?.as_str() == Some(name)).then_some((base, name))
    });
    bases.map(|(base, working)| (texts.share(base), texts.share(working))).collect()
}

/// Parses a Kubernetes time.
fn seconds(time: Option<&str>) -> i64 {
    time.and_then(|time| time.parse::<Timestamp>().ok()).map(Timestamp::as_second).unwrap_or_default()
}

/// Parses a map from an annotation's JSON; empty if it cannot be parsed.
fn json(annotation: Option<&str>) -> HashMap<String, Value> {
    annotation.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::tests::PodBuilder;
    use serde_json::json;

    fn observed(pod: &Value) -> ObservedPod {
        ObservedPod::of(&serde_json::from_value(pod.clone()).unwrap(), &mut Texts::default())
    }

    #[test]
    fn what_sets_left_on_it_is_read() {
        let pod = observed(&json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u", "resourceVersion": "7", "labels": {"b": "2", "a": "1"},
                "deletionTimestamp": "2026-01-01T00:00:00Z", "annotations": {
                "kruise.io/sidecarset-injected-list": "y,,x,y",
                "kruise.io/sidecarset-hash": r#"{"x":{"hash":"h","controllerRevision":"x-1"},"y":"bare","z":{"hash":"q"}}"#,
                "kruise.io/sidecarset-hash-without-image": r#"{"x":{"hash":"w"}}"#,
                "kruise.io/sidecarset-inplace-update-state": r#"{"x":{"lastContainerStatuses":{"c":{"imageID":"id"},"gone":{"imageID":"id"}}},"y":5}"#,
                "kruise.io/sidecarset-working-hotupgrade-container": r#"{"h":"h-2","d":null,"c":"c","gone":"gone-1"}"#}},
            "spec": {"containers": [{"name": "c", "image": "i:1"}, {"name": "d", "image": "j:1"},
                                    {"name": "h-1", "image": "k:1"}, {"name": "h-2", "image": "k:1"}],
                     "initContainers": [{"name": "e", "image": "k:1", "restartPolicy": "Always"}]},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}],
                       "containerStatuses": [{"name": "c", "image": "docker.io/i:1", "imageID": "i@sha256:1", "ready": true}]}
        }));
        assert_eq!((pod.phase, pod.deleting, pod.ready, pod.is_active()), (PodPhase::Running, true, true, false));
        assert_eq!((pod.label("a"), pod.label("b"), pod.label("c")), (Some("1"), Some("2"), None));
        let names: Vec<&str> = pod.injected.iter().map(|set| &*set.name).collect();
        assert_eq!(names, ["x", "y"]);
        let [x, y] = &*pod.injected else { panic!("{:?}", pod.injected) };
        assert_eq!((x.hash.as_deref(), x.hash_without_image.as_deref()), (Some("h"), Some("w")));
        assert_eq!(x.revision.as_deref(), Some("x-1"));
        let before = RanBefore { container: "c".into(), image_id: "id".into(), restarts: None };
        assert_eq!(&*x.ran_before, [before]);
        assert_eq!((y.hash.as_deref(), y.revision.as_deref(), y.ran_before.len()), (Some("bare"), None, 0));
        assert_eq!((pod.working("h"), pod.working.len()), (Some("h-2"), 1));
        assert_eq!(&*pod.container("c").unwrap().status.as_ref().unwrap().image_id, "i@sha256:1");
        assert_eq!((&pod.container("d").unwrap().status, pod.reported_containers), (&None, 1));
        assert!(pod.init_containers[0].native);
    }

    #[test]
    fn annotations_that_cannot_be_read_count_as_absent() {
        let broken = PodBuilder::new("p")
            .injected("s", "h")
            .annotation("kruise.io/sidecarset-hash", "{")
            .annotation("kruise.io/sidecarset-inplace-update-state", "[]")
            .annotation("kruise.io/sidecarset-working-hotupgrade-container", "x");
        let pod = ObservedPod::of(&broken.watched(), &mut Texts::default());
        assert_eq!((&*pod.injected[0].name, &pod.injected[0].hash), ("s", &None));
        assert!(pod.injected[0].ran_before.is_empty() && pod.working.is_empty());
    }

    #[test]
    fn of_the_sets_that_a_pod_names_a_bounded_number_is_known_whichever_exist() {
        let of = |names: &str| {
            let list = PodBuilder::new("p").annotation("kruise.io/sidecarset-injected-list", names);
            let pod = ObservedPod::of(&list.watched(), &mut Texts::default());
            pod.injected.iter().map(|set| set.name.to_string()).collect::<Vec<_>>()
        };
        let names: Vec<String> = (0..10 * MOST_SETS).map(|number| format!("s{number:03}")).collect();
        assert_eq!(of(&names.join(",")), names[..MOST_SETS]);
        let reversed: Vec<String> = names.iter().rev().cloned().collect();
        assert_eq!(of(&reversed.join(",")), names[..MOST_SETS], "in whatever order they are named");
        let (long, longer) = ("a".repeat(LONGEST_NAME), "b".repeat(LONGEST_NAME + 1));
        assert_eq!(of(&format!("{longer},{long}")), [long], "what is no name of a set takes no place");
    }
}
