//! Periodic checks: what an earlier process left, what changed on disk, what failed, and what other agents left long
//! ago.

use std::collections::BTreeSet;
use std::path::Path;

use super::State;
use crate::file_sync::folder::{Folder, OnDisk};
use crate::file_sync::former::Former;
use crate::file_sync::manifest::Journal;
use crate::file_sync::naming::Place;
use crate::file_sync::options::Part;
use crate::file_sync::plan::Written;

impl State {
    /// Retries what failed.
    pub fn retry(&mut self) {
        self.try_folder();
        let failing: Vec<Place> = self.failing.keys().cloned().collect();
        for place in failing {
            match self.plan.spoiled(&place) {
                Some(step) => self.do_without_content(vec![step], true),
                None => self.remove(&place, true),
            }
        }
    }

    /// Checks all files: restores those that changed on disk, repeats downloads, and removes what agents with other selections left long
    /// ago.
    pub fn look(&mut self, heal: bool) {
        self.try_folder();
        let (mut touched, mut wanted) = (Vec::new(), Vec::new());
        for (place, written, url) in self.plan.files() {
            let folder = self.folders.get(usize::from(place.root));
            let is_as_left = |folder: &Folder, left: Written| folder.is_as_left(&place.path, left.stamp);
            match (written, folder) {
                (Some(left), Some(folder)) if heal && !is_as_left(folder, left) => touched.push((place.clone(), left)),
                (_, _) => wanted.extend(url.map(|_| (place.clone(), written.is_none()))),
            }
        }
        for (place, anew) in wanted {
            self.download(place, anew);
        }
        for (place, left) in touched {
            self.heal(&place, left);
        }
        if self.is_listed() {
            for journal in self.former.look(&self.folders[0], self.manifest.name()) {
                self.clear_after(&journal);
            }
        }
    }

    pub(super) fn heal(&mut self, place: &Place, left: Written) {
        let found = self.folders[usize::from(place.root)].read(&place.path, left.stamp.size).ok().flatten();
        let is_right =
            |found: &OnDisk| found.written.digest == left.digest && self.mode.is_none_or(|mode| mode == found.mode);
        if let Some(found) = found.filter(is_right) {
            self.plan.wrote(place, found.written);
            return;
        }
        let path = self.naming.path(place);
        tracing::info!("{} was changed or removed on disk and is restored", path.display());
        let step = self.plan.spoiled(place);
        self.do_without_content(step.into_iter().collect(), true);
    }

    /// Removes the files of an agent that no longer exists, except those that are now ours.
    pub(super) fn clear_after(&mut self, name: &str) {
        let journal = match Journal::read(&self.folders[0], name) {
            Ok(journal) if journal.is_of_once() => return,
            Ok(journal) => journal,
            Err(error) => {
                tracing::debug!("{name} cannot be read: {error}");
                return;
            }
        };
        tracing::info!("no process has used {name} for long: the files of that selection are removed");
        let (mut all_gone, mut folders) = (true, BTreeSet::from([(0, String::new())]));
        for line in &journal.files {
            let Some(place) = self.naming.place_of_file(Path::new(&line.path)) else {
                tracing::warn!("{} was written for another selection, and is not in a writable folder", line.path);
                continue;
            };
            folders.insert((place.root, place.folder().to_owned()));
            all_gone &= self.plan.has(&place) || self.remove_from_disk(&place, true);
        }
        for (root, path) in folders {
            let _ = self.folders[usize::from(root)].remove_drafts(Former::id(name), &path);
        }
        if all_gone && let Err(error) = self.folders[0].remove(name) {
            tracing::warn!("{name} cannot be removed: {error}");
        }
    }

    /// Loads the manifest.
    pub(super) fn restore(&mut self, id: &str) {
        let journal = match self.manifest.load(&self.folders[0]) {
            Ok(journal) => journal,
            Err(error) => {
                tracing::warn!("the journal cannot be read: {error}; files that were written before are not removed");
                return;
            }
        };
        let mut folders = BTreeSet::from([(0, String::new())]);
        for line in &journal.files {
            let Some(place) = self.naming.place_of_file(Path::new(&line.path)) else { continue };
            let owner = line.owner();
            let has = |part: &Part| part.has(owner.kind, &owner.namespace, &owner.name);
            let Some(slice) = self.parts.iter().position(has).and_then(|part| part.try_into().ok()) else { continue };
            folders.insert((place.root, place.folder().to_owned()));
            if !self.plan.has(&place) {
                self.plan.restore(&owner, line.created, slice, &place);
                self.plan.noted(&place, &owner);
            }
        }
        for (root, path) in folders {
            if let Err(error) = self.folders[usize::from(root)].remove_drafts(id, &path) {
                tracing::debug!("unfinished files cannot be removed: {error}");
            }
        }
    }
}
