//! A folder of object files that is polled. Only changes are reported.
//!
//! Polling checks each file, because file-system events miss changes when the kubelet swaps a mounted `ConfigMap`. A file is read
//! if its content or metadata may have changed according to the system's times. The modification time alone misses changes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, ErrorKind, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};

use super::batch::Batch;
use super::change::{Change, Content, FileError};
use super::{Document, MAX_FILE_BYTES, ParseError};

/// A folder of `*.yaml`, `*.yml` and `*.json` files, including subfolders, or one file of any name.
///
/// Names that begin with a dot are skipped, and so is the kubelet's `..data`. Symbolic links are followed,
/// because a mounted `ConfigMap` consists of them. A folder with several links to it is read once.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
    /// By path below the root. The root itself is the empty path.
    seen: BTreeMap<PathBuf, LastRead>,
    /// The files of the last poll, by path below the root.
    sightings: BTreeMap<PathBuf, Sighting>,
    /// Changes first seen by the last poll; `None` before the first poll.
    unsettled: Option<Unsettled>,
}

/// The content of a path at a poll.
#[derive(Debug, PartialEq, Eq)]
enum LastRead {
    /// The SHA-256 of the bytes.
    Content([u8; 32]),
    /// The message of the error.
    Unreadable(String),
}

/// Two changes within one clock tick of a file system have the same times. So a file is read until this long after its current
/// times were first seen.
const TICK: Duration = Duration::from_secs(2);

/// Distinguishes contents of a file without reading it. Nobody can set the time of the last metadata change, which a content
/// change updates too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// A file as polls saw it.
#[derive(Clone, Copy, Debug)]
struct Sighting {
    stamp: Stamp,
    /// When its current stamp was first seen.
    since: Instant,
    /// Whether the reported content is known to be final.
    is_settled: bool,
}

/// Changes by path; `None` for removed paths.
type Unsettled = BTreeMap<PathBuf, Option<LastRead>>;

/// The result of walking the folder, by path below the root.
#[derive(Default)]
struct Walk {
    /// With the stamp, if available.
    files: BTreeMap<PathBuf, Option<Stamp>>,
    unreadable_folders: BTreeMap<PathBuf, io::Error>,
    /// Real paths of visited folders, which ends loops of links.
    entered: BTreeSet<PathBuf>,
}

impl Folder {
    /// Opens the folder or file at `path` for polling, without parsing anything.
    ///
    /// # Errors
    /// When `path` does not exist or cannot be read.
    pub fn new(path: impl Into<PathBuf>) -> Result<Self, FileError> {
        let folder = Self { root: path.into(), seen: BTreeMap::new(), sightings: BTreeMap::new(), unsettled: None };
        let opened = fs::metadata(&folder.root).and_then(|metadata| {
            if metadata.is_dir() { fs::read_dir(&folder.root).map(drop) } else { File::open(&folder.root).map(drop) }
        });
        match opened {
            Ok(()) => Ok(folder),
            Err(source) => Err(FileError::Unreadable { path: folder.name(Path::new("")), source }),
        }
    }

    /// Reads what may have changed, and reports what changed since the last poll (at first, everything): folders first, then
    /// files by path, then what is gone. `read` gets one object of a file after the other, so that only one object's values
    /// are in memory. Many files are parsed together, on all processors. Returns the number of files read.
    ///
    /// A renamed file is a removal and an addition in one poll, in either order, so apply all changes of a poll together. From
    /// the second poll on, a change is reported once two consecutive polls have seen it, because editors may briefly empty a
    /// file before they write it. Nothing is reported as removed while its folder cannot be read. This blocks on the file
    /// system.
    pub fn poll<T: Send>(&mut self, read: impl Fn(Document) -> T + Sync, take: impl FnMut(Change<T>)) -> usize {
        self.poll_at(Instant::now(), read, take)
    }

    fn poll_at<T: Send>(
        &mut self,
        now: Instant,
        read: impl Fn(Document) -> T + Sync,
        mut take: impl FnMut(Change<T>),
    ) -> usize {
        let unsettled = self.unsettled.replace(BTreeMap::new());
        let mut walk = Walk::default();
        match fs::metadata(&self.root) {
            Ok(metadata) if metadata.is_dir() => walk.enter(&self.root, Path::new("")),
            Ok(metadata) => _ = walk.files.insert(PathBuf::new(), Some(Stamp::of(&metadata))),
            Err(error) => _ = walk.unreadable_folders.insert(PathBuf::new(), error),
        }
        let mut gone: BTreeSet<PathBuf> = self.seen.keys().cloned().collect();
        gone.retain(|path| !walk.unreadable_folders.keys().any(|folder| path.starts_with(folder)));
        for (folder, source) in walk.unreadable_folders {
            let error = FileError::Unreadable { path: self.name(&folder), source };
            if self.is_news(unsettled.as_ref(), &folder, Some(LastRead::Unreadable(error.to_string()))) {
                take(Change { file: self.name(&folder), content: Content::Broken(error) });
            }
        }
        let mut sightings = std::mem::take(&mut self.sightings);
        let (mut files_read, mut batch) = (0, Batch::default());
        for (file, stamp) in walk.files {
            let sighting = stamp.map(|stamp| match sightings.remove(&file) {
                Some(before) if before.stamp == stamp => before,
                _ => Sighting { stamp, since: now, is_settled: false },
            });
            if let Some(sighting) = sighting.filter(|sighting| sighting.is_settled) {
                gone.remove(&file);
                self.sightings.insert(file, sighting);
                continue;
            }
            files_read += 1;
            let Some(found) = self.read(&file) else { continue };
            gone.remove(&file);
            let content = match &found {
                Ok(bytes) => LastRead::Content(Sha256::digest(bytes).into()),
                Err(error) => LastRead::Unreadable(error.to_string()),
            };
            if let Some(mut sighting) = sighting {
                let is_known = found.is_ok() && self.seen.get(&file) == Some(&content);
                sighting.is_settled = is_known && now.duration_since(sighting.since) >= TICK;
                self.sightings.insert(file.clone(), sighting);
            }
            if self.is_news(unsettled.as_ref(), &file, Some(content)) {
                batch.add(self.name(&file), found);
                if batch.is_full() {
                    batch.parse(&read, &mut take);
                }
            }
        }
        batch.parse(&read, &mut take);
        for path in gone {
            if self.is_news(unsettled.as_ref(), &path, None) {
                take(Change { file: self.name(&path), content: Content::Removed });
            }
        }
        files_read
    }

    /// Records the content of a path (`None`: it is gone). Returns whether it is a change to report. `unsettled` are the
    /// changes first seen by the previous poll; `None` at the first poll, which reports everything.
    fn is_news(&mut self, unsettled: Option<&Unsettled>, path: &Path, now: Option<LastRead>) -> bool {
        if self.seen.get(path) == now.as_ref() {
            return false;
        }
        if unsettled.is_some_and(|unsettled| unsettled.get(path) != Some(&now)) {
            self.unsettled.get_or_insert_default().insert(path.to_owned(), now);
            return false;
        }
        match now {
            Some(now) => _ = self.seen.insert(path.to_owned(), now),
            None => _ = self.seen.remove(path),
        }
        true
    }

    /// Returns the bytes of a file; `None` if it has disappeared since the walk.
    fn read(&self, file: &Path) -> Option<Result<Vec<u8>, FileError>> {
        let path = below(&self.root, file);
        Some(match read_regular(&path) {
            Ok(bytes) if bytes.len() > MAX_FILE_BYTES => {
                Err(ParseError::TooLarge { file: self.name(file).into() }.into())
            }
            Ok(bytes) => Ok(bytes),
            // A link without a target still exists, and the root is never reported as removed.
            Err(error)
                if error.kind() == ErrorKind::NotFound && path != self.root && fs::symlink_metadata(&path).is_err() =>
            {
                return None;
            }
            Err(source) => Err(FileError::Unreadable { path: self.name(file), source }),
        })
    }

    fn name(&self, path: &Path) -> String {
        if path.as_os_str().is_empty() { self.root.display().to_string() } else { path.display().to_string() }
    }
}

impl Walk {
    fn enter(&mut self, root: &Path, folder: &Path) {
        if let Err(error) = self.list(root, folder) {
            self.unreadable_folders.insert(folder.to_owned(), error);
        }
    }

    fn list(&mut self, root: &Path, folder: &Path) -> io::Result<()> {
        let path = below(root, folder);
        if !self.entered.insert(fs::canonicalize(&path)?) {
            return Ok(());
        }
        let mut names = fs::read_dir(&path)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
        names.sort();
        for name in names {
            if name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let entry = folder.join(name);
            let metadata = fs::metadata(root.join(&entry)).ok();
            if metadata.as_ref().is_some_and(fs::Metadata::is_dir) {
                self.enter(root, &entry);
            } else if entry.extension().is_some_and(|suffix| suffix == "yaml" || suffix == "yml" || suffix == "json") {
                self.files.insert(entry, metadata.as_ref().map(Stamp::of));
            }
        }
        Ok(())
    }
}

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Returns `root` itself for the empty path, to which `Path::join` would add a slash.
fn below(root: &Path, path: &Path) -> PathBuf {
    if path.as_os_str().is_empty() { root.to_owned() } else { root.join(path) }
}

/// Reads a file, up to one byte more than [`MAX_FILE_BYTES`]. Pipes and devices, which may never end, are rejected.
///
/// # Errors
/// When reading fails, or when it is not a regular file.
pub fn read_regular(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "is not a regular file"));
    }
    read_bounded(File::open(path)?)
}

/// Reads up to the maximum size of a file and one more byte, which tells [`super::parse()`] that it is too large.
///
/// # Errors
/// When reading fails.
pub fn read_bounded(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    const A: &str = "apiVersion: v1\nkind: A\n";
    const B: &str = "apiVersion: v1\nkind: B\n";

    fn folder_of(files: &[(&str, &str)]) -> (TempDir, Folder) {
        let dir = TempDir::new().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let folder = Folder::new(dir.path()).unwrap();
        (dir, folder)
    }

    fn changes(folder: &mut Folder) -> Vec<Change<Document>> {
        let mut changes = Vec::new();
        folder.poll(|document| document, |change| changes.push(change));
        folder.poll(|document| document, |change| changes.push(change)); // a change is complete once it was seen twice
        changes
    }

    /// Returns a summary of a poll: each file with the kinds of its objects or its state.
    fn poll(folder: &mut Folder) -> Vec<(String, String)> {
        let brief = |content: Content<Document>| match content {
            Content::Documents(documents) => {
                documents.iter().map(|document| document.value["kind"].as_str().unwrap()).collect::<Vec<_>>().join(" ")
            }
            Content::Broken(_) => "broken".to_owned(),
            Content::Removed => "removed".to_owned(),
        };
        let mut changes: Vec<_> =
            changes(folder).into_iter().map(|change| (change.file, brief(change.content))).collect();
        changes.sort();
        changes
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(file, state)| ((*file).to_owned(), (*state).to_owned())).collect()
    }

    #[test]
    fn the_first_poll_reads_every_object_file_in_the_order_of_paths() {
        let (_dir, mut folder) =
            folder_of(&[("b.yml", B), ("a.yaml", A), ("sub/c.json", r#"{"apiVersion": "v1", "kind": "C"}"#)]);
        assert_eq!(poll(&mut folder), pairs(&[("a.yaml", "A"), ("b.yml", "B"), ("sub/c.json", "C")]));
    }

    #[test]
    fn other_files_and_hidden_ones_are_skipped() {
        let (_dir, mut folder) = folder_of(&[("README.md", "text"), (".a.yaml", A), (".git/b.yaml", B), ("yaml", A)]);
        assert_eq!(poll(&mut folder), []);
    }

    #[test]
    fn a_file_that_is_empty_for_a_moment_stays_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.yaml"), "apiVersion: v1\nkind: A\n").unwrap();
        let mut folder = Folder::new(dir.path()).unwrap();
        let mut poll_once = || {
            let mut count = 0;
            folder.poll(|_| (), |_| count += 1);
            count
        };
        assert_eq!(poll_once(), 1);
        fs::write(dir.path().join("a.yaml"), "").unwrap();
        assert_eq!(poll_once(), 0);
        fs::write(dir.path().join("a.yaml"), "apiVersion: v1\nkind: B\n").unwrap();
        assert_eq!(poll_once(), 0);
        assert_eq!(poll_once(), 1);
        assert_eq!(poll_once(), 0);
    }

    #[test]
    fn a_poll_reports_only_what_changed() {
        let (dir, mut folder) = folder_of(&[("a.yaml", A), ("b.yaml", B)]);
        poll(&mut folder);
        assert_eq!(poll(&mut folder), []);
        fs::write(dir.path().join("b.yaml"), A).unwrap();
        assert_eq!(poll(&mut folder), pairs(&[("b.yaml", "A")]));
    }

    #[test]
    fn a_change_that_keeps_size_and_time_is_seen() {
        let (dir, mut folder) = folder_of(&[("a.yaml", A)]);
        poll(&mut folder);
        let path = dir.path().join("a.yaml");
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        fs::write(&path, B).unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        assert_eq!(poll(&mut folder), pairs(&[("a.yaml", "B")]));
    }

    #[test]
    fn a_file_is_read_again_only_when_it_may_have_changed() {
        let (dir, mut folder) = folder_of(&[("a.yaml", A), ("b.yaml", B), ("c.yaml", "kind: [")]);
        let begun = Instant::now();
        let mut poll = |after: Duration| {
            let mut changed = Vec::new();
            let read = folder.poll_at(begun + after, |_| (), |change| changed.push(change.file));
            (read, changed)
        };
        assert_eq!(poll(Duration::ZERO).0, 3);
        assert_eq!(poll(TICK / 2), (3, Vec::new()), "another change may bear the same time");
        assert_eq!(poll(TICK), (3, Vec::new()));
        assert_eq!(poll(2 * TICK), (0, Vec::new()));
        fs::write(dir.path().join("b.yaml"), A).unwrap();
        fs::remove_file(dir.path().join("c.yaml")).unwrap();
        assert_eq!(poll(3 * TICK), (1, Vec::new()));
        assert_eq!(poll(4 * TICK), (1, vec!["b.yaml".to_owned(), "c.yaml".to_owned()]));
        assert_eq!(poll(5 * TICK), (1, Vec::new()));
        assert_eq!(poll(6 * TICK), (0, Vec::new()));
    }

    #[test]
    fn a_file_that_vanishes_is_removed_once() {
        let (dir, mut folder) = folder_of(&[("a.yaml", A), ("b.yaml", B)]);
        poll(&mut folder);
        fs::rename(dir.path().join("a.yaml"), dir.path().join("c.yaml")).unwrap();
        assert_eq!(poll(&mut folder), pairs(&[("a.yaml", "removed"), ("c.yaml", "A")]));
        assert_eq!(poll(&mut folder), []);
    }

    #[test]
    fn a_broken_file_is_reported_once_and_again_when_it_is_whole() {
        let (dir, mut folder) = folder_of(&[("a.yaml", "apiVersion: v1\nkind: [")]);
        assert_eq!(poll(&mut folder), pairs(&[("a.yaml", "broken")]));
        assert_eq!(poll(&mut folder), []);
        fs::write(dir.path().join("a.yaml"), A).unwrap();
        assert_eq!(poll(&mut folder), pairs(&[("a.yaml", "A")]));
    }

    #[test]
    fn an_unreadable_file_is_broken_and_its_return_is_reported_though_it_holds_the_same() {
        let (dir, mut folder) = folder_of(&[("a.yaml", A)]);
        poll(&mut folder);
        let path = dir.path().join("a.yaml");
        fs::remove_file(&path).unwrap();
        symlink("nowhere", &path).unwrap();
        assert_eq!(poll(&mut folder), pairs(&[("a.yaml", "broken")]));
        assert_eq!(poll(&mut folder), []);
        fs::remove_file(&path).unwrap();
        fs::write(&path, A).unwrap();
        assert_eq!(poll(&mut folder), pairs(&[("a.yaml", "A")]));
    }

    #[test]
    fn a_file_that_is_too_large_is_broken() {
        let (dir, mut folder) = folder_of(&[]);
        File::create(dir.path().join("a.yaml")).unwrap().set_len(MAX_FILE_BYTES as u64 + 1).unwrap();
        let [Change { content: Content::Broken(error), .. }] = &changes(&mut folder)[..] else { panic!("not broken") };
        assert!(error.to_string().starts_with("a.yaml: more than "), "{error}");
    }

    #[test]
    fn a_pipe_is_refused_and_does_not_hold_the_poll_up() {
        let (dir, mut folder) = folder_of(&[]);
        symlink("/dev/zero", dir.path().join("a.yaml")).unwrap();
        assert_eq!(poll(&mut folder), pairs(&[("a.yaml", "broken")]));
    }

    #[test]
    fn a_mounted_config_map_is_read_once_and_its_swap_is_seen() {
        let (dir, mut folder) = folder_of(&[("..v1/a.yaml", A), ("..v2/a.yaml", B)]);
        symlink("..v1", dir.path().join("..data")).unwrap();
        symlink("..data/a.yaml", dir.path().join("a.yaml")).unwrap();
        assert_eq!(poll(&mut folder), pairs(&[("a.yaml", "A")]));
        symlink("..v2", dir.path().join("..new")).unwrap();
        fs::rename(dir.path().join("..new"), dir.path().join("..data")).unwrap();
        assert_eq!(poll(&mut folder), pairs(&[("a.yaml", "B")]));
    }

    #[test]
    fn loops_of_links_end() {
        let (dir, mut folder) = folder_of(&[("sub/a.yaml", A)]);
        symlink("..", dir.path().join("sub/up")).unwrap();
        symlink("sub", dir.path().join("twice")).unwrap();
        symlink("self.yaml", dir.path().join("self.yaml")).unwrap();
        assert_eq!(poll(&mut folder), pairs(&[("self.yaml", "broken"), ("sub/a.yaml", "A")]));
    }

    #[test]
    fn nothing_is_removed_while_the_folder_is_missing() {
        let (dir, mut folder) = folder_of(&[("a.yaml", A)]);
        let (root, away) = (dir.path().display().to_string(), dir.path().with_extension("away"));
        poll(&mut folder);
        fs::rename(dir.path(), &away).unwrap();
        assert_eq!(poll(&mut folder), pairs(&[(&root, "broken")]));
        assert_eq!(poll(&mut folder), []);
        fs::rename(&away, dir.path()).unwrap();
        assert_eq!(poll(&mut folder), pairs(&[(&root, "removed")]));
    }

    #[test]
    fn a_single_file_of_any_name_is_a_folder_of_one() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("objects");
        fs::write(&path, A).unwrap();
        let mut folder = Folder::new(&path).unwrap();
        let name = path.display().to_string();
        assert_eq!(poll(&mut folder), pairs(&[(&name, "A")]));
        fs::remove_file(&path).unwrap();
        assert_eq!(poll(&mut folder), pairs(&[(&name, "broken")]));
        fs::write(&path, A).unwrap();
        assert_eq!(poll(&mut folder), pairs(&[(&name, "A")]));
    }

    #[test]
    fn a_folder_that_is_missing_at_the_start_is_an_error_that_names_it() {
        let error = Folder::new("/nonexistent/sets").unwrap_err().to_string();
        assert!(error.starts_with("/nonexistent/sets: "), "{error}");
    }
}
