//! The slow reference injector: the rules of injection said once more, plainly, over `serde_json::Value`.
//!
//! It shares nothing with the crate but the stored form of a `SidecarSet` and its two hashes, which come in with
//! [`Set`].

use std::collections::{BTreeMap, BTreeSet};

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

/// Pod annotation: set name -> what was injected, with the hash over its containers.
pub const HASH: &str = "kruise.io/sidecarset-hash";
/// Pod annotation: the same with the hash that ignores images.
pub const HASH_WITHOUT_IMAGE: &str = "kruise.io/sidecarset-hash-without-image";
/// Pod annotation: the names of the injected sets, comma separated.
pub const INJECTED_LIST: &str = "kruise.io/sidecarset-injected-list";
/// Annotation by which the kubelet marks the mirror of a static Pod.
pub const MIRROR: &str = "kubernetes.io/config.mirror";

const EXCLUDED_NAMESPACES: [&str; 1] = ["kube-system"];
const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";
const SET_ONLY_FIELDS: [&str; 6] = [
    "podInjectPolicy",
    "upgradeStrategy",
    "shareVolumePolicy",
    "shareVolumeDevicePolicy",
    "transferEnv",
    "resourcesPolicy",
];

/// A `SidecarSet` as its user wrote it, as it is stored (defaulted), and its hashes.
#[derive(Clone, Debug)]
pub struct Set {
    pub written: Value,
    pub stored: Value,
    pub hash: String,
    pub hash_without_image: String,
}

/// Everything the injector knows besides the request.
#[derive(Clone, Debug)]
pub struct World {
    pub sets: Vec<Set>,
    pub namespaces: Vec<Value>,
}

/// What an `AdmissionReview` asks, as far as it matters here. `namespace` may be empty.
#[derive(Clone, Debug)]
pub struct Request {
    pub operation: String,
    pub sub_resource: String,
    pub namespace: String,
    pub pod: Value,
}

/// What is done with the Pod.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The Pod with everything injected.
    Injected(Value),
    Nothing,
    Denied(String),
}

/// Injects into the request's Pod what the world's sets ask for; `now` is the RFC 3339 text for new timestamps.
pub fn inject(world: &World, request: &Request, now: &str) -> Outcome {
    let pod = &request.pod;
    let namespace = pod_namespace(request);
    if is_excluded(request, namespace) {
        return Outcome::Nothing;
    }
    let mut sets: Vec<&Set> = world.sets.iter().filter(|set| matches(set, pod, namespace, &world.namespaces)).collect();
    sets.sort_by_key(|set| set.name());
    if sets.is_empty() {
        return Outcome::Nothing;
    }
    match inject_sets(&sets, pod, now) {
        Err(reason) => Outcome::Denied(reason),
        Ok(injected) if injected == *pod => Outcome::Nothing,
        Ok(injected) => Outcome::Injected(injected),
    }
}

impl Set {
    /// `metadata.name`.
    pub fn name(&self) -> &str {
        text(&self.written, "/metadata/name")
    }

    /// The stored containers of a list (`initContainers` or `containers`).
    pub fn containers(&self, list: &str) -> &[Value] {
        items(&self.stored, &format!("/spec/{list}"))
    }

    /// What goes into the Pod's list, in spec order.
    fn sidecars(&self, list: &str, entries: &BTreeMap<String, Box<RawValue>>) -> Vec<Sidecar> {
        let known = entries.get(self.name()).is_some_and(|entry| recorded_hash(entry) == self.hash);
        let written = items(&self.written, &format!("/spec/{list}"));
        let sidecar = |(index, stored): (usize, &Value)| Sidecar {
            container: injected_container(stored, written.get(index).unwrap_or(&Value::Null)),
            before: stored["podInjectPolicy"] == "BeforeAppContainer",
            known,
        };
        self.containers(list).iter().enumerate().map(sidecar).collect()
    }

    /// Sorted names of the containers that run beside the application.
    fn sidecar_list(&self) -> Vec<&str> {
        let native =
            self.containers("initContainers").iter().filter(|container| container["restartPolicy"] == "Always");
        let mut names: Vec<&str> = self.containers("containers").iter().chain(native).map(name).collect();
        names.sort_unstable();
        names
    }
}

/// A container on its way into the Pod.
struct Sidecar {
    container: Value,
    /// Whether it goes before the Pod's own ones.
    before: bool,
    /// Whether the Pod records this very content of the set, so that an injected container of the name is up to date.
    known: bool,
}

fn pod_namespace(request: &Request) -> &str {
    let candidates = [text(&request.pod, "/metadata/namespace"), request.namespace.as_str(), "default"];
    candidates.into_iter().find(|namespace| !namespace.is_empty()).unwrap_or_default()
}

fn is_excluded(request: &Request, namespace: &str) -> bool {
    let pod = &request.pod;
    request.operation != "CREATE"
        || !request.sub_resource.is_empty()
        || EXCLUDED_NAMESPACES.contains(&namespace)
        || pod["metadata"]["annotations"].get(MIRROR).is_some()
        || !pod["metadata"]["deletionTimestamp"].is_null()
        || ["Succeeded", "Failed"].contains(&text(pod, "/status/phase"))
}

// ---- matching

fn matches(set: &Set, pod: &Value, namespace: &str, namespaces: &[Value]) -> bool {
    let spec = &set.written["spec"];
    spec["injectionStrategy"]["paused"] != true
        && covers_namespace(set, namespace, namespaces)
        && !is_empty(&spec["selector"])
        && selects(&spec["selector"], &labels(pod))
}

fn covers_namespace(set: &Set, namespace: &str, namespaces: &[Value]) -> bool {
    let spec = &set.written["spec"];
    if set.written["apiVersion"] == "apps.kruise.io/v1alpha1" && !text(spec, "/namespace").is_empty() {
        return text(spec, "/namespace") == namespace;
    }
    if spec["namespaceSelector"].is_null() {
        return true;
    }
    // The API server gives every Namespace this label, whatever the file says or even when there is none.
    let object = namespaces.iter().find(|object| text(object, "/metadata/name") == namespace);
    let mut labels = object.map(labels).unwrap_or_default();
    labels.insert(NAMESPACE_NAME_LABEL.to_owned(), namespace.to_owned());
    selects(&spec["namespaceSelector"], &labels)
}

fn is_empty(selector: &Value) -> bool {
    selector["matchLabels"].as_object().is_none_or(Map::is_empty) && items(selector, "/matchExpressions").is_empty()
}

fn selects(selector: &Value, labels: &BTreeMap<String, String>) -> bool {
    let label_matches = |(key, value): (&String, &Value)| labels.get(key).map(String::as_str) == value.as_str();
    let expression_matches = |expression: &Value| {
        let label = labels.get(text(expression, "/key"));
        let is_listed = |label: &String| items(expression, "/values").iter().any(|value| value == label);
        match text(expression, "/operator") {
            "In" => label.is_some_and(is_listed),
            "NotIn" => !label.is_some_and(is_listed),
            "Exists" => label.is_some(),
            "DoesNotExist" => label.is_none(),
            _ => false,
        }
    };
    selector["matchLabels"].as_object().into_iter().flatten().all(label_matches)
        && items(selector, "/matchExpressions").iter().all(expression_matches)
}

fn labels(object: &Value) -> BTreeMap<String, String> {
    let labels = object["metadata"]["labels"].as_object().into_iter().flatten();
    labels.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
}

// ---- the Pod

fn inject_sets(sets: &[&Set], pod: &Value, now: &str) -> Result<Value, String> {
    refuse_name_clashes(sets, pod)?;
    let annotations = &pod["metadata"]["annotations"];
    let entries = recorded_entries(HASH, annotations)?;
    let entries_without_image = recorded_entries(HASH_WITHOUT_IMAGE, annotations)?;

    let mut init_containers: Vec<Sidecar> =
        sets.iter().flat_map(|set| set.sidecars("initContainers", &entries)).collect();
    init_containers.sort_by(|one, other| name(&one.container).cmp(name(&other.container)));
    let containers: Vec<Sidecar> = sets.iter().flat_map(|set| set.sidecars("containers", &entries)).collect();

    let mut result = pod.clone();
    merge(&mut result, "initContainers", init_containers);
    merge(&mut result, "containers", containers);
    add_missing_by_name(&mut result, "volumes", sets.iter().flat_map(|set| mounted_volumes(set)));
    let pull_secrets = sets.iter().flat_map(|set| items(&set.stored, "/spec/imagePullSecrets"));
    add_missing_by_name(&mut result, "imagePullSecrets", pull_secrets);

    let texts = [
        (HASH, hash_annotation(&entries, sets, |set| &set.hash, now)),
        (HASH_WITHOUT_IMAGE, hash_annotation(&entries_without_image, sets, |set| &set.hash_without_image, now)),
        (INJECTED_LIST, Some(injected_list(&annotations[INJECTED_LIST], sets))),
    ];
    for (key, new_text) in texts {
        if let Some(new_text) = new_text {
            *member(member(member(&mut result, "metadata"), "annotations"), key) = new_text.into();
        }
    }
    Ok(result)
}

fn refuse_name_clashes(sets: &[&Set], pod: &Value) -> Result<(), String> {
    let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
    for set in sets {
        for (list, other_list) in [("containers", "initContainers"), ("initContainers", "containers")] {
            for container in set.containers(list) {
                if let Some(owner) = owners.insert(name(container), set.name()).filter(|owner| *owner != set.name()) {
                    return Err(format!("{} and {owner} both inject {}", set.name(), name(container)));
                }
                if items(pod, &format!("/spec/{other_list}")).iter().any(|own| name(own) == name(container)) {
                    return Err(format!("{} injects {}, which is in {other_list}", set.name(), name(container)));
                }
            }
        }
    }
    Ok(())
}

fn injected_container(stored: &Value, written: &Value) -> Value {
    let mut fields = stored.as_object().cloned().unwrap_or_default();
    fields.retain(|field, _| !SET_ONLY_FIELDS.contains(&field.as_str()));
    if fields.get("resources") == Some(&json!({})) && written.get("resources").is_none() {
        fields.shift_remove("resources");
    }
    let mut container = Value::Object(fields);
    let marker = json!({"name": "IS_INJECTED", "value": "true"});
    if !items(&container, "/env").contains(&marker) {
        elements(member(&mut container, "env")).push(marker);
    }
    container
}

fn is_injected(container: &Value) -> bool {
    items(container, "/env").iter().any(|variable| name(variable) == "IS_INJECTED" && variable["value"] == "true")
}

fn merge(pod: &mut Value, list: &str, sidecars: Vec<Sidecar>) {
    if sidecars.is_empty() {
        return;
    }
    let own = elements(member(member(pod, "spec"), list));
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for sidecar in sidecars {
        match own.iter_mut().find(|own| name(own) == name(&sidecar.container)) {
            Some(own) if sidecar.known && is_injected(own) => {}
            Some(own) => *own = sidecar.container,
            None if sidecar.before => before.push(sidecar.container),
            None => after.push(sidecar.container),
        }
    }
    *own = [before, std::mem::take(own), after].concat();
}

/// The set's volumes in the order in which its containers mention them, with repetitions.
fn mounted_volumes(set: &Set) -> Vec<&Value> {
    let mut mounted = Vec::new();
    for container in set.containers("initContainers").iter().chain(set.containers("containers")) {
        for mention in items(container, "/volumeMounts").iter().chain(items(container, "/volumeDevices")) {
            mounted.extend(items(&set.stored, "/spec/volumes").iter().find(|volume| name(volume) == name(mention)));
        }
    }
    mounted
}

fn add_missing_by_name<'a>(pod: &mut Value, list: &str, additions: impl Iterator<Item = &'a Value>) {
    for addition in additions {
        if !items(pod, &format!("/spec/{list}")).iter().any(|present| name(present) == name(addition)) {
            elements(member(member(pod, "spec"), list)).push(addition.clone());
        }
    }
}

// ---- annotations

/// The entries of a hash annotation as they are written, by set name; none if it is absent, `null` or blank.
fn recorded_entries(key: &str, annotations: &Value) -> Result<BTreeMap<String, Box<RawValue>>, String> {
    let text = annotations[key].as_str().unwrap_or_default().trim();
    if text.is_empty() || text == "null" {
        return Ok(BTreeMap::new());
    }
    let entries: BTreeMap<String, Box<RawValue>> =
        serde_json::from_str(text).map_err(|error| format!("{key} is not a JSON object: {error}"))?;
    match entries.iter().find(|(_, entry)| !entry.get().starts_with(['{', '"', 'n'])) {
        Some((set, _)) => Err(format!("{key}: the entry of {set} is neither an object nor a string nor null")),
        None => Ok(entries),
    }
}

/// The hash an entry records, in the present form or the legacy one (a bare string).
fn recorded_hash(entry: &RawValue) -> String {
    match serde_json::from_str(entry.get()).unwrap_or_default() {
        Value::String(hash) => hash,
        entry => text(&entry, "/hash").to_owned(),
    }
}

fn is_legacy(entry: &RawValue) -> bool {
    entry.get().starts_with('"')
}

/// The annotation's new text, or nothing if the present one says it all.
fn hash_annotation(
    present: &BTreeMap<String, Box<RawValue>>,
    sets: &[&Set],
    hash_of: fn(&Set) -> &str,
    now: &str,
) -> Option<String> {
    let mut entries: BTreeMap<String, String> = BTreeMap::new();
    let mut changed = false;
    for (key, entry) in present {
        if is_legacy(entry) {
            changed = true;
            entries.insert(key.clone(), new_entry(&recorded_hash(entry), key, &Value::Null, now));
        } else {
            entries.insert(key.clone(), entry.get().to_owned());
        }
    }
    for set in sets {
        let is_current = |entry: &RawValue| !is_legacy(entry) && recorded_hash(entry) == hash_of(set);
        if !present.get(set.name()).map(AsRef::as_ref).is_some_and(is_current) {
            changed = true;
            let entry = new_entry(hash_of(set), set.name(), &json!(set.sidecar_list()), now);
            entries.insert(set.name().to_owned(), entry);
        }
    }
    let members: Vec<String> =
        entries.iter().map(|(key, entry)| format!("{}:{entry}", html_escaped(&json!(key).to_string()))).collect();
    changed.then(|| format!("{{{}}}", members.join(",")))
}

fn new_entry(hash: &str, set: &str, sidecar_list: &Value, now: &str) -> String {
    let (now, hash, set) = (json!(now), json!(hash), json!(set));
    html_escaped(&format!(
        r#"{{"updateTimestamp":{now},"hash":{hash},"sidecarSetName":{set},"sidecarList":{sidecar_list}}}"#
    ))
}

/// Go's `encoding/json` keeps these out of strings, so that they can stand in HTML.
fn html_escaped(json: &str) -> String {
    json.replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

fn injected_list(present: &Value, sets: &[&Set]) -> String {
    let previous = present.as_str().unwrap_or_default().split(',').map(str::trim).filter(|name| !name.is_empty());
    let names: BTreeSet<&str> = previous.chain(sets.iter().map(|set| set.name())).collect();
    names.into_iter().collect::<Vec<_>>().join(",")
}

// ---- getting about in JSON

fn name(object: &Value) -> &str {
    text(object, "/name")
}

/// The string at `pointer`, or an empty one.
fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The list at `pointer`, or an empty one.
pub fn items<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The member of an object, which is made if it is missing or `null`.
fn member<'a>(object: &'a mut Value, key: &str) -> &'a mut Value {
    if !object.is_object() {
        *object = json!({});
    }
    &mut object[key]
}

/// The elements of a list, which is made if it is missing or `null`.
fn elements(list: &mut Value) -> &mut Vec<Value> {
    if !list.is_array() {
        *list = json!([]);
    }
    list.as_array_mut().expect("made a list above")
}
