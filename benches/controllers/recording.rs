//! The recorded watch stream: Pods and SidecarSets as the API server sends them, as text with the few fields that differ from
//! Pod to Pod left out. Each Pod was injected by outrigger's own code.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use outrigger::admission::{Metrics, mutate_pod};
use outrigger::api::decode;
use outrigger::documents;
use outrigger::injection::{Index, InjectableSet, Options};
use serde_json::{Value, json};

use crate::cases::{self, Matching};

/// The containers that a Pod has of its own. A set adds two, and an init container.
const OWN_CONTAINERS: usize = 1;
/// The namespaces of the Pods.
pub const NAMESPACES: usize = 200;
const NODES: u64 = 1_000;

/// What the Pods of a cluster have in common.
pub struct Recording {
    /// Pods by their set.
    pods: Vec<Template>,
    /// A Pod's status at each [`Stage`].
    statuses: [Template; 5],
    /// The sets, as they are before outrigger has seen them.
    pub sets: Vec<Value>,
}

/// A Pod, without what all Pods have in common.
#[derive(Clone, Copy, Debug)]
pub struct Pod {
    /// Its number, from 0.
    pub number: u64,
    pub version: u64,
    pub stage: Stage,
    /// Whether its labels are those that the set selects.
    pub labelled: bool,
}

/// Where a Pod is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Pending,
    Assigned,
    Starting,
    Ready,
    Ending,
}

/// Text, then a field, then text, and so on.
struct Template(Vec<(Box<str>, Option<Field>)>);

#[derive(Clone, Copy)]
enum Field {
    Name,
    Namespace,
    Suffix,
    Uid,
    Version,
    Set,
    App,
    /// The name of the node, if it has one.
    Assigned,
    Node,
    Address,
    Container,
    /// The time of deletion, if it is being deleted.
    Deleting,
    Status,
}

/// The fields by their marks in the text.
const FIELDS: &[(&str, Field)] = &[
    ("name", Field::Name),
    ("namespace", Field::Namespace),
    ("suffix", Field::Suffix),
    ("uid", Field::Uid),
    ("version", Field::Version),
    ("set", Field::Set),
    ("app", Field::App),
    ("assigned", Field::Assigned),
    ("node", Field::Node),
    ("address", Field::Address),
    ("container", Field::Container),
    ("deleting", Field::Deleting),
    ("status", Field::Status),
];

impl Recording {
    /// Records the Pods of this many sets.
    pub fn of(sets: usize) -> Result<Self> {
        let (mut pods, mut stored) = (Vec::new(), Vec::new());
        for (number, (name, yaml)) in cases::sets(sets, Matching::None).enumerate() {
            let mut documents = documents::parse(&name, yaml.as_bytes())?;
            let mut set = documents.pop().context("a document")?.value;
            pods.push(Template::of(&as_text(&injected(&set)?))?);
            set["metadata"]["uid"] = format!("5e7a1b0c-0c1e-4f6e-9d6b-{number:012x}").into();
            set["metadata"]["generation"] = 1.into();
            stored.push(set);
        }
        let stages = [Stage::Pending, Stage::Assigned, Stage::Starting, Stage::Ready, Stage::Ending];
        let statuses = stages.map(|stage| Template::of(&status(stage).to_string()));
        let [pending, assigned, starting, ready, ending] = statuses;
        Ok(Self { pods, statuses: [pending?, assigned?, starting?, ready?, ending?], sets: stored })
    }

    /// Returns the number of the set that was injected into this Pod.
    pub fn set_of(&self, number: u64) -> usize {
        usize::try_from(number).unwrap_or_default() % self.sets.len()
    }

    /// Writes a Pod as in a list.
    pub fn write(&self, pod: &Pod, text: &mut Vec<u8>) -> Result<()> {
        self.pods[self.set_of(pod.number)].write(self, pod, text)
    }
}

/// Returns a running Pod with the containers of a set.
fn injected(set: &Value) -> Result<Value> {
    let mut index = Index::new(Options::default());
    index.apply_set(InjectableSet::new(decode::sidecarset(set.clone())?)?);
    index.apply_namespace(cases::NAMESPACE.to_owned(), BTreeMap::new());
    let mut pod = cases::pod(OWN_CONTAINERS);
    pod["metadata"]["labels"]["app"] = set["spec"]["selector"]["matchLabels"]["app"].clone();
    let review = cases::review(&pod);
    let answer = mutate_pod::answer(
        review.as_bytes(),
        &AtomicBool::new(false),
        &index.snapshot(),
        Timestamp::UNIX_EPOCH,
        &Metrics::default(),
    );
    let answer: Value = serde_json::from_slice(&answer.body)?;
    let patch = answer["response"]["patch"].as_str().context("the set is injected")?;
    let patch: json_patch::Patch = serde_json::from_slice(&STANDARD.decode(patch)?)?;
    json_patch::patch(&mut pod, &patch)?;
    ensure!(pod["spec"]["containers"].as_array().map(Vec::len) == Some(OWN_CONTAINERS + 2), "{pod}");

    // In a list, objects have no kind.
    let object = pod.as_object_mut().context("an object")?;
    object.remove("kind");
    object.remove("apiVersion");
    let metadata = &mut pod["metadata"];
    metadata["name"] = "§name§".into();
    metadata["namespace"] = "§namespace§".into();
    metadata["uid"] = "§uid§".into();
    metadata["resourceVersion"] = "§version§".into();
    metadata["creationTimestamp"] = "2026-07-01T08:15:31Z".into();
    metadata["labels"]["app"] = "§app§".into();
    let kubelet = json!({
        "manager": "kubelet", "operation": "Update", "apiVersion": "v1", "time": "2026-07-01T08:16:02Z",
        "fieldsType": "FieldsV1", "subresource": "status",
        "fieldsV1": {"f:status": {
            "f:conditions": {
                "k:{\"type\":\"ContainersReady\"}": owned_condition(), "k:{\"type\":\"Initialized\"}": owned_condition(),
                "k:{\"type\":\"PodReadyToStartContainers\"}": owned_condition(), "k:{\"type\":\"Ready\"}": owned_condition(),
            },
            "f:containerStatuses": {}, "f:hostIP": {}, "f:hostIPs": {}, "f:initContainerStatuses": {}, "f:observedGeneration": {},
            "f:phase": {}, "f:podIP": {},
            "f:podIPs": {".": {}, "k:{\"ip\":\"§address§\"}": {".": {}, "f:ip": {}}}, "f:startTime": {},
        }},
    });
    metadata["managedFields"].as_array_mut().context("managed fields")?.push(kubelet);
    pod["spec"]["nodeName"] = "§node§".into();
    pod["status"] = "§status§".into();
    Ok(pod)
}

/// Returns the Pod's text with marks for whole fields that it does not always have.
fn as_text(pod: &Value) -> String {
    pod.to_string()
        .replace("\"§status§\"", "§status§")
        .replace(",\"nodeName\":\"§node§\"", "§assigned§")
        .replace(
            "\"creationTimestamp\":\"2026-07-01T08:15:31Z\"",
            "\"creationTimestamp\":\"2026-07-01T08:15:31Z\"§deleting§",
        )
        .replace("kube-api-access-x7k2p", "kube-api-access-§suffix§")
}

fn owned_condition() -> Value {
    json!({".": {}, "f:lastProbeTime": {}, "f:lastTransitionTime": {}, "f:observedGeneration": {}, "f:status": {}, "f:type": {}})
}

fn status(stage: Stage) -> Value {
    let condition = |kind: &str, holds: bool| {
        json!({"type": kind, "status": if holds { "True" } else { "False" }, "observedGeneration": 1, "lastProbeTime": null,
               "lastTransitionTime": "2026-07-01T08:15:31Z"})
    };
    if stage == Stage::Pending {
        return json!({"phase": "Pending", "qosClass": "Burstable"});
    }
    if stage == Stage::Assigned {
        return json!({"phase": "Pending", "conditions": [condition("PodScheduled", true)], "qosClass": "Burstable"});
    }
    let ready = stage == Stage::Ready;
    let of_container = |name: &str, image: &str, ready: bool, state: Value| {
        json!({
            "name": name, "image": image, "ready": ready, "started": ready, "restartCount": 0, "lastState": {}, "state": state,
            "imageID": format!("{}@sha256:4bcff63911fcb4448bd4fdacec207030997caf25e9bea4045fa6c8c44de311d1", image.split(':').next().unwrap_or_default()),
            "containerID": "containerd://§container§",
        })
    };
    let running = || json!({"running": {"startedAt": "2026-07-01T08:15:48Z"}});
    let ended = json!({"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": "2026-07-01T08:15:40Z",
                                      "finishedAt": "2026-07-01T08:15:41Z", "containerID": "containerd://§container§"}});
    json!({
        "phase": "Running", "observedGeneration": 1, "qosClass": "Burstable", "startTime": "2026-07-01T08:15:31Z",
        "conditions": [condition("PodReadyToStartContainers", true), condition("Initialized", true), condition("Ready", ready),
                       condition("ContainersReady", ready), condition("PodScheduled", true)],
        "hostIP": "10.0.0.§suffix§", "hostIPs": [{"ip": "10.0.0.§suffix§"}],
        "podIP": "§address§", "podIPs": [{"ip": "§address§"}],
        "initContainerStatuses": [of_container("§set§-setup", "registry.example.com/observability/log-setup:1.4.2", true, ended)],
        "containerStatuses": [
            of_container("checkout", "registry.example.com/shop/checkout:2.14.0", ready, running()),
            of_container("§set§-agent", "registry.example.com/observability/log-agent:3.2.1", ready, running()),
            of_container("§set§-metrics", "registry.example.com/observability/metrics-proxy:0.9.0", ready, running()),
        ],
    })
}

impl Template {
    /// Splits a text with marks `§field§`.
    fn of(text: &str) -> Result<Self> {
        let mut parts = text.split('§');
        let mut template = Vec::new();
        while let Some(text) = parts.next() {
            let field = parts.next().map(|mark| {
                let known = FIELDS.iter().find(|(name, _)| *name == mark);
                known.map(|(_, field)| *field).with_context(|| format!("no field {mark:?}"))
            });
            template.push((text.into(), field.transpose()?));
        }
        Ok(Self(template))
    }

    fn write(&self, recording: &Recording, pod: &Pod, text: &mut Vec<u8>) -> Result<()> {
        let Pod { number, version, stage, labelled } = *pod;
        let (set, node) = (recording.set_of(number), number % NODES);
        for (before, field) in &self.0 {
            text.extend_from_slice(before.as_bytes());
            match field {
                Some(Field::Name) => write!(text, "checkout-6d4b75cb6d-{number:06}")?,
                Some(Field::Namespace) => write!(text, "{}", namespace(number))?,
                Some(Field::Suffix) => write!(text, "{number:05x}")?,
                Some(Field::Uid) => write!(text, "6f1b7a54-0c1e-4f6e-9d6b-{number:012x}")?,
                Some(Field::Version) => write!(text, "{version}")?,
                Some(Field::Set) => write!(text, "logs-{set:05}")?,
                Some(Field::App) => write!(text, "{}-{set:05}", if labelled { "app" } else { "other" })?,
                Some(Field::Assigned) if stage != Stage::Pending => write!(text, ",\"nodeName\":\"node-{node:04}\"")?,
                Some(Field::Node) => write!(text, "node-{node:04}")?,
                Some(Field::Address) => {
                    write!(text, "10.{}.{}.{}", number >> 16 & 255, number >> 8 & 255, number & 255)?;
                }
                Some(Field::Container) => {
                    for word in 1..=4 {
                        write!(
                            text,
                            "{:016x}",
                            (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(11 * word)
                        )?;
                    }
                }
                Some(Field::Deleting) if stage == Stage::Ending => {
                    text.extend_from_slice(
                        b",\"deletionTimestamp\":\"2026-07-01T09:15:31Z\",\"deletionGracePeriodSeconds\":30",
                    );
                }
                Some(Field::Status) => recording.statuses[stage as usize].write(recording, pod, text)?,
                None | Some(Field::Assigned | Field::Deleting) => {}
            }
        }
        Ok(())
    }
}

/// Returns the namespace of a Pod.
pub fn namespace(number: u64) -> String {
    format!("team-{:03}", number % NAMESPACES as u64)
}
