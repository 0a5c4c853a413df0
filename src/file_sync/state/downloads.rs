//! Downloads: one at a time for each file, of what is needed when its turn comes.

use std::sync::Arc;

use super::{New, State, Wanted};
use crate::file_sync::folder::Arrived;
use crate::file_sync::naming::Place;

impl State {
    /// Begins a download if it is still needed.
    pub fn begin(&mut self, place: &Arc<Place>) -> Option<Wanted> {
        let Some((url, owner)) = self.plan.url(place) else {
            self.downloading.remove(place);
            return None;
        };
        let download = self.downloading.entry(place.clone()).or_default();
        download.is_under_way = true;
        let (anew, failed_before) = (std::mem::take(&mut download.anew), self.missing.contains_key(&**place));
        Some(Wanted { place: place.clone(), url: url.into(), owner: owner.clone(), anew, failed_before })
    }

    /// Stores a downloaded file if it is still needed.
    pub fn downloaded(&mut self, wanted: &Wanted, arrived: Arrived) {
        if let Some(owner) = self.plan.wants(&wanted.place, &wanted.url) {
            self.missing.remove(&*wanted.place);
            let is_so = self.plan.written(&wanted.place).is_some_and(|written| written.digest == arrived.digest);
            if !is_so {
                self.write(&owner, &wanted.place, New::Arrived(arrived));
            }
        }
        self.ended(wanted);
    }

    /// The download has not changed.
    pub fn same_as_before(&mut self, wanted: &Wanted) {
        self.missing.remove(&*wanted.place);
        self.ended(wanted);
    }

    /// A download failed. The file stays unchanged.
    pub fn not_downloaded(&mut self, wanted: &Wanted, problem: &str) {
        if self.plan.wants(&wanted.place, &wanted.url).is_some() {
            let path = self.naming.path(&wanted.place);
            if self.missing.insert((*wanted.place).clone(), problem.to_owned()).as_deref() != Some(problem) {
                tracing::warn!("{} cannot be downloaded and stays unchanged: {problem}", path.display());
            }
        }
        self.ended(wanted);
    }

    pub fn is_downloading(&self) -> bool {
        !self.downloading.is_empty()
    }

    /// Returns the pending downloads.
    pub fn downloading(&self) -> Vec<String> {
        self.downloading.keys().map(|place| self.naming.path(place).display().to_string()).collect()
    }

    pub(super) fn download(&mut self, place: Arc<Place>, anew: bool) {
        let is_new = !self.downloading.contains_key(&place);
        let download = self.downloading.entry(place.clone()).or_default();
        download.anew |= anew;
        download.again |= anew && download.is_under_way;
        if is_new {
            let _ = self.downloads.send(place);
        }
    }

    pub(super) fn ended(&mut self, wanted: &Wanted) {
        if self.downloading.remove(&wanted.place).is_some_and(|download| download.again) {
            self.download(wanted.place.clone(), true);
        }
    }
}
