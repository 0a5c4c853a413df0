//! Fingerprints of containers: hashes of everything compared besides the image. They must be small, because they are
//! kept for each of 100,000 Pods.
//!
//! Defaults filled in by the API server, and the order of variables and mounts, do not matter.

use super::keyed_hash::hash;
use super::resize::{Amounts, AskedAmount};
use crate::api::keys::IS_INJECTED;
use crate::api::quantity::Quantity;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// A container of a Pod that exists or is about to be created.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Document")]
pub struct PodContainer {
    /// Its name.
    pub name: Box<str>,
    /// Its image; empty if it has none.
    pub image: Box<str>,
    /// `Always` for a native sidecar in the init containers.
    pub restart_policy: Option<Box<str>>,
    /// `None` if no injector marked the container as its own.
    pub fingerprint: Option<Box<Fingerprint>>,
    /// The amounts of CPU and memory that it requests or is limited to.
    pub amounts: Amounts,
}

/// The variables, mounts, command and args of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    has_command: bool,
    /// The number of args.
    args: usize,
    /// Hashes of the last 0, 1, 2, … elements of command and args, taken as one list.
    endings: Box<[u64]>,
    /// Hashes of variables and mounts, sorted. If a variable is set twice, the last one counts. The mount of the service account
    /// token is left out: its volume has a different name in each Pod, which no set can know.
    items: Box<[u64]>,
    /// Amounts of CPU and memory. They are not compared, because other webhooks and autoscalers may change them.
    amounts: Amounts,
    /// Whether the lists were too long and have been dropped.
    cut: bool,
}

/// Command and args as a set has them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Arguments {
    has_command: bool,
    /// The number of args.
    args: usize,
    /// The number of elements of both.
    all: usize,
    hash: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    name: Box<str>,
    #[serde(default)]
    image: Option<Box<str>>,
    #[serde(default)]
    restart_policy: Option<Box<str>>,
    #[serde(default)]
    command: Option<Vec<TextHash>>,
    #[serde(default)]
    args: Option<Vec<TextHash>>,
    #[serde(default)]
    env: Option<Vec<Variable>>,
    #[serde(default)]
    volume_mounts: Option<Vec<Mount>>,
    #[serde(default)]
    resources: Option<Amounts>,
}

impl From<Document> for PodContainer {
    fn from(document: Document) -> Self {
        let Document { name, image, restart_policy, command, args, env, volume_mounts, resources } = document;
        let amounts = resources.unwrap_or_default();
        let marked = env.iter().flatten().rev().find(|variable| variable.name == TextHash::of(IS_INJECTED));
        let fingerprint = marked.is_some_and(Variable::marks).then(|| {
            let (command, args) = (command.unwrap_or_default(), args.unwrap_or_default());
            let own = Fingerprint::of(&command, &args, env.as_deref(), volume_mounts.as_deref());
            Box::new(Fingerprint { amounts: amounts.clone(), ..own })
        });
        Self { name, image: image.unwrap_or_default(), restart_policy, fingerprint, amounts }
    }
}

impl Fingerprint {
    fn of(command: &[TextHash], args: &[TextHash], env: Option<&[Variable]>, mounts: Option<&[Mount]>) -> Self {
        let mut keyed: Vec<(u64, u64)> = env.into_iter().flatten().map(Variable::keyed).collect();
        keyed.extend(mounts.into_iter().flatten().filter_map(Mount::keyed));
        keyed.sort_by_key(|(key, _)| *key); // stable
        let last = keyed.chunk_by(|(key, _), (next, _)| key == next).filter_map(<[_]>::last);
        let mut items: Box<[u64]> = last.map(|(_, item)| *item).collect();
        items.sort_unstable();
        let endings = endings(command, args);
        Self {
            has_command: !command.is_empty(),
            args: args.len(),
            endings,
            items,
            amounts: Amounts::default(),
            cut: false,
        }
    }

    /// The number of hashes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.endings.len() + self.items.len() + self.amounts.len()
    }

    /// Whether there are no hashes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the fingerprint of a container that is too long to be kept.
    #[must_use]
    pub fn cut() -> Self {
        Self { cut: true, ..Self::default() }
    }

    /// Whether the container was too long to be kept.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    /// Whether the container has this amount.
    #[must_use]
    pub fn has_amount(&self, amount: AskedAmount) -> bool {
        self.amounts.has(amount)
    }

    /// Whether the container has this variable or mount.
    pub(super) fn has(&self, item: u64) -> bool {
        self.items.binary_search(&item).is_ok()
    }

    /// Whether the container runs the set's command and args, directly or through a wrapper.
    ///
    /// * If the set has a command, command and args together must end with the set's.
    /// * If it has none, there are two cases. Without a command, the args must equal the set's. With a command, a wrapper runs
    ///   the image's entrypoint, which is not known here, so args must have at least one element before the set's.
    pub(super) fn runs(&self, arguments: &Arguments) -> bool {
        let ends_with = self.endings.get(arguments.all) == Some(&arguments.hash);
        let entrypoint = if self.has_command { self.args > arguments.args } else { self.args == arguments.args };
        ends_with && if arguments.has_command { self.has_command } else { entrypoint }
    }
}

impl Arguments {
    /// Takes the command and args of a container of a set; strings only.
    pub fn of(command: &[&str], args: &[&str]) -> Self {
        let hashes = |texts: &[&str]| texts.iter().map(|text| TextHash::of(text)).collect::<Vec<_>>();
        let (command, args) = (hashes(command), hashes(args));
        let hash = endings(&command, &args).last().copied().unwrap_or_default();
        Self { has_command: !command.is_empty(), args: args.len(), all: command.len() + args.len(), hash }
    }
}

/// Returns hashes of the last 0, 1, 2, … of all arguments.
fn endings(command: &[TextHash], args: &[TextHash]) -> Box<[u64]> {
    let mut ending = hash(0);
    let mut endings = Vec::with_capacity(command.len() + args.len() + 1);
    endings.push(ending);
    for text in command.iter().chain(args).rev() {
        ending = hash((text, ending));
        endings.push(ending);
    }
    endings.into_boxed_slice()
}

/// The hash of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct TextHash(u64);

impl TextHash {
    fn of(text: &str) -> Self {
        Self(hash(text))
    }
}

impl<'de> Deserialize<'de> for TextHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor(Self::of))
    }
}

/// Reads a text and keeps only what `T` returns.
struct TextVisitor<T>(fn(&str) -> T);

impl<T> Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        Ok((self.0)(text))
    }
}

/// The name of a volume.
struct VolumeName {
    text: TextHash,
    /// Whether it is the volume that the API server created for the service account token, with a different name in
    /// each Pod.
    is_token: bool,
}

impl VolumeName {
    fn of(text: &str) -> Self {
        Self { text: TextHash::of(text), is_token: text.starts_with("kube-api-access-") }
    }
}

impl<'de> Deserialize<'de> for VolumeName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor(Self::of))
    }
}

fn empty() -> TextHash {
    TextHash::of("")
}

fn null_as_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<TextHash, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_else(empty))
}

/// An environment variable.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Variable {
    #[serde(default = "empty", deserialize_with = "null_as_empty")]
    name: TextHash,
    #[serde(default = "empty", deserialize_with = "null_as_empty")]
    value: TextHash,
    #[serde(default)]
    value_from: Option<ValueHash>,
}

impl Variable {
    /// Whether it is the variable with which an injector marks a container.
    fn marks(&self) -> bool {
        self.value == TextHash::of("true")
    }

    /// Hashes of its name and of the whole variable.
    pub fn keyed(&self) -> (u64, u64) {
        let source = self.value_from.as_ref().map(|source| source.0).unwrap_or_default();
        (hash(("env", self.name)), hash(("env", self.name, self.value, source)))
    }
}

/// A mount.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Mount {
    #[serde(default)]
    name: Option<VolumeName>,
    #[serde(rename = "mountPath", default = "empty", deserialize_with = "null_as_empty")]
    path: TextHash,
    #[serde(default = "empty", deserialize_with = "null_as_empty")]
    sub_path: TextHash,
    #[serde(default = "empty", deserialize_with = "null_as_empty")]
    sub_path_expr: TextHash,
    #[serde(default)]
    read_only: Option<bool>,
}

impl Mount {
    /// Hashes of its path and of the whole mount; `None` for the service account token.
    pub fn keyed(&self) -> Option<(u64, u64)> {
        let Self { name, path, sub_path, sub_path_expr, read_only } = self;
        if name.as_ref().is_some_and(|name| name.is_token) {
            return None;
        }
        let name = name.as_ref().map_or_else(empty, |name| name.text);
        let read_only = read_only.unwrap_or_default();
        Some((hash(("mount", path)), hash(("mount", path, name, sub_path, sub_path_expr, read_only))))
    }
}

/// The hash of any value, with API server defaults normalized. `null`, `false`, an empty text and an object of only such values
/// hash to 0. Objects are hashed without such fields, without a version of `v1`, and with amounts in canonical form.
struct ValueHash(u64);

impl<'de> Deserialize<'de> for ValueHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor { amount: false })
    }
}

/// The hash of a resource amount.
struct AmountHash(u64);

impl<'de> Deserialize<'de> for AmountHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(deserializer.deserialize_any(ValueVisitor { amount: true })?.0))
    }
}

struct ValueVisitor {
    /// Whether texts and numbers are amounts.
    amount: bool,
}

impl ValueVisitor {
    fn scalar(&self, text: &str) -> ValueHash {
        let canonical = if self.amount { Quantity::parse(text).ok().map(|amount| amount.to_string()) } else { None };
        match canonical.as_deref().unwrap_or(text) {
            "" => ValueHash(0),
            "0" if self.amount => ValueHash(0),
            text => ValueHash(hash(text)),
        }
    }
}

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = ValueHash;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<ValueHash, E> {
        Ok(ValueHash(0))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<ValueHash, E> {
        Ok(ValueHash(if value { hash(value) } else { 0 }))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<ValueHash, E> {
        Ok(self.scalar(&value.to_string()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<ValueHash, E> {
        Ok(self.scalar(&value.to_string()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<ValueHash, E> {
        Ok(self.scalar(&value.to_string()))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<ValueHash, E> {
        Ok(self.scalar(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<ValueHash, A::Error> {
        let mut all = hash("list");
        while let Some(item) = items.next_element::<ValueHash>()? {
            all = hash((all, item.0));
        }
        Ok(ValueHash(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<ValueHash, A::Error> {
        // Addition makes the order irrelevant.
        let mut sum = 0_u64;
        while let Some(key) = fields.next_key::<TextHash>()? {
            let value = if key == TextHash::of("divisor") {
                fields.next_value::<AmountHash>()?.0
            } else {
                fields.next_value::<ValueHash>()?.0
            };
            let is_default = key == TextHash::of("apiVersion") && value == hash("v1");
            if value != 0 && !is_default {
                sum = sum.wrapping_add(hash((key, value)));
            }
        }
        Ok(ValueHash(sum))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn fingerprint(fields: &Value) -> Fingerprint {
        let mut container = json!({"name": "c", "env": []});
        container.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        container["env"].as_array_mut().unwrap().push(json!({"name": "IS_INJECTED", "value": "true"}));
        let container: PodContainer = serde_json::from_value(container).unwrap();
        *container.fingerprint.unwrap()
    }

    #[test]
    fn what_the_api_server_makes_of_a_container_has_the_same_fingerprint() {
        let written = json!({
            "command": ["a"], "args": ["b", ""], "livenessProbe": {"httpGet": {"port": 80}},
            "env": [{"name": "B"}, {"name": "A", "value": ""},
                    {"name": "F", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                    {"name": "K", "valueFrom": {"secretKeyRef": {"key": "k", "name": "s", "optional": false}}},
                    {"name": "R", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
                    {"name": "D", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1024Ki"}}},
                    {"name": "O", "value": "1"}, {"name": "O", "value": "2"}],
            "volumeMounts": [{"name": "v", "mountPath": "/v", "readOnly": false, "subPath": null},
                             {"name": "w", "mountPath": "/w", "readOnly": true}]
        });
        let read = json!({
            "args": ["b", ""], "command": ["a"], "imagePullPolicy": "Always", "terminationMessagePath": "/dev/termination-log",
            "env": [{"name": "A"}, {"name": "B", "valueFrom": null},
                    {"name": "F", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "spec.nodeName"}}},
                    {"name": "O", "value": "2"},
                    {"name": "K", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
                    {"name": "D", "valueFrom": {"resourceFieldRef": {"divisor": "1Mi", "resource": "limits.memory"}}},
                    {"name": "R", "valueFrom": {"resourceFieldRef": {"divisor": "0", "resource": "limits.cpu"}}}],
            "volumeMounts": [{"mountPath": "/w", "name": "w", "readOnly": true}, {"mountPath": "/v", "name": "v"}]
        });
        assert_eq!(fingerprint(&written), fingerprint(&read));
    }

    #[test]
    fn each_field_makes_a_difference() {
        let variable = |variable: Value| json!({"env": [variable]});
        let mount = |mount: Value| json!({"volumeMounts": [mount]});
        let all = [
            json!({}),
            json!({"command": ["a"]}),
            json!({"args": ["a"]}),
            json!({"args": ["a", ""]}),
            json!({"args": ["a", "b"]}),
            json!({"args": ["ab"]}),
            variable(json!({"name": "A"})),
            variable(json!({"name": "A", "value": "x"})),
            variable(json!({"name": "B", "value": "x"})),
            variable(json!({"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "a"}}})),
            variable(json!({"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "a", "apiVersion": "v2"}}})),
            variable(json!({"name": "A", "valueFrom": {"futureRef": {"fieldPath": "a"}}})),
            variable(json!({"name": "A", "valueFrom": {"futureRef": {"fieldPath": ["a", 1]}}})),
            variable(json!({"name": "A", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}})),
            variable(json!({"name": "A", "valueFrom": {"secretKeyRef": {"name": "b", "key": "a"}}})),
            variable(json!({"name": "A", "valueFrom": {"secretKeyRef": {"name": "b", "key": "a", "optional": true}}})),
            mount(json!({"name": "v", "mountPath": "/v"})),
            mount(json!({"name": "w", "mountPath": "/v"})),
            mount(json!({"name": "v", "mountPath": "/w"})),
            mount(json!({"name": "v", "mountPath": "/v", "readOnly": true})),
            mount(json!({"name": "v", "mountPath": "/v", "subPath": "a"})),
            mount(json!({"name": "v", "mountPath": "/v", "subPathExpr": "a"})),
        ];
        for (index, one) in all.iter().enumerate() {
            for other in &all[..index] {
                assert_ne!(fingerprint(one), fingerprint(other), "{one} {other}");
            }
        }
    }

    #[test]
    fn pods_of_a_workload_have_the_same_fingerprint() {
        let of = |pod: &str| {
            fingerprint(&json!({"volumeMounts": [{"name": format!("kube-api-access-{pod}"), "mountPath": "/t"}]}))
        };
        assert_eq!(of("x7k2p"), of("9c4d2"));
    }

    #[test]
    fn only_a_container_that_an_injector_marked_has_one() {
        for env in
            [json!(null), json!([]), json!([{"name": "IS_INJECTED"}]), json!([{"name": "OTHER", "value": "true"}])]
        {
            let container: PodContainer = serde_json::from_value(json!({"name": "c", "env": env})).unwrap();
            assert_eq!(container.fingerprint, None, "{env}");
        }
    }
}
