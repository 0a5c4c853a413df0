//! The parts of a SidecarSet that the validation of other sets needs. They are kept for all sets of a cluster; whole sets would take
//! many times the memory.

use super::kind::{self, ContainerName};
use super::overlap;
use crate::api::keys;
use crate::api::sidecarset::{PatchPolicy, SidecarSet, SidecarSetSpec};
use crate::injection::content::same_json;
use crate::injection::selector::Selector;
use serde_json::{Map, Value};

/// A SidecarSet that others are validated against.
#[derive(Clone, Debug)]
pub struct OtherSet {
    /// Its name.
    pub name: Box<str>,
    /// Its uid,
    pub uid: Option<Box<str>>,
    /// and its generation.
    pub generation: Option<i64>,
    /// The set that it is a canary of.
    pub(super) canary_of: Option<Box<str>>,
    pub(super) selectors: Selectors,
    pub(super) containers: Box<[ContainerName]>,
    /// Names of its volumes, with their content.
    volumes: Box<[(Box<str>, Box<str>)]>,
    /// Keys of the annotations that it patches, and whether they are overwritten.
    annotations: Box<[(Box<str>, bool)]>,
}

/// The Pods that a set selects, as far as that can be read.
#[derive(Clone, Debug)]
pub(super) struct Selectors {
    /// `None` if it selects no Pods.
    pods: Option<Selector>,
    namespaces: Namespaces,
}

#[derive(Clone, Debug)]
enum Namespaces {
    All,
    Of(Selector),
    /// The selector cannot be parsed.
    Unknown,
}

impl OtherSet {
    /// Reads a set. Defaults must have been applied.
    #[must_use]
    pub fn of(set: &SidecarSet) -> Self {
        let SidecarSet { metadata, spec, .. } = set;
        let named = spec.volumes.iter().flatten().filter_map(|volume| Some((volume.get("name")?.as_str()?, volume)));
        Self {
            name: metadata.name.as_deref().unwrap_or_default().into(),
            uid: metadata.uid.as_deref().map(Box::from),
            generation: metadata.generation,
            canary_of: base_of(set).map(Box::from),
            selectors: Selectors::of(spec),
            containers: kind::each(spec).map(|(kind, container)| ContainerName::of(kind, container)).collect(),
            volumes: named.map(|(name, volume)| (name.into(), text(volume))).collect(),
            annotations: patched(spec).map(|(_, key, overwrites)| (key.into(), overwrites)).collect(),
        }
    }

    /// Whether it has a different volume of this name.
    pub(super) fn has_other_volume(&self, name: &str, volume: &Map<String, Value>) -> bool {
        let mut theirs = self.volumes.iter().filter(|(theirs, _)| **theirs == *name).peekable();
        theirs.peek().is_some() && {
            let volume = text(volume);
            theirs.any(|(_, theirs)| !same_json(theirs, &volume))
        }
    }

    /// Whether it patches the annotation, and if so, whether it overwrites it.
    pub(super) fn overwrites(&self, annotation: &str) -> Option<bool> {
        let mut patches = self.annotations.iter().rev();
        patches.find(|(key, _)| **key == *annotation).map(|(_, overwrites)| *overwrites)
    }
}

impl Selectors {
    pub fn of(spec: &SidecarSetSpec) -> Self {
        let pods = spec.selector.as_ref().and_then(overlap::parse);
        Self {
            pods: pods.filter(|selector| !selector.requirements().is_empty()),
            namespaces: match &spec.namespace_selector {
                None => Namespaces::All,
                Some(selector) => overlap::parse(selector).map_or(Namespaces::Unknown, Namespaces::Of),
            },
        }
    }

    /// Whether a Pod can match both. A set whose selector is empty or invalid matches none.
    pub fn overlap(&self, other: &Self) -> bool {
        let (Some(pods), Some(other_pods)) = (&self.pods, &other.pods) else { return false };
        overlap::overlap(pods, other_pods)
            && match (&self.namespaces, &other.namespaces) {
                (Namespaces::All, _) | (_, Namespaces::All) => true,
                (Namespaces::Of(one), Namespaces::Of(other)) => overlap::overlap(one, other),
                _ => false,
            }
    }
}

/// Returns the name of the set that `set` is a canary of. Both annotations are required.
#[must_use]
pub fn base_of(set: &SidecarSet) -> Option<&str> {
    let annotations = set.metadata.annotations.as_ref()?;
    let is_canary = annotations.get(keys::CANARY).is_some_and(|value| value == "true");
    annotations.get(keys::CANARY_BASE).map(String::as_str).filter(|base| is_canary && !base.is_empty())
}

/// Returns index, annotation key and whether it is overwritten. `Retain` patches are skipped.
pub(super) fn patched(spec: &SidecarSetSpec) -> impl Iterator<Item = (usize, &str, bool)> {
    let patches = spec.patch_pod_metadata.iter().flatten().enumerate();
    patches.flat_map(|(index, patch)| {
        let counts = match patch.patch_policy {
            Some(PatchPolicy::Overwrite) => Some(true),
            Some(PatchPolicy::MergePatchJson) => Some(false),
            _ => None,
        };
        let keys = patch.annotations.iter().flatten();
        keys.filter_map(move |(key, _)| counts.map(|overwrites| (index, key.as_str(), overwrites)))
    })
}

fn text(volume: &Map<String, Value>) -> Box<str> {
    serde_json::to_string(volume).unwrap_or_default().into()
}
