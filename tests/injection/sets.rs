//! Generated `SidecarSets` and Namespaces, and the containers and labels that Pods have too.

use proptest::bool::weighted;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Map, Value, json};

/// The namespaces that Pods, sets and Namespace objects name.
pub const NAMESPACES: [&str; 4] = ["default", "shop", "staging", "kube-system"];
/// The fields under which Pods and sets list containers.
pub const LISTS: [&str; 2] = ["containers", "initContainers"];
const SET_NAMES: [&str; 6] = ["a", "a-b", "ab", "set-1", "set-10", "set-2"];
const VOLUMES: [&str; 4] = ["logs", "cache", "conf", "disk"];

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

/// The labels of a Pod, or what a selector wants of them.
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

/// What only a `SidecarSet`'s containers have.
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
pub fn container_fields() -> impl Strategy<Value = Value> {
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

pub fn with(mut object: Value, key: &str, value: Value) -> Value {
    object[key] = value;
    object
}

fn merged(mut object: Value, other: Value) -> Value {
    if let (Some(object), Value::Object(other)) = (object.as_object_mut(), other) {
        object.extend(other);
    }
    object
}
