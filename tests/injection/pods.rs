//! Generated Pods, of which some were injected, forged or damaged before.

use proptest::bool::weighted;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};
use serde_json::{Map, Value, json};

use crate::api_server::mount_token;
use crate::containers::container_fields;
use crate::metadata::{patched_annotations, working_annotation};
use crate::reference::{HASH, HASH_WITHOUT_IMAGE, INJECTED_LIST, MIRROR, Set, WORKING, World};
use crate::sets::{LISTS, json_values, label_map, with};

/// The parts of a Pod. Some containers and annotations refer to the world's sets, which are not known yet.
#[derive(Clone, Debug)]
pub struct PodParts {
    labels: Value,
    namespace: Option<Value>,
    containers: [Vec<Value>; 2],
    borrowed: Vec<Borrowed>,
    lists: [Vec<Value>; 2],
    hash: HashText,
    hash_without_image: HashText,
    injected_list: Option<Value>,
    working: Option<Value>,
    patched: Vec<(&'static str, Value)>,
    exclusion: Option<Exclusion>,
    unknown: Value,
    /// The Pod's setting for the service account token, and whether its containers have it.
    token: (Option<Value>, bool),
    empties: [Empty; 7],
}

/// A Pod container with the name of an injected one.
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

/// The spellings of an empty list or object.
#[derive(Clone, Copy, Debug)]
enum Empty {
    Absent,
    Null,
    Written,
}

/// Pods with and without everything that injection reads.
pub fn pod_parts() -> impl Strategy<Value = PodParts> {
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
    let automount = option::weighted(0.3, select(vec![json!(true), json!(false), json!(null)]));
    let empties = prop::array::uniform7(select(&[Empty::Absent, Empty::Null, Empty::Written][..]));
    (
        (label_map(), namespace, containers(["app", "web", "shared"]), containers(["fetch", "init", "wait"]), borrowed),
        (volumes, secrets, hash_text(), hash_text(), injected_list_text(), working_annotation(), patched_annotations()),
        (option::weighted(0.04, exclusion), json_values(), (automount, any::<bool>()), empties),
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
            working: of_set.5,
            patched: of_set.6,
            exclusion: rest.0,
            unknown: rest.1,
            token: rest.2,
            empties: rest.3,
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
    fn write(&self, world: &World, hash_of: fn(&Set) -> &str) -> Option<Value> {
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
    /// Builds the Pod for a known world.
    pub fn assemble(&self, world: &World) -> Value {
        let [on_labels, on_annotations, on_metadata, on_containers, on_init, on_volumes, on_secrets] = self.empties;

        let mut annotations = json!({"example.com/own": self.unknown.to_string()});
        if !matches!(on_annotations, Empty::Written) {
            annotations = json!({});
        }
        let texts = [
            (HASH, self.hash.write(world, |set| &set.hash)),
            (HASH_WITHOUT_IMAGE, self.hash_without_image.write(world, |set| &set.hash_without_image)),
            (INJECTED_LIST, self.injected_list.clone()),
            (WORKING, self.working.clone()),
            (MIRROR, matches!(self.exclusion, Some(Exclusion::Mirror)).then(|| json!("mirror"))),
        ];
        for (key, text) in texts {
            if let Some(text) = text {
                annotations[key] = text;
            }
        }
        for (key, text) in &self.patched {
            annotations[*key] = text.clone();
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
        if let Some(automount) = &self.token.0 {
            spec["automountServiceAccountToken"] = automount.clone();
        }
        set_unless_empty(&mut pod, "spec", spec, on_containers);
        if self.token.1 {
            mount_token(&mut pod);
        }
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
        let injected = self.set.get(&world.sets).injected_names(LISTS[self.list]);
        if injected.is_empty() {
            return;
        }
        let name = self.container.get(&injected);
        if containers.iter().flatten().any(|present| present["name"] == *name) {
            return;
        }
        let mut container = with(self.fields.clone(), "name", json!(name));
        if self.is_injected {
            container["env"] = json!([{"name": "IS_INJECTED", "value": "true"}]);
        }
        let list = if self.other_list { 1 - self.list } else { self.list };
        containers[list].push(container);
    }
}

fn set_unless_empty(parent: &mut Value, key: &str, value: Value, on_empty: Empty) {
    let is_empty = value.as_object().map(Map::is_empty).or(value.as_array().map(Vec::is_empty)).unwrap_or_default();
    match on_empty {
        Empty::Absent if is_empty => {}
        Empty::Null if is_empty => parent[key] = Value::Null,
        _ => parent[key] = value,
    }
}
