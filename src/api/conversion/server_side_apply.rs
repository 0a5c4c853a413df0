//! Server-side apply as the API server does it with two versions, on top of our conversion. No order of applies makes a set reach
//! more than its managers say, and a single manager gets what it applied.
//!
//! This is a port of structured-merge-diff's `Updater` (v6) to objects that are a map of atomic fields. It merges, prunes fields
//! that a manager no longer applies, restores fields that others own, and finds conflicts. All of that converts parts of objects.

use super::{Version, convert_text};
use crate::api::keys::{CUSTOM_VERSION, NAMESPACE_NAME};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// An object, or a part of one, by field path: `spec.namespace`, `labels.x` and so on.
type Fields = BTreeMap<String, Value>;

/// The fields that a manager owns.
#[derive(Clone, Debug)]
struct Owned {
    version: Version,
    fields: BTreeSet<String>,
}

/// The API server with one object, stored as v1beta1.
#[derive(Clone, Debug, Default)]
struct ApiServer {
    stored: Fields,
    managers: BTreeMap<&'static str, Owned>,
}

fn keys(fields: &Fields) -> BTreeSet<String> {
    fields.keys().cloned().collect()
}

fn other(version: Version) -> Version {
    if version == Version::V1beta1 { Version::V1alpha1 } else { Version::V1beta1 }
}

fn converted(part: &Fields, from: Version, to: Version) -> Fields {
    if from == to {
        return part.clone();
    }
    let mut object = json!({"apiVersion": from.to_string(), "kind": "SidecarSet"});
    for (field, value) in part {
        match field.split_once('.') {
            Some(("labels", label)) => object["metadata"]["labels"][label] = value.clone(),
            Some((part, field)) => object[part][field] = value.clone(),
            None => object[field] = value.clone(),
        }
    }
    let mut text = Vec::new();
    assert_eq!(convert_text(&object.to_string(), to, &mut text), Ok(None), "{object}");
    let object: Value = serde_json::from_slice(&text).unwrap();
    assert!(object["metadata"].is_object(), "metadata is missing: {object}");
    let members = |object: &Value| object.as_object().cloned().unwrap_or_default();
    let of = |prefix: &'static str, map: Map<String, Value>| {
        map.into_iter().map(move |(field, value)| (format!("{prefix}.{field}"), value))
    };
    let spec = of("spec", members(&object["spec"]));
    let mut fields: Fields = spec.chain(of("labels", members(&object["metadata"]["labels"]))).collect();
    fields.extend(object.get("status").map(|status| ("status".to_owned(), status.clone())));
    let unknown = if to == Version::V1beta1 { "spec.namespace" } else { "spec.customVersion" };
    assert!(!fields.contains_key(unknown), "{unknown} is unknown to {to}");
    fields
}

impl ApiServer {
    /// An object whose status was written as v1beta1, so that every apply converts it.
    fn new() -> Self {
        let owned = Owned { version: Version::V1beta1, fields: BTreeSet::from(["status".to_owned()]) };
        Self { stored: Fields::from([("status".to_owned(), json!({}))]), managers: BTreeMap::from([("status", owned)]) }
    }

    /// Returns false on a conflict; nothing has changed then.
    fn apply(&mut self, manager: &'static str, version: Version, config: &Fields, force: bool) -> bool {
        let live = converted(&self.stored, Version::V1beta1, version);
        let mut merged = live.clone();
        merged.extend(config.clone());
        let mut managers = self.managers.clone();
        let last = managers.insert(manager, Owned { version, fields: keys(config) });
        let applied = match last {
            Some(last) if !last.fields.is_empty() => prune(&merged, version, &last, &managers),
            _ => merged,
        };
        for (_, other) in managers.iter_mut().filter(|(name, _)| **name != manager) {
            let before = converted(&live, version, other.version);
            let after = converted(&applied, version, other.version);
            let differs = |field: &&String| after.contains_key(*field) && before.get(*field) != after.get(*field);
            if !force && other.fields.iter().any(|field| differs(&field)) {
                return false;
            }
            other.fields.retain(|field| {
                let removed = before.contains_key(field) && !after.contains_key(field);
                !removed && !differs(&field)
            });
        }
        managers.retain(|_, owned| !owned.fields.is_empty());
        self.managers = managers;
        self.stored = converted(&applied, version, Version::V1beta1);
        true
    }
}

/// Returns an object after its manager stopped applying some fields.
fn prune(merged: &Fields, version: Version, last: &Owned, managers: &BTreeMap<&str, Owned>) -> Fields {
    let merged_then = converted(merged, version, last.version);
    let mut pruned = merged_then.clone();
    pruned.retain(|field, _| !last.fields.contains(field));

    let (mut whole, mut at) = (merged_then.clone(), last.version);
    for of_version in [last.version, other(last.version)] {
        let owned: BTreeSet<&String> =
            managers.values().filter(|owned| owned.version == of_version).flat_map(|owned| &owned.fields).collect();
        if owned.is_empty() {
            continue;
        }
        whole = converted(&whole, at, of_version);
        let kept = keys(&converted(&pruned, at, of_version));
        pruned = whole.clone();
        pruned.retain(|field, _| kept.contains(field) || owned.contains(field));
        at = of_version;
    }
    let pruned = converted(&pruned, at, last.version);
    let mut left = merged_then;
    left.retain(|field, _| pruned.contains_key(field) || !last.fields.contains(field));
    converted(&left, last.version, version)
}

/// The Namespaces of the tests, with their labels.
const NAMESPACES: [(&str, &str); 4] = [("x", "red"), ("x2", "red"), ("y", "red"), ("y2", "blue")];

/// Returns the Namespaces that match a selector; all without one.
fn matched(selector: Option<&Value>) -> BTreeSet<&'static str> {
    let matches = |name: &str, team: &str| {
        let label = |key: &str| match key {
            NAMESPACE_NAME => Some(name.to_owned()),
            "team" => Some(team.to_owned()),
            _ => None,
        };
        let Some(selector) = selector else { return true };
        let labels = selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten();
        let expressions = selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten();
        labels.into_iter().all(|(key, value)| label(key).is_some_and(|label| *value == label))
            && expressions.into_iter().all(|expression| {
                let label = label(expression["key"].as_str().unwrap());
                let is_among =
                    label.is_some_and(|label| expression["values"].as_array().unwrap().contains(&json!(label)));
                match expression["operator"].as_str().unwrap() {
                    "In" => is_among,
                    "NotIn" => !is_among,
                    operator => panic!("{operator}"),
                }
            })
    };
    NAMESPACES.iter().filter(|(name, team)| matches(name, team)).map(|(name, _)| *name).collect()
}

/// Returns the Namespaces that match the fields of both versions.
fn reached(fields: &Fields) -> BTreeSet<&'static str> {
    let mut reached = matched(fields.get("spec.namespaceSelector"));
    if let Some(namespace) = fields.get("spec.namespace") {
        reached.retain(|name| *namespace == *name);
    }
    reached
}

fn named(name: &str) -> Value {
    json!({"matchLabels": {NAMESPACE_NAME: name}})
}

fn selectors() -> impl Strategy<Value = Option<Value>> {
    let is_in = |values: &[&str]| json!({"key": NAMESPACE_NAME, "operator": "In", "values": values});
    let copied = |value: Value| json!({"matchLabels": {NAMESPACE_NAME: "x"}, "matchExpressions": [value]});
    let mark = |operator: &str, value: &str| json!({"key": NAMESPACE_NAME, "operator": operator, "values": [value]});
    proptest::sample::select(vec![
        None,
        Some(named("x")),
        Some(named("y")),
        Some(json!({"matchLabels": {"team": "red"}})),
        Some(json!({"matchLabels": {"team": "red", NAMESPACE_NAME: "x"}})),
        Some(json!({"matchLabels": {"team": "blue"}, "matchExpressions": [is_in(&["x", "x2", "y2"])]})),
        Some(json!({"matchExpressions": [is_in(&["x"])]})),
        Some(copied(mark("NotIn", "v1alpha1.spec.namespace"))),
        Some(copied(mark("NotIn", "v1alpha1.spec.namespaceSelector"))),
        Some(json!({"matchExpressions": [is_in(&["x", "v1alpha1.spec.namespace"])]})),
    ])
}

fn versions() -> impl Strategy<Value = Version> {
    proptest::sample::select(vec![Version::V1alpha1, Version::V1beta1])
}

/// Generates applied configurations: a version, and fields of it.
fn configs() -> impl Strategy<Value = (Version, Fields)> {
    let names = proptest::sample::select(vec![None, Some("x"), Some("y")]);
    let rest = (proptest::sample::select(vec![None, Some("v1"), Some("v2")]), any::<bool>(), any::<bool>());
    (versions(), names, selectors(), rest).prop_map(|(version, name, selector, (custom, label, containers))| {
        let mut fields = Fields::new();
        let mut put = |field: &str, value: Option<Value>| value.map(|value| fields.insert(field.to_owned(), value));
        put("spec.namespaceSelector", selector);
        put("labels.kept", label.then(|| json!("yes")));
        put("spec.containers", containers.then(|| json!([{"name": "c"}])));
        let of_custom_version = format!("labels.{CUSTOM_VERSION}");
        let custom = custom.map(|version| json!(version));
        match version {
            Version::V1alpha1 => {
                put("spec.namespace", name.map(|name| json!(name)));
                put(&of_custom_version, custom);
            }
            Version::V1beta1 => {
                put("spec.customVersion", custom.clone().filter(|_| label));
                put(&of_custom_version, custom.filter(|_| !label));
            }
        }
        (version, fields)
    })
}

const RESTRICTIONS: [&str; 2] = ["spec.namespace", "spec.namespaceSelector"];

fn restricts(config: &Fields) -> bool {
    RESTRICTIONS.into_iter().any(|field| config.contains_key(field))
}

fn config(version: Version, spec: &Value) -> (Version, Fields) {
    let spec = spec.as_object().unwrap().iter();
    (version, spec.map(|(field, value)| (format!("spec.{field}"), value.clone())).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    /// A restriction stays until its manager removes it, or until another manager changes it: by force, or in the other version,
    /// where the API server finds no conflict.
    #[test]
    fn no_order_of_applies_in_two_versions_widens(
        applies in proptest::collection::vec((any::<bool>(), configs(), any::<bool>()), 1..7)
    ) {
        let mut server = ApiServer::new();
        let mut said: BTreeMap<&str, Fields> = BTreeMap::new();
        for (first, (version, config), force) in applies {
            let manager = if first { "a" } else { "b" };
            if !server.apply(manager, version, &config, force) {
                continue;
            }
            if restricts(&config) {
                for (other, said) in &mut said {
                    let owned = server.managers.get(other).map(|owned| owned.fields.clone()).unwrap_or_default();
                    said.retain(|field, _| owned.contains(field));
                }
            }
            said.insert(manager, config);
            for (manager, said) in &said {
                prop_assert!(reached(&server.stored).is_subset(&reached(said)), "{manager} {server:#?}");
            }
        }
    }

    /// A set's fields are split between two managers in any way, and both convert it to the other version, in any order and back
    /// and forth. Fields that both restrict are one field in v1beta1, and so belong to one manager.
    #[test]
    fn a_set_split_between_two_managers_keeps_its_restriction(
        (version, object) in configs(), split in any::<u8>(),
        applies in proptest::collection::vec((any::<bool>(), versions()), 1..8)
    ) {
        let there_and_back = converted(&converted(&object, version, other(version)), other(version), version);
        prop_assume!(there_and_back == object); // a mark written by hand is normalized
        let part = |of_first: bool| -> Fields {
            let own = object.iter().enumerate().filter(|(index, (field, _))| {
                let bit = if RESTRICTIONS.contains(&field.as_str()) { 7 } else { *index };
                ((split >> bit) & 1 == 0) == of_first
            });
            own.map(|(_, (field, value))| (field.clone(), value.clone())).collect()
        };
        let mut server = ApiServer::new();
        prop_assert!(server.apply("a", version, &part(true), false));
        prop_assert!(server.apply("b", version, &part(false), false));
        prop_assert_eq!(reached(&server.stored), reached(&object));
        for (first, to) in applies {
            let manager = if first { "a" } else { "b" };
            prop_assert!(server.apply(manager, to, &converted(&part(first), version, to), false), "{:#?}", server);
            prop_assert_eq!(reached(&server.stored), reached(&object), "{:#?}", server);
        }
        let mut seen = converted(&server.stored, Version::V1beta1, version);
        seen.remove("status");
        prop_assert!(object.keys().all(|field| seen.contains_key(field)), "{:?}", seen);
    }

    /// A single manager that uses one version, and only the fields that restrict a set, gets exactly what it applied
    /// last.
    #[test]
    fn a_manager_that_keeps_to_its_version_gets_what_it_applies(
        version in versions(), used in proptest::sample::subsequence(&RESTRICTIONS, 0..=2),
        applies in proptest::collection::vec((configs(), any::<bool>()), 1..6)
    ) {
        let unknown = if version == Version::V1beta1 { "spec.namespace" } else { "spec.customVersion" };
        let mut server = ApiServer::new();
        for ((_, mut config), restricted) in applies {
            config.remove(unknown);
            for field in RESTRICTIONS.into_iter().filter(|field| *field != unknown) {
                config.remove(field).filter(|_| restricted && used.contains(&field)).or_else(|| {
                    let default = if field == "spec.namespace" { json!("y") } else { json!({"matchLabels": {"team": "red"}}) };
                    Some(default).filter(|_| restricted && used.contains(&field))
                }).map(|value| config.insert(field.to_owned(), value));
            }
            prop_assert!(server.apply("a", version, &config, false));
            let mut seen = converted(&server.stored, Version::V1beta1, version);
            seen.remove("status");
            prop_assert_eq!(reached(&server.stored), reached(&config));
            prop_assert_eq!(seen, config);
        }
    }
}

/// The API server keeps a whole field that two fields of the other version share.
#[test]
fn a_namespace_that_a_selector_replaces_within_v1alpha1_stays_beside_it() {
    let mut server = ApiServer::new();
    let team = json!({"matchLabels": {"team": "red"}});
    for spec in [json!({"namespace": "x"}), json!({"namespaceSelector": team})] {
        let (version, config) = config(Version::V1alpha1, &spec);
        assert!(server.apply("a", version, &config, false));
    }
    let seen = converted(&server.stored, Version::V1beta1, Version::V1alpha1);
    assert_eq!((&seen["spec.namespace"], &seen["spec.namespaceSelector"]), (&json!("x"), &team));
}

#[test]
fn the_same_restriction_in_the_other_version_stays() {
    let of_namespace = || config(Version::V1alpha1, &json!({"namespace": "x"}));
    let selected = |version| config(version, &json!({"namespaceSelector": named("x")}));
    let ways = [of_namespace(), selected(Version::V1alpha1), selected(Version::V1beta1)];
    for (first_version, first) in &ways {
        for (second_version, second) in &ways {
            for other in ["a", "b"] {
                let mut server = ApiServer::new();
                assert!(server.apply("a", *first_version, first, false));
                assert!(server.apply(other, *second_version, second, false), "a conflict between equals: {server:#?}");
                assert_eq!(reached(&server.stored), BTreeSet::from(["x"]));
                assert!(server.apply(other, *second_version, &Fields::new(), false));
                if other == "b" {
                    assert_eq!(reached(&server.stored), BTreeSet::from(["x"]), "a still says so: {server:#?}");
                }
            }
        }
    }
}

#[test]
fn custom_version_and_its_label_move_between_the_versions() {
    let label = Fields::from([(format!("labels.{CUSTOM_VERSION}"), json!("v1"))]);
    let field = Fields::from([("spec.customVersion".to_owned(), json!("v1"))]);
    for (first, second) in [
        ((Version::V1alpha1, &label), (Version::V1beta1, &field)),
        ((Version::V1beta1, &field), (Version::V1alpha1, &label)),
    ] {
        let mut server = ApiServer::new();
        assert!(server.apply("a", first.0, first.1, false));
        assert!(server.apply("a", second.0, second.1, false));
        assert_eq!(server.stored.get("spec.customVersion"), Some(&json!("v1")));
        assert!(server.apply("a", second.0, &Fields::new(), false));
        assert_eq!(keys(&server.stored), BTreeSet::from(["status".to_owned()]));
    }
}
