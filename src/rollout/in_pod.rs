//! A container of a SidecarSet in a Pod: whether it runs the image in its spec, and the image that it should have.

use super::pod::{ObservedContainer, ObservedInitContainer, ObservedPod, ObservedStatus, RanBefore};
use super::text::Text;
use crate::api::image::is_spelling_of;
use crate::injection::{Fingerprint, PodList};

/// A container in a Pod.
#[derive(Clone, Copy, Debug)]
pub struct InPod<'p> {
    pub list: PodList,
    /// Its index there.
    pub index: usize,
    pub name: &'p Text,
    pub image: &'p Text,
    pub fingerprint: Option<&'p Fingerprint>,
    pub status: Option<&'p ObservedStatus>,
}

/// A new image for a container of a Pod.
#[derive(Clone, Copy, Debug)]
pub struct ImageChange<'p> {
    pub container: InPod<'p>,
    pub image: &'p str,
    /// Set if it is one of twins.
    pub hot: Option<HotChange<'p>>,
}

/// The twin of a container that gets a new image.
#[derive(Clone, Copy, Debug)]
pub struct HotChange<'p> {
    /// Their name in the set.
    pub base: &'p str,
    /// The other twin.
    pub other: &'p Text,
}

impl<'p> InPod<'p> {
    pub fn is_ready(&self) -> bool {
        self.status.is_some_and(|status| status.ready)
    }

    /// Whether it is ready with the image in its spec.
    pub fn runs(&self, before: &[RanBefore]) -> bool {
        self.is_ready() && self.runs_its_image(before)
    }

    /// Whether it runs the image in its spec, as far as that can be known. If its image was changed in place, the Pod records what ran
    /// before. It runs the new image if the running image differs, if it was restarted since, or if the kubelet reports the name in the
    /// spec. Two tags may be the same image, of which the kubelet reports one.
    pub fn runs_its_image(&self, before: &[RanBefore]) -> bool {
        let before = before.iter().find(|before| *before.container == **self.name);
        let (Some(before), Some(status)) = (before, self.status) else { return true };
        *status.image_id != *before.image_id
            || before.restarts.is_some_and(|restarts| status.restarts > restarts)
            || is_spelling_of(&status.image, self.image)
    }

    /// Returns the app container or native sidecar of this name.
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

/// Returns the change for a container that does not have this image.
pub fn change<'p>(container: InPod<'p>, image: &'p str) -> Option<ImageChange<'p>> {
    let is_present = is_spelling_of(container.image, image);
    (!is_present).then_some(ImageChange { container, image, hot: None })
}
