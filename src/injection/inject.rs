//! Injection of the matching SidecarSets into one Pod: what it has already, what is missing, and the patch that adds it.

use super::annotations::{Entry, Record, injected_list};
use super::exclusion::Exclusion;
use super::patch::PatchWriter;
use super::pod_security::{Finding, Level};
use super::set::{InjectableContainer, InjectableSet, InjectableVolume, named_json};
use super::snapshot::{Snapshot, SnapshotSet};
use super::{PodRequest, hash::FieldError};
use crate::api::keys;
use crate::api::pod::{ContainerView, NamedView, PodSecurityContextView, PodView, SpecView};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
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
    /// Names of the sets with the revision recorded, in name order.
    pub sets: Vec<(String, Option<String>)>,
    /// JSON Patch as text; `None` when the Pod has everything.
    pub patch: Option<String>,
    /// What the Pod's author should know.
    pub warnings: Vec<String>,
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
struct PodLists<'a> {
    containers: Option<Vec<ContainerView<'a>>>,
    init_containers: Option<Vec<ContainerView<'a>>>,
    volumes: Option<Vec<NamedView<'a>>>,
    pull_secrets: Option<Vec<NamedView<'a>>>,
}

/// Which of the two container lists.
#[derive(Clone, Copy, PartialEq)]
enum List {
    Init,
    App,
}

/// A set to inject.
struct Match<'s> {
    set: &'s InjectableSet,
    revision: Option<&'s str>,
    /// Whether the Pod records the set with its present hash.
    current: bool,
}

/// What happens to one container.
enum Action {
    /// The Pod has it already.
    Keep,
    Replace(usize),
    Prepend,
    Append,
}

impl Snapshot {
    /// Decides about a Pod.
    ///
    /// # Errors
    /// When a matching set cannot be injected into the Pod, or the Pod cannot be read.
    pub fn inject(&self, pod: &PodView<'_>, request: &PodRequest<'_>) -> Result<Injection, InjectError> {
        if let Some(exclusion) = self.exclusions().of(pod, request) {
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
        let matches: Vec<Match<'_>> = matching
            .into_iter()
            .map(|SnapshotSet { set, revision }| Match {
                set,
                revision: revision.as_deref(),
                current: hashes.has(&set.name, &set.hashes.hash),
            })
            .collect();
        deny_clashes(&matches, &lists)?;

        let mut plan = Plan { pod, lists, matches: &matches, patch: PatchWriter::default(), warnings: Vec::new() };
        plan.create_parents();
        plan.containers(List::Init);
        plan.containers(List::App);
        plan.volumes();
        plan.pull_secrets();
        plan.annotations(&hashes, &hashes_without_image, request);
        let enforced = self.namespace_labels(request.namespace_of(pod)).and_then(|l| l.get(keys::POD_SECURITY_ENFORCE));
        if let Some(level) = enforced.and_then(|label| Level::parse(label)) {
            plan.pod_security(level)?;
        }
        let Plan { patch, warnings, .. } = plan;
        Ok(Injection::Matched(Injected {
            patch: patch.finish(),
            warnings,
            sets: matches.iter().map(|m| (m.set.name.clone(), m.revision.map(str::to_owned))).collect(),
        }))
    }
}

impl<'a> PodLists<'a> {
    fn read(spec: Option<&SpecView<'a>>) -> Result<Self, InjectError> {
        let Some(spec) = spec else { return Ok(Self::default()) };
        Ok(Self {
            containers: list(spec.containers, "spec.containers")?,
            init_containers: list(spec.init_containers, "spec.initContainers")?,
            volumes: list(spec.volumes, "spec.volumes")?,
            pull_secrets: list(spec.image_pull_secrets, "spec.imagePullSecrets")?,
        })
    }

    fn of(&self, list: List) -> Option<&[ContainerView<'a>]> {
        match list {
            List::Init => self.init_containers.as_deref(),
            List::App => self.containers.as_deref(),
        }
    }

    fn position(&self, list: List, name: &str) -> Option<usize> {
        self.of(list)?.iter().position(|container| &*container.name == name)
    }
}

fn list<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>, field: &str) -> Result<Option<T>, InjectError> {
    let Some(raw) = raw else { return Ok(None) };
    let deserializer = &mut serde_json::Deserializer::from_str(raw.get());
    serde_path_to_error::deserialize(deserializer).map(Some).map_err(|e| {
        let dot =
            if matches!(e.path().iter().next(), Some(serde_path_to_error::Segment::Map { .. })) { "." } else { "" };
        let path = e.path().to_string();
        let field = if path == "." { field.to_owned() } else { format!("{field}{dot}{path}") };
        InjectError::Unreadable(FieldError { field, problem: e.into_inner().to_string() })
    })
}

impl List {
    fn field(self) -> &'static str {
        match self {
            Self::Init => "initContainers",
            Self::App => "containers",
        }
    }

    fn of(self, set: &InjectableSet) -> &[InjectableContainer] {
        match self {
            Self::Init => &set.init_containers,
            Self::App => &set.containers,
        }
    }
}

/// Container names are unique over both lists of a Pod: what would break that is named here, because the API server would name
/// neither the set nor the reason.
fn deny_clashes(matches: &[Match<'_>], lists: &PodLists<'_>) -> Result<(), Denial> {
    let mut injected: HashMap<&str, &str> = HashMap::new();
    for m in matches {
        for (list, other) in [(List::Init, List::App), (List::App, List::Init)] {
            for container in list.of(m.set) {
                let denial = |problem: String| Denial {
                    set: m.set.name.clone(),
                    field: format!("spec.{} {:?}", list.field(), container.name),
                    problem,
                };
                if let Some(set) = injected.insert(&container.name, &m.set.name) {
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

/// The patch as it grows.
struct Plan<'a, 's> {
    pod: &'a PodView<'a>,
    lists: PodLists<'a>,
    matches: &'a [Match<'s>],
    patch: PatchWriter,
    warnings: Vec<String>,
}

impl<'s> Plan<'_, 's> {
    fn create_parents(&mut self) {
        if self.pod.metadata.is_none() {
            self.patch.add(["metadata"], "{}");
        }
        if self.pod.spec.is_none() {
            self.patch.add(["spec"], "{}");
        }
    }

    fn containers(&mut self, list: List) {
        let mut injected: Vec<(&Match<'s>, &'s InjectableContainer)> =
            self.matches.iter().flat_map(|m| list.of(m.set).iter().map(move |container| (m, container))).collect();
        if list == List::Init {
            injected.sort_by(|(_, a), (_, b)| a.name.cmp(&b.name)); // stable: OpenKruise's order over all sets
        }
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for (m, container) in injected {
            match self.action(list, m, container) {
                Action::Keep => {}
                Action::Replace(index) => {
                    self.patch.replace_container(list.field(), index, &container.name, &container.json);
                }
                Action::Prepend => before.push(container.json.as_str()),
                Action::Append => after.push(container.json.as_str()),
            }
        }
        if self.lists.of(list).is_none() {
            before.append(&mut after);
            self.add_list(list.field(), &before);
            return;
        }
        for (index, json) in before.into_iter().enumerate() {
            self.patch.add(["spec", list.field(), &index.to_string()], json);
        }
        for json in after {
            self.patch.add(["spec", list.field(), "-"], json);
        }
    }

    fn action(&mut self, list: List, m: &Match<'_>, container: &InjectableContainer) -> Action {
        let Some(index) = self.lists.position(list, &container.name) else {
            return if container.before { Action::Prepend } else { Action::Append };
        };
        let injected = self.lists.of(list).is_some_and(|containers| containers[index].is_injected());
        if m.current && injected {
            return Action::Keep;
        }
        if !injected {
            self.warnings.push(format!(
                "SidecarSet {:?} replaces the Pod's own spec.{}[{index}] {:?}: rename that container if it is needed",
                m.set.name,
                list.field(),
                container.name
            ));
        }
        Action::Replace(index)
    }

    fn volumes(&mut self) {
        let mut added: Vec<&'s InjectableVolume> = Vec::new();
        for m in self.matches {
            for (list, container) in containers_of(m.set) {
                for name in &container.volumes {
                    let in_pod = self.lists.volumes.iter().flatten().position(|volume| &*volume.name == name);
                    let earlier = added.iter().find(|volume| volume.name == *name);
                    let volume = m.set.volumes.iter().find(|volume| volume.name == *name);
                    let warning = match (volume, in_pod, earlier) {
                        (Some(volume), None, None) => {
                            added.push(volume);
                            None
                        }
                        (Some(volume), Some(index), _) if !m.current && !self.pod_volume_equals(index, volume) => {
                            Some(format!("has a volume {name:?}, but the Pod's own volume of that name is mounted"))
                        }
                        (Some(volume), None, Some(earlier)) if volume.value != earlier.value => Some(format!(
                            "has a volume {name:?}, but another SidecarSet's volume of that name is mounted"
                        )),
                        (None, None, None) => Some(format!(
                            "mounts a volume {name:?} in spec.{} {:?} that neither the set nor the Pod has",
                            list.field(),
                            container.name
                        )),
                        _ => None,
                    };
                    self.warnings.extend(warning.map(|warning| format!("SidecarSet {:?} {warning}", m.set.name)));
                }
            }
        }
        let added: Vec<&str> = added.iter().map(|volume| volume.json.as_str()).collect();
        if self.lists.volumes.is_none() {
            self.add_list("volumes", &added);
        } else {
            for json in added {
                self.patch.add(["spec", "volumes", "-"], json);
            }
        }
    }

    fn pod_volume_equals(&self, index: usize, volume: &InjectableVolume) -> bool {
        let raw = self.pod.spec.as_ref().and_then(|spec| spec.volumes);
        let volumes = raw.and_then(|raw| serde_json::from_str::<Vec<Value>>(raw.get()).ok());
        volumes.is_some_and(|volumes| volumes.get(index) == Some(&volume.value))
    }

    fn pull_secrets(&mut self) {
        let mut added: Vec<&str> = Vec::new();
        for name in self.matches.iter().flat_map(|m| &m.set.pull_secrets) {
            let present = self.lists.pull_secrets.iter().flatten().any(|secret| &*secret.name == name);
            if !present && !added.contains(&name.as_str()) {
                added.push(name);
            }
        }
        let added: Vec<String> = added.into_iter().map(named_json).collect();
        if self.lists.pull_secrets.is_none() {
            self.add_list("imagePullSecrets", &added);
        } else {
            for json in &added {
                self.patch.add(["spec", "imagePullSecrets", "-"], json);
            }
        }
    }

    /// Adds a list that the Pod does not have, unless there is nothing to put in.
    fn add_list<T: AsRef<str>>(&mut self, field: &str, items: &[T]) {
        if !items.is_empty() {
            let items: Vec<&str> = items.iter().map(AsRef::as_ref).collect();
            self.patch.add(["spec", field], &format!("[{}]", items.join(",")));
        }
    }

    fn annotations(&mut self, hashes: &Record<'_>, without_image: &Record<'_>, request: &PodRequest<'_>) {
        let now = request.now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let entries: Vec<Entry<'_>> = self
            .matches
            .iter()
            .map(|Match { set, revision, .. }| Entry {
                set: &set.name,
                hash: &set.hashes.hash,
                sidecars: &set.sidecars,
                revision: *revision,
            })
            .collect();
        let entries_without_image: Vec<Entry<'_>> = self
            .matches
            .iter()
            .zip(&entries)
            .map(|(m, entry)| Entry { hash: &m.set.hashes.without_image, revision: None, ..*entry })
            .collect();
        let values = [
            (keys::HASH, hashes.updated(&entries, &now)),
            (keys::HASH_WITHOUT_IMAGE, without_image.updated(&entries_without_image, &now)),
            (
                keys::INJECTED_LIST,
                injected_list(self.pod.annotation(keys::INJECTED_LIST), entries.iter().map(|entry| entry.set)),
            ),
        ];
        let mut has_map = self.pod.annotations().is_some();
        for (key, value) in values.into_iter().filter_map(|(key, value)| Some((key, value?))) {
            if !has_map {
                self.patch.add(["metadata", "annotations"], "{}");
                has_map = true;
            }
            self.patch.add(["metadata", "annotations", key], &Value::String(value).to_string());
        }
    }

    fn pod_security(&mut self, level: Level) -> Result<(), InjectError> {
        let raw = self.pod.spec.as_ref().and_then(|spec| spec.security_context);
        let pod: PodSecurityContextView<'_> = list(raw, "spec.securityContext")?.unwrap_or_default();
        for m in self.matches {
            let containers = containers_of(m.set);
            let of_containers =
                containers.flat_map(|(list, c)| c.pod_security.iter().map(move |f| (list.field(), &c.name, f)));
            let of_volumes =
                m.set.volumes.iter().flat_map(|v| v.pod_security.iter().map(move |f| ("volumes", &v.name, f)));
            let findings = of_containers.chain(of_volumes).filter(|(_, _, finding)| finding.breaks(level, &pod));
            self.warnings.extend(findings.map(|(list, name, Finding { text, .. })| {
                format!(
                    "SidecarSet {:?}, {list} {name:?} breaks Pod Security level {}: {text}",
                    m.set.name,
                    level.name()
                )
            }));
        }
        Ok(())
    }
}

/// All containers of a set, init containers first.
fn containers_of(set: &InjectableSet) -> impl Iterator<Item = (List, &InjectableContainer)> {
    let init = set.init_containers.iter().map(|container| (List::Init, container));
    init.chain(set.containers.iter().map(|container| (List::App, container)))
}
