//! The patch for one Pod. It keeps what the Pod already has and adds what is missing, list by list.

mod fit;

use super::PodRequest;
use super::additions::{AddedList, Additions};
use super::annotations::{Entry, Record, RecordOfRest, injected_list};
use super::container::{HotTwin, InjectableContainer};
use super::content::{Content, InjectableVolume, MountedVolume, named_json};
use super::expression::Resource;
use super::finished_pod::{Newcomer, Placement, PodResources};
use super::forecast::{Consequence, Forecast};
use super::go_json::write_text;
use super::outcome::{Denial, InjectError, InjectedSet};
use super::patch::PatchWriter;
use super::pod_lists::{PodList, PodLists};
use super::resources::{CompiledPolicy, ComputedResources, PerResource, TargetContainer};
use super::sharing::{Offer, additions};
use super::verify::{Deviation, Difference, KnownImages, Verification};
use super::warnings::Warnings;
use crate::api::decode::without_value;
use crate::api::keys;
use crate::api::pod::{AmountView, AmountsView, ContainerView, PodView, ResourcesView};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap, HashSet};

/// The maximum bytes of mounts, devices and variables that sidecars take from one Pod. etcd takes objects of 1.5 MiB, in an
/// encoding that is a half to three quarters smaller than JSON.
const MOST_SHARED: usize = 8 << 20;

/// A set to inject.
pub(super) struct Match<'s> {
    pub name: &'s str,
    /// When the set was created, if that is known.
    pub created: Option<Timestamp>,
    pub content: &'s Content,
    pub revision: Option<&'s str>,
    /// Whether the Pod records the set with this hash.
    pub current: bool,
    /// The images of all versions of the set.
    pub images: &'s KnownImages,
    pub verification: Verification,
    /// Whether the Pod's own resources grow by the requests of the set's containers.
    pub grows_pod: bool,
    /// Whether its containers that end with a Job become native sidecars in this Pod.
    pub has_job_sidecars: bool,
}

impl<'s> Match<'s> {
    /// Returns the containers that it adds to a list of the Pod.
    pub fn containers<'m>(
        &'m self,
        list: PodList,
        lists: &'m PodLists<'_>,
    ) -> impl Iterator<Item = &'s InjectableContainer> + 'm {
        let in_job = move |app: &'s InjectableContainer| app.in_jobs.as_deref().filter(|_| self.is_in_job(app, lists));
        let own = list.of(self.content).iter().filter(move |own| in_job(own).is_none());
        let apps = if list == PodList::Init { &self.content.containers[..] } else { &[] };
        own.chain(apps.iter().filter_map(in_job))
    }

    /// Whether a native sidecar replaces an app container. An app container that the Pod already has stays.
    fn is_in_job(&self, app: &InjectableContainer, lists: &PodLists<'_>) -> bool {
        let is_in = |list| self.current && lists.position(list, &app.name).is_some();
        is_in(PodList::Init) || self.has_job_sidecars && !is_in(PodList::App)
    }
}

/// The patch under construction.
pub(super) struct PatchPlan<'a, 's> {
    pod: &'a PodView<'a>,
    request: &'a PodRequest<'a>,
    lists: &'a PodLists<'a>,
    matches: &'a [Match<'s>],
    /// Annotations that sets patch, with their new values.
    patched: &'a BTreeMap<&'s str, String>,
    /// The mount of the service account token, if the API server adds it to every container.
    token: Option<&'a str>,
    patch: PatchWriter,
    warnings: Warnings,
    /// The parts of the Pod's app containers that sidecars may take.
    offer: OnceCell<Offer<'a>>,
    /// Bytes taken so far.
    shared: usize,
    /// Containers that resources are computed from.
    targets: OnceCell<Result<Vec<(&'a str, ResourcesView<'a>)>, String>>,
    /// Added volumes, each with the name of its set.
    added_volumes: Vec<(&'s str, &'s InjectableVolume)>,
    /// Hot containers, and whether the Pod already had them.
    hot: Vec<(&'s str, &'s HotTwin, bool)>,
    /// Containers that are added or replaced.
    newcomers: Vec<Newcomer<'s>>,
    /// The problems of each set with the Pod.
    forecasts: Vec<Vec<Forecast>>,
    /// The Pod's own resources after injection.
    pod_resources: Option<PodResources<'a>>,
    /// For each set, containers that are kept although they differ from the set's.
    deviations: Vec<Vec<Deviation>>,
    /// Whether an app container was inserted before the Pod's own.
    prepended: bool,
}

/// The action on one container.
enum Action {
    /// The Pod already has it at this index.
    Keep(usize),
    Put(Placement),
}

impl<'a, 's> PatchPlan<'a, 's> {
    pub fn new(
        pod: &'a PodView<'a>,
        request: &'a PodRequest<'a>,
        lists: &'a PodLists<'a>,
        matches: &'a [Match<'s>],
        patched: &'a BTreeMap<&'s str, String>,
        token: Option<&'a str>,
    ) -> Self {
        let (patch, warnings) = (PatchWriter::default(), Warnings::default());
        Self {
            pod,
            request,
            lists,
            matches,
            patched,
            token,
            patch,
            warnings,
            offer: OnceCell::new(),
            shared: 0,
            targets: OnceCell::new(),
            added_volumes: Vec::new(),
            hot: Vec::new(),
            newcomers: Vec::new(),
            forecasts: vec![Vec::new(); matches.len()],
            pod_resources: PodResources::of(pod.spec.as_ref().and_then(|spec| spec.resources)),
            deviations: vec![Vec::new(); matches.len()],
            prepended: false,
        }
    }

    /// Returns the result of each set.
    pub fn injected_sets(&self) -> Vec<InjectedSet> {
        let mut containers = vec![Vec::new(); self.matches.len()];
        for newcomer in &self.newcomers {
            containers[newcomer.set].push(newcomer.container.name.clone());
        }
        let of_sets = self.matches.iter().zip(containers).zip(self.deviations.iter().zip(&self.forecasts));
        let sets = of_sets.map(|((m, containers), (deviations, forecasts))| InjectedSet {
            name: m.name.to_owned(),
            revision: m.revision.map(str::to_owned),
            containers,
            deviations: deviations.clone(),
            forecasts: forecasts.clone(),
        });
        sets.collect()
    }

    /// Returns the patch (`None` if it is empty) and the warnings for the Pod's author.
    pub fn finish(self) -> (Option<String>, Vec<String>) {
        (self.patch.finish(), self.warnings.finish())
    }

    pub fn create_parents(&mut self) {
        if self.pod.metadata.is_none() {
            self.patch.add(["metadata"], "{}");
        }
        if self.pod.spec.is_none() {
            self.patch.add(["spec"], "{}");
        }
    }

    pub fn containers(&mut self, list: PodList) -> Result<(), InjectError> {
        let of_sets = self.matches.iter().enumerate();
        let mut injected: Vec<(usize, &Match<'s>, &'s InjectableContainer)> = of_sets
            .flat_map(|(set, m)| m.containers(list, self.lists).map(move |container| (set, m, container)))
            .collect();
        if list == PodList::Init {
            // A stable sort keeps OpenKruise's order across all sets.
            injected.sort_by(|(_, _, a), (_, _, b)| (a.is_in_jobs, &a.name).cmp(&(b.is_in_jobs, &b.name)));
        }
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for (set, m, container) in injected {
            self.request.go_on()?;
            let action = self.action(list, set, m, container);
            if let Some(twin) = &container.hot {
                self.hot.push((&container.name, twin, matches!(action, Action::Keep(_))));
            }
            let placement = match action {
                Action::Keep(index) => {
                    self.complete(list, index, m, container)?;
                    continue;
                }
                Action::Put(placement) => placement,
            };
            let mut additions = self.additions(list, m, container, None)?;
            let resources =
                container.policy.as_ref().map(|policy| self.resources(m, list, container, policy)).transpose()?;
            if let Some(resources) = &resources {
                additions.resources = Some(json!(resources).to_string());
            }
            let shares_devices = !additions.volume_devices.is_empty();
            self.newcomers.push(Newcomer { set, list, container, resources, shares_devices, placement });
            let json = container.json(&additions);
            match placement {
                Placement::Of(index) => self.patch.replace_container(list.field(), index, &container.name, &json),
                Placement::Front => before.push(json.into_owned()),
                Placement::Back => after.push(json.into_owned()),
            }
        }
        self.prepended |= list == PodList::App && !before.is_empty();
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

    fn action(&mut self, list: PodList, set: usize, m: &Match<'s>, container: &InjectableContainer) -> Action {
        let Some(index) = self.lists.position(list, &container.name) else {
            return Action::Put(if container.before { Placement::Front } else { Placement::Back });
        };
        let injected = self.lists.of(list).is_some_and(|containers| containers[index].is_injected());
        if m.current && injected {
            let Some(deviation) = self.deviation(list, index, m, container) else { return Action::Keep(index) };
            if m.verification == Verification::Warn {
                self.warnings.push(format!("SidecarSet {:?}: {deviation}: the Pod counts as not updated", m.name));
                self.deviations[set].push(deviation);
                return Action::Keep(index);
            }
            self.warnings.push(format!("SidecarSet {:?}: {deviation}: it is replaced", m.name));
        } else if !injected {
            self.warnings.push(format!(
                "SidecarSet {:?} replaces the Pod's own spec.{}[{index}] {:?}: rename that container if it is needed",
                m.name,
                list.field(),
                container.name
            ));
        }
        Action::Put(Placement::Of(index))
    }

    /// Returns how a container of the Pod differs from the set's container that it claims to be.
    fn deviation(
        &self,
        list: PodList,
        index: usize,
        m: &Match<'_>,
        container: &InjectableContainer,
    ) -> Option<Deviation> {
        let deviation = |difference: &Difference| Deviation {
            list: list.field(),
            container: container.name.clone(),
            difference: difference.clone(),
        };
        match self.lists.compared(self.pod.spec.as_ref(), list, index) {
            Some(present) => {
                let fingerprint = present.fingerprint.as_deref();
                container.fixed.difference(&present.image, fingerprint, m.images).map(deviation)
            }
            None => Some(deviation(&Difference::Unreadable)),
        }
    }

    /// Returns what the container takes from the Pod's app containers, except for what it already has in the Pod
    /// (`present`).
    fn additions(
        &mut self,
        list: PodList,
        m: &Match<'_>,
        container: &InjectableContainer,
        present: Option<&ContainerView<'_>>,
    ) -> Result<Additions<'a>, Denial> {
        let mut additions =
            if container.depends_on_pod() { self.taken(m, container, present) } else { Additions::default() };
        if let Some(token) = self.token {
            additions.add_token(token, container.own.has_token_path, present);
        }
        self.shared += additions.bytes();
        if self.shared > MOST_SHARED {
            let mib = MOST_SHARED >> 20;
            return Err(Denial {
                set: m.name.to_owned(),
                field: format!("spec.{} {:?}", list.field(), container.name),
                problem: format!(
                    "the mounts, devices and variables that this and other sidecars share make the Pod grow by more \
                     than {mib} MiB, more than can be stored: give it fewer, or let fewer sidecars share them"
                ),
            });
        }
        Ok(additions)
    }

    /// Returns the mounts, devices and variables that it takes.
    fn taken(
        &mut self,
        m: &Match<'_>,
        container: &InjectableContainer,
        present: Option<&ContainerView<'_>>,
    ) -> Additions<'a> {
        let (pod, patched) = (self.pod, self.patched);
        let offer = self.offer.get_or_init(|| Offer::of(self.lists.containers.as_deref().unwrap_or_default()));
        let annotation = |key: &str| patched.get(key).map(String::as_str).or_else(|| pod.annotation(key));
        additions(container, pod, offer, annotation, present, |warning| {
            self.warnings.push(format!("SidecarSet {:?}, container {:?} {warning}", m.name, container.name));
        })
    }

    /// Returns the resources that a policy computes.
    fn resources(
        &self,
        m: &Match<'_>,
        list: PodList,
        container: &InjectableContainer,
        policy: &CompiledPolicy,
    ) -> Result<ComputedResources, InjectError> {
        let denial = |problem: String| Denial {
            set: m.name.to_owned(),
            field: format!("spec.{} {:?} resourcesPolicy", list.field(), container.name),
            problem,
        };
        let targets = self.targets.get_or_init(|| self.read_targets()).as_ref();
        let targets: Vec<TargetContainer<'_>> = targets
            .map_err(|problem| denial(problem.clone()))?
            .iter()
            .map(|(name, resources)| TargetContainer {
                name,
                limits: amounts(resources.limits.as_ref()),
                requests: amounts(resources.requests.as_ref()),
            })
            .collect();
        let of_pod = |resource| self.pod_resources.as_ref().and_then(|resources| resources.limit(resource));
        let of_pod = PerResource { cpu: of_pod(Resource::Cpu), memory: of_pod(Resource::Memory) };
        let computed = policy.resources(targets.iter().take_while(|_| self.request.go_on().is_ok()), &of_pod);
        self.request.go_on()?;
        computed.map_err(|error| denial(error.to_string()).into())
    }

    /// Returns the Pod's native sidecars and app containers that no set names, with their resources. Used by all
    /// policies.
    fn read_targets(&self) -> Result<Vec<(&'a str, ResourcesView<'a>)>, String> {
        let of_sets: HashSet<&str> = self.matches.iter().flat_map(|m| m.content.names()).collect();
        let native = self.lists.init_containers.iter().flat_map(|list| list.iter());
        let native = native.filter(|container| container.restart_policy.as_deref() == Some("Always"));
        let apps = native.chain(self.lists.containers.iter().flat_map(|list| list.iter()));
        let targets = apps.filter(|app| !of_sets.contains(&*app.name)).map(|app| {
            let resources = app.resources.map(|raw| serde_json::from_str(raw.get())).transpose().map_err(|e| {
                format!("the Pod's container {:?}: resources: {}", &*app.name, without_value(&e.to_string()))
            })?;
            Ok((&*app.name, resources.unwrap_or_default()))
        });
        targets.collect()
    }

    /// Adds to a container that is already in the Pod what other mutating webhooks added since it was injected.
    fn complete(
        &mut self,
        list: PodList,
        index: usize,
        m: &Match<'_>,
        container: &InjectableContainer,
    ) -> Result<(), Denial> {
        let containers = self.lists.of(list).map_or(&[][..], |containers| containers);
        let Some(present) = containers.get(index) else { return Ok(()) };
        let additions = self.additions(list, m, container, Some(present))?;
        let has_list = |growing| match growing {
            AddedList::Env => present.env.is_some(),
            AddedList::VolumeMounts => present.volume_mounts.is_some(),
            AddedList::VolumeDevices => present.volume_devices.is_some(),
        };
        let mut tested = false;
        for growing in AddedList::ALL {
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
        Ok(())
    }

    pub fn volumes(&mut self) {
        let (mut added, mut own) = (HashMap::new(), HashMap::new());
        for (set, m) in self.matches.iter().enumerate() {
            for mounted in &m.content.mounted {
                if let Some(warning) = self.volume(m, mounted, &mut added, &mut own) {
                    self.warnings.push(format!("SidecarSet {:?} {warning}", m.name));
                } else if self.is_missing(mounted, &added) {
                    let field = format!("spec.{} {:?} volumeMounts", mounted.list, mounted.container);
                    let problem = format!("neither the set nor the Pod has a volume {:?}", mounted.name);
                    self.forecasts[set].push(Forecast { field, problem, consequence: Consequence::Refused });
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

    /// Decides about one volume that a set mounts, and returns a warning for the Pod's author. `added` are the added volumes, `own`
    /// the compared volumes of the Pod, both by name.
    fn volume(
        &mut self,
        m: &Match<'s>,
        mounted: &'s MountedVolume,
        added: &mut HashMap<&'s str, &'s InjectableVolume>,
        own: &mut HashMap<&'s str, Option<Value>>,
    ) -> Option<String> {
        let name = mounted.name.as_str();
        let in_pod = self.lists.volumes.as_ref().and_then(|volumes| volumes.get(name));
        let volume = mounted.index.and_then(|index| m.content.volumes.get(index));
        match (volume, in_pod, added.get(name)) {
            (Some(volume), None, None) => {
                added.insert(name, volume);
                self.added_volumes.push((m.name, volume));
                None
            }
            (Some(volume), Some(in_pod), _) if !m.current && in_pod.text != volume.json => {
                let in_pod = own.entry(name).or_insert_with(|| parsed(in_pod.text));
                (in_pod.is_none() || *in_pod != parsed(&volume.json))
                    .then(|| format!("has a volume {name:?}, but the Pod's own volume of that name is mounted"))
            }
            (Some(volume), None, Some(earlier)) => (!earlier.is_same(volume))
                .then(|| format!("has a volume {name:?}, but another SidecarSet's volume of that name is mounted")),
            _ => None,
        }
    }

    /// Whether neither the Pod nor any set has the volume.
    fn is_missing(&self, mounted: &MountedVolume, added: &HashMap<&'s str, &'s InjectableVolume>) -> bool {
        let in_pod = self.lists.volumes.as_ref().and_then(|volumes| volumes.get(&mounted.name));
        mounted.index.is_none() && in_pod.is_none() && !added.contains_key(mounted.name.as_str())
    }

    pub fn pull_secrets(&mut self) {
        let mut wanted = self.matches.iter().flat_map(|m| &m.content.pull_secrets).peekable();
        if wanted.peek().is_none() {
            return;
        }
        let mut known: HashSet<&str> = self.lists.pull_secrets.iter().flatten().map(|secret| &*secret.name).collect();
        let added: Vec<String> = wanted.filter(|name| known.insert(name)).map(|name| named_json(name)).collect();
        if self.lists.pull_secrets.is_none() {
            self.add_list("imagePullSecrets", &added);
        } else {
            for json in &added {
                self.patch.add(["spec", "imagePullSecrets", "-"], json);
            }
        }
    }

    /// Adds a list that the Pod does not have, unless it would be empty.
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
        rest: &RecordOfRest<'_>,
        default_container: bool,
    ) {
        let mut values: Vec<(String, String)> =
            self.patched.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        values.extend(self.record(hashes, without_image));
        let of_sets = self.matches.iter().map(|m| (m.name, m.content.hash_of_rest.as_deref()));
        values.extend(rest.updated(of_sets).map(|value| (keys::HASH_OF_REST.to_owned(), value)));
        values.extend(self.hot_upgrade());
        let is_set = |key: &str| self.pod.annotation(key).is_some() || values.iter().any(|(set, _)| set == key);
        if default_container && self.prepended && !is_set(keys::DEFAULT_CONTAINER) {
            let replaced: HashSet<&str> = self.newcomers.iter().map(|newcomer| &*newcomer.container.name).collect();
            let mut own = self.lists.containers.iter().flat_map(|list| list.iter());
            let first = own.find(|container| !container.is_injected() && !replaced.contains(&*container.name));
            values.extend(first.map(|own| (keys::DEFAULT_CONTAINER.to_owned(), own.name.to_string())));
        }

        let (mut has_map, mut text) = (self.pod.annotations().is_some(), String::new());
        for (key, value) in values {
            if !has_map {
                self.patch.add(["metadata", "annotations"], "{}");
                has_map = true;
            }
            text.clear();
            write_text(&mut text, &value);
            self.patch.add(["metadata", "annotations", &key], &text);
        }
    }

    /// Writes the annotations that record the injection, if they change.
    fn record(
        &self,
        hashes: &Record<'_>,
        without_image: &Record<'_>,
    ) -> impl Iterator<Item = (String, String)> + use<> {
        let now = self.request.now;
        let time = |created: Option<Timestamp>| now.or(created).unwrap_or(Timestamp::UNIX_EPOCH);
        let entries: Vec<Entry<'_>> = self
            .matches
            .iter()
            .map(|Match { name, created, content, revision, .. }| Entry {
                set: name,
                hash: &content.hashes.hash,
                sidecars: &content.sidecars,
                revision: *revision,
                time: time(*created),
            })
            .collect();
        let entries_without_image: Vec<Entry<'_>> = self
            .matches
            .iter()
            .zip(&entries)
            .map(|(m, entry)| Entry { hash: &m.content.hashes.without_image, revision: None, ..*entry })
            .collect();
        let values = [
            (keys::HASH, hashes.updated(&entries, time(None))),
            (keys::HASH_WITHOUT_IMAGE, without_image.updated(&entries_without_image, time(None))),
            (
                keys::INJECTED_LIST,
                injected_list(self.pod.annotation(keys::INJECTED_LIST), entries.iter().map(|entry| entry.set)),
            ),
        ];
        values.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)))
    }

    /// Returns the annotations of hot containers, if they change. Annotations of containers that the Pod already has are kept,
    /// because the twins may have swapped roles since.
    fn hot_upgrade(&self) -> BTreeMap<String, String> {
        let mut values = BTreeMap::new();
        if self.hot.is_empty() {
            return values;
        }
        let present = self.pod.annotation(keys::WORKING_HOT_UPGRADE);
        // An unreadable value is replaced, as in OpenKruise.
        let recorded: BTreeMap<String, String> =
            present.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let mut working = recorded.clone();
        // A new pair starts with its first role. The recorded role belonged to the previous pair.
        let anew: HashSet<&str> =
            self.hot.iter().filter(|(_, _, kept)| !kept).map(|(_, twin, _)| twin.base.as_str()).collect();
        for (name, twin, kept) in &self.hot {
            let (version, alternative) = if twin.working { ("1", "0") } else { ("0", "1") };
            for (key, value) in [(keys::version_of(name), version), (keys::version_alt_of(name), alternative)] {
                let present = self.pod.annotation(&key);
                if present.is_none() || (!kept && present != Some(value)) {
                    values.insert(key, value.to_owned());
                }
            }
            if twin.working && (anew.contains(twin.base.as_str()) || !working.contains_key(&twin.base)) {
                working.insert(twin.base.clone(), (*name).to_owned());
            }
        }
        if working != recorded || present.is_none() {
            values.insert(keys::WORKING_HOT_UPGRADE.to_owned(), json!(working).to_string());
        }
        values
    }
}

fn parsed(json: &str) -> Option<Value> {
    serde_json::from_str(json).ok()
}

fn amounts<'a>(amounts: Option<&'a AmountsView<'_>>) -> PerResource<&'a str> {
    let text = |amount: &'a Option<AmountView<'_>>| amount.as_ref().map(AmountView::text);
    amounts.map_or_else(PerResource::default, |of| PerResource { cpu: text(&of.cpu), memory: text(&of.memory) })
}
