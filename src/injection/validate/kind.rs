//! The containers of a set, each with its kind, its place and its names in Pods.

use super::node::{FieldPlace, Report};
use crate::api::sidecarset::{SidecarContainer, SidecarSetSpec, UpgradeType};

/// The list that a container is in, and its behaviour there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ContainerKind {
    /// Runs next to the app containers.
    App,
    /// An init container that keeps running (`restartPolicy: Always`).
    Native,
    /// An init container that runs to completion.
    Init,
}

impl ContainerKind {
    /// The kind of an init container.
    fn of_init(container: &SidecarContainer) -> Self {
        if container.restarts_always() { Self::Native } else { Self::Init }
    }
}

/// Returns all containers of a spec, init containers first.
pub(super) fn each(spec: &SidecarSetSpec) -> impl Iterator<Item = (ContainerKind, &SidecarContainer)> {
    let init = spec.init_containers.iter().flatten().map(|container| (ContainerKind::of_init(container), container));
    init.chain(spec.containers.iter().flatten().map(|container| (ContainerKind::App, container)))
}

/// The same, with their places.
pub(super) fn all<'a>(
    spec: &'a SidecarSetSpec,
    report: &'a Report,
) -> impl Iterator<Item = (ContainerKind, &'a SidecarContainer, FieldPlace<'a>)> {
    let init_containers = spec.init_containers.iter().flatten().count();
    each(spec).enumerate().map(move |(index, (kind, container))| {
        let (list, index) = match index.checked_sub(init_containers) {
            None => ("initContainers", index),
            Some(index) => ("containers", index),
        };
        (kind, container, report.root("spec").field(list).item(index, container.name()))
    })
}

/// The suffixes that a hot upgrade adds to a container's name for its two containers in Pods.
const TWINS: [&str; 2] = ["-1", "-2"];

/// Whether Pods have two instances of the container.
pub(super) fn has_twins(kind: ContainerKind, container: &SidecarContainer) -> bool {
    kind != ContainerKind::Init && container.upgrade_strategy.upgrade_type == Some(UpgradeType::HotUpgrade)
}

/// Returns the names of a container in Pods. A hot upgrade has two.
pub(super) fn injected_names(kind: ContainerKind, container: &SidecarContainer) -> Vec<String> {
    let name = container.name();
    if has_twins(kind, container) {
        TWINS.map(|ending| format!("{name}{ending}")).to_vec()
    } else {
        vec![name.to_owned()]
    }
}

/// The names of a container, in its set and in Pods.
#[derive(Clone, Debug)]
pub(super) struct ContainerName {
    name: Box<str>,
    has_twins: bool,
}

impl ContainerName {
    pub fn of(kind: ContainerKind, container: &SidecarContainer) -> Self {
        Self { name: container.name().into(), has_twins: has_twins(kind, container) }
    }

    /// Whether the name is the container's own, or one of those in Pods.
    pub fn is(&self, name: &str) -> bool {
        name.strip_prefix(&*self.name)
            .is_some_and(|ending| ending.is_empty() || self.has_twins && TWINS.contains(&ending))
    }
}
