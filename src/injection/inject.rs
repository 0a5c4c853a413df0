//! Injection of the matching SidecarSets into one Pod: what is decided about it, and why it may be refused.

use super::PodRequest;
use super::annotations::{Record, RecordOfRest};
use super::container::InjectableContainer;
use super::content::Content;
use super::exclusion::Exclusion;
use super::fingerprint::PodContainer;
use super::forecast::Forecast;
use super::named::Named;
use super::plan::Plan;
use super::pod_metadata::Annotations;
use super::pod_security::{Enforced, PodSecurity};
use super::snapshot::Snapshot;
use super::token_mount::token_mount;
use super::verify::{Deviation, KnownImages, Verification};
use crate::api::decode::{FieldError, without_value};
use crate::api::keys;
use crate::api::pod::{ContainerView, NamedView, PodView, SpecView, WithText};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::cell::OnceCell;
use std::collections::HashMap;
use thiserror::Error;

/// What was decided about a Pod.
#[derive(Debug)]
pub enum Injection {
    /// It is left alone, whatever SidecarSets say.
    Excluded(Exclusion),
    /// No SidecarSet matches.
    NotMatched,
    /// Some match.
    Matched(Injected),
}

/// What matching SidecarSets do to a Pod.
#[derive(Debug)]
pub struct Injected {
    /// The sets, in name order.
    pub sets: Vec<InjectedSet>,
    /// JSON Patch as text; `None` when the Pod has everything.
    pub patch: Option<String>,
    /// What the Pod's author should know.
    pub warnings: Vec<String>,
}

/// What one set does to a Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InjectedSet {
    /// Its name.
    pub name: String,
    /// The revision recorded in the Pod.
    pub revision: Option<String>,
    /// Names of the containers and init containers that are added or replaced; none where the Pod has them all.
    pub containers: Vec<String>,
    /// Containers of the Pod that claim to be the set's, are not, and stay.
    pub deviations: Vec<Deviation>,
    /// What of the set does not fit the Pod.
    pub forecasts: Vec<Forecast>,
}

/// Why a Pod gets no answer that could be applied.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InjectError {
    /// The Pod must not be created.
    #[error(transparent)]
    Denied(#[from] Denial),
    /// The Pod cannot be read.
    #[error("the Pod's {0}")]
    Unreadable(FieldError),
    /// Nobody waits for the answer any more, as [`PodRequest::abandoned`] says.
    #[error("nobody waits for the review of this Pod any more")]
    Abandoned,
}

/// Why a Pod must not be created.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("SidecarSet {set:?} cannot be injected: {field}: {problem}")]
pub struct Denial {
    /// The set.
    pub set: String,
    /// The field at fault, of the set or of the Pod.
    pub field: String,
    /// What is wrong and what to do.
    pub problem: String,
}

/// The lists of a Pod; `None` where it has no such list, which then must be added whole.
#[derive(Default)]
pub(super) struct PodLists<'a> {
    pub containers: Option<Named<'a, ContainerView<'a>>>,
    pub init_containers: Option<Named<'a, ContainerView<'a>>>,
    pub volumes: Option<Named<'a, WithText<'a, NamedView<'a>>>>,
    pub pull_secrets: Option<Vec<NamedView<'a>>>,
    /// The texts of init and app containers, cut once they are asked for: only a Pod that was injected before is looked at so.
    texts: [OnceCell<Vec<&'a RawValue>>; 2],
}

/// Which of the two container lists.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum List {
    Init,
    App,
}

/// A set to inject.
pub(super) struct Match<'s> {
    pub name: &'s str,
    pub content: &'s Content,
    pub revision: Option<&'s str>,
    /// Whether the Pod records the set with this hash.
    pub current: bool,
    /// The images of all versions of the set.
    pub images: &'s KnownImages,
    pub verification: Verification,
    /// Whether the Pod's own resources grow by what its containers ask for.
    pub grows_pod: bool,
}

impl Snapshot {
    /// Decides about a Pod.
    ///
    /// # Errors
    /// When a matching set cannot be injected into the Pod, or the Pod cannot be read.
    pub fn inject(&self, pod: &PodView<'_>, request: &PodRequest<'_>) -> Result<Injection, InjectError> {
        if let Some(exclusion) = self.options().exclusions.of(pod, request) {
            return Ok(Injection::Excluded(exclusion));
        }
        let matching = self.matching(pod, request);
        let Some(first) = matching.first() else { return Ok(Injection::NotMatched) };

        let lists = PodLists::read(pod.spec.as_ref())?;
        let record = |key: &'static str| {
            Record::parse(pod.annotation(key)).map_err(|e| Denial {
                set: first.set.name.clone(),
                field: format!("the Pod's metadata.annotations[{key}]"),
                problem: e.to_string(),
            })
        };
        let (hashes, hashes_without_image) = (record(keys::HASH)?, record(keys::HASH_WITHOUT_IMAGE)?);
        let rest = RecordOfRest::parse(pod.annotation(keys::HASH_OF_REST));
        let matches = matching.into_iter().map(|entry| {
            let chosen = match &entry.chosen {
                None => None,
                Some(chosen) => chosen.for_pod(&entry.set, pod, request, &hashes).map_err(|(field, problem)| {
                    Denial { set: entry.set.name.clone(), field: field.to_owned(), problem }
                })?,
            };
            let (content, revision) = match chosen {
                Some(version) => (&version.content, Some(version.revision.as_str())),
                None => (&entry.set.content, entry.revision.as_deref()),
            };
            let name = entry.set.name.as_str();
            Ok(Match {
                name,
                content,
                revision,
                current: hashes.has(name, &content.hashes.hash) && rest.agrees(name, content.hash_of_rest.as_deref()),
                images: &entry.images,
                verification: entry.set.verification,
                grows_pod: entry.set.grows_pod,
            })
        });
        let matches: Vec<Match<'_>> = matches.collect::<Result<_, Denial>>()?;
        deny_clashes(&matches, &lists)?;

        let mut annotations = Annotations::of(pod);
        for (m, patch) in matches.iter().flat_map(|m| m.content.metadata_patches.iter().map(move |patch| (m, patch))) {
            request.go_on()?;
            annotations.apply(patch).map_err(|(key, error)| Denial {
                set: m.name.to_owned(),
                field: format!("spec.patchPodMetadata annotation {key:?}"),
                problem: error.to_string(),
            })?;
        }
        let annotations = annotations.changes();
        let token = token_mount(pod.spec.as_ref(), &lists);
        let mut plan = Plan::new(pod, request, &lists, &matches, &annotations, token.as_deref());
        plan.create_parents();
        plan.containers(List::Init)?;
        plan.containers(List::App)?;
        plan.volumes();
        plan.pull_secrets();
        plan.metadata(&hashes, &hashes_without_image, &rest, self.options().default_container);
        plan.fit();
        if let Some(enforced) = self.namespace_labels(request.namespace_of(pod)).and_then(Enforced::of) {
            plan.pod_security(enforced, &pod_security(pod.spec.as_ref())?);
        }
        plan.warn_of_forecasts();
        let sets = plan.injected_sets();
        let (patch, warnings) = plan.finish();
        Ok(Injection::Matched(Injected { sets, patch, warnings }))
    }
}

impl<'a> PodLists<'a> {
    fn read(spec: Option<&SpecView<'a>>) -> Result<Self, InjectError> {
        let Some(spec) = spec else { return Ok(Self::default()) };
        Ok(Self {
            containers: list(spec.containers, "spec.containers")?.map(Named::new),
            init_containers: list(spec.init_containers, "spec.initContainers")?.map(Named::new),
            volumes: list(spec.volumes, "spec.volumes")?.map(Named::new),
            pull_secrets: list(spec.image_pull_secrets, "spec.imagePullSecrets")?,
            texts: Default::default(),
        })
    }

    /// A container as it is compared with a set's; `None` where it cannot be read.
    pub fn compared(&self, spec: Option<&SpecView<'a>>, list: List, index: usize) -> Option<PodContainer> {
        let (raw, texts) = match list {
            List::Init => (spec?.init_containers?, &self.texts[0]),
            List::App => (spec?.containers?, &self.texts[1]),
        };
        let texts = texts.get_or_init(|| serde_json::from_str(raw.get()).unwrap_or_default());
        serde_json::from_str(texts.get(index)?.get()).ok()
    }

    pub fn of(&self, list: List) -> Option<&Named<'a, ContainerView<'a>>> {
        match list {
            List::Init => self.init_containers.as_ref(),
            List::App => self.containers.as_ref(),
        }
    }

    pub fn position(&self, list: List, name: &str) -> Option<usize> {
        self.of(list)?.position(name)
    }
}

/// What of a Pod counts for its containers' security.
fn pod_security<'a>(spec: Option<&SpecView<'a>>) -> Result<PodSecurity<'a>, InjectError> {
    let Some(spec) = spec else { return Ok(PodSecurity::default()) };
    Ok(PodSecurity {
        context: list(spec.security_context, "spec.securityContext")?.unwrap_or_default(),
        has_own_users: spec.has_own_users(),
        is_windows: spec.os_name().as_deref() == Some("windows"),
    })
}

fn list<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>, field: &str) -> Result<Option<T>, InjectError> {
    let Some(raw) = raw else { return Ok(None) };
    let deserializer = &mut serde_json::Deserializer::from_str(raw.get());
    serde_path_to_error::deserialize(deserializer).map(Some).map_err(|e| {
        let dot =
            if matches!(e.path().iter().next(), Some(serde_path_to_error::Segment::Map { .. })) { "." } else { "" };
        let path = e.path().to_string();
        let field = if path == "." { field.to_owned() } else { format!("{field}{dot}{path}") };
        InjectError::Unreadable(FieldError { field, problem: without_value(&e.inner().to_string()) })
    })
}

impl List {
    /// Name of the field in the spec.
    pub fn field(self) -> &'static str {
        match self {
            Self::Init => "initContainers",
            Self::App => "containers",
        }
    }

    /// This list of a set's content.
    pub fn of(self, content: &Content) -> &[InjectableContainer] {
        match self {
            Self::Init => &content.init_containers,
            Self::App => &content.containers,
        }
    }
}

/// Container names are unique over both lists of a Pod: what would break that is named here, because the API server would name
/// neither the set nor the reason.
fn deny_clashes(matches: &[Match<'_>], lists: &PodLists<'_>) -> Result<(), Denial> {
    let mut injected: HashMap<&str, &str> = HashMap::new();
    for m in matches {
        for (list, other) in [(List::Init, List::App), (List::App, List::Init)] {
            for container in list.of(m.content) {
                let denial = |problem: String| Denial {
                    set: m.name.to_owned(),
                    field: format!("spec.{} {:?}", list.field(), container.name),
                    problem,
                };
                if let Some(set) = injected.insert(&container.name, m.name) {
                    let problem =
                        format!("SidecarSet {set:?} injects a container of that name too: rename one of them");
                    return Err(denial(problem));
                }
                if let Some(index) = lists.position(other, &container.name) {
                    let problem =
                        format!("the Pod's spec.{}[{index}] has that name: rename one of them", other.field());
                    return Err(denial(problem));
                }
            }
        }
    }
    Ok(())
}
