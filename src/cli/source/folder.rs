//! A folder of objects that is read again when it changes.

use super::read::Parsed;
use super::{Contents, Loaded, objects};
use crate::documents::{FileError, Folder};
use crate::injection::Options;
use std::path::Path;

/// A folder (or one file) of objects.
#[derive(Debug)]
pub struct Source {
    folder: Folder,
    contents: Contents,
    /// The content of all files at the last refresh; `None` before the first.
    pub(super) loaded: Option<Loaded>,
}

impl Source {
    /// Opens a folder or a file without reading it.
    ///
    /// # Errors
    /// When `path` does not exist or cannot be read.
    pub fn open(path: &Path, options: Options) -> Result<Self, FileError> {
        Ok(Self { folder: Folder::new(path)?, contents: Contents::new(options), loaded: None })
    }

    /// Reads what changed; at first, everything. Returns `None` if nothing changed. This blocks on the file system.
    pub fn refresh(&mut self) -> Option<&Loaded> {
        let Self { folder, contents, .. } = self;
        let mut before = None;
        folder.poll(Parsed::of, |change| {
            let before = before.get_or_insert_with(|| objects(&contents.files));
            contents.change(change.file, change.content, before);
        });
        if before.is_none() && self.loaded.is_some() {
            return None;
        }
        Some(self.loaded.insert(self.contents.combine()))
    }
}
