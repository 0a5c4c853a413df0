//! Whether a Pod counts for a SidecarSet, and as what. The rules are OpenKruise's, but for those named here.

use super::pod::{InjectedSet, ObservedContainer, ObservedInitContainer, ObservedPod, ObservedStatus, PodPhase};
use super::text::Text;
use crate::api::image::is_spelling_of;
use crate::api::sidecarset::{SidecarContainer, SidecarSetSpec, UpgradeType};
use crate::injection::verify::{Deviation, FixedContainers, Images};
use crate::injection::{InjectableSet, Selector};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// What decides which Pods count for a set: as long as it stays, so do its counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountingRules {
    selector: Selector,
    /// All namespaces where it is absent or empty.
    namespace_selector: Option<Selector>,
    sidecars: Vec<Sidecar>,
    /// Its native sidecars: `restartPolicy: Always` among the init containers.
    natives: Vec<Sidecar>,
    /// The set's hash.
    hash: String,
    /// The same with every image taken as empty.
    hash_without_image: String,
    /// The hash of what that does not cover, where the set has such.
    hash_of_rest: Option<String>,
    /// What a Pod that records this hash must have.
    fixed: FixedContainers,
}

/// A container of the set that goes on as long as the Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sidecar {
    name: String,
    /// Whether it may be a native sidecar of a Job instead.
    ends_with_job: bool,
    /// The image that it is to have.
    image: String,
    /// With hot upgrade there are two in the Pod, this name with `-1` and `-2`.
    hot: Option<Hot>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Hot {
    twins: [String; 2],
    /// Image of the idle one; empty where the set has none.
    empty_image: String,
}

/// As what a Pod counts for one set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is counted by itself")]
pub struct PodStanding {
    /// The set's containers are in the Pod.
    pub matched: bool,
    /// They are the latest.
    pub updated: bool,
    /// The Pod records that they are the latest, but they are not.
    pub deviates: bool,
    /// The Pod is ready and runs the images of its spec.
    pub ready: bool,
    /// What an update can do about containers that are not the latest.
    pub update: Update,
    /// Whether an update in place has made it unavailable, or is about to.
    pub unavailable: bool,
    /// Whether an idle container is to get its empty image again.
    pub to_reset: bool,
    /// What its condition of updates is to say of the set, where it does not.
    pub to_tell: Option<bool>,
}

/// What an update can do about a Pod whose containers are not the latest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Update {
    /// There is nothing to do.
    #[default]
    None,
    /// Only images differ: it can be updated in place.
    InPlace,
    /// Only images differ, and an earlier update has yet to reach the kubelet.
    Underway,
    /// More than images differs: the Pod has to be made anew.
    Recreate,
}

/// How many Pods stand how with a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Pods with the set's containers.
    pub matched: usize,
    /// Of those, with the latest ones.
    pub updated: usize,
    /// Of the matched, those that only record the latest ones.
    pub deviating: usize,
    /// Of the matched, those ready.
    pub ready: usize,
    /// Of the updated, those ready.
    pub updated_ready: usize,
    /// Of the matched, those that can be updated in place.
    pub in_place: usize,
    /// Of the matched, those that have to be made anew.
    pub recreate: usize,
    /// Of the matched, those that an update in place has made unavailable, or is about to.
    pub unavailable: usize,
}

impl CountingRules {
    /// The rules of a set; `spec` is what `set` was made of.
    #[must_use]
    pub fn of(set: &InjectableSet, spec: &SidecarSetSpec) -> Self {
        let natives = spec.init_containers.iter().flatten().filter(|container| container.restarts_always());
        Self {
            selector: set.selector.clone(),
            namespace_selector: set.namespace_selector.clone(),
            sidecars: spec.containers.iter().flatten().map(Sidecar::of).collect(),
            natives: natives.map(Sidecar::of).collect(),
            hash_without_image: set.content.hashes.without_image.clone(),
            hash: set.content.hashes.hash.clone(),
            hash_of_rest: set.content.hash_of_rest.clone(),
            fixed: set.fixed_containers(),
        }
    }

    /// The same, where these are the images of the set's kept versions.
    #[must_use]
    pub fn knowing<'i>(mut self, kept: impl IntoIterator<Item = &'i Arc<Images>>) -> Self {
        self.fixed.know(kept);
        self
    }

    /// The hash by which Pods record the present containers.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// How a Pod stands with the set of this name. `namespace` holds the labels of the Pod's Namespace; of an unknown one it is
    /// `None`, and no selector matches that.
    #[must_use]
    pub fn standing(&self, set: &str, pod: &ObservedPod, namespace: Option<&Labels>) -> PodStanding {
        let Some(injected) = pod.injected.iter().find(|injected| &*injected.name == set) else {
            return PodStanding::default();
        };
        let matched = pod.is_active()
            && self.selector.unmet(|key| pod.label(key)).is_none()
            && self.selects_namespace(namespace)
            && self.sidecars.iter().all(|sidecar| sidecar.is_in(pod));
        // A Pod that does not record the rest was injected by an earlier version, or before the set had such fields: it counts as
        // updated, so that an upgrade of outrigger outdates no Pod.
        let has_rest = injected.hash_of_rest.as_deref().is_none_or(|rest| Some(rest) == self.hash_of_rest.as_deref());
        let recorded = matched && has_rest && injected.hash.as_deref() == Some(&self.hash);
        let deviates = recorded && self.deviation(pod).is_some();
        // What a Pod records are words of its author: it is updated when its containers are.
        let is_present = recorded && self.has_present_images(pod);
        let updated = is_present && !deviates;
        let ready = matched && self.is_ready(pod) && self.is_consistent(pod, &injected.image_ids_before);
        let update = if !matched || updated || deviates {
            Update::None
        } else if !has_rest || !self.differs_by_images_only(pod, injected) {
            Update::Recreate
        } else if self.is_underway(pod, &injected.image_ids_before) {
            Update::Underway
        } else {
            Update::InPlace
        };
        let was_updated = !injected.image_ids_before.is_empty();
        let unavailable = matched && !ready && (updated || was_updated) || update == Update::Underway;
        PodStanding {
            matched,
            updated,
            deviates,
            ready,
            update,
            unavailable,
            to_reset: is_present
                && pod.has_records
                && self.other_deviation(pod).is_none()
                && self.resets(set, pod).next().is_some(),
            to_tell: to_tell(set, pod, update, was_updated, matched),
        }
    }

    /// Whether the Pod differs from the set's present containers by images, and by nothing else that is known of it.
    fn differs_by_images_only(&self, pod: &ObservedPod, injected: &InjectedSet) -> bool {
        let recorded = injected.hash_without_image.as_deref() == Some(&self.hash_without_image)
            || injected.hash.as_deref() == Some(&self.hash);
        recorded && pod.has_records && self.other_deviation(pod).is_none()
    }

    /// The first container of a Pod that is not the set's present one, whatever its image.
    #[must_use]
    pub fn other_deviation(&self, pod: &ObservedPod) -> Option<Deviation> {
        self.fixed.deviation(|list, name| {
            let (sidecars, fingerprint) = if list == "containers" {
                (&self.sidecars, pod.container(name).map(|container| &container.fingerprint))
            } else {
                (&self.natives, pod.init_container(name).map(|container| &container.fingerprint))
            };
            let sidecar = sidecars.iter().find(|sidecar| sidecar.names().any(|other| other == name))?;
            Some((&*sidecar.image, fingerprint?.as_deref()))
        })
    }

    /// Whether each container of the set that works in the Pod has the image of the set.
    fn has_present_images(&self, pod: &ObservedPod) -> bool {
        self.image_changes(pod).next().is_none()
    }

    /// What has to be done so that the Pod has the set's present images.
    pub(super) fn image_changes<'s>(&'s self, pod: &'s ObservedPod) -> impl Iterator<Item = ImageChange<'s>> {
        let of_containers = self.sidecars.iter().filter_map(|sidecar| match &sidecar.hot {
            None => change(InPod::container(pod, &sidecar.name)?, &sidecar.image),
            Some(hot) => sidecar.hot_change(hot, pod),
        });
        let of_natives =
            self.natives.iter().filter_map(|native| change(InPod::native(pod, &native.name)?, &native.image));
        of_containers.chain(of_natives)
    }

    /// What has to be done so that hot upgrades of the Pod are over: idle containers whose others work get their empty images.
    pub(super) fn resets<'s>(&'s self, set: &str, pod: &'s ObservedPod) -> impl Iterator<Item = ImageChange<'s>> {
        let injected = pod.injected.iter().find(|injected| *injected.name == *set);
        let before = injected.map(|injected| &*injected.image_ids_before).unwrap_or_default();
        self.sidecars.iter().filter_map(move |sidecar| {
            let hot = sidecar.hot.as_ref()?;
            let (working, idle) = sidecar.twins(hot, pod)?;
            let status = working.status.filter(|status| status.ready && *status.image != *hot.empty_image);
            let runs = status.is_some() && runs_its_image(working.name, working.image, status, before);
            let is_to_be_empty = !hot.empty_image.is_empty() && **idle.image != *hot.empty_image;
            let twins = HotChange { base: &sidecar.name, other: working.name };
            (runs && is_to_be_empty).then_some(ImageChange {
                container: idle,
                image: &hot.empty_image,
                hot: Some(twins),
            })
        })
    }

    /// The names of the containers that the hash covers, sorted.
    pub(super) fn sidecar_list(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.sidecars.iter().chain(&self.natives).map(|sidecar| &*sidecar.name).collect();
        names.sort_unstable();
        names
    }

    /// Whether a container of the set is ready and does not run the image of its spec yet.
    fn is_underway(&self, pod: &ObservedPod, image_ids_before: &[(Text, Text)]) -> bool {
        self.statuses(pod).any(|(name, image, status)| {
            status.is_some_and(|status| status.ready) && !runs_its_image(name, image, status, image_ids_before)
        })
    }

    /// Name, image and status of each container of the set in the Pod.
    fn statuses<'s>(
        &'s self,
        pod: &'s ObservedPod,
    ) -> impl Iterator<Item = (&'s Text, &'s Text, Option<&'s ObservedStatus>)> {
        let sidecars = self.sidecars.iter().flat_map(Sidecar::names).filter_map(|name| pod.container(name));
        let natives = self.natives.iter().filter_map(|native| pod.init_container(&native.name));
        let sidecars = sidecars.map(|container| (&container.name, &container.image, container.status.as_ref()));
        sidecars.chain(natives.map(|container| (&container.name, &container.image, container.status.as_ref())))
    }

    /// Whether the kubelet runs the images of the spec, where these ran before.
    pub(super) fn runs_other_than(&self, pod: &ObservedPod, image_ids_before: &[(Text, Text)]) -> bool {
        self.statuses(pod).all(|(name, image, status)| runs_its_image(name, image, status, image_ids_before))
    }

    /// The first container of a Pod that is not the set's present one.
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

    /// Ready, with no hot upgrade under way: each idle twin is back at its empty image.
    fn is_ready(&self, pod: &ObservedPod) -> bool {
        pod.ready && pod.phase == PodPhase::Running && self.sidecars.iter().all(|sidecar| sidecar.is_at_rest(pod))
    }

    /// Whether the kubelet runs what the spec says.
    fn is_consistent(&self, pod: &ObservedPod, image_ids_before: &[(Text, Text)]) -> bool {
        pod.reported_containers == pod.containers.len() && self.runs_other_than(pod, image_ids_before)
    }
}

impl Sidecar {
    fn of(container: &SidecarContainer) -> Self {
        let name = container.name().to_owned();
        let upgrade = &container.upgrade_strategy;
        let hot = (upgrade.upgrade_type == Some(UpgradeType::HotUpgrade)).then(|| Hot {
            twins: [format!("{name}-1"), format!("{name}-2")],
            empty_image: upgrade.hot_upgrade_empty_image.clone(),
        });
        let image = container.template.get("image").and_then(Value::as_str).unwrap_or_default().to_owned();
        Self { name, ends_with_job: container.ends_with_job(), image, hot }
    }

    /// Its names in a Pod.
    fn names(&self) -> impl Iterator<Item = &str> {
        let names = self.hot.as_ref().map_or(std::slice::from_ref(&self.name), |hot| &hot.twins);
        names.iter().map(String::as_str)
    }

    /// The one of two that works, and the idle one.
    fn twins<'p>(&self, hot: &Hot, pod: &'p ObservedPod) -> Option<(InPod<'p>, InPod<'p>)> {
        let [first, second] = &hot.twins;
        let (first, second) = (InPod::container(pod, first)?, InPod::container(pod, second)?);
        let works = pod.working(&self.name);
        Some(if works == Some(second.name) { (second, first) } else { (first, second) })
    }

    /// With hot upgrade the empty one of the two gets the image and works from then on; where none is empty, because an upgrade has not
    /// come to its end, the one that does not run, else the idle one.
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
        let is_native = |name: &str| pod.init_container(name).is_some_and(|container| container.native);
        self.names().all(|name| pod.container(name).is_some() || self.ends_with_job && is_native(name))
            && (self.hot.is_none() || pod.working(&self.name).is_some())
    }

    fn is_at_rest(&self, pod: &ObservedPod) -> bool {
        let Some(Hot { twins: [first, second], empty_image }) = &self.hot else { return true };
        let idle = if pod.working(&self.name) == Some(second) { first } else { second };
        empty_image.is_empty() || pod.container(idle).is_none_or(|container| *container.image == **empty_image)
    }
}

/// Whether the container runs the image of its spec, as far as that can be known. An image with a digest is compared by that
/// digest alone: a mirror serves it under another name. Of a container whose image was changed in place it is known that
/// the image that ran before is not the one, unless the kubelet names it as the spec does (two tags of one image).
fn runs_its_image(name: &str, image: &str, status: Option<&ObservedStatus>, image_ids_before: &[(Text, Text)]) -> bool {
    if let Some((_, digest)) = image.rsplit_once('@') {
        return status.is_some_and(|status| status.image_id.rsplit_once('@').is_some_and(|(_, runs)| runs == digest));
    }
    let before = image_ids_before.iter().find(|(container, _)| **container == *name);
    let (Some((_, before)), Some(status)) = (before, status) else { return true };
    status.image_id != *before || is_spelling_of(&status.image, image)
}

/// What the Pod's condition of updates is to say of the set, where it does not. It is told of Pods that cannot be updated in place,
/// of those that were, and of those that it was told of before.
fn to_tell(set: &str, pod: &ObservedPod, update: Update, was_updated: bool, matched: bool) -> Option<bool> {
    let told = pod.upgradable.as_deref().and_then(|text| serde_json::from_str::<BTreeMap<String, bool>>(text).ok());
    let told = told.as_ref().and_then(|told| told.get(set).copied());
    let upgradable = update != Update::Recreate;
    let is_to_be_told =
        pod.has_records && matched && (told.is_some() || !upgradable || was_updated && update == Update::None);
    (is_to_be_told && told != Some(upgradable)).then_some(upgradable)
}

/// A container in a Pod.
#[derive(Clone, Copy, Debug)]
pub(super) struct InPod<'p> {
    /// `containers` or `initContainers`.
    pub list: &'static str,
    /// Its place there.
    pub index: usize,
    pub name: &'p Text,
    pub image: &'p Text,
    pub status: Option<&'p ObservedStatus>,
}

/// An image that a container of a Pod is to have instead of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct ImageChange<'p> {
    pub container: InPod<'p>,
    pub image: &'p str,
    /// Where it is one of two.
    pub hot: Option<HotChange<'p>>,
}

/// What there is to a container beside which there is another one.
#[derive(Clone, Copy, Debug)]
pub(super) struct HotChange<'p> {
    /// Their name in the set.
    pub base: &'p str,
    /// The other one.
    pub other: &'p Text,
}

impl<'p> InPod<'p> {
    fn container(pod: &'p ObservedPod, name: &str) -> Option<Self> {
        let index = pod.containers.iter().position(|container| *container.name == *name)?;
        let ObservedContainer { name, image, status, .. } = &pod.containers[index];
        Some(Self { list: "containers", index, name, image, status: status.as_ref() })
    }

    fn native(pod: &'p ObservedPod, name: &str) -> Option<Self> {
        let index = pod.init_containers.iter().position(|container| container.native && *container.name == *name)?;
        let ObservedInitContainer { name, image, status, .. } = &pod.init_containers[index];
        Some(Self { list: "initContainers", index, name, image, status: status.as_ref() })
    }
}

/// The change of a container that has not this image.
fn change<'p>(container: InPod<'p>, image: &'p str) -> Option<ImageChange<'p>> {
    let is_present = is_spelling_of(container.image, image);
    (!is_present).then_some(ImageChange { container, image, hot: None })
}

impl Counts {
    /// Counts one more Pod.
    pub fn add(&mut self, standing: PodStanding) {
        self.change(standing, |count| *count += 1);
    }

    /// Counts one Pod less, which was counted like this.
    pub fn subtract(&mut self, standing: PodStanding) {
        self.change(standing, |count| *count = count.saturating_sub(1));
    }

    fn change(&mut self, standing: PodStanding, mut change: impl FnMut(&mut usize)) {
        let PodStanding { matched, updated, deviates, ready, update, unavailable, to_reset: _, to_tell: _ } = standing;
        for (counts, count) in [
            (matched, &mut self.matched),
            (updated, &mut self.updated),
            (deviates, &mut self.deviating),
            (ready, &mut self.ready),
            (updated && ready, &mut self.updated_ready),
            (matches!(update, Update::InPlace | Update::Underway), &mut self.in_place),
            (update == Update::Recreate, &mut self.recreate),
            (unavailable, &mut self.unavailable),
        ] {
            if counts {
                change(count);
            }
        }
    }
}

#[cfg(test)]
mod tests;
