//! The parts of a Pod's spec that injection looks at, each read once.

use super::fingerprint::PodContainer;
use super::named::Named;
use super::outcome::InjectError;
use crate::api::decode::{FieldError, without_value};
use crate::api::pod::{ContainerView, NamedView, PodSecurityContextView, SpecView, WithText};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::cell::OnceCell;

/// The lists of a Pod. `None` stands for an absent list, which must then be added as a whole.
#[derive(Default)]
pub(super) struct PodLists<'a> {
    pub containers: Option<Named<'a, ContainerView<'a>>>,
    pub init_containers: Option<Named<'a, ContainerView<'a>>>,
    pub volumes: Option<Named<'a, WithText<'a, NamedView<'a>>>>,
    pub pull_secrets: Option<Vec<NamedView<'a>>>,
    /// The texts of init and app containers, split on demand: only Pods that were injected before need them.
    texts: [OnceCell<Vec<&'a RawValue>>; 2],
    /// The Pod's securityContext, read on demand.
    context: OnceCell<PodSecurityContextView<'a>>,
}

/// Which of the two container lists of a Pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodList {
    /// `initContainers`
    Init,
    /// `containers`
    App,
}

impl<'a> PodLists<'a> {
    pub fn read(spec: Option<&SpecView<'a>>) -> Result<Self, InjectError> {
        let Some(spec) = spec else { return Ok(Self::default()) };
        Ok(Self {
            containers: list(spec.containers, "spec.containers")?.map(Named::new),
            init_containers: list(spec.init_containers, "spec.initContainers")?.map(Named::new),
            volumes: list(spec.volumes, "spec.volumes")?.map(Named::new),
            pull_secrets: list(spec.image_pull_secrets, "spec.imagePullSecrets")?,
            texts: Default::default(),
            context: OnceCell::new(),
        })
    }

    /// Returns a container for comparison with a set's; `None` if it cannot be read.
    pub fn compared(&self, spec: Option<&SpecView<'a>>, list: PodList, index: usize) -> Option<PodContainer> {
        let (raw, texts) = match list {
            PodList::Init => (spec?.init_containers?, &self.texts[0]),
            PodList::App => (spec?.containers?, &self.texts[1]),
        };
        let texts = texts.get_or_init(|| serde_json::from_str(raw.get()).unwrap_or_default());
        serde_json::from_str(texts.get(index)?.get()).ok()
    }

    /// Returns the Pod's securityContext, which containers inherit. An unreadable one counts as absent; the API server
    /// refuses it.
    pub fn security_context(&self, spec: Option<&SpecView<'a>>) -> &PodSecurityContextView<'a> {
        let raw = spec.and_then(|spec| spec.security_context);
        self.context.get_or_init(|| raw.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default())
    }

    pub fn of(&self, list: PodList) -> Option<&Named<'a, ContainerView<'a>>> {
        match list {
            PodList::Init => self.init_containers.as_ref(),
            PodList::App => self.containers.as_ref(),
        }
    }

    pub fn position(&self, list: PodList, name: &str) -> Option<usize> {
        self.of(list)?.position(name)
    }
}

/// Reads one value of a Pod's spec, found at `field`.
pub(super) fn list<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>, field: &str) -> Result<Option<T>, InjectError> {
    let Some(raw) = raw else { return Ok(None) };
    if let Ok(value) = serde_json::from_str(raw.get()) {
        return Ok(Some(value));
    }
    // On failure it is read again to find the field at fault. That takes twice the time.
    let deserializer = &mut serde_json::Deserializer::from_str(raw.get());
    serde_path_to_error::deserialize(deserializer).map(Some).map_err(|e| {
        let dot =
            if matches!(e.path().iter().next(), Some(serde_path_to_error::Segment::Map { .. })) { "." } else { "" };
        let path = e.path().to_string();
        let field = if path == "." { field.to_owned() } else { format!("{field}{dot}{path}") };
        InjectError::Unreadable(FieldError { field, problem: without_value(&e.inner().to_string()) })
    })
}

impl PodList {
    /// Name of the field in the spec.
    #[must_use]
    pub fn field(self) -> &'static str {
        match self {
            Self::Init => "initContainers",
            Self::App => "containers",
        }
    }
}
