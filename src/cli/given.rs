//! The input files of a command: by name, in a folder, by URL, or standard input.

use super::download::download;
use crate::documents::{read_bounded, read_regular};
use crate::fetch::FetchTarget;
use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// A file of objects.
#[derive(Clone, Debug)]
pub(super) struct GivenFile {
    path: PathBuf,
    source: Source,
}

/// How a file was found.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    Stdin,
    Url(Box<FetchTarget>),
    /// By its name, which may be a pipe, because the user named it.
    Named,
    /// In a folder. It must be a regular file, because another kind might never end.
    Folder,
}

/// Which files of a folder are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// Files directly in it.
    Flat,
    /// Also files in its subfolders, except for linked folders.
    Deep,
    /// Also files in linked folders. Each folder is read once.
    Linked,
}

/// Returns the files of these paths. `-` is standard input. A folder stands for its YAML and JSON files in the order of their names, except for
/// names that begin with a dot. A path that begins with `https://` is downloaded. `unread` receives unreadable folders and invalid URLs.
pub(super) fn files(paths: &[PathBuf], depth: Depth, mut unread: impl FnMut(&Path, io::Error)) -> Vec<GivenFile> {
    let (mut files, mut entered) = (Vec::new(), HashSet::new());
    for path in paths {
        let text = path.to_string_lossy();
        if text.starts_with("https://") {
            match text.parse::<FetchTarget>() {
                Ok(target) => files.push(GivenFile { path: path.clone(), source: Source::Url(Box::new(target)) }),
                Err(error) => unread(path, io::Error::new(io::ErrorKind::InvalidInput, error)),
            }
        } else if text.starts_with("http://") {
            unread(
                path,
                io::Error::new(io::ErrorKind::InvalidInput, "write https://: over http anybody could change it"),
            );
        } else if path.is_dir() {
            walk(path, depth, &mut entered, &mut files, &mut unread);
        } else {
            let source = if path.as_os_str() == "-" { Source::Stdin } else { Source::Named };
            files.push(GivenFile { path: path.clone(), source });
        }
    }
    files
}

fn walk(
    folder: &Path,
    depth: Depth,
    entered: &mut HashSet<PathBuf>,
    files: &mut Vec<GivenFile>,
    unread: &mut impl FnMut(&Path, io::Error),
) {
    let entries = std::fs::canonicalize(folder).and_then(|real| {
        if depth == Depth::Linked && !entered.insert(real) {
            return Ok(Vec::new());
        }
        std::fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()
    });
    let mut entries = match entries {
        Ok(entries) => entries,
        Err(error) => return unread(folder, error),
    };
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        if path.is_dir() {
            let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
            if depth == Depth::Linked || (depth == Depth::Deep && !is_link) {
                walk(&path, depth, entered, files, unread);
            }
        } else if path.extension().is_some_and(|end| ["yaml", "yml", "json"].iter().any(|known| end == *known)) {
            files.push(GivenFile { path, source: Source::Folder });
        }
    }
}

impl GivenFile {
    /// Whether it was found in a folder.
    pub fn is_of_folder(&self) -> bool {
        self.source == Source::Folder
    }

    /// Returns the name for messages.
    pub fn name(&self) -> String {
        match &self.source {
            Source::Stdin => "standard input".to_owned(),
            // Without secret parts.
            Source::Url(target) => target.to_string(),
            Source::Named | Source::Folder => self.path.display().to_string(),
        }
    }

    /// Reads the file, up to one byte more than the size limit of a file of objects.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        match &self.source {
            Source::Url(target) => download(target),
            Source::Stdin => read_bounded(io::stdin().lock()),
            Source::Named => File::open(&self.path).and_then(read_bounded),
            Source::Folder => read_regular(&self.path),
        }
    }
}
