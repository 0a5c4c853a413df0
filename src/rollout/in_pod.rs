//! A container of a SidecarSet as it is in a Pod: whether it runs what its spec says, and the image that it is to have instead.

use super::pod::{ObservedContainer, ObservedInitContainer, ObservedPod, ObservedStatus, RanBefore};
use super::text::Text;
use crate::api::image::is_spelling_of;
use crate::injection::{Fingerprint, PodList};

/// A container in a Pod.
#[derive(Clone, Copy, Debug)]
pub struct InPod<'p> {
    pub list: PodList,
    /// Its place there.
    pub index: usize,
    pub name: &'p Text,
    pub image: &'p Text,
    pub fingerprint: Option<&'p Fingerprint>,
    pub status: Option<&'p ObservedStatus>,
}

/// An image that a container of a Pod is to have instead of its own.
#[derive(Clone, Copy, Debug)]
pub struct ImageChange<'p> {
    pub container: InPod<'p>,
    pub image: &'p str,
    /// Where it is one of two.
    pub hot: Option<HotChange<'p>>,
}

/// What there is to a container beside which there is another one.
#[derive(Clone, Copy, Debug)]
pub struct HotChange<'p> {
    /// Their name in the set.
    pub base: &'p str,
    /// The other one.
    pub other: &'p Text,
}

impl<'p> InPod<'p> {
    pub fn is_ready(&self) -> bool {
        self.status.is_some_and(|status| status.ready)
    }

    /// Whether it is ready with the image of its spec.
    pub fn runs(&self, before: &[RanBefore]) -> bool {
        self.is_ready() && self.runs_its_image(before)
    }

    /// Whether it runs the image of its spec, as far as that can be known. Of one whose image was changed in place it is known what ran
    /// before: another image runs, or it was restarted since, or the kubelet calls the image as the spec does. Two tags may be one
    /// image, of which the kubelet tells one.
    pub fn runs_its_image(&self, before: &[RanBefore]) -> bool {
        let before = before.iter().find(|before| *before.container == **self.name);
        let (Some(before), Some(status)) = (before, self.status) else { return true };
        *status.image_id != *before.image_id
            || before.restarts.is_some_and(|restarts| status.restarts > restarts)
            || is_spelling_of(&status.image, self.image)
    }

    /// A container, or a native sidecar, of this name.
    pub fn find(pod: &'p ObservedPod, list: PodList, name: &str) -> Option<Self> {
        match list {
            PodList::App => {
                let index = pod.containers.iter().position(|container| *container.name == *name)?;
                let ObservedContainer { name, image, fingerprint, status } = &pod.containers[index];
                Some(Self { list, index, name, image, fingerprint: fingerprint.as_deref(), status: status.as_ref() })
            }
            PodList::Init => {
                let mut all = pod.init_containers.iter();
                let index = all.position(|container| container.native && *container.name == *name)?;
                let ObservedInitContainer { name, image, fingerprint, status, .. } = &pod.init_containers[index];
                Some(Self { list, index, name, image, fingerprint: fingerprint.as_deref(), status: status.as_ref() })
            }
        }
    }
}

/// The change of a container that has not this image.
pub fn change<'p>(container: InPod<'p>, image: &'p str) -> Option<ImageChange<'p>> {
    let is_present = is_spelling_of(container.image, image);
    (!is_present).then_some(ImageChange { container, image, hot: None })
}
