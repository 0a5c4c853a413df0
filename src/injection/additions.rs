//! What is added to an injected container for one Pod.

/// A list that may grow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum List {
    Env,
    VolumeMounts,
    VolumeDevices,
}

impl List {
    pub const ALL: [Self; 3] = [Self::Env, Self::VolumeMounts, Self::VolumeDevices];

    /// Name of the field.
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
    pub env: Vec<&'a str>,
    pub volume_mounts: Vec<&'a str>,
    pub volume_devices: Vec<&'a str>,
    /// Replaces the container's own resources.
    pub resources: Option<String>,
}

impl<'a> Additions<'a> {
    /// What is added to one of the lists.
    pub fn of(&self, list: List) -> &[&'a str] {
        match list {
            List::Env => &self.env,
            List::VolumeMounts => &self.volume_mounts,
            List::VolumeDevices => &self.volume_devices,
        }
    }

    /// How much they make the container longer.
    pub fn bytes(&self) -> usize {
        List::ALL.into_iter().flat_map(|list| self.of(list)).map(|item| item.len()).sum()
    }
}
