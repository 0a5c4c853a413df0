//! The containers of sets, what they take from the Pod's app containers, and how they are added to its lists.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::Set;
use super::annotations::{recorded_hash, recorded_rest};
use super::json::{annotation, elements, is_injected, items, member, name, text};

const SET_ONLY_FIELDS: [&str; 6] = [
    "podInjectPolicy",
    "upgradeStrategy",
    "shareVolumePolicy",
    "shareVolumeDevicePolicy",
    "transferEnv",
    "resourcesPolicy",
];

/// A container to add to the Pod.
pub struct Sidecar {
    /// Its form if the Pod has none yet.
    pub container: Value,
    /// Its role in a hot upgrade, if it has one.
    pub half: Option<Half>,
    /// Whether it is placed before the Pod's own containers.
    before: bool,
    /// Whether the Pod records this content of the set, so that an injected container of this name is up to date.
    known: bool,
    taken: Vec<Taken>,
}

/// One of the two containers of a hot container.
pub struct Half {
    /// The container's name in the set.
    pub base: String,
    /// Whether it has the real image instead of the empty one.
    pub works: bool,
}

/// What a container takes from one of the Pod's app containers.
#[derive(Default)]
struct Taken {
    mounts: Vec<Value>,
    devices: Vec<Value>,
    env: Vec<Value>,
}

/// The result for a list of the Pod.
pub struct Merge {
    /// Whether anything was added before the existing containers.
    pub prepends: bool,
    staying: BTreeSet<String>,
}

impl Merge {
    /// Whether the Pod keeps its container of this name.
    pub fn stays(&self, sidecar: &Sidecar) -> bool {
        self.staying.contains(name(&sidecar.container))
    }
}

/// Returns the containers for the Pod's list, in the order of the spec.
pub fn of_set(set: &Set, list: &str, pod: &Value, entries: &BTreeMap<String, Box<RawValue>>) -> Vec<Sidecar> {
    let rest = recorded_rest(&pod["metadata"]["annotations"]).remove(set.name());
    let same_rest = rest.is_none() || rest == set.hash_of_rest;
    let known = same_rest && entries.get(set.name()).is_some_and(|entry| recorded_hash(entry) == set.hash);
    let mut sidecars = Vec::new();
    for stored in set.containers(list) {
        for injected_name in injected_names(list, stored) {
            let half = is_hot(list, stored)
                .then(|| Half { base: name(stored).to_owned(), works: injected_name.ends_with("-1") });
            let mut container = marked_container(stored);
            let mut offered = taken(stored, pod);
            offered.push(Taken { mounts: token_mount(pod).into_iter().collect(), ..Taken::default() });
            let taken = offered.iter().map(|offered| give(&mut container, offered)).collect();
            if let Some(half) = &half {
                container["name"] = json!(injected_name);
                if !half.works {
                    container["image"] = stored["upgradeStrategy"]["hotUpgradeEmptyImage"].clone();
                }
                elements(member(&mut container, "env")).extend(version_variables(&injected_name));
            }
            let before = stored["podInjectPolicy"] == "BeforeAppContainer";
            sidecars.push(Sidecar { container, half, before, known, taken });
        }
    }
    sidecars
}

/// Returns the names of a set's container in the Pod.
pub fn injected_names(list: &str, stored: &Value) -> Vec<String> {
    let base = name(stored);
    if is_hot(list, stored) { vec![format!("{base}-1"), format!("{base}-2")] } else { vec![base.to_owned()] }
}

fn is_hot(list: &str, stored: &Value) -> bool {
    let runs_along = list == "containers" || stored["restartPolicy"] == "Always";
    runs_along && text(stored, "/upgradeStrategy/upgradeType") == "HotUpgrade"
}

fn marked_container(stored: &Value) -> Value {
    let mut fields = stored.as_object().cloned().unwrap_or_default();
    fields.retain(|field, _| !SET_ONLY_FIELDS.contains(&field.as_str()));
    let mut container = Value::Object(fields);
    let marker = json!({"name": "IS_INJECTED", "value": "true"});
    if !items(&container, "/env").contains(&marker) {
        elements(member(&mut container, "env")).push(marker);
    }
    container
}

fn version_variables(container: &str) -> [Value; 2] {
    let variable = |name: &str, prefix: &str| {
        let path = format!("metadata.annotations['{prefix}.sidecarset.kruise.io/{container}']");
        json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}})
    };
    [variable("SIDECARSET_VERSION", "version"), variable("SIDECARSET_VERSION_ALT", "versionalt")]
}

/// Adds the sidecars to the Pod's list.
pub fn merge(pod: &mut Value, list: &str, sidecars: &[Sidecar]) -> Merge {
    let (mut before, mut after, mut staying) = (Vec::new(), Vec::new(), BTreeSet::new());
    if sidecars.is_empty() {
        return Merge { prepends: false, staying };
    }
    let own = elements(member(member(pod, "spec"), list));
    for sidecar in sidecars {
        match own.iter_mut().find(|own| name(own) == name(&sidecar.container)) {
            Some(own) if sidecar.known && is_injected(own) => {
                staying.insert(name(own).to_owned());
                for taken in &sidecar.taken {
                    give(own, taken);
                }
            }
            Some(own) => *own = sidecar.container.clone(),
            None if sidecar.before => before.push(sidecar.container.clone()),
            None => after.push(sidecar.container.clone()),
        }
    }
    let prepends = !before.is_empty();
    *own = [before, std::mem::take(own), after].concat();
    Merge { prepends, staying }
}

// ---- taken from app containers

/// Returns the mount of the service account token, if the API server added it to all containers of the Pod.
fn token_mount(pod: &Value) -> Option<Value> {
    const PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
    let volume = items(pod, "/spec/volumes").iter().map(name).find(|name| name.starts_with("kube-api-access-"))?;
    let at_path = |container: &Value| {
        let mut mounts = items(container, "/volumeMounts").iter().filter(|mount| mount["mountPath"] == PATH);
        mounts.next().map(|mount| name(mount) == volume)
    };
    let containers = || items(pod, "/spec/containers").iter().chain(items(pod, "/spec/initContainers"));
    let all = containers().all(|container| at_path(container).is_some());
    let mounted = all && containers().any(|container| at_path(container) == Some(true));
    let wanted = pod["spec"]["automountServiceAccountToken"] != false;
    (mounted && wanted).then(|| json!({"name": volume, "readOnly": true, "mountPath": PATH}))
}

/// Adds to a container what it does not have with the same path or name. Returns the additions.
fn give(container: &mut Value, offered: &Taken) -> Taken {
    let mut given = Taken::default();
    let privileged = container["securityContext"]["privileged"] == true;
    for mount in &offered.mounts {
        if !uses(container, text(mount, "/mountPath")) {
            let mut mount = mount.clone();
            if mount["mountPropagation"] == "Bidirectional" && !privileged {
                mount["mountPropagation"] = json!("HostToContainer");
            }
            elements(member(container, "volumeMounts")).push(mount.clone());
            given.mounts.push(mount);
        }
    }
    for device in &offered.devices {
        if !uses(container, text(device, "/devicePath")) {
            elements(member(container, "volumeDevices")).push(device.clone());
            given.devices.push(device.clone());
        }
    }
    for variable in &offered.env {
        if !items(container, "/env").iter().any(|present| name(present) == name(variable)) {
            elements(member(container, "env")).push(variable.clone());
            given.env.push(variable.clone());
        }
    }
    given
}

/// Whether a volume or device is at a path, in any spelling.
fn uses(container: &Value, path: &str) -> bool {
    let mounts = items(container, "/volumeMounts").iter().map(|mount| text(mount, "/mountPath"));
    let devices = items(container, "/volumeDevices").iter().map(|device| text(device, "/devicePath"));
    mounts.chain(devices).any(|used| steps(used) == steps(path))
}

fn steps(path: &str) -> Vec<&str> {
    let mut steps = Vec::new();
    for step in path.split('/').filter(|step| !["", "."].contains(step)) {
        if step == ".." {
            steps.pop();
        } else {
            steps.push(step);
        }
    }
    steps
}

fn taken(stored: &Value, pod: &Value) -> Vec<Taken> {
    // Requested variables have precedence over those of mounts. All keep the Pod's order.
    let mut env: Vec<(usize, usize)> = Vec::new();
    let apps: Vec<&Value> = items(pod, "/spec/containers").iter().filter(|container| !is_injected(container)).collect();
    let mut named = BTreeSet::new();
    for (app, index) in transferred(stored, pod, &apps).into_iter().chain(of_mounts(stored, &apps)) {
        if named.insert(name(&items(apps[app], "/env")[index])) {
            env.push((app, index));
        }
    }
    env.sort_unstable();
    let env = env.into_iter().map(|(app, index)| of_container(apps[app], &items(apps[app], "/env")[index])).collect();
    let mut taken = vec![Taken { env, ..Taken::default() }];
    for app_container in apps {
        let mut shared = Taken::default();
        if text(stored, "/shareVolumePolicy/type") == "enabled" {
            shared.mounts.extend(items(app_container, "/volumeMounts").iter().cloned());
        }
        if text(stored, "/shareVolumeDevicePolicy/type") == "enabled" {
            shared.devices.extend(items(app_container, "/volumeDevices").iter().cloned());
        }
        taken.push(shared);
    }
    taken
}

/// Returns the variable with an explicit container for its resource.
fn of_container(app: &Value, variable: &Value) -> Value {
    let mut variable = variable.clone();
    if let Some(resource) = variable.pointer_mut("/valueFrom/resourceFieldRef")
        && resource.is_object()
        && text(resource, "/containerName").is_empty()
    {
        resource["containerName"] = json!(name(app));
    }
    variable
}

/// Returns the locations of the variables in mounts.
fn of_mounts(stored: &Value, apps: &[&Value]) -> Vec<(usize, usize)> {
    let mut places = Vec::new();
    if text(stored, "/shareVolumePolicy/type") == "enabled" {
        for (app, container) in apps.iter().enumerate() {
            for variable in items(container, "/volumeMounts").iter().flat_map(|m| variables_in(text(m, "/subPathExpr")))
            {
                let first = items(container, "/env").iter().position(|own| name(own) == variable);
                places.extend(first.map(|index| (app, index)));
            }
        }
    }
    places
}

/// Returns the names within `$(…)`.
fn variables_in(expression: &str) -> Vec<&str> {
    let may_start = |c: char| c.is_ascii_alphabetic() || "-._".contains(c);
    let is_name = |name: &&str| name.starts_with(may_start) && name.chars().all(|c| may_start(c) || c.is_ascii_digit());
    let after_openings = expression.split("$(").skip(1);
    after_openings.filter_map(|rest| rest.split_once(')')).map(|(name, _)| name).filter(is_name).collect()
}

/// Returns the locations of the requested variables.
fn transferred(stored: &Value, pod: &Value, apps: &[&Value]) -> Vec<(usize, usize)> {
    let mut transferred = Vec::new();
    for entry in items(stored, "/transferEnv") {
        let source = source_container(entry, pod);
        let listed = items(entry, "/envNames").iter().filter_map(Value::as_str);
        let names: BTreeSet<&str> = listed.chain([text(entry, "/envName")]).filter(|name| !name.is_empty()).collect();
        for wanted in names {
            let mut places = apps
                .iter()
                .enumerate()
                .filter(|(_, container)| source.is_some_and(|source| name(container) == source))
                .flat_map(|(app, container)| (0..items(container, "/env").len()).map(move |index| (app, index)))
                .filter(|(app, index)| name(&items(apps[*app], "/env")[*index]) == wanted);
            transferred.extend(places.next_back());
        }
    }
    transferred
}

/// Returns the container of an entry, given directly or by a label or annotation of the Pod.
fn source_container<'a>(entry: &'a Value, pod: &'a Value) -> Option<&'a str> {
    let Some(path) = entry.pointer("/sourceContainerNameFrom/fieldRef/fieldPath").and_then(Value::as_str) else {
        return Some(text(entry, "/sourceContainerName"));
    };
    let key = |field: &str| path.strip_prefix(field)?.strip_prefix("['")?.strip_suffix("']");
    match (key("metadata.labels"), key("metadata.annotations")) {
        (Some(label), _) => pod["metadata"]["labels"][label].as_str(),
        (_, Some(key)) => annotation(pod, key),
        _ => None,
    }
}
