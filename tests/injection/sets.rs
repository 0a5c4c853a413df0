//! Generated `SidecarSets` and Namespaces, and labels that Pods also have.

use proptest::bool::weighted;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Map, Value, json};

use crate::containers::{containers, init_containers};
use crate::metadata::metadata_patches;
use crate::reference::{BASE, CANARY};

/// The namespaces of Pods, sets and Namespace objects.
pub const NAMESPACES: [&str; 4] = ["default", "shop", "staging", "kube-system"];
/// The lists of containers in Pods and sets.
pub const LISTS: [&str; 2] = ["containers", "initContainers"];
const SET_NAMES: [&str; 6] = ["a", "a-b", "ab", "set-1", "set-10", "set-2"];
const VOLUMES: [&str; 4] = ["logs", "cache", "conf", "disk"];

/// Up to four sets with different names in any order.
pub fn sets() -> impl Strategy<Value = Vec<Value>> {
    let names = subsequence(&SET_NAMES[..], 1..=4).prop_shuffle();
    (names, vec(set(), 4))
        .prop_map(|(names, sets)| names.iter().zip(sets).map(|(name, set)| named(set, name)).collect())
}

/// Replaces `SET`, which [`set`] wrote, by a set's name.
fn named(mut set: Value, name: &str) -> Value {
    set["metadata"]["name"] = json!(name);
    if set["metadata"]["annotations"][BASE] == name {
        // Validation rejects a canary of itself.
        set["metadata"]["annotations"] = Value::Null;
    }
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
        (metadata_patches(), canary()),
    );
    (scope, containers(), init_containers(), volumes, rest).prop_map(
        |((version, selector, scope), mut containers, mut init_containers, (volumes, sources), rest)| {
            let (pull_secrets, injection_paused, update_paused, (metadata_patches, canary)) = rest;
            // A valid set has at least one container, and no duplicate names.
            let is_shared = |container: &Value| container["name"].as_str().is_some_and(|name| name.starts_with("shared"));
            init_containers.retain(|init| !is_shared(init) || !containers.iter().any(is_shared));
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
            if let Some(metadata_patches) = metadata_patches {
                spec["patchPodMetadata"] = metadata_patches;
            }
            match scope {
                Scope::Cluster => {}
                Scope::Labels(selector) => spec["namespaceSelector"] = selector,
                Scope::Name(namespace) if version == "v1alpha1" => {
                    spec["namespace"] = json!(namespace);
                    // Both must match, and this always does.
                    let any = json!({"key": "kubernetes.io/metadata.name", "operator": "Exists"});
                    spec["namespaceSelector"] = json!({"matchExpressions": [any]});
                }
                Scope::Name(namespace) => {
                    spec["namespaceSelector"] = json!({"matchLabels": {"kubernetes.io/metadata.name": namespace}});
                }
            }
            json!({
                "apiVersion": format!("apps.kruise.io/{version}"),
                "kind": "SidecarSet",
                "metadata": {"name": "SET", "annotations": canary},
                "spec": spec,
            })
        },
    )
}

/// The annotations of a set, some of which make it a canary.
fn canary() -> impl Strategy<Value = Value> {
    let says = select(vec![json!("true"), json!("true"), json!("True"), json!("false")]);
    let base = select([&SET_NAMES[..], &["", "elsewhere"]].concat());
    let canary = (says, base).prop_map(|(says, base)| json!({CANARY: says, BASE: base}));
    prop_oneof![6 => Just(Value::Null), 1 => canary, 1 => Just(json!({CANARY: "true"}))]
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

/// Some of the namespaces, with and without the label that a selector matches.
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

/// The labels of a Pod, or those that a selector requires.
pub fn label_map() -> impl Strategy<Value = Value> {
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

fn volume_source() -> impl Strategy<Value = Value> {
    select(vec![
        json!({"emptyDir": {"sizeLimit": "1Gi"}}),
        json!({"configMap": {"name": "settings", "defaultMode": 420}}),
        json!({"x-fancy": {"deep": [1, {"er": null}]}, "emptyDir": {}}),
        json!({"hostPath": {"path": "/var/log", "type": ""}}),
    ])
}

/// Arbitrary JSON of moderate size.
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

pub fn with(mut object: Value, key: &str, value: Value) -> Value {
    object[key] = value;
    object
}
