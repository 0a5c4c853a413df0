//! Whether and how a Pod counts for a SidecarSet. The rules are OpenKruise's, except for those named here.

use super::in_pod::{HotChange, ImageChange, InPod, change};
use super::pod::{InjectedSet, ObservedPod, PodPhase, RanBefore, SentImage};
use super::standing::{PodStanding, Update};
use crate::api::image::is_spelling_of;
use crate::api::keys;
use crate::api::sidecarset::{SidecarContainer, SidecarSetSpec, UpgradeType};
use crate::injection::hash::hash_without_amounts;
use crate::injection::verify::{Deviation, FixedContainers, Images};
use crate::injection::{Amount, InjectableSet, PodList, Selector};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// The rules for which Pods count for a set. As long as they stay the same, the counts do too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountingRules {
    selector: Selector,
    /// Selects namespaces; all of them if absent or empty.
    namespace_selector: Option<Selector>,
    sidecars: Box<[Sidecar]>,
    /// The set's hash.
    hash: String,
    /// The same with every image empty.
    hash_without_image: String,
    /// The hash of container fields that this hash does not cover, if the set has any.
    hash_of_rest: Option<String>,
    /// Hashes of kept versions that differ only by images and amounts of CPU and memory.
    other_amounts: BTreeSet<Box<str>>,
    hash_without_amounts: Option<String>,
    /// Whether such amounts are applied to running Pods.
    resizes: bool,
    /// The containers that a Pod with this hash must have.
    fixed: FixedContainers,
}

/// A kept version of a set, as far as counting needs it.
#[derive(Clone, Copy, Debug)]
pub struct KeptVersion<'k> {
    /// Its images.
    pub images: &'k Arc<Images>,
    /// The hash that Pods with this version record.
    pub hash: Option<&'k str>,
    /// The same without images and amounts of CPU and memory.
    pub hash_without_amounts: Option<&'k str>,
}

/// A container of the set that runs as long as the Pod: an app container, or a native sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sidecar {
    list: PodList,
    name: String,
    /// Whether it may be a native sidecar of a Job instead.
    ends_with_job: bool,
    /// The desired image.
    image: String,
    /// The desired amounts of CPU and memory; empty if they are computed for each Pod.
    amounts: Vec<Amount>,
    /// A hot container is two containers in the Pod, this name with `-1` and `-2`.
    hot: Option<Hot>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Hot {
    twins: [String; 2],
    /// The image of the idle twin; empty if the set has none.
    empty_image: String,
}

impl CountingRules {
    /// Creates the rules of a set, which was made from `spec`.
    #[must_use]
    pub fn of(set: &InjectableSet, spec: &SidecarSetSpec) -> Self {
        let containers = spec.containers.iter().flatten().map(|container| Sidecar::of(PodList::App, container));
        let natives = spec.init_containers.iter().flatten().filter(|container| container.restarts_always());
        let natives = natives.map(|container| Sidecar::of(PodList::Init, container));
        Self {
            selector: set.selector.clone(),
            namespace_selector: set.namespace_selector.clone(),
            sidecars: containers.chain(natives).collect(),
            hash_without_image: set.content.hashes.without_image.clone(),
            hash: set.content.hashes.hash.clone(),
            hash_of_rest: set.content.hash_of_rest.clone(),
            other_amounts: BTreeSet::new(),
            hash_without_amounts: hash_without_amounts(spec).ok(),
            resizes: set.resizes,
            fixed: set.fixed_containers(),
        }
    }

    /// Adds the set's kept versions.
    #[must_use]
    pub fn knowing<'k>(mut self, kept: impl Iterator<Item = KeptVersion<'k>> + Clone) -> Self {
        if let Some(own) = self.hash_without_amounts.as_deref() {
            let same = kept.clone().filter(|kept| kept.hash_without_amounts == Some(own));
            self.other_amounts = same.filter_map(|kept| Some(kept.hash?.into())).collect();
        }
        self.fixed.know(kept.map(|kept| kept.images));
        self
    }

    /// Returns the hash without images that Pods with the current containers record.
    #[must_use]
    pub fn hash_without_image(&self) -> &str {
        &self.hash_without_image
    }

    /// Returns the hash that Pods with the current containers record.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Returns the standing of a Pod with the set of this name. `namespace` has the labels of the Pod's Namespace. It is `None`
    /// for an unknown one, which no selector matches.
    #[must_use]
    pub fn standing(&self, set: &str, pod: &ObservedPod, namespace: Option<&Labels>) -> PodStanding {
        let Some(injected) = pod.injected.iter().find(|injected| &*injected.name == set) else {
            return PodStanding::default();
        };
        let matched = pod.is_active()
            && self.selector.unmet(|key| pod.label(key)).is_none()
            && self.selects_namespace(namespace)
            && self.sidecars.iter().all(|sidecar| sidecar.is_in(pod));
        // A Pod without a hash of the rest was injected by an earlier version, or before the set had such fields. It counts as
        // updated, so that an upgrade of outrigger does not outdate any Pod.
        let has_rest = injected.hash_of_rest.as_deref().is_none_or(|rest| Some(rest) == self.hash_of_rest.as_deref());
        let recorded = matched && has_rest && injected.hash.as_deref() == Some(&self.hash);
        let deviates = recorded && self.deviation(pod).is_some();
        // The author of a Pod can change what it records. The Pod is updated only if its containers are.
        let is_present = recorded && self.has_present_images(pod);
        let updated = is_present && !deviates;
        let before = &*injected.ran_before;
        let resizing = matched && self.resizes && self.is_resizing(pod);
        let ready = matched && !resizing && self.is_ready(pod) && self.is_consistent(pod, before);
        let resize_waits = resizing && pod.resize.is_some();
        let update = if !matched || updated || deviates {
            Update::None
        } else if self.why_not(pod, injected).is_some() {
            Update::Recreate
        } else if self.is_underway(pod, before) || resizing && !resize_waits {
            Update::Underway
        } else {
            Update::InPlace
        };
        // If an app is not ready now, that says nothing about an update months ago.
        let updating = matched && (resizing || self.is_updating(pod, before));
        let was_updated = resizing || !before.is_empty();
        PodStanding {
            matched,
            updated,
            deviates,
            ready,
            update,
            unavailable: matched && !ready && (updated || updating) || update == Update::Underway,
            updating,
            to_reset: matched && pod.has_records && self.resets(set, pod).next().is_some(),
            to_tell: to_tell(set, pod, update, was_updated, matched),
            resize_waits,
        }
    }

    /// Returns why the Pod must be recreated: it differs from the set's current containers by more than can be changed in place, or the
    /// difference is unknown.
    fn why_not(&self, pod: &ObservedPod, injected: &InjectedSet) -> Option<String> {
        let has_rest = injected.hash_of_rest.as_deref().is_none_or(|rest| Some(rest) == self.hash_of_rest.as_deref());
        let by_amounts = self.differs_by_amounts_only(injected);
        let told = if !pod.has_records {
            "its annotations and conditions of SidecarSets are too long to be rewritten"
        } else if let Some(deviation) = self.other_deviation(pod) {
            return Some(deviation.to_string());
        } else if !has_rest {
            "fields of its containers changed that OpenKruise does not know"
        } else if self.differs_by_images_only(injected) || self.resizes && by_amounts {
            return None;
        } else if by_amounts {
            let (key, value) = (keys::RESIZE, keys::IN_PLACE);
            return Some(format!(
                "the resources of its containers changed, which are applied in place with the annotation {key}: \
                 {value} on the set"
            ));
        } else if injected.hash_without_image.is_none() {
            "it does not record what was injected"
        } else {
            "more than the images of its containers changed"
        };
        Some(told.to_owned())
    }

    fn differs_by_images_only(&self, injected: &InjectedSet) -> bool {
        injected.hash_without_image.as_deref() == Some(&self.hash_without_image)
            || injected.hash.as_deref() == Some(&self.hash)
    }

    fn differs_by_amounts_only(&self, injected: &InjectedSet) -> bool {
        injected.hash.as_deref().is_some_and(|hash| self.other_amounts.contains(hash))
    }

    /// Whether the kubelet has not yet given a container of the set the amounts that the Pod requests.
    fn is_resizing(&self, pod: &ObservedPod) -> bool {
        self.in_pod(pod).any(|container| container.status.is_some_and(|status| !status.is_resized))
    }

    /// Whether an update changes more than the images of a Pod.
    pub(super) fn is_resized_by_update(&self, set: &str, pod: &ObservedPod) -> bool {
        let mut injected = pod.injected.iter().filter(|injected| *injected.name == *set);
        self.resizes && injected.any(|injected| !self.differs_by_images_only(injected))
    }

    /// Returns the set's amounts that containers of a Pod should have and do not.
    pub(super) fn amount_changes<'s>(
        &'s self,
        set: &str,
        pod: &'s ObservedPod,
    ) -> impl Iterator<Item = (InPod<'s>, &'s Amount)> {
        let is_resized = self.is_resized_by_update(set, pod);
        let sidecars = self.sidecars.iter().filter(move |_| is_resized);
        sidecars.flat_map(move |sidecar| {
            let containers = sidecar.names().filter_map(move |name| InPod::find(pod, sidecar.list, name));
            containers.flat_map(move |container| {
                let has = move |amount: &Amount| container.fingerprint.is_some_and(|own| own.has_amount(amount.asked));
                sidecar.amounts.iter().filter(move |amount| !has(amount)).map(move |amount| (container, amount))
            })
        })
    }

    /// Returns the first container of a Pod that differs from the set's current one, apart from the image.
    #[must_use]
    pub fn other_deviation(&self, pod: &ObservedPod) -> Option<Deviation> {
        self.fixed.deviation(|list, name| {
            let mut sidecars = self.sidecars.iter().filter(|sidecar| sidecar.list.field() == list);
            let sidecar = sidecars.find(|sidecar| sidecar.names().any(|other| other == name))?;
            Some((&*sidecar.image, InPod::find(pod, sidecar.list, name)?.fingerprint))
        })
    }

    /// Returns why a Pod must be recreated; empty if it need not be.
    #[must_use]
    pub fn why_anew(&self, set: &str, pod: &ObservedPod) -> String {
        let injected = pod.injected.iter().find(|injected| *injected.name == *set);
        injected.and_then(|injected| self.why_not(pod, injected)).unwrap_or_default()
    }

    /// Whether each working container of the set in the Pod has the set's image.
    fn has_present_images(&self, pod: &ObservedPod) -> bool {
        self.image_changes(pod).next().is_none()
    }

    /// Returns the changes that give the Pod the set's current images.
    pub(super) fn image_changes<'s>(&'s self, pod: &'s ObservedPod) -> impl Iterator<Item = ImageChange<'s>> {
        self.sidecars.iter().filter_map(|sidecar| match &sidecar.hot {
            None => change(InPod::find(pod, sidecar.list, &sidecar.name)?, &sidecar.image),
            Some(hot) => sidecar.hot_change(hot, pod),
        })
    }

    /// Returns the changes that end the Pod's hot upgrades: idle containers with a working twin get their empty images, whatever the
    /// set is now.
    pub(super) fn resets<'s>(&'s self, set: &str, pod: &'s ObservedPod) -> impl Iterator<Item = ImageChange<'s>> {
        let injected = pod.injected.iter().find(|injected| *injected.name == *set);
        let before = injected.map(|injected| &*injected.ran_before).unwrap_or_default();
        self.sidecars.iter().filter_map(move |sidecar| {
            let hot = sidecar.hot.as_ref()?;
            let (working, idle) = sidecar.twins(hot, pod)?;
            let works = working.runs(before) && **working.image != *hot.empty_image;
            let is_marked = working.fingerprint.is_some() && idle.fingerprint.is_some();
            let is_to_be_empty = !hot.empty_image.is_empty() && **idle.image != *hot.empty_image;
            let twins = HotChange { base: &sidecar.name, other: working.name };
            (works && is_marked && is_to_be_empty).then_some(ImageChange {
                container: idle,
                image: &hot.empty_image,
                hot: Some(twins),
            })
        })
    }

    /// Returns the names of the containers covered by the hash, sorted.
    pub(super) fn sidecar_list(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.sidecars.iter().map(|sidecar| &*sidecar.name).collect();
        names.sort_unstable();
        names
    }

    /// Whether a container of the set is ready and does not yet run the image in its spec.
    fn is_underway(&self, pod: &ObservedPod, before: &[RanBefore]) -> bool {
        self.in_pod(pod).any(|container| container.is_ready() && !container.runs_its_image(before))
    }

    /// Whether a container of the set with a changed image does not run it yet, or is not ready with it.
    fn is_updating(&self, pod: &ObservedPod, before: &[RanBefore]) -> bool {
        // A container that never ran was not made unavailable, whatever the Pod's annotations say.
        let is_down = |container: InPod<'_>| container.status.is_some() && !container.runs(before);
        !before.is_empty()
            && (self.in_pod(pod).any(is_down) || !self.sidecars.iter().all(|sidecar| sidecar.is_at_rest(pod)))
    }

    /// Whether a container of the Pod has an image that was sent for it, and does not run it yet or is not ready with
    /// it.
    pub(super) fn is_on_its_way(&self, pod: &ObservedPod, sent: &[SentImage]) -> bool {
        self.in_pod(pod).any(|container| {
            let of_it = sent.iter().find(|sent| *sent.before.container == **container.name);
            of_it.is_some_and(|sent| {
                is_spelling_of(container.image, &sent.image) && !container.runs(std::slice::from_ref(&sent.before))
            })
        })
    }

    /// Returns the containers of the set that are in the Pod.
    fn in_pod<'s>(&'s self, pod: &'s ObservedPod) -> impl Iterator<Item = InPod<'s>> {
        let find =
            move |sidecar: &'s Sidecar| sidecar.names().filter_map(move |name| InPod::find(pod, sidecar.list, name));
        self.sidecars.iter().flat_map(find)
    }

    /// Returns the first container of a Pod that differs from the set's current one.
    #[must_use]
    pub fn deviation(&self, pod: &ObservedPod) -> Option<Deviation> {
        self.fixed.deviation(|list, name| {
            let (image, fingerprint) = if list == "containers" {
                pod.container(name).map(|container| (&container.image, &container.fingerprint))
            } else {
                pod.init_container(name).map(|container| (&container.image, &container.fingerprint))
            }?;
            Some((&**image, fingerprint.as_deref()))
        })
    }

    fn selects_namespace(&self, namespace: Option<&Labels>) -> bool {
        match (&self.namespace_selector, namespace) {
            (None, _) => true,
            (Some(selector), None) => selector.requirements().is_empty(),
            (Some(selector), Some(labels)) => selector.unmet(|key| labels.get(key).map(String::as_str)).is_none(),
        }
    }

    /// Whether the Pod is ready and no hot upgrade is in progress: each idle twin has its empty image again.
    fn is_ready(&self, pod: &ObservedPod) -> bool {
        pod.ready && pod.phase == PodPhase::Running && self.sidecars.iter().all(|sidecar| sidecar.is_at_rest(pod))
    }

    /// Whether the kubelet runs what the spec says.
    fn is_consistent(&self, pod: &ObservedPod, before: &[RanBefore]) -> bool {
        pod.reported_containers == pod.containers.len()
            && self.in_pod(pod).all(|container| container.runs_its_image(before))
    }
}

impl Sidecar {
    fn of(list: PodList, container: &SidecarContainer) -> Self {
        let name = container.name().to_owned();
        let upgrade = &container.upgrade_strategy;
        let hot = (upgrade.upgrade_type == Some(UpgradeType::HotUpgrade)).then(|| Hot {
            twins: [format!("{name}-1"), format!("{name}-2")],
            empty_image: upgrade.hot_upgrade_empty_image.clone(),
        });
        let image = container.template.get("image").and_then(Value::as_str).unwrap_or_default().to_owned();
        let amounts = Amount::all(container.template.get("resources"));
        Self { list, name, ends_with_job: container.ends_with_job(), image, amounts, hot }
    }

    /// Returns its names in a Pod.
    fn names(&self) -> impl Iterator<Item = &str> {
        let names = self.hot.as_ref().map_or(std::slice::from_ref(&self.name), |hot| &hot.twins);
        names.iter().map(String::as_str)
    }

    /// Returns the working and the idle twin.
    fn twins<'p>(&self, hot: &Hot, pod: &'p ObservedPod) -> Option<(InPod<'p>, InPod<'p>)> {
        let [first, second] = &hot.twins;
        let (first, second) = (InPod::find(pod, self.list, first)?, InPod::find(pod, self.list, second)?);
        let works = pod.working(&self.name);
        Some(if works == Some(second.name) { (second, first) } else { (first, second) })
    }

    /// The empty twin gets the image and works from then on. If none is empty because an earlier upgrade has not ended, the twin that
    /// does not run is used, or else the idle one.
    fn hot_change<'s>(&'s self, hot: &Hot, pod: &'s ObservedPod) -> Option<ImageChange<'s>> {
        let (working, idle) = self.twins(hot, pod)?;
        if is_spelling_of(working.image, &self.image) {
            return None;
        }
        let runs = |container: &InPod<'_>| {
            container.status.is_some_and(|status| status.ready && is_spelling_of(&status.image, container.image))
        };
        let (container, other) = if **idle.image == *hot.empty_image || runs(&working) || !runs(&idle) {
            (idle, working.name)
        } else {
            (working, idle.name)
        };
        let twins = HotChange { base: &self.name, other };
        Some(ImageChange { container, image: &self.image, hot: Some(twins) })
    }

    fn is_in(&self, pod: &ObservedPod) -> bool {
        let is_in = |list, name: &str| InPod::find(pod, list, name).is_some();
        // As in OpenKruise, which does not check init containers.
        self.list == PodList::Init
            || self.names().all(|name| is_in(PodList::App, name) || self.ends_with_job && is_in(PodList::Init, name))
                && (self.hot.is_none() || pod.working(&self.name).is_some())
    }

    fn is_at_rest(&self, pod: &ObservedPod) -> bool {
        let Some(Hot { twins: [first, second], empty_image }) = &self.hot else { return true };
        let idle = if pod.working(&self.name) == Some(second) { first } else { second };
        empty_image.is_empty() || InPod::find(pod, self.list, idle).is_none_or(|idle| **idle.image == **empty_image)
    }
}

/// Returns what the Pod's upgrade condition should say about the set, if it does not yet. It is written for Pods that cannot be
/// updated in place, that were updated, or that have an entry already.
fn to_tell(set: &str, pod: &ObservedPod, update: Update, was_updated: bool, matched: bool) -> Option<bool> {
    let told = pod.upgradable.as_deref().and_then(|text| serde_json::from_str::<BTreeMap<String, bool>>(text).ok());
    let told = told.as_ref().and_then(|told| told.get(set).copied());
    let upgradable = update != Update::Recreate;
    let is_to_be_told =
        pod.has_records && matched && (told.is_some() || !upgradable || was_updated && update == Update::None);
    (is_to_be_told && told != Some(upgradable)).then_some(upgradable)
}

#[cfg(test)]
mod tests;
