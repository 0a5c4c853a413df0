//! The slow reference injector: the rules of injection implemented again, in a simple way, on `serde_json::Value`.
//!
//! It shares nothing with the crate except for the stored form of a `SidecarSet` and its hashes, which are in
//! [`Set`].

mod annotations;
mod json;
mod matching;
mod metadata_patches;
mod sidecars;

use std::collections::BTreeMap;

use serde_json::Value;

pub use annotations::{DEFAULT_CONTAINER, HASH, HASH_OF_REST, HASH_WITHOUT_IMAGE, INJECTED_LIST, WORKING};
pub use json::items;
use json::{elements, member, name, text};
pub use matching::{BASE, CANARY, MIRROR};
use sidecars::Sidecar;
pub use sidecars::injected_names;

/// A `SidecarSet` as written by its user, as stored (with defaults), and its hashes.
#[derive(Clone, Debug)]
pub struct Set {
    pub written: Value,
    pub stored: Value,
    pub hash: String,
    pub hash_without_image: String,
    pub hash_of_rest: Option<String>,
}

/// Everything the injector knows besides the request.
#[derive(Clone, Debug)]
pub struct World {
    pub sets: Vec<Set>,
    pub namespaces: Vec<Value>,
    /// Whether a Pod that gets containers before its own gets a default container.
    pub default_container: bool,
}

/// The relevant fields of an `AdmissionReview`. `namespace` may be empty.
#[derive(Clone, Debug)]
pub struct Request {
    pub operation: String,
    pub sub_resource: String,
    pub namespace: String,
    pub pod: Value,
}

/// The decision about the Pod.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The Pod with everything injected.
    Injected(Value),
    Nothing,
    Denied(String),
}

/// Injects into the request's Pod what the world's sets ask for. `now` is the RFC 3339 text for new timestamps.
pub fn inject(world: &World, request: &Request, now: &str) -> Outcome {
    let sets = matching::matching_sets(world, request);
    if sets.is_empty() {
        return Outcome::Nothing;
    }
    match inject_sets(&sets, &request.pod, world.default_container, now) {
        Err(reason) => Outcome::Denied(reason),
        Ok(injected) if injected == request.pod => Outcome::Nothing,
        Ok(injected) => Outcome::Injected(injected),
    }
}

impl Set {
    /// `metadata.name`.
    pub fn name(&self) -> &str {
        text(&self.written, "/metadata/name")
    }

    /// Returns the stored containers of a list (`initContainers` or `containers`).
    pub fn containers(&self, list: &str) -> &[Value] {
        items(&self.stored, &format!("/spec/{list}"))
    }

    /// Returns the names of a list's containers in the Pod.
    pub fn injected_names(&self, list: &str) -> Vec<String> {
        self.containers(list).iter().flat_map(|container| injected_names(list, container)).collect()
    }
}

fn inject_sets(sets: &[&Set], received: &Value, default_container: bool, now: &str) -> Result<Value, String> {
    refuse_name_clashes(sets, received)?;
    let entries = annotations::recorded_entries(HASH, &received["metadata"]["annotations"])?;
    let mut pod = received.clone();
    metadata_patches::apply(sets, &mut pod)?;

    let patched = pod.clone();
    let sidecars = |list: &'static str| -> Vec<Sidecar> {
        sets.iter().flat_map(|set| sidecars::of_set(set, list, &patched, &entries)).collect()
    };
    let mut init_containers = sidecars("initContainers");
    init_containers.sort_by(|one, other| name(&one.container).cmp(name(&other.container)));
    let containers = sidecars("containers");

    let init_merge = sidecars::merge(&mut pod, "initContainers", &init_containers);
    let merge = sidecars::merge(&mut pod, "containers", &containers);
    add_missing_by_name(&mut pod, "volumes", sets.iter().flat_map(|set| mounted_volumes(set)));
    let pull_secrets = sets.iter().flat_map(|set| items(&set.stored, "/spec/imagePullSecrets"));
    add_missing_by_name(&mut pod, "imagePullSecrets", pull_secrets);

    annotations::write_sets(sets, &mut pod, now)?;
    let stays = |sidecar: &Sidecar| [&init_merge, &merge].iter().any(|merge| merge.stays(sidecar));
    annotations::write_hot_upgrades(init_containers.iter().chain(&containers), stays, &mut pod);
    if default_container && merge.prepends {
        annotations::write_default_container(items(received, "/spec/containers"), &containers, &mut pod);
    }
    Ok(pod)
}

fn refuse_name_clashes(sets: &[&Set], pod: &Value) -> Result<(), String> {
    let mut owners: BTreeMap<String, &str> = BTreeMap::new();
    for set in sets {
        for (list, other_list) in [("containers", "initContainers"), ("initContainers", "containers")] {
            for injected in set.injected_names(list) {
                if items(pod, &format!("/spec/{other_list}")).iter().any(|own| name(own) == injected) {
                    return Err(format!("{} injects {injected}, which is in {other_list}", set.name()));
                }
                if let Some(owner) = owners.insert(injected, set.name()).filter(|owner| *owner != set.name()) {
                    return Err(format!("{} and {owner} both inject a container", set.name()));
                }
            }
        }
    }
    Ok(())
}

/// Returns the set's volumes in the order in which its containers refer to them, with repetitions.
fn mounted_volumes(set: &Set) -> Vec<&Value> {
    let mut mounted = Vec::new();
    for container in set.containers("initContainers").iter().chain(set.containers("containers")) {
        let mentions = items(container, "/volumeMounts").iter().chain(items(container, "/volumeDevices")).map(name);
        let files = items(container, "/env").iter().map(|variable| text(variable, "/valueFrom/fileKeyRef/volumeName"));
        for mention in mentions.chain(files) {
            mounted.extend(items(&set.stored, "/spec/volumes").iter().find(|volume| name(volume) == mention));
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
