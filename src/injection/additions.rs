//! What is added to an injected container for one Pod.

use super::token_mount::is_token_path;
use crate::api::pod::{ContainerView, MountView, WithText};
use std::borrow::Cow;

/// A list that may grow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum AddedList {
    Env,
    VolumeMounts,
    VolumeDevices,
}

impl AddedList {
    pub const ALL: [Self; 3] = [Self::Env, Self::VolumeMounts, Self::VolumeDevices];

    /// The field's name.
    pub fn field(self) -> &'static str {
        match self {
            Self::Env => "env",
            Self::VolumeMounts => "volumeMounts",
            Self::VolumeDevices => "volumeDevices",
        }
    }
}

/// What is added to one container, as JSON texts.
#[derive(Debug, Default)]
pub(super) struct Additions<'a> {
    pub env: Vec<Cow<'a, str>>,
    pub volume_mounts: Vec<Cow<'a, str>>,
    pub volume_devices: Vec<Cow<'a, str>>,
    /// Whether one of the mounts is at the path of the service account token.
    pub have_token_path: bool,
    /// Replaces the container's own resources.
    pub resources: Option<String>,
}

impl<'a> Additions<'a> {
    /// Returns the additions to one list.
    pub fn of(&self, list: AddedList) -> &[Cow<'a, str>] {
        match list {
            AddedList::Env => &self.env,
            AddedList::VolumeMounts => &self.volume_mounts,
            AddedList::VolumeDevices => &self.volume_devices,
        }
    }

    /// Returns the number of bytes that the additions take.
    pub fn bytes(&self) -> usize {
        let items: usize = AddedList::ALL.into_iter().flat_map(|list| self.of(list)).map(|item| item.len() + 1).sum();
        items + self.resources.as_ref().map_or(0, |resources| resources.len() + 13)
    }

    /// Adds the mount of the service account token, unless the container already mounts something at that path, in its set
    /// (`has_own`) or in the Pod (`present`).
    pub fn add_token(&mut self, token: &'a str, has_own: bool, present: Option<&ContainerView<'_>>) {
        let has_path = |mount: &WithText<'_, MountView<'_>>| is_token_path(&mount.value.mount_path);
        let of_pod = present.and_then(|present| present.volume_mounts.as_ref());
        let is_taken = self.have_token_path || has_own;
        if !is_taken && !of_pod.is_some_and(|mounts| mounts.iter().any(has_path)) {
            self.volume_mounts.push(Cow::Borrowed(token));
        }
    }
}
