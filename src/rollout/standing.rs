//! The standing of a Pod with a SidecarSet, and counts of Pods by standing.

/// The standing of a Pod with one set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "they are independent")]
pub struct PodStanding {
    /// The Pod has the set's containers.
    pub matched: bool,
    /// They are up to date.
    pub updated: bool,
    /// The Pod records that they are up to date, but they are not.
    pub deviates: bool,
    /// The Pod is ready and runs the images in its spec.
    pub ready: bool,
    /// What an update can do with outdated containers.
    pub update: Update,
    /// Whether it uses a place of `maxUnavailable`: it is not ready, and has the latest containers or an update that has not reached
    /// them.
    pub unavailable: bool,
    /// Whether an updated container of the set is not ready yet.
    pub updating: bool,
    /// Whether an idle container must get its empty image again.
    pub to_reset: bool,
    /// What its upgrade condition should say about the set, if it does not yet.
    pub to_tell: Option<bool>,
    /// Whether the kubelet reports why it cannot resize the set's containers.
    pub resize_waits: bool,
}

impl PodStanding {
    /// Whether the Pod needs a write or a report.
    #[must_use]
    pub fn is_amiss(&self) -> bool {
        self.deviates || self.update != Update::None || self.to_reset || self.to_tell.is_some() || self.resize_waits
    }
}

/// What an update can do with a Pod whose containers are outdated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Update {
    /// Nothing.
    #[default]
    None,
    /// Only images differ: it can be updated in place.
    InPlace,
    /// Only images differ, and the kubelet has not applied an earlier update yet.
    Underway,
    /// More than images differs: the Pod must be recreated.
    Recreate,
}

/// Counts of a set's Pods by standing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Pods with the set's containers.
    pub matched: usize,
    /// Matched Pods with the latest containers.
    pub updated: usize,
    /// Matched Pods that only claim to have the latest containers.
    pub deviating: usize,
    /// Matched Pods that are ready.
    pub ready: usize,
    /// Updated Pods that are ready.
    pub updated_ready: usize,
    /// Matched Pods that can be updated in place.
    pub in_place: usize,
    /// Matched Pods that must be recreated.
    pub recreate: usize,
    /// Matched Pods that use a place of `maxUnavailable`, as far as they show it.
    pub unavailable: usize,
    /// Matched Pods with an updated container of the set that is not ready yet.
    pub updating: usize,
}

impl Counts {
    /// Counts a Pod.
    pub fn add(&mut self, standing: PodStanding) {
        self.change(standing, |count| *count += 1);
    }

    /// Removes a Pod that was counted with this standing.
    pub fn subtract(&mut self, standing: PodStanding) {
        self.change(standing, |count| *count = count.saturating_sub(1));
    }

    fn change(&mut self, standing: PodStanding, mut change: impl FnMut(&mut usize)) {
        let PodStanding { matched, updated, deviates, ready, update, unavailable, updating, .. } = standing;
        for (counts, count) in [
            (matched, &mut self.matched),
            (updated, &mut self.updated),
            (deviates, &mut self.deviating),
            (ready, &mut self.ready),
            (updated && ready, &mut self.updated_ready),
            (matches!(update, Update::InPlace | Update::Underway), &mut self.in_place),
            (update == Update::Recreate, &mut self.recreate),
            (unavailable, &mut self.unavailable),
            (updating, &mut self.updating),
        ] {
            if counts {
                change(count);
            }
        }
    }
}
