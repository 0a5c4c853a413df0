//! The content of a SidecarSet, ready for injection: containers and volumes serialized, hashes computed.

use super::container::InjectableContainer;
use super::go_json::write_text;
use super::hash::{Hashes, canonical_containers, hash_of_rest, hashes};
use super::patterns::Patterns;
use super::pod_lists::PodList;
use super::pod_security::{self, Finding};
use super::verify::{FixedContainer, Images};
use crate::api::decode::FieldError;
use crate::api::sidecarset::{PatchPodMetadata, SidecarContainer, SidecarSetSpec};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// The content of a SidecarSet or of one of its kept versions.
#[derive(Debug)]
pub struct Content {
    /// Hashes of the containers.
    pub hashes: Hashes,
    /// The hash of everything that these do not cover, if there is anything.
    pub hash_of_rest: Option<String>,
    /// Equal for equal content, regardless of spelling ([`digest`]).
    pub(super) digest: [u8; 32],
    pub(super) init_containers: Vec<InjectableContainer>,
    pub(super) containers: Vec<InjectableContainer>,
    pub(super) volumes: Vec<InjectableVolume>,
    /// The volumes that its containers mount.
    pub(super) mounted: Box<[MountedVolume]>,
    pub(super) pull_secrets: Vec<String>,
    pub(super) metadata_patches: Vec<PatchPodMetadata>,
    /// Names of containers and native sidecars as JSON text, sorted.
    pub(super) sidecars: String,
    pub(super) images: Arc<Images>,
}

/// A volume ready for injection.
#[derive(Debug)]
pub(super) struct InjectableVolume {
    pub name: String,
    /// The volume as JSON text.
    pub json: String,
    pub pod_security: Box<[Finding]>,
}

impl InjectableVolume {
    /// Whether both are the same volume, regardless of spelling.
    pub fn is_same(&self, other: &Self) -> bool {
        same_json(&self.json, &other.json)
    }
}

/// A volume that containers of a set mount, identified by its name.
#[derive(Debug)]
pub(super) struct MountedVolume {
    pub name: String,
    /// Its index among the set's volumes.
    pub index: Option<usize>,
    /// The list and name of the first container that mounts it.
    pub list: &'static str,
    pub container: String,
}

impl Content {
    /// Prepares the content of a spec for injection. Defaults must have been applied.
    ///
    /// # Errors
    /// When containers or volumes have no name or share one, when there are no containers at all, or when a container's field
    /// has the wrong type.
    pub fn new(spec: &SidecarSetSpec) -> Result<Self, FieldError> {
        let hashes = hashes(spec)?;
        let mut brought = Brought::default();
        let init_containers = brought.containers(
            spec.init_containers.as_deref(),
            "spec.initContainers",
            |container, field, patterns| {
                InjectableContainer::of(container, container.restarts_always(), field, patterns)
            },
        )?;
        let containers =
            brought.containers(spec.containers.as_deref(), "spec.containers", InjectableContainer::of_app)?;
        if init_containers.is_empty() && containers.is_empty() {
            let problem = "a set needs at least one container or init container";
            return Err(FieldError::new("spec.containers", problem));
        }
        let native = spec.init_containers.iter().flatten().filter(|container| container.restarts_always());
        let sidecars: BTreeSet<_> =
            spec.containers.iter().flatten().chain(native).map(SidecarContainer::name).collect();
        let volumes = volumes(spec.volumes.as_deref().unwrap_or_default())?;
        let secrets = spec.image_pull_secrets.iter().flatten().map(|secret| secret.name.clone());
        Ok(Self {
            hashes,
            hash_of_rest: hash_of_rest(spec)?,
            digest: digest(spec)?,
            mounted: mounted([("initContainers", &init_containers), ("containers", &containers)], &volumes),
            init_containers,
            containers,
            volumes,
            pull_secrets: secrets.filter(|name| !name.is_empty()).collect(),
            metadata_patches: spec.patch_pod_metadata.clone().unwrap_or_default(),
            sidecars: json!(sidecars).to_string(),
            images: Arc::new(Images::of(spec)),
        })
    }

    /// Returns the names of the set's containers, both in the set and in Pods.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let bases = self.init_containers.iter().chain(&self.containers).filter_map(|container| container.hot.as_ref());
        self.container_names().chain(bases.map(|twin| twin.base.as_str()))
    }

    /// Returns the fixed parts of its containers and native sidecars, each with its list.
    pub(super) fn sidecars(&self) -> impl Iterator<Item = (&'static str, &Arc<FixedContainer>)> {
        let init = self.init_containers.iter().map(|container| (PodList::Init, container));
        let all = init.chain(self.containers.iter().map(|container| (PodList::App, container)));
        all.filter(|(_, container)| container.fixed.is_sidecar)
            .map(|(list, container)| (list.field(), &container.fixed))
    }

    /// Returns the names of the containers and init containers in Pods.
    pub fn container_names(&self) -> impl Iterator<Item = &str> {
        self.init_containers.iter().chain(&self.containers).map(|container| container.name.as_str())
    }
}

impl PodList {
    /// Returns this list of a set's content.
    pub(super) fn of(self, content: &Content) -> &[InjectableContainer] {
        match self {
            Self::Init => &content.init_containers,
            Self::App => &content.containers,
        }
    }
}

/// Returns a digest of the content that a `ControllerRevision` keeps. Containers are normalized as OpenKruise stores them:
/// unknown fields are dropped. Absent lists count as empty.
///
/// # Errors
/// When a container's field has the wrong type.
pub(super) fn digest(spec: &SidecarSetSpec) -> Result<[u8; 32], FieldError> {
    let rest = json!([
        spec.volumes.as_deref().unwrap_or_default(),
        spec.image_pull_secrets.as_deref().unwrap_or_default(),
        spec.patch_pod_metadata.as_deref().unwrap_or_default(),
    ]);
    let rest = sorted(rest).to_string();
    Ok(Sha256::new().chain_update(canonical_containers(spec)?).chain_update(rest).finalize().into())
}

/// Whether two texts are the same JSON value.
pub(super) fn same_json(a: &str, b: &str) -> bool {
    let parse = |text| serde_json::from_str::<Value>(text).ok();
    a == b || parse(a).is_some_and(|a| Some(a) == parse(b))
}

/// Returns the value with the keys of each object sorted and `null`s removed.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.into_iter().filter(|(_, field)| !field.is_null()).collect();
            fields.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
            fields.into_iter().map(|(key, field)| (key, sorted(field))).collect()
        }
        Value::Array(items) => items.into_iter().map(sorted).collect(),
        other => other,
    }
}

/// Returns the volumes that containers of the lists mount, without duplicates.
fn mounted(lists: [(&'static str, &[InjectableContainer]); 2], volumes: &[InjectableVolume]) -> Box<[MountedVolume]> {
    let indices: HashMap<&str, usize> =
        volumes.iter().enumerate().map(|(index, volume)| (volume.name.as_str(), index)).collect();
    let mut named = HashSet::new();
    let mut mounted = Vec::new();
    for (list, container) in lists.into_iter().flat_map(|(list, all)| all.iter().map(move |one| (list, one))) {
        for name in container.volumes.iter().filter(|name| named.insert(name.as_str())) {
            let (name, container) = (name.clone(), container.name.clone());
            mounted.push(MountedVolume { index: indices.get(name.as_str()).copied(), name, list, container });
        }
    }
    mounted.into()
}

fn volumes(volumes: &[Map<String, Value>]) -> Result<Vec<InjectableVolume>, FieldError> {
    let mut names = HashSet::new();
    let mut injectable: Vec<InjectableVolume> = Vec::new();
    for (index, volume) in volumes.iter().enumerate() {
        let field = format!("spec.volumes[{index}].name");
        let name = volume.get("name").and_then(Value::as_str).unwrap_or_default();
        if name.is_empty() {
            return Err(FieldError::new(field, "required"));
        }
        if !names.insert(name) {
            return Err(FieldError::new(field, format!("another volume of this set is named {name:?}")));
        }
        injectable.push(InjectableVolume {
            name: name.to_owned(),
            json: Value::Object(volume.clone()).to_string(),
            pod_security: pod_security::of_volume(volume).into(),
        });
    }
    injectable.shrink_to_fit();
    Ok(injectable)
}

/// Names and amounts that the containers of a set may use only once, or only up to a limit.
#[derive(Default)]
struct Brought {
    names: HashSet<String>,
    patterns: Patterns,
}

impl Brought {
    fn containers(
        &mut self,
        containers: Option<&[SidecarContainer]>,
        field: &str,
        make: impl Fn(&SidecarContainer, &str, &mut Patterns) -> Result<Vec<InjectableContainer>, FieldError>,
    ) -> Result<Vec<InjectableContainer>, FieldError> {
        let mut injectable = Vec::new();
        for (index, container) in containers.unwrap_or_default().iter().enumerate() {
            let field = format!("{field}[{index}]");
            if container.name().is_empty() {
                return Err(FieldError::new(format!("{field}.name"), "required"));
            }
            for container in make(container, &field, &mut self.patterns)? {
                if !self.names.insert(container.name.clone()) {
                    let problem = format!("another container of this set is named {:?}", container.name);
                    return Err(FieldError::new(format!("{field}.name"), problem));
                }
                injectable.push(container);
            }
        }
        injectable.shrink_to_fit(); // they are large and live as long as the set
        Ok(injectable)
    }
}

/// `{"name":…}` as JSON text.
pub(super) fn named_json(name: &str) -> String {
    let mut json = String::from("{\"name\":");
    write_text(&mut json, name);
    json.push('}');
    json
}
