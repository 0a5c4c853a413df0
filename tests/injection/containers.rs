//! Generated containers of sets and Pods, with everything that they can take from each other.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Map, Value, json};

use crate::sets::{json_values, with};

const VARIABLES: [&str; 6] = ["LEVEL", "NODE", "TOKEN", "IS_INJECTED", "MISSING", "SIDECARSET_VERSION"];
/// Mount paths and device paths, few so that they often collide.
const PATHS: [&str; 7] = ["/mnt/logs", "/mnt/cache", "/data", "/dev/xvda", "/dev/xvdb", "/mnt/./logs/", "data"];

pub fn containers() -> impl Strategy<Value = Vec<Value>> {
    named_containers(["SET-log", "proxy-SET", "a-SET"], false)
}

pub fn init_containers() -> impl Strategy<Value = Vec<Value>> {
    named_containers(["SET-setup", "z-SET", "b-SET"], true)
}

/// Containers with a set's own names, and sometimes one that other sets and Pods also have.
fn named_containers(names: [&'static str; 3], init: bool) -> impl Strategy<Value = Vec<Value>> {
    let fields = (container_fields(), set_fields(), any::<bool>()).prop_map(move |(container, set_fields, native)| {
        let container = merged(container, set_fields);
        if init && native { with(container, "restartPolicy", json!("Always")) } else { container }
    });
    (Just(names).prop_shuffle(), option::weighted(0.1, select(&["shared", "shared-1"][..])), vec(fields, 0..=3))
        .prop_map(|(mut names, shared, fields)| {
            if let Some(shared) = shared {
                names[0] = shared;
            }
            names.iter().zip(fields).map(|(name, fields)| with(fields, "name", json!(name))).collect()
        })
}

/// The container fields that only a `SidecarSet` has.
fn set_fields() -> impl Strategy<Value = Value> {
    let policy = option::of(select(&["BeforeAppContainer", "AfterAppContainer"][..]));
    let hot = json!({"upgradeType": "HotUpgrade", "hotUpgradeEmptyImage": "example.com/empty:1"});
    let upgrade = option::weighted(0.5, select(vec![json!({"upgradeType": "ColdUpgrade"}), hot]));
    let share = || option::weighted(0.5, select(vec![json!({"type": "enabled"}), json!({"type": "disabled"})]));
    let transfers = option::weighted(0.3, vec(transfer(), 0..=3));
    (policy, upgrade, share(), share(), transfers).prop_map(|(policy, upgrade, mounts, devices, transfers)| {
        object([
            ("podInjectPolicy", policy.map(Value::from)),
            ("upgradeStrategy", upgrade),
            ("shareVolumePolicy", mounts),
            ("shareVolumeDevicePolicy", devices),
            ("transferEnv", transfers.map(Value::from)),
        ])
    })
}

/// An entry of `transferEnv` from a container that some Pods have.
fn transfer() -> impl Strategy<Value = Value> {
    let container = select(&["app", "web", "shared", "fetch", "missing"][..]);
    let path = select(
        &[
            "metadata.name",
            "metadata.labels['app']",
            "metadata.labels['example.com/team']",
            "metadata.labels['missing']",
            "metadata.annotations['example.com/source']",
            "metadata.annotations['UPPER/Source']",
        ][..],
    );
    let sources = prop_oneof![
        3 => container.prop_map(|container| json!({"sourceContainerName": container})),
        2 => path.clone().prop_map(|path| json!({"sourceContainerNameFrom": {"fieldRef": {"fieldPath": path}}})),
        1 => path.prop_map(|path| json!({
            "sourceContainerName": "app",
            "sourceContainerNameFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}},
        })),
    ];
    let names = option::of(subsequence(&VARIABLES[..], 0..=4).prop_shuffle());
    (sources, option::of(select(&VARIABLES[..])), names).prop_map(|(mut entry, name, names)| {
        if let Some(name) = name {
            entry["envName"] = json!(name);
        }
        if let Some(names) = names {
            entry["envNames"] = json!(names);
        }
        entry
    })
}

/// All container fields except the name.
pub fn container_fields() -> impl Strategy<Value = Value> {
    let digest = "registry:5000/a@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let image = select(vec!["example.com/agent:1", "example.com/agent:2", "busybox", digest]);
    let arguments = || option::weighted(0.3, subsequence(&["run", "--fast", "", "$(LEVEL)"][..], 0..=3).prop_shuffle());
    let resources =
        select(vec![None, Some(json!({})), Some(json!({"limits": {"cpu": "100m"}, "claims": [{"name": "gpu"}]}))]);
    let optional = (
        option::weighted(0.2, Just(json!([{"containerPort": 80}]))),
        option::weighted(0.2, Just(json!({"httpGet": {"port": "http"}}))),
        option::weighted(0.3, Just(json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]))),
        option::weighted(0.3, json_values()),
    );
    let env = option::of(vec(variable(), 0..=4));
    ((image, arguments(), arguments()), env, mounts_and_devices(), resources, optional).prop_map(
        |((image, command, args), env, (mounts, devices), resources, (ports, probe, rules, unknown))| {
            object([
                ("image", Some(json!(image))),
                ("command", command.map(Value::from)),
                ("args", args.map(Value::from)),
                ("env", env.map(Value::from)),
                ("volumeMounts", (!mounts.is_empty()).then(|| json!(mounts))),
                ("volumeDevices", (!devices.is_empty()).then(|| json!(devices))),
                ("resources", resources),
                ("ports", ports),
                ("livenessProbe", probe),
                ("restartPolicyRules", rules),
                ("x-unknown", unknown),
            ])
        },
    )
}

/// An environment variable. Some names occur twice.
pub fn variable() -> impl Strategy<Value = Value> {
    select(vec![
        json!({"name": "LEVEL", "value": "<&>\u{2028}\"\\"}),
        json!({"name": "LEVEL"}),
        json!({"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}),
        json!({"name": "NODE", "value": "$(LEVEL)"}),
        json!({"name": "NODE", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}),
        json!({"name": "TOKEN", "valueFrom": {"fileKeyRef": {"volumeName": "conf", "path": "p", "key": "k"}}}),
        json!({"name": "IS_INJECTED", "value": "false"}),
        json!({"name": "IS_INJECTED", "value": "true", "x-unknown": 1}),
        json!({"name": "SIDECARSET_VERSION", "value": "own"}),
    ])
}

/// Volume mounts and devices. Paths are unique within a container.
pub fn mounts_and_devices() -> impl Strategy<Value = (Vec<Value>, Vec<Value>)> {
    let mounts = subsequence(&["logs", "cache", "conf", "disk", "own"][..], 0..=3).prop_shuffle();
    let expression =
        select(&["$(LEVEL)/x", "$(NODE)-$(TOKEN)$(NODE)", "$(MISSING)", "$(1BAD)$($(LEVEL)", "$(", "plain"][..]);
    let devices = prop_oneof![3 => Just(vec![]), 1 => subsequence(&["disk", "raw"][..], 1..=2)];
    (mounts, vec(option::weighted(0.4, expression), 3), devices, Just(PATHS).prop_shuffle()).prop_map(
        |(mounts, expressions, devices, paths)| {
            let mount = |((name, expression), path): ((&str, Option<&str>), &str)| {
                let expression = expression.map(Value::from);
                let propagation = (name == "disk").then(|| json!("Bidirectional"));
                object([
                    ("name", Some(json!(name))),
                    ("mountPath", Some(json!(path))),
                    ("subPathExpr", expression),
                    ("mountPropagation", propagation),
                ])
            };
            let device = |(name, path): (&str, &str)| json!({"name": name, "devicePath": path});
            let devices = devices.into_iter().zip(paths.into_iter().rev()).map(device).collect();
            (mounts.into_iter().zip(expressions).zip(paths).map(mount).collect(), devices)
        },
    )
}

/// An object of the present fields.
fn object<const N: usize>(fields: [(&str, Option<Value>); N]) -> Value {
    fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect::<Map<_, _>>().into()
}

fn merged(mut object: Value, other: Value) -> Value {
    if let (Some(object), Value::Object(other)) = (object.as_object_mut(), other) {
        object.extend(other);
    }
    object
}
