//! Changes of other admission webhooks and plugins to every container of a Pod between two calls.

use proptest::prelude::*;
use proptest::sample::subsequence;
use serde_json::{Map, Value, json};

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutator {
    RegistryRewrite,
    TagToDigest,
    DigestBesideTag,
    Wrapper,
    ProbeRewrite,
    LimitRanger,
    AlwaysPullImages,
    /// `kubectl debug --copy-to --set-image`: the app containers only.
    SetImage,
    /// Variables and mounts before the existing ones.
    Prefix,
}

const ALL: [Mutator; 9] = [
    Mutator::RegistryRewrite,
    Mutator::TagToDigest,
    Mutator::DigestBesideTag,
    Mutator::Wrapper,
    Mutator::ProbeRewrite,
    Mutator::LimitRanger,
    Mutator::AlwaysPullImages,
    Mutator::SetImage,
    Mutator::Prefix,
];

/// Some of them, in order.
pub fn mutators() -> impl Strategy<Value = Vec<Mutator>> {
    subsequence(&ALL[..], 1..=3).prop_shuffle()
}

/// Returns the Pod after all of them.
pub fn mutated(mut pod: Value, mutators: &[Mutator]) -> Value {
    for mutator in mutators {
        for list in ["initContainers", "containers"] {
            let containers = pod["spec"].get_mut(list).and_then(Value::as_array_mut).into_iter().flatten();
            for container in containers.filter_map(Value::as_object_mut) {
                mutator.apply(container);
            }
        }
    }
    pod
}

impl Mutator {
    fn apply(self, container: &mut Map<String, Value>) {
        let image = container.get("image").and_then(Value::as_str).unwrap_or_default().to_owned();
        match self {
            // Hosts with a port cannot be part of a path.
            Self::RegistryRewrite if !image.is_empty() => {
                let path =
                    image.split_once('/').filter(|(host, _)| host.contains(':')).map_or(&*image, |(_, path)| path);
                container.insert("image".to_owned(), format!("mirror.corp:5000/proxy/{path}").into());
            }
            Self::TagToDigest | Self::DigestBesideTag if !image.is_empty() && !image.contains('@') => {
                let path = image.rfind('/').unwrap_or_default();
                let tag =
                    image[path..].find(':').filter(|_| self == Self::TagToDigest).map_or(image.len(), |at| path + at);
                container.insert("image".to_owned(), format!("{}@sha256:{}", &image[..tag], "ab".repeat(32)).into());
            }
            Self::Wrapper => {
                let of_image = json!(["/entrypoint"]);
                let command = container.get("command").filter(|command| **command != json!([])).unwrap_or(&of_image);
                let all = [Some(command), container.get("args")].into_iter().flatten().filter_map(Value::as_array);
                let args: Vec<Value> = all.flatten().cloned().collect();
                container.insert("command".to_owned(), json!(["/wrapper", "--"]));
                container.insert("args".to_owned(), args.into());
            }
            Self::ProbeRewrite => {
                let get = json!({"httpGet": {"path": "/app-health/livez", "port": 15020}});
                container.insert("livenessProbe".to_owned(), get);
            }
            Self::LimitRanger => {
                container.insert("resources".to_owned(), json!({"limits": {"cpu": "1"}, "requests": {"cpu": "1"}}));
            }
            Self::AlwaysPullImages => {
                container.insert("imagePullPolicy".to_owned(), json!("Always"));
            }
            Self::SetImage if !container.get("env").is_some_and(|env| env.to_string().contains("IS_INJECTED")) => {
                container.insert("image".to_owned(), json!("debug:1"));
            }
            Self::Prefix => {
                prepend(container, "env", json!({"name": "DD_AGENT_HOST", "value": "10.0.0.1"}));
                prepend(container, "volumeMounts", json!({"name": "datadog", "mountPath": "/var/run/datadog"}));
            }
            Self::RegistryRewrite | Self::TagToDigest | Self::DigestBesideTag | Self::SetImage => {}
        }
    }
}

fn prepend(container: &mut Map<String, Value>, list: &str, element: Value) {
    match container.get_mut(list) {
        Some(Value::Array(elements)) => elements.insert(0, element),
        _ => _ = container.insert(list.to_owned(), json!([element])),
    }
}
