//! The containers of a set, each with its kind, its place, and the names it has in Pods.

use super::node::{FieldPlace, Report};
use crate::api::sidecarset::{SidecarContainer, SidecarSetSpec, UpgradeType};

/// Which list a container stands in, and how it behaves there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ContainerKind {
    /// Runs beside the app containers.
    App,
    /// An init container that keeps running (`restartPolicy: Always`).
    Native,
    /// An init container that ends.
    Init,
}

impl ContainerKind {
    /// Of an init container.
    fn of_init(container: &SidecarContainer) -> Self {
        if container.restarts_always() { Self::Native } else { Self::Init }
    }
}

/// All containers of a spec, init containers first.
pub(super) fn each(spec: &SidecarSetSpec) -> impl Iterator<Item = (ContainerKind, &SidecarContainer)> {
    let init = spec.init_containers.iter().flatten().map(|container| (ContainerKind::of_init(container), container));
    init.chain(spec.containers.iter().flatten().map(|container| (ContainerKind::App, container)))
}

/// The same with their places.
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

/// What a hot upgrade adds to the name of a container for each of its two in Pods.
const TWINS: [&str; 2] = ["-1", "-2"];

/// Whether Pods have two of the container.
pub(super) fn has_twins(kind: ContainerKind, container: &SidecarContainer) -> bool {
    kind != ContainerKind::Init && container.upgrade_strategy.upgrade_type == Some(UpgradeType::HotUpgrade)
}

/// The names by which a container turns up in Pods: a hot upgrade has two of it.
pub(super) fn injected_names(kind: ContainerKind, container: &SidecarContainer) -> Vec<String> {
    let name = container.name();
    if has_twins(kind, container) {
        TWINS.map(|ending| format!("{name}{ending}")).to_vec()
    } else {
        vec![name.to_owned()]
    }
}

/// What a container is named, in its set and in Pods.
#[derive(Clone, Debug)]
pub(super) struct ContainerName {
    name: Box<str>,
    has_twins: bool,
}

impl ContainerName {
    pub fn of(kind: ContainerKind, container: &SidecarContainer) -> Self {
        Self { name: container.name().into(), has_twins: has_twins(kind, container) }
    }

    /// Whether the name is the container's own, or one that it has in Pods.
    pub fn is(&self, name: &str) -> bool {
        name.strip_prefix(&*self.name)
            .is_some_and(|ending| ending.is_empty() || self.has_twins && TWINS.contains(&ending))
    }
}
