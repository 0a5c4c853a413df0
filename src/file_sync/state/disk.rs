//! Operations on disk: files are claimed, written and removed, and failures are remembered.

use std::io;

use super::{Failure, New, State, Wanted};
use crate::file_sync::folder::{Draft, Folder, is_clash, is_of_one_file};
use crate::file_sync::manifest::Line;
use crate::file_sync::naming::Place;
use crate::file_sync::object::ObjectKey;
use crate::file_sync::plan::{Written, digest};

impl State {
    /// Creates a file for a download.
    pub fn draft(&mut self, wanted: &Wanted) -> io::Result<Draft> {
        let folder = self.folders.get(usize::from(wanted.place.root)).ok_or(io::ErrorKind::NotFound)?;
        match folder.draft(&wanted.place.path, self.mode) {
            Err(error) if is_clash(&error) && self.make_way(&wanted.owner, &wanted.place) => {
                self.folders[usize::from(wanted.place.root)].draft(&wanted.place.path, self.mode)
            }
            draft => draft,
        }
    }

    /// Writes content to a file.
    pub(super) fn write(&mut self, owner: &ObjectKey, place: &Place, new: New<'_>) {
        let path = self.naming.path(place);
        match self.try_write(owner, place, new) {
            Ok(changed) => {
                if self.failing.remove(place).is_some() {
                    tracing::info!("{} can be written again", path.display());
                }
                if changed {
                    self.metrics.written();
                    self.changes.add(path.display().to_string(), self.is_later(owner));
                }
            }
            Err(error) => self.failed(place, "write", &error),
        }
    }

    pub(super) fn try_write(&mut self, owner: &ObjectKey, place: &Place, new: New<'_>) -> io::Result<bool> {
        let Some(folder) = self.folders.get(usize::from(place.root)) else { return Ok(false) };
        let (digest, size, form) = match &new {
            New::Bytes(bytes) => (digest(bytes), bytes.len() as u64, if bytes.is_ascii() { "ascii" } else { "binary" }),
            New::Arrived(arrived) => (arrived.digest, arrived.size, "binary"),
        };
        if self.plan.written(place).is_none()
            && let Some(found) = folder.read(&place.path, size)?
            && found.written.digest == digest
            && self.mode.is_none_or(|mode| mode == found.mode)
        {
            self.claim(owner, place)?;
            self.plan.wrote(place, found.written);
            return Ok(false);
        }
        self.claim(owner, place)?;
        tracing::info!("Writing {} ({form})", self.naming.path(place).display());
        let stamp = match new {
            New::Bytes(bytes) => match self.folders[usize::from(place.root)].write(&place.path, bytes, self.mode) {
                Err(error) if is_clash(&error) && self.make_way(owner, place) => {
                    self.folders[usize::from(place.root)].write(&place.path, bytes, self.mode)?
                }
                stamp => stamp?,
            },
            New::Arrived(arrived) => arrived.draft.publish()?,
        };
        self.plan.wrote(place, Written { digest, stamp });
        Ok(true)
    }

    /// Removes files of younger objects if a folder is needed in their place, or if they are in a folder in the file's
    /// place. Returns whether there were any.
    pub(super) fn make_way(&mut self, owner: &ObjectKey, place: &Place) -> bool {
        let Some(others) = self.plan.in_the_way(place, owner) else { return false };
        for other in others {
            let (path, other_path) = (self.naming.path(place), self.naming.path(&other));
            let problem = format!("gives way to {} of the older {owner}", path.display());
            tracing::warn!("{} {problem}", other_path.display());
            if !self.remove_from_disk(&other, true) {
                return false;
            }
            let folder = &self.folders[usize::from(other.root)];
            let mut below = &*other.path;
            while let Some((above, _)) = below.rsplit_once('/').filter(|(above, _)| above.len() >= place.path.len()) {
                folder.remove_folder(above);
                below = above;
            }
            let _ = self.plan.spoiled(&other);
            self.failing.insert((*other).clone(), Failure { problem, of_folder: false });
        }
        true
    }

    /// Records the owner of a file before it is written.
    pub(super) fn claim(&mut self, owner: &ObjectKey, place: &Place) -> io::Result<()> {
        if self.plan.is_noted(place, owner) {
            return Ok(());
        }
        let line = Line::of(self.naming.path(place).display().to_string(), owner, self.plan.created(owner));
        self.manifest.add(&self.folders[0], &line)?;
        self.plan.noted(place, owner);
        Ok(())
    }

    pub(super) fn remove(&mut self, place: &Place, is_later: bool) {
        self.missing.remove(place);
        if !self.remove_from_disk(place, is_later) {
            return;
        }
        self.failing.remove(place);
        self.let_pass(place);
        let line = Line::gone(self.naming.path(place).display().to_string());
        if let Err(error) = self.manifest.add(&self.folders[0], &line) {
            tracing::debug!("the journal cannot be written: {error}");
        }
        self.tidy();
    }

    /// Retries files that waited for a file that is now gone.
    pub(super) fn let_pass(&mut self, gone: &Place) {
        let waiting: Vec<Place> = self.failing.keys().filter(|other| other.clashes_with(gone)).cloned().collect();
        for place in waiting {
            let step = self.plan.spoiled(&place);
            self.do_without_content(step.into_iter().collect(), true);
        }
    }

    /// Returns whether the file is gone.
    pub(super) fn remove_from_disk(&mut self, place: &Place, is_later: bool) -> bool {
        let path = self.naming.path(place);
        let Some(folder) = self.folders.get(usize::from(place.root)) else { return true };
        tracing::info!("Removing {}", path.display());
        match folder.remove(&place.path) {
            Ok(true) => {
                self.metrics.removed();
                self.changes.add(path.display().to_string(), is_later);
            }
            Ok(false) => {}
            Err(error) => {
                self.failed(place, "remove", &error);
                return false;
            }
        }
        true
    }

    pub(super) fn failed(&mut self, place: &Place, doing: &str, error: &io::Error) {
        self.metrics.failed();
        let path = self.naming.path(place);
        let problem = format!("cannot {doing} it: {error}");
        // Problems of one file or one subfolder are caused by the object that names it.
        let is_forbidden = matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem);
        let is_usable = |folder: &Folder| folder.is_usable().is_ok();
        let is_root_well = self.folders.get(usize::from(place.root)).is_some_and(is_usable);
        let of_folder = !(is_of_one_file(error) || is_forbidden && is_root_well);
        let before = self.failing.insert(place.clone(), Failure { problem: problem.clone(), of_folder });
        if before.is_none_or(|before| before.problem != problem) {
            tracing::error!("{}: {problem}; the old content stays; retrying", path.display());
        }
    }

    /// Checks whether files can be created.
    pub(super) fn try_folder(&mut self) {
        let found = self.folders[0].is_usable().err().filter(|error| error.kind() != io::ErrorKind::NotFound);
        let problem =
            found.map(|error| format!("{}: nothing can be made in it: {error}", self.naming.roots[0].display()));
        if let Some(problem) = problem.as_ref().filter(|problem| self.unusable.as_ref() != Some(problem)) {
            tracing::error!("{problem}");
        }
        self.unusable = problem;
    }

    /// Rewrites the manifest if it is long.
    pub(super) fn tidy(&mut self) {
        if !self.manifest.is_long(self.plan.counts().1) {
            return;
        }
        let naming = &self.naming;
        let files = self.plan.owned();
        let lines =
            files.map(|(owner, created, place)| Line::of(naming.path(place).display().to_string(), owner, created));
        if let Err(error) = self.manifest.rewrite(&self.folders[0], lines) {
            tracing::warn!("the journal cannot be written: {error}");
        }
    }
}
