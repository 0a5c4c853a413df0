//! As what a Pod counts for a SidecarSet, and how many count as what.

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
    /// Whether it takes a place of `maxUnavailable`: it has the latest containers, or an update has yet to reach them, and it is not
    /// ready.
    pub unavailable: bool,
    /// Whether a container of the set that an update changed does not run as it should yet.
    pub updating: bool,
    /// Whether an idle container is to get its empty image again.
    pub to_reset: bool,
    /// What its condition of updates is to say of the set, where it does not.
    pub to_tell: Option<bool>,
    /// Whether the kubelet says why it cannot resize the set's containers.
    pub resize_waits: bool,
}

impl PodStanding {
    /// Whether something is to be written to the Pod, or to be said of it.
    #[must_use]
    pub fn is_amiss(&self) -> bool {
        self.deviates || self.update != Update::None || self.to_reset || self.to_tell.is_some() || self.resize_waits
    }
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
    /// Of the matched, those that take a place of `maxUnavailable`, as far as they show it.
    pub unavailable: usize,
    /// Of the matched, those in which a container of the set that an update changed does not run as it should yet.
    pub updating: usize,
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
