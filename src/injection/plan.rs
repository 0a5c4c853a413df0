//! The patch for one Pod: what it has already stays, what is missing is added, list by list.

use super::PodRequest;
use super::annotations::{Entry, Record, injected_list};
use super::container::{HotTwin, InjectableContainer, List as Growing};
use super::content::{Content, InjectableVolume, named_json, same_json};
use super::inject::{Denial, InjectedSet, List, Match, PodLists};
use super::patch::PatchWriter;
use super::pod_security::{Finding, Level};
use super::resources::{CompiledPolicy, PerResource, TargetContainer};
use super::sharing::{Additions, additions};
use crate::api::decode::without_value;
use crate::api::keys;
use crate::api::pod::{AmountView, AmountsView, ContainerView, PodSecurityContextView, PodView, ResourcesView};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};

/// The patch as it grows.
pub(super) struct Plan<'a, 's> {
    pod: &'a PodView<'a>,
    lists: &'a PodLists<'a>,
    matches: &'a [Match<'s>],
    /// Annotations that sets patch, with their new values.
    patched: &'a BTreeMap<&'s str, String>,
    patch: PatchWriter,
    warnings: Vec<String>,
    /// Volumes that are added, each after the name of its set.
    added_volumes: Vec<(&'s str, &'s InjectableVolume)>,
    /// Hot containers with whether the Pod had them already.
    hot: Vec<(&'s str, &'s HotTwin, bool)>,
    /// Containers that are added or replaced, each after the name of its set.
    injected: Vec<(&'s str, &'s str)>,
    /// Whether an app container was put in front of the Pod's own.
    prepended: bool,
}

/// What happens to one container.
enum Action {
    /// The Pod has it already, at this index.
    Keep(usize),
    Put(Place),
}

/// Where a container is put.
enum Place {
    /// In place of the Pod's own at this index.
    Of(usize),
    Front,
    Back,
}

impl<'a, 's> Plan<'a, 's> {
    pub fn new(
        pod: &'a PodView<'a>,
        lists: &'a PodLists<'a>,
        matches: &'a [Match<'s>],
        patched: &'a BTreeMap<&'s str, String>,
    ) -> Self {
        let (patch, warnings) = (PatchWriter::default(), Vec::new());
        Self {
            pod,
            lists,
            matches,
            patched,
            patch,
            warnings,
            added_volumes: Vec::new(),
            hot: Vec::new(),
            injected: Vec::new(),
            prepended: false,
        }
    }

    /// What each set does to the Pod.
    pub fn injected_sets(&self) -> Vec<InjectedSet> {
        let sets = self.matches.iter().map(|m| {
            let containers = self.injected.iter().filter(|(set, _)| *set == m.name);
            InjectedSet {
                name: m.name.to_owned(),
                revision: m.revision.map(str::to_owned),
                containers: containers.map(|(_, container)| (*container).to_owned()).collect(),
            }
        });
        sets.collect()
    }

    /// The patch, `None` when nothing is to be done, and what the Pod's author should know.
    pub fn finish(self) -> (Option<String>, Vec<String>) {
        (self.patch.finish(), self.warnings)
    }

    pub fn create_parents(&mut self) {
        if self.pod.metadata.is_none() {
            self.patch.add(["metadata"], "{}");
        }
        if self.pod.spec.is_none() {
            self.patch.add(["spec"], "{}");
        }
    }

    pub fn containers(&mut self, list: List) -> Result<(), Denial> {
        let mut injected: Vec<(&Match<'s>, &'s InjectableContainer)> =
            self.matches.iter().flat_map(|m| list.of(m.content).iter().map(move |container| (m, container))).collect();
        if list == List::Init {
            injected.sort_by(|(_, a), (_, b)| a.name.cmp(&b.name)); // stable: OpenKruise's order over all sets
        }
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for (m, container) in injected {
            let action = self.action(list, m, container);
            if let Some(twin) = &container.hot {
                self.hot.push((&container.name, twin, matches!(action, Action::Keep(_))));
            }
            let place = match action {
                Action::Keep(index) => {
                    self.complete(list, index, m, container);
                    continue;
                }
                Action::Put(place) => place,
            };
            self.injected.push((m.name, &container.name));
            let mut additions = self.additions(m, container, None);
            if let Some(policy) = &container.policy {
                additions.resources = Some(self.resources(m, list, container, policy)?);
            }
            let json = container.json(&additions);
            match place {
                Place::Of(index) => self.patch.replace_container(list.field(), index, &container.name, &json),
                Place::Front => before.push(json.into_owned()),
                Place::Back => after.push(json.into_owned()),
            }
        }
        self.prepended |= list == List::App && !before.is_empty();
        if self.lists.of(list).is_none() {
            before.append(&mut after);
            self.add_list(list.field(), &before);
            return Ok(());
        }
        for (index, json) in before.iter().enumerate() {
            self.patch.add(["spec", list.field(), &index.to_string()], json);
        }
        for json in &after {
            self.patch.add(["spec", list.field(), "-"], json);
        }
        Ok(())
    }

    fn action(&mut self, list: List, m: &Match<'_>, container: &InjectableContainer) -> Action {
        let Some(index) = self.lists.position(list, &container.name) else {
            return Action::Put(if container.before { Place::Front } else { Place::Back });
        };
        let injected = self.lists.of(list).is_some_and(|containers| containers[index].is_injected());
        if m.current && injected {
            return Action::Keep(index);
        }
        if !injected {
            self.warnings.push(format!(
                "SidecarSet {:?} replaces the Pod's own spec.{}[{index}] {:?}: rename that container if it is needed",
                m.name,
                list.field(),
                container.name
            ));
        }
        Action::Put(Place::Of(index))
    }

    /// What the container takes from the Pod's app containers, as far as `present`, itself in the Pod, has it not yet.
    fn additions(
        &mut self,
        m: &Match<'_>,
        container: &InjectableContainer,
        present: Option<&ContainerView<'_>>,
    ) -> Additions<'a> {
        let (pod, apps) = (self.pod, self.lists.containers.as_deref().unwrap_or_default());
        let patched = self.patched;
        let annotation = |key: &str| patched.get(key).map(String::as_str).or_else(|| pod.annotation(key));
        additions(container, pod, apps, annotation, present, |warning| {
            self.warnings.push(format!("SidecarSet {:?}, container {:?} {warning}", m.name, container.name));
        })
    }

    /// The resources that a policy computes, as JSON text.
    fn resources(
        &self,
        m: &Match<'_>,
        list: List,
        container: &InjectableContainer,
        policy: &CompiledPolicy,
    ) -> Result<String, Denial> {
        let denial = |problem: String| Denial {
            set: m.name.to_owned(),
            field: format!("spec.{} {:?} resourcesPolicy", list.field(), container.name),
            problem,
        };
        let native = self.lists.init_containers.iter().flatten();
        let native = native.filter(|container| container.restart_policy.as_deref() == Some("Always"));
        let apps = native.chain(self.lists.containers.iter().flatten());
        let apps = apps.filter(|app| !self.matches.iter().any(|m| m.content.names(&app.name)));
        let mut read: Vec<(&str, ResourcesView<'_>)> = Vec::new();
        for app in apps {
            let resources = app.resources.map(|raw| serde_json::from_str(raw.get())).transpose().map_err(|e| {
                denial(format!("the Pod's container {:?}: resources: {}", &*app.name, without_value(&e.to_string())))
            })?;
            read.push((&app.name, resources.unwrap_or_default()));
        }
        let targets: Vec<TargetContainer<'_>> = read
            .iter()
            .map(|(name, resources)| TargetContainer {
                name,
                limits: amounts(resources.limits.as_ref()),
                requests: amounts(resources.requests.as_ref()),
            })
            .collect();
        let computed = policy.resources(&targets).map_err(|error| denial(error.to_string()))?;
        serde_json::to_string(&computed).map_err(|error| denial(error.to_string()))
    }

    /// Adds to a container that is in the Pod what other mutators brought since it was injected.
    fn complete(&mut self, list: List, index: usize, m: &Match<'_>, container: &InjectableContainer) {
        let Some(present) = self.lists.of(list).and_then(|containers| containers.get(index)) else { return };
        let additions = self.additions(m, container, Some(present));
        let has_list = |growing| match growing {
            Growing::Env => present.env.is_some(),
            Growing::VolumeMounts => present.volume_mounts.is_some(),
            Growing::VolumeDevices => present.volume_devices.is_some(),
        };
        let mut tested = false;
        for growing in Growing::ALL {
            let items = additions.of(growing);
            if items.is_empty() {
                continue;
            }
            if !tested {
                self.patch.test_container(list.field(), index, &container.name);
                tested = true;
            }
            let index = index.to_string();
            let path = ["spec", list.field(), &index, growing.field()];
            if has_list(growing) {
                for item in items {
                    self.patch.add(path.into_iter().chain(["-"]), item);
                }
            } else {
                self.patch.add(path, &format!("[{}]", items.join(",")));
            }
        }
    }

    pub fn volumes(&mut self) {
        let mut decided: HashSet<(&str, &str)> = HashSet::new();
        for m in self.matches {
            for (list, container) in containers_of(m.content) {
                for name in &container.volumes {
                    if decided.insert((m.name, name)) {
                        let warning = self.volume(m, list, container, name);
                        self.warnings.extend(warning.map(|warning| format!("SidecarSet {:?} {warning}", m.name)));
                    }
                }
            }
        }
        let added: Vec<&str> = self.added_volumes.iter().map(|(_, volume)| volume.json.as_str()).collect();
        if self.lists.volumes.is_none() {
            self.add_list("volumes", &added);
        } else {
            for json in added {
                self.patch.add(["spec", "volumes", "-"], json);
            }
        }
    }

    /// Decides about one volume that a container mounts; returns what its author should know.
    fn volume(&mut self, m: &Match<'s>, list: List, container: &InjectableContainer, name: &str) -> Option<String> {
        let in_pod = self.lists.volumes.iter().flatten().find(|volume| &*volume.value.name == name);
        let earlier = self.added_volumes.iter().find(|(_, volume)| volume.name == name);
        let volume = m.content.volumes.iter().find(|volume| volume.name == name);
        match (volume, in_pod, earlier) {
            (Some(volume), None, None) => {
                self.added_volumes.push((m.name, volume));
                None
            }
            (Some(volume), Some(in_pod), _) => (!m.current && !same_json(in_pod.text, &volume.json))
                .then(|| format!("has a volume {name:?}, but the Pod's own volume of that name is mounted")),
            (Some(volume), None, Some((_, earlier))) => (!earlier.is_same(volume))
                .then(|| format!("has a volume {name:?}, but another SidecarSet's volume of that name is mounted")),
            (None, None, None) => Some(format!(
                "mounts a volume {name:?} in spec.{} {:?} that neither the set nor the Pod has",
                list.field(),
                container.name
            )),
            (None, _, _) => None,
        }
    }

    pub fn pull_secrets(&mut self) {
        let mut added: Vec<&str> = Vec::new();
        for name in self.matches.iter().flat_map(|m| &m.content.pull_secrets) {
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

    pub fn metadata(
        &mut self,
        hashes: &Record<'_>,
        without_image: &Record<'_>,
        request: &PodRequest<'_>,
        default_container: bool,
    ) {
        let mut values: Vec<(String, String)> =
            self.patched.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        values.extend(self.record(hashes, without_image, request));
        values.extend(self.hot_upgrade());
        let is_set = |key: &str| self.pod.annotation(key).is_some() || values.iter().any(|(set, _)| set == key);
        if default_container && self.prepended && !is_set(keys::DEFAULT_CONTAINER) {
            let replaced = |name: &str| self.injected.iter().any(|(_, container)| *container == name);
            let mut own = self.lists.containers.iter().flatten();
            let first = own.find(|container| !container.is_injected() && !replaced(&container.name));
            values.extend(first.map(|own| (keys::DEFAULT_CONTAINER.to_owned(), own.name.to_string())));
        }

        let mut has_map = self.pod.annotations().is_some();
        for (key, value) in values {
            if !has_map {
                self.patch.add(["metadata", "annotations"], "{}");
                has_map = true;
            }
            self.patch.add(["metadata", "annotations", &key], &Value::String(value).to_string());
        }
    }

    /// The annotations that say what was injected, as far as they change.
    fn record(
        &self,
        hashes: &Record<'_>,
        without_image: &Record<'_>,
        request: &PodRequest<'_>,
    ) -> impl Iterator<Item = (String, String)> + use<> {
        let now = request.now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let entries: Vec<Entry<'_>> = self
            .matches
            .iter()
            .map(|Match { name, content, revision, .. }| Entry {
                set: name,
                hash: &content.hashes.hash,
                sidecars: &content.sidecars,
                revision: *revision,
            })
            .collect();
        let entries_without_image: Vec<Entry<'_>> = self
            .matches
            .iter()
            .zip(&entries)
            .map(|(m, entry)| Entry { hash: &m.content.hashes.without_image, revision: None, ..*entry })
            .collect();
        let values = [
            (keys::HASH, hashes.updated(&entries, &now)),
            (keys::HASH_WITHOUT_IMAGE, without_image.updated(&entries_without_image, &now)),
            (
                keys::INJECTED_LIST,
                injected_list(self.pod.annotation(keys::INJECTED_LIST), entries.iter().map(|entry| entry.set)),
            ),
        ];
        values.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)))
    }

    /// The annotations of hot containers, as far as they change. What a Pod says of containers that it has is left alone: they
    /// may have taken turns since.
    fn hot_upgrade(&self) -> BTreeMap<String, String> {
        let mut values = BTreeMap::new();
        if self.hot.is_empty() {
            return values;
        }
        let present = self.pod.annotation(keys::WORKING_HOT_UPGRADE);
        // A value that cannot be read is written anew, as OpenKruise does.
        let recorded: BTreeMap<String, String> =
            present.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let mut working = recorded.clone();
        for (name, twin, kept) in &self.hot {
            let (version, alternative) = if twin.working { ("1", "0") } else { ("0", "1") };
            for (key, value) in [(keys::version_of(name), version), (keys::version_alt_of(name), alternative)] {
                let present = self.pod.annotation(&key);
                if present.is_none() || (!kept && present != Some(value)) {
                    values.insert(key, value.to_owned());
                }
            }
            // What was written anew works as at first: the recorded turn is that of the pair before.
            let pair_kept = self.hot.iter().all(|(_, other, kept)| other.base != twin.base || *kept);
            if twin.working && !(pair_kept && working.contains_key(&twin.base)) {
                working.insert(twin.base.clone(), (*name).to_owned());
            }
        }
        if working != recorded || present.is_none() {
            values.insert(keys::WORKING_HOT_UPGRADE.to_owned(), json!(working).to_string());
        }
        values
    }

    /// Warns of what breaks the Pod Security level that the Namespace enforces, a line for each container or volume.
    pub fn pod_security(&mut self, level: Level, pod: &PodSecurityContextView<'_>) {
        let mut warn = |set: &str, list: &str, name: &str, findings: &[Finding]| {
            let broken = findings.iter().filter(|finding| finding.breaks(level, pod)).map(|f| &*f.text);
            let broken = broken.collect::<Vec<_>>().join("; ");
            if !broken.is_empty() {
                let level = level.name();
                self.warnings
                    .push(format!("SidecarSet {set:?}, {list} {name:?} breaks Pod Security {level}: {broken}"));
            }
        };
        for m in self.matches {
            for (list, container) in containers_of(m.content) {
                warn(m.name, list.field(), &container.name, &container.pod_security);
            }
        }
        for (set, volume) in &self.added_volumes {
            warn(set, "volume", &volume.name, &volume.pod_security);
        }
    }
}

fn amounts<'a>(amounts: Option<&'a AmountsView<'_>>) -> PerResource<&'a str> {
    let text = |amount: &'a Option<AmountView<'_>>| amount.as_ref().map(AmountView::text);
    amounts.map_or_else(PerResource::default, |of| PerResource { cpu: text(&of.cpu), memory: text(&of.memory) })
}

/// All containers of a set, init containers first.
fn containers_of(content: &Content) -> impl Iterator<Item = (List, &InjectableContainer)> {
    let init = content.init_containers.iter().map(|container| (List::Init, container));
    init.chain(content.containers.iter().map(|container| (List::App, container)))
}
