//! Generated SidecarSets, Namespaces, Pods and requests: small pools of names, so that they meet often.

use std::fmt;

use proptest::bool::weighted;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};
use serde_json::{Map, Value, json};

use crate::api_server::default_pod;
use crate::reference::{HASH, HASH_WITHOUT_IMAGE, INJECTED_LIST, MIRROR, Outcome, Request, World, inject, items};
use crate::{NOW, world};

const SET_NAMES: [&str; 6] = ["a", "a-b", "ab", "set-1", "set-10", "set-2"];
const NAMESPACES: [&str; 4] = ["default", "shop", "staging", "kube-system"];
const VOLUMES: [&str; 4] = ["logs", "cache", "conf", "disk"];
const LISTS: [&str; 2] = ["containers", "initContainers"];

/// A world, a request to it, and the JSON text in which the request's Pod comes.
#[derive(Clone)]
pub struct Case {
    pub world: World,
    pub request: Request,
    pub pod_text: String,
}

/// One JSON document a line, as a failure is best read and pasted.
impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Request { operation, sub_resource, namespace, pod } = &self.request;
        writeln!(f, "{operation} pods/{sub_resource} in {namespace:?} of")?;
        writeln!(f, "{pod}\nspelled {}\nwith", self.pod_text)?;
        for set in &self.world.sets {
            writeln!(f, "{} hash {} without image {}", set.written, set.hash, set.hash_without_image)?;
        }
        self.world.namespaces.iter().try_for_each(|namespace| writeln!(f, "{namespace}"))
    }
}

/// Worlds of up to four sets and Pods that often, but not always, match them.
pub fn cases() -> impl Strategy<Value = Case> {
    let parts = (sets(), namespaces(), request_parts(), pod_parts(), history(), select(&[0, 1, 2][..]));
    parts.prop_map(|(sets, namespaces, mut request, pod_parts, history, spelling)| {
        let world = world(&sets, &namespaces);
        request.pod = pod_parts.assemble(&world);
        request.pod = history.apply(&sets, &namespaces, &request);
        let pod_text = spell(&request.pod, spelling);
        Case { world, request, pod_text }
    })
}

// ---- SidecarSets and Namespaces

/// Up to four sets of different names in any order.
pub fn sets() -> impl Strategy<Value = Vec<Value>> {
    let names = subsequence(&SET_NAMES[..], 1..=4).prop_shuffle();
    (names, vec(set(), 4))
        .prop_map(|(names, sets)| names.iter().zip(sets).map(|(name, set)| named(set, name)).collect())
}

/// Puts a set's name into the places where [`set`] wrote `SET`.
fn named(mut set: Value, name: &str) -> Value {
    set["metadata"]["name"] = json!(name);
    for list in LISTS {
        for container in set["spec"][list].as_array_mut().into_iter().flatten() {
            container["name"] = container["name"].as_str().unwrap_or_default().replace("SET", name).into();
        }
    }
    set
}

fn set() -> impl Strategy<Value = Value> {
    let scope = (prop_oneof![3 => Just("v1beta1"), 1 => Just("v1alpha1")], selectors(), scope());
    let volumes = (subsequence(&VOLUMES[..], 0..=4).prop_shuffle(), vec(volume_source(), 4));
    let rest = (
        option::weighted(0.2, subsequence(&["registry", "mirror", "private"][..], 0..=3).prop_shuffle()),
        weighted(0.1),
        any::<bool>(),
    );
    (scope, containers(), init_containers(), volumes, rest).prop_map(
        |((version, selector, scope), mut containers, mut init_containers, (volumes, sources), rest)| {
            let (pull_secrets, injection_paused, update_paused) = rest;
            // A valid set has at least one container, and each name once.
            init_containers.retain(|init| containers.iter().all(|container| container["name"] != init["name"]));
            if containers.is_empty() && init_containers.is_empty() {
                containers = vec![json!({"name": "SET-only", "image": "example.com/only:1"})];
            }
            let mut spec = json!({
                "updateStrategy": {"type": "NotUpdate", "paused": update_paused},
                "containers": containers,
                "initContainers": init_containers,
                "volumes": volumes.iter().zip(sources).map(|(name, source)| with(source, "name", json!(name))).collect::<Vec<_>>(),
            });
            if let Some(selector) = selector {
                spec["selector"] = selector;
            }
            if injection_paused {
                spec["injectionStrategy"] = json!({"paused": true});
            }
            if let Some(pull_secrets) = pull_secrets {
                spec["imagePullSecrets"] = pull_secrets.iter().map(|name| json!({"name": name})).collect();
            }
            match scope {
                Scope::Cluster => {}
                Scope::Labels(selector) => spec["namespaceSelector"] = selector,
                Scope::Name(namespace) if version == "v1alpha1" => {
                    spec["namespace"] = json!(namespace);
                    // The older version's `namespace` wins over this.
                    spec["namespaceSelector"] = json!({"matchLabels": {"no": "namespace"}});
                }
                Scope::Name(namespace) => {
                    spec["namespaceSelector"] = json!({"matchLabels": {"kubernetes.io/metadata.name": namespace}});
                }
            }
            json!({
                "apiVersion": format!("apps.kruise.io/{version}"),
                "kind": "SidecarSet",
                "metadata": {"name": "SET"},
                "spec": spec,
            })
        },
    )
}

#[derive(Clone, Debug)]
enum Scope {
    Cluster,
    Name(&'static str),
    Labels(Value),
}

fn scope() -> impl Strategy<Value = Scope> {
    let by_label = select(vec![
        json!({"matchLabels": {"env": "prod"}}),
        json!({"matchExpressions": [{"key": "env", "operator": "NotIn", "values": ["prod"]}]}),
        json!({"matchExpressions": [{"key": "env", "operator": "Exists"}]}),
        json!({"matchExpressions": [
            {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["default", "staging"]},
        ]}),
        json!({"matchLabels": {"kubernetes.io/metadata.name": "shop"}, "matchExpressions": [
            {"key": "env", "operator": "DoesNotExist"},
        ]}),
        json!({}),
    ]);
    prop_oneof![
        6 => Just(Scope::Cluster),
        1 => select(&NAMESPACES[..]).prop_map(Scope::Name),
        2 => by_label.prop_map(Scope::Labels),
    ]
}

/// Some of the namespaces, with and without the label by which a selector finds them.
pub fn namespaces() -> impl Strategy<Value = Vec<Value>> {
    let labels = select(vec![
        json!(null),
        json!({}),
        json!({"env": "prod"}),
        json!({"env": "dev", "kubernetes.io/metadata.name": "NAME"}),
    ]);
    (subsequence(&NAMESPACES[..], 0..=4), vec(labels, 4)).prop_map(|(names, labels)| {
        let namespace = |(name, mut labels): (&str, Value)| {
            if labels.get("kubernetes.io/metadata.name").is_some() {
                labels["kubernetes.io/metadata.name"] = json!(name);
            }
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
        };
        names.into_iter().zip(labels).map(namespace).collect()
    })
}

fn selectors() -> impl Strategy<Value = Option<Value>> {
    let written = (option::of(label_map()), vec(expression(), 0..=2)).prop_map(|(labels, expressions)| {
        let mut selector = json!({});
        if let Some(labels) = labels {
            selector["matchLabels"] = labels;
        }
        if !expressions.is_empty() {
            selector["matchExpressions"] = json!(expressions);
        }
        selector
    });
    let nothing = select(vec![
        None,
        Some(json!(null)),
        Some(json!({})),
        Some(json!({"matchLabels": {}, "matchExpressions": []})),
        Some(json!({"matchLabels": null})),
    ]);
    prop_oneof![
        6 => Just(Some(json!({"matchLabels": {"app": "web"}}))),
        6 => written.prop_map(Some),
        1 => nothing,
    ]
}

fn expression() -> impl Strategy<Value = Value> {
    let key = select(&["app", "tier", "example.com/team"][..]);
    let values = subsequence(&["web", "db", "front", ""][..], 1..=3);
    (key, values, select(&["In", "NotIn", "Exists", "DoesNotExist"][..])).prop_map(|(key, values, operator)| {
        match operator {
            "In" | "NotIn" => json!({"key": key, "operator": operator, "values": values}),
            _ => json!({"key": key, "operator": operator}),
        }
    })
}

fn label_map() -> impl Strategy<Value = Value> {
    let app = prop_oneof![6 => Just(Some("web")), 1 => Just(Some("db")), 1 => Just(None)];
    let tier = option::of(select(&["front", "db", ""][..]));
    (app, tier, option::weighted(0.3, Just("web"))).prop_map(|(app, tier, team)| {
        let labels = [("app", app), ("tier", tier), ("example.com/team", team)];
        labels
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), json!(value?))))
            .collect::<Map<_, _>>()
            .into()
    })
}

fn containers() -> impl Strategy<Value = Vec<Value>> {
    named_containers(["SET-log", "proxy-SET", "a-SET"], false)
}

fn init_containers() -> impl Strategy<Value = Vec<Value>> {
    named_containers(["SET-setup", "z-SET", "b-SET"], true)
}

/// Containers under a set's own names, and now and then one that other sets and Pods have too.
fn named_containers(names: [&'static str; 3], init: bool) -> impl Strategy<Value = Vec<Value>> {
    let fields = (container_fields(), set_fields(), any::<bool>()).prop_map(move |(container, set_fields, native)| {
        let container = merged(container, set_fields);
        if init && native { with(container, "restartPolicy", json!("Always")) } else { container }
    });
    (Just(names).prop_shuffle(), weighted(0.08), vec(fields, 0..=3)).prop_map(|(mut names, shared, fields)| {
        if shared {
            names[0] = "shared";
        }
        names.iter().zip(fields).map(|(name, fields)| with(fields, "name", json!(name))).collect()
    })
}

/// What only a SidecarSet's containers have.
fn set_fields() -> impl Strategy<Value = Value> {
    let policy = option::of(select(&["BeforeAppContainer", "AfterAppContainer"][..]));
    (policy, any::<bool>()).prop_map(|(policy, in_full)| {
        let mut fields = json!({});
        if let Some(policy) = policy {
            fields["podInjectPolicy"] = json!(policy);
        }
        if in_full {
            fields["upgradeStrategy"] = json!({"upgradeType": "ColdUpgrade"});
            fields["shareVolumePolicy"] = json!({"type": "disabled"});
        }
        fields
    })
}

/// Everything of a container but its name.
fn container_fields() -> impl Strategy<Value = Value> {
    let image = select(&["example.com/agent:1", "example.com/agent:2", "busybox", "registry:5000/a@sha256:0123"][..]);
    let variable = select(vec![
        json!({"name": "LEVEL", "value": "<&>\u{2028}\"\\"}),
        json!({"name": "LEVEL"}),
        json!({"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}),
        json!({"name": "TOKEN", "valueFrom": {"fileKeyRef": {"volumeName": "conf", "path": "p", "key": "k"}}}),
        json!({"name": "IS_INJECTED", "value": "true"}),
        json!({"name": "IS_INJECTED", "value": "false"}),
        json!({"name": "IS_INJECTED", "value": "true", "x-unknown": 1}),
    ]);
    let mounts = subsequence(&["logs", "cache", "conf", "disk", "own"][..], 0..=3).prop_shuffle();
    let resources =
        select(vec![None, Some(json!({})), Some(json!({"limits": {"cpu": "100m"}, "claims": [{"name": "gpu"}]}))]);
    let optional = (
        option::weighted(0.2, Just(json!([{"containerPort": 80}]))),
        option::weighted(0.2, Just(json!({"httpGet": {"port": "http"}}))),
        option::weighted(0.3, Just(json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]))),
        option::weighted(0.3, json_values()),
    );
    let env = option::of(vec(variable, 0..=3));
    (image, env, mounts, option::weighted(0.2, Just("disk")), resources, optional).prop_map(
        |(image, env, mounts, device, resources, (ports, probe, rules, unknown))| {
            let mounts: Vec<_> =
                mounts.iter().map(|name| json!({"name": name, "mountPath": format!("/mnt/{name}")})).collect();
            let fields = [
                ("image", Some(json!(image))),
                ("env", env.map(Value::from)),
                ("volumeMounts", (!mounts.is_empty()).then(|| json!(mounts))),
                ("volumeDevices", device.map(|name| json!([{"name": name, "devicePath": "/dev/xvda"}]))),
                ("resources", resources),
                ("ports", ports),
                ("livenessProbe", probe),
                ("restartPolicyRules", rules),
                ("x-unknown", unknown),
            ];
            fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect::<Map<_, _>>().into()
        },
    )
}

fn volume_source() -> impl Strategy<Value = Value> {
    select(vec![
        json!({"emptyDir": {"sizeLimit": "1Gi"}}),
        json!({"configMap": {"name": "settings", "defaultMode": 420}}),
        json!({"x-fancy": {"deep": [1, {"er": null}]}, "emptyDir": {}}),
        json!({"hostPath": {"path": "/var/log", "type": ""}}),
    ])
}

// ---- Pods

/// The parts of a Pod; some of its containers and annotations refer to the world's sets, which are not known yet.
#[derive(Clone, Debug)]
struct PodParts {
    labels: Value,
    namespace: Option<Value>,
    containers: [Vec<Value>; 2],
    borrowed: Vec<Borrowed>,
    lists: [Vec<Value>; 2],
    hash: HashText,
    hash_without_image: HashText,
    injected_list: Option<Value>,
    exclusion: Option<Exclusion>,
    unknown: Value,
    empties: [Empty; 7],
}

/// A Pod container under a name that a set injects.
#[derive(Clone, Debug)]
struct Borrowed {
    set: Index,
    container: Index,
    list: usize,
    other_list: bool,
    fields: Value,
    is_injected: bool,
}

/// A hash annotation as others may have left it.
#[derive(Clone, Debug)]
enum HashText {
    Verbatim(Option<Value>),
    Entries(Vec<(Index, EntryKind)>),
}

#[derive(Clone, Copy, Debug)]
enum EntryKind {
    Current,
    CurrentInOtherWords,
    Stale,
    LegacyCurrent,
    LegacyStale,
    Foreign,
    LegacyForeign,
}

#[derive(Clone, Copy, Debug)]
enum Exclusion {
    Mirror,
    Deleted,
    Succeeded,
    Failed,
}

/// How an empty list or object is written.
#[derive(Clone, Copy, Debug)]
enum Empty {
    Absent,
    Null,
    Written,
}

fn pod_parts() -> impl Strategy<Value = PodParts> {
    let namespace = option::of(select(vec![json!("default"), json!("shop"), json!("staging"), json!(""), json!(null)]));
    let containers = |names: [&'static str; 3]| {
        (Just(names).prop_shuffle(), vec(container_fields(), 0..=3)).prop_map(|(names, fields)| {
            names.iter().zip(fields).map(|(name, fields)| with(fields, "name", json!(name))).collect::<Vec<_>>()
        })
    };
    let borrowed = (any::<Index>(), any::<Index>(), 0..2_usize, weighted(0.1), container_fields(), any::<bool>())
        .prop_map(|(set, container, list, other_list, fields, is_injected)| Borrowed {
            set,
            container,
            list,
            other_list,
            fields,
            is_injected,
        });
    let borrowed = prop_oneof![2 => Just(Vec::new()), 1 => vec(borrowed, 1..=3)];
    let volumes = subsequence(&["logs", "disk", "own"][..], 0..=3);
    let volumes = volumes.prop_map(|names| names.iter().map(|name| json!({"name": name, "x-own": true})).collect());
    let secrets = vec(select(&["registry", "own"][..]), 0..=3);
    let secrets = secrets.prop_map(|names| names.iter().map(|name| json!({"name": name})).collect());
    let exclusion = select(&[Exclusion::Mirror, Exclusion::Deleted, Exclusion::Succeeded, Exclusion::Failed][..]);
    let empties = prop::array::uniform7(select(&[Empty::Absent, Empty::Null, Empty::Written][..]));
    (
        (label_map(), namespace, containers(["app", "web", "shared"]), containers(["fetch", "init", "wait"]), borrowed),
        (volumes, secrets, hash_text(), hash_text(), injected_list_text()),
        (option::weighted(0.04, exclusion), json_values(), empties),
    )
        .prop_map(|(of_pod, of_set, rest)| PodParts {
            labels: of_pod.0,
            namespace: of_pod.1,
            containers: [of_pod.2, of_pod.3],
            borrowed: of_pod.4,
            lists: [of_set.0, of_set.1],
            hash: of_set.2,
            hash_without_image: of_set.3,
            injected_list: of_set.4,
            exclusion: rest.0,
            unknown: rest.1,
            empties: rest.2,
        })
}

fn hash_text() -> impl Strategy<Value = HashText> {
    let blank = select(vec![json!(null), json!(""), json!(" \t\n"), json!("null"), json!(" null "), json!("{}")]);
    let broken = select(vec![
        json!("[1]"),
        json!("5"),
        json!("\"text\""),
        json!("{"),
        json!("{\"a\":{}}}"),
        json!("not JSON"),
        json!("{\"a\":5}"),
        json!("{\"elsewhere\":[]}"),
        json!("{\"elsewhere\":null}"),
    ]);
    let kind = select(
        &[
            EntryKind::Current,
            EntryKind::CurrentInOtherWords,
            EntryKind::Stale,
            EntryKind::LegacyCurrent,
            EntryKind::LegacyStale,
            EntryKind::Foreign,
            EntryKind::LegacyForeign,
        ][..],
    );
    prop_oneof![
        30 => Just(HashText::Verbatim(None)),
        6 => blank.prop_map(|text| HashText::Verbatim(Some(text))),
        1 => broken.prop_map(|text| HashText::Verbatim(Some(text))),
        25 => vec((any::<Index>(), kind), 1..=4).prop_map(HashText::Entries),
    ]
}

fn injected_list_text() -> impl Strategy<Value = Option<Value>> {
    let text = select(vec![
        json!(null),
        json!(""),
        json!("zzz,,aaa"),
        json!(" set-1 , other"),
        json!(","),
        json!("a,a-b,ab,set-1,set-10,set-2"),
        json!("set-2,set-1,set-2"),
    ]);
    option::weighted(0.4, text)
}

impl HashText {
    fn write(&self, world: &World, hash_of: fn(&crate::reference::Set) -> &str) -> Option<Value> {
        let entries = match self {
            HashText::Verbatim(text) => return text.clone(),
            HashText::Entries(entries) => entries,
        };
        let mut members: Vec<(String, String)> = Vec::new();
        for (index, kind) in entries {
            let set = index.get(&world.sets);
            let (name, hash) = (set.name(), hash_of(set));
            let (key, entry) = match kind {
                EntryKind::Current => (
                    name,
                    format!(
                        r#"{{"updateTimestamp":"2020-01-01T00:00:00Z","hash":"{hash}","sidecarSetName":"{name}","sidecarList":[]}}"#
                    ),
                ),
                EntryKind::CurrentInOtherWords => (name, format!(r#"{{ "extra": 1.10, "ha\u0073h" : "{hash}" }}"#)),
                EntryKind::Stale => (name, r#"{"hash":"stale","sidecarSetName":"x"}"#.to_owned()),
                EntryKind::LegacyCurrent => (name, format!(r#""{hash}""#)),
                EntryKind::LegacyStale => (name, r#""<old>\u00e9\"""#.to_owned()),
                EntryKind::Foreign => ("elsewhere", "{ \"big\": 123456789012345678901, \"f\": 1e3 }".to_owned()),
                EntryKind::LegacyForeign => ("B<c>", r#""other&hash""#.to_owned()),
            };
            if members.iter().all(|(present, _)| present != key) {
                members.push((key.to_owned(), entry));
            }
        }
        let members: Vec<String> = members.iter().map(|(key, entry)| format!("{}: {entry}", json!(key))).collect();
        Some(format!("{{{} }}", members.join(" ,")).into())
    }
}

impl PodParts {
    fn assemble(&self, world: &World) -> Value {
        let [on_labels, on_annotations, on_metadata, on_containers, on_init, on_volumes, on_secrets] = self.empties;

        let mut annotations = json!({"example.com/own": self.unknown.to_string()});
        if !matches!(on_annotations, Empty::Written) {
            annotations = json!({});
        }
        let texts = [
            (HASH, self.hash.write(world, |set| &set.hash)),
            (HASH_WITHOUT_IMAGE, self.hash_without_image.write(world, |set| &set.hash_without_image)),
            (INJECTED_LIST, self.injected_list.clone()),
            (MIRROR, matches!(self.exclusion, Some(Exclusion::Mirror)).then(|| json!("mirror"))),
        ];
        for (key, text) in texts {
            if let Some(text) = text {
                annotations[key] = text;
            }
        }

        let mut metadata = json!({});
        set_unless_empty(&mut metadata, "labels", self.labels.clone(), on_labels);
        set_unless_empty(&mut metadata, "annotations", annotations, on_annotations);
        if let Some(namespace) = &self.namespace {
            metadata["namespace"] = namespace.clone();
        }
        if matches!(on_labels, Empty::Written) {
            metadata["generateName"] = json!("web-");
        }
        if matches!(self.exclusion, Some(Exclusion::Deleted)) {
            metadata["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }

        let mut containers = self.containers.clone();
        for borrowed in &self.borrowed {
            borrowed.add_to(&mut containers, world);
        }
        let mut spec = json!({});
        let [app, init] = containers;
        let [volumes, secrets] = self.lists.clone();
        set_unless_empty(&mut spec, "initContainers", json!(init), on_init);
        set_unless_empty(&mut spec, "containers", json!(app), on_containers);
        set_unless_empty(&mut spec, "volumes", json!(volumes), on_volumes);
        set_unless_empty(&mut spec, "imagePullSecrets", json!(secrets), on_secrets);
        if matches!(on_volumes, Empty::Written) {
            spec["x-spec"] = self.unknown.clone();
        }

        let mut pod = json!({"x-root": self.unknown});
        if matches!(on_secrets, Empty::Written) {
            pod = json!({"apiVersion": "v1", "kind": "Pod"});
        }
        set_unless_empty(&mut pod, "metadata", metadata, on_metadata);
        set_unless_empty(&mut pod, "spec", spec, on_containers);
        match self.exclusion {
            Some(Exclusion::Succeeded) => pod["status"] = json!({"phase": "Succeeded"}),
            Some(Exclusion::Failed) => pod["status"] = json!({"phase": "Failed"}),
            _ => {}
        }
        pod
    }
}

impl Borrowed {
    fn add_to(&self, containers: &mut [Vec<Value>; 2], world: &World) {
        let injected = self.set.get(&world.sets).containers(LISTS[self.list]);
        if injected.is_empty() {
            return;
        }
        let name = &self.container.get(injected)["name"];
        if containers.iter().flatten().any(|present| present["name"] == *name) {
            return;
        }
        let mut container = with(self.fields.clone(), "name", name.clone());
        if self.is_injected {
            container["env"] = json!([{"name": "IS_INJECTED", "value": "true"}]);
        }
        let list = if self.other_list { 1 - self.list } else { self.list };
        containers[list].push(container);
    }
}

// ---- requests

fn request_parts() -> impl Strategy<Value = Request> {
    let operation = prop_oneof![30 => Just("CREATE"), 1 => select(&["UPDATE", "DELETE", "CONNECT"][..])];
    let sub_resource = prop_oneof![30 => Just(""), 1 => select(&["status", "binding", "ephemeralcontainers"][..])];
    let namespace = prop_oneof![4 => Just("shop"), 2 => Just("default"), 2 => Just(""), 1 => select(&NAMESPACES[..])];
    (operation, sub_resource, namespace).prop_map(|(operation, sub_resource, namespace)| Request {
        operation: operation.to_owned(),
        sub_resource: sub_resource.to_owned(),
        namespace: namespace.to_owned(),
        pod: Value::Null,
    })
}

/// Whether the Pod has been injected before, by sets whose images may have differed since.
#[derive(Clone, Debug)]
enum History {
    None,
    Injected { changed_since: [bool; 4], defaulted: bool },
}

fn history() -> impl Strategy<Value = History> {
    let injected = (prop::array::uniform4(any::<bool>()), any::<bool>())
        .prop_map(|(changed_since, defaulted)| History::Injected { changed_since, defaulted });
    prop_oneof![3 => Just(History::None), 1 => injected]
}

impl History {
    fn apply(&self, sets: &[Value], namespaces: &[Value], request: &Request) -> Value {
        let History::Injected { changed_since, defaulted } = self else { return request.pod.clone() };
        let mut sets = sets.to_vec();
        for (set, changed) in sets.iter_mut().zip(changed_since) {
            for list in LISTS.iter().filter(|_| *changed) {
                for container in set["spec"][list].as_array_mut().into_iter().flatten() {
                    container["image"] = json!("example.com/earlier:0");
                }
            }
        }
        match inject(&world(&sets, namespaces), request, NOW) {
            Outcome::Injected(pod) if *defaulted => default_pod(&pod),
            Outcome::Injected(pod) => pod,
            _ => request.pod.clone(),
        }
    }
}

/// The same JSON in one of three spellings: compact, indented, and with every string character escaped.
fn spell(pod: &Value, spelling: usize) -> String {
    match spelling {
        0 => pod.to_string(),
        1 => format!("{pod:#}"),
        _ => escaped(pod),
    }
}

fn escaped(value: &Value) -> String {
    let string = |text: &str| {
        let escapes: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
        format!("\"{escapes}\"")
    };
    match value {
        Value::String(text) => string(text),
        Value::Array(elements) => format!("[{}]", elements.iter().map(escaped).collect::<Vec<_>>().join(",")),
        Value::Object(fields) => {
            let members: Vec<_> =
                fields.iter().map(|(key, field)| format!("{}:{}", string(key), escaped(field))).collect();
            format!("{{{}}}", members.join(","))
        }
        other => other.to_string(),
    }
}

// ---- anything

/// Any JSON of a moderate size.
pub fn json_values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        select(&["", "text", "a/b~c", "\"\\é\u{2028}\u{1F980}"][..]).prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        let key = select(&["", "key", "a/b~c", "name", "env", "spec", "containers", "metadata"][..]);
        prop_oneof![
            vec(inner.clone(), 0..=3).prop_map(Value::from),
            vec((key, inner), 0..=3).prop_map(|members| members
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect::<Map<_, _>>()
                .into()),
        ]
    })
}

/// An `AdmissionReview` of a case, in which some nodes were replaced by anything.
pub fn mutated_reviews() -> impl Strategy<Value = (Case, Value)> {
    (cases(), vec((any::<Index>(), json_values()), 1..=4)).prop_map(|(case, mutations)| {
        let Request { operation, sub_resource, namespace, pod } = &case.request;
        let mut review = json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
                "kind": {"group": "", "version": "v1", "kind": "Pod"},
                "resource": {"group": "", "version": "v1", "resource": "pods"},
                "subResource": sub_resource,
                "namespace": namespace,
                "operation": operation,
                "object": pod,
                "dryRun": false,
            },
        });
        mutate(&mut review, &mutations);
        (case, review)
    })
}

/// SidecarSets in which some nodes were replaced by anything.
pub fn mutated_sets() -> impl Strategy<Value = Vec<Value>> {
    (sets(), vec((any::<Index>(), json_values()), 1..=4)).prop_map(|(sets, mutations)| {
        let mut sets = Value::from(sets);
        mutate(&mut sets, &mutations);
        items(&sets, "").to_vec()
    })
}

fn mutate(document: &mut Value, mutations: &[(Index, Value)]) {
    for (index, value) in mutations {
        let pointer = index.get(&pointers(document, "")).clone();
        if let Some(node) = document.pointer_mut(&pointer) {
            *node = value.clone();
        }
    }
}

/// The JSON pointers of all nodes of a document.
fn pointers(value: &Value, at: &str) -> Vec<String> {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(fields) => {
            fields.iter().map(|(key, field)| (key.replace('~', "~0").replace('/', "~1"), field)).collect()
        }
        Value::Array(elements) => {
            elements.iter().enumerate().map(|(index, element)| (index.to_string(), element)).collect()
        }
        _ => Vec::new(),
    };
    let below = children.iter().flat_map(|(token, child)| pointers(child, &format!("{at}/{token}")));
    std::iter::once(at.to_owned()).chain(below).collect()
}

fn with(mut object: Value, key: &str, value: Value) -> Value {
    object[key] = value;
    object
}

fn merged(mut object: Value, other: Value) -> Value {
    if let (Some(object), Value::Object(other)) = (object.as_object_mut(), other) {
        object.extend(other);
    }
    object
}

fn set_unless_empty(parent: &mut Value, key: &str, value: Value, on_empty: Empty) {
    let is_empty = value.as_object().map(Map::is_empty).or(value.as_array().map(Vec::is_empty)).unwrap_or_default();
    match on_empty {
        Empty::Absent if is_empty => {}
        Empty::Null if is_empty => parent[key] = Value::Null,
        _ => parent[key] = value,
    }
}
