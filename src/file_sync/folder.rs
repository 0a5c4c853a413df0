//! Atomic writes that cannot leave their folder. Each name of a path is opened relative to the previous folder, and symbolic links
//! are not followed, so nobody can redirect a write, not even in a race.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{Access, AtFlags, CWD, Dir, FileType, FlockOperation, Mode, OFlags, RawMode, Stat};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use super::naming::OWN_PREFIX;
use super::plan::{Digest, Stamp, Written, half};

/// A writable folder.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Part of the names of unfinished files, which protects those of other processes.
    id: String,
    /// Distinguishes processes with the same id.
    process: u32,
    drafts: AtomicU64,
    /// Subfolders that this process created. They are removed with their last file.
    made: Mutex<HashSet<String>>,
}

/// An unfinished file next to its destination. Dropping it removes it.
#[derive(Debug)]
pub struct Draft {
    folder: OwnedFd,
    unfinished: String,
    name: String,
    file: File,
    is_published: bool,
}

/// A downloaded file next to its destination.
#[derive(Debug)]
pub struct Arrived {
    /// The file.
    pub draft: Draft,
    /// The digest of its content.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// A file on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnDisk {
    /// Content and stamp.
    pub written: Written,
    /// Its permissions.
    pub mode: u32,
}

const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl Folder {
    /// Creates a folder from a path, which need not exist yet.
    pub fn new(path: &Path, id: &str) -> Self {
        let (process, drafts) = (fastrand::u32(..), AtomicU64::new(0));
        Self { path: path.to_owned(), id: id.to_owned(), process, drafts, made: Mutex::default() }
    }

    /// Begins a file, and creates its folders if needed.
    pub fn draft(&self, path: &str, mode: Option<u32>) -> io::Result<Draft> {
        let (folder, name) = self.parent(path, true)?;
        let number = self.drafts.fetch_add(1, Ordering::Relaxed);
        let draft = format!("{OWN_PREFIX}{}-{:08x}-{number}", self.id, self.process);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // Nobody else can open it until it has its permissions.
        let first = if mode.is_some() { 0o600 } else { 0o666 };
        let file = File::from(rustix::fs::openat(&folder, &draft, flags, Mode::from_raw_mode(first))?);
        let draft = Draft { folder, unfinished: draft, name: name.to_owned(), file, is_published: false };
        if let Some(mode) = mode {
            rustix::fs::fchmod(&draft.file, Mode::from_raw_mode(raw(mode)))?;
        }
        Ok(draft)
    }

    /// Writes a whole file.
    pub fn write(&self, path: &str, bytes: &[u8], mode: Option<u32>) -> io::Result<Stamp> {
        let mut draft = self.draft(path, mode)?;
        draft.write(bytes)?;
        draft.publish()
    }

    /// Removes a file, and the folders created for it if they are empty. Returns whether it existed. It did not if there is a folder in its
    /// place, or a file in place of one of its folders.
    pub fn remove(&self, path: &str) -> io::Result<bool> {
        let removed = self.parent(path, false).and_then(|(folder, name)| {
            rustix::fs::unlinkat(&folder, name, AtFlags::empty())?;
            Ok(true)
        });
        let was_there = removed.or_else(|error| if is_no_file(&error) { Ok(false) } else { Err(error) })?;
        let mut below = path;
        while let Some((folder, _)) = below.rsplit_once('/') {
            if !self.made().contains(folder) || !self.remove_folder(folder) {
                break;
            }
            below = folder;
        }
        Ok(was_there)
    }

    /// Removes a folder if it is empty. Returns whether it is gone.
    pub fn remove_folder(&self, path: &str) -> bool {
        let is_gone = self.parent(path, false).is_ok_and(|(folder, name)| {
            matches!(rustix::fs::unlinkat(&folder, name, AtFlags::REMOVEDIR), Ok(()) | Err(Errno::NOENT))
        });
        if is_gone {
            self.made().remove(path);
        }
        is_gone
    }

    /// Reads a file; `None` if there is no regular file of this size, because a different one need not be read.
    pub fn read(&self, path: &str, size: u64) -> io::Result<Option<OnDisk>> {
        let mut file = match self.open_to_read(path) {
            Ok(file) => file,
            Err(error) if is_no_file(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let stat = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stamp(&stat).size != size {
            return Ok(None);
        }
        let mut hash = Sha256::new();
        let mut part = vec![0; 16 * 1024];
        loop {
            let length = file.read(&mut part)?;
            if length == 0 {
                break;
            }
            hash.update(&part[..length]);
        }
        let digest: Digest = half(hash.finalize().into());
        Ok(Some(OnDisk { written: Written { digest, stamp: stamp(&stat) }, mode: permissions(&stat) }))
    }

    /// Whether a file is unchanged since it was written. This is cheap.
    pub fn is_as_left(&self, path: &str, left: Stamp) -> bool {
        let stat = self
            .parent(path, false)
            .and_then(|(folder, name)| Ok(rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW)?));
        stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stamp(&stat) == left)
    }

    /// Whether files can be created in the folder, according to its permissions and mount.
    pub fn is_usable(&self) -> io::Result<()> {
        let folder = self.open("", false)?;
        Ok(rustix::fs::accessat(&folder, ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)?)
    }

    /// Reads one of our files, up to `limit` bytes.
    pub fn load(&self, path: &str, limit: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open_to_read(path)?.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Appends to one of our files.
    pub fn append(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let (folder, name) = self.parent(path, true)?;
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let mut file =
            File::from(rustix::fs::openat(&folder, name, flags | OFlags::CLOEXEC, Mode::from_raw_mode(0o600))?);
        if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::RegularFile {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name} is no file")));
        }
        file.write_all(bytes)
    }

    /// Locks one of our files against other processes while the result lives.
    pub fn hold(&self, path: &str) -> io::Result<File> {
        let file = self.open_to_read(path)?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared)?;
        Ok(file)
    }

    /// Whether no process has locked a file. If that is unknown, one may have.
    pub fn is_held_by_none(&self, path: &str) -> bool {
        let locked = self.open_to_read(path).and_then(|file| {
            rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
            Ok(())
        });
        locked.is_ok()
    }

    /// Returns the names in the folder with this prefix.
    pub fn names(&self, start: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.open("", false)?)? {
            names.extend(entry?.file_name().to_str().ok().filter(|name| name.starts_with(start)).map(str::to_owned));
        }
        Ok(names)
    }

    /// Removes unfinished files of an earlier process with this id from a subfolder.
    pub fn remove_drafts(&self, id: &str, below: &str) -> io::Result<()> {
        let folder = match self.open(below, false) {
            Ok(folder) => folder,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let drafts = format!("{OWN_PREFIX}{id}-");
        for entry in Dir::read_from(&folder)? {
            let name = entry?.file_name().to_owned();
            if name.to_bytes().starts_with(drafts.as_bytes()) {
                rustix::fs::unlinkat(&folder, &name, AtFlags::empty())?;
            }
        }
        Ok(())
    }

    fn open_to_read(&self, path: &str) -> io::Result<File> {
        let (folder, name) = self.parent(path, false)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(&folder, name, flags, Mode::empty())?))
    }

    /// Returns the folder of a file, and the file's name.
    fn parent<'p>(&self, path: &'p str, create: bool) -> io::Result<(OwnedFd, &'p str)> {
        let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
        if matches!(name, "" | "." | "..") {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok((self.open(folders, create)?, name))
    }

    /// Opens a subfolder, or the folder itself.
    fn open(&self, below: &str, create: bool) -> io::Result<OwnedFd> {
        let root = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut folder = match rustix::fs::openat(CWD, &self.path, root, Mode::empty()) {
            Err(Errno::NOENT) if create => {
                std::fs::create_dir_all(&self.path)?;
                rustix::fs::openat(CWD, &self.path, root, Mode::empty())?
            }
            opened => opened?,
        };
        let mut way = String::new();
        for name in below.split('/').filter(|name| !name.is_empty()) {
            way.push_str(if way.is_empty() { "" } else { "/" });
            way.push_str(name);
            if matches!(name, "." | "..") {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            folder = match rustix::fs::openat(folder.as_fd(), name, FOLDER, Mode::empty()) {
                Err(Errno::NOENT) if create => {
                    match rustix::fs::mkdirat(&folder, name, Mode::from_raw_mode(0o777)) {
                        Ok(()) => drop(self.made().insert(way.clone())),
                        Err(Errno::EXIST) => {}
                        Err(error) => return Err(error.into()),
                    }
                    rustix::fs::openat(&folder, name, FOLDER, Mode::empty())?
                }
                opened => opened?,
            };
        }
        Ok(folder)
    }

    fn made(&self) -> MutexGuard<'_, HashSet<String>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Draft {
    /// Appends bytes.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Moves it to its destination. Readers see either the old content or the new one. A symbolic link with this name is replaced
    /// itself.
    pub fn publish(mut self) -> io::Result<Stamp> {
        rustix::fs::renameat(&self.folder, &self.unfinished, &self.folder, &self.name)?;
        self.is_published = true;
        Ok(stamp(&rustix::fs::fstat(&self.file)?))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.is_published {
            let _ = rustix::fs::unlinkat(&self.folder, &self.unfinished, AtFlags::empty());
        }
    }
}

/// Whether an error means that the file does not exist.
fn is_no_file(error: &io::Error) -> bool {
    is_one_of(error, &[Errno::NOENT, Errno::NXIO, Errno::NAMETOOLONG]) || is_clash(error)
}

/// Whether an error means that there is something else in place of a file or one of its folders.
pub fn is_clash(error: &io::Error) -> bool {
    is_one_of(error, &[Errno::LOOP, Errno::NOTDIR, Errno::ISDIR, Errno::EXIST, Errno::NOTEMPTY])
}

/// Whether an error concerns this file only.
pub fn is_of_one_file(error: &io::Error) -> bool {
    is_one_of(error, &[Errno::NAMETOOLONG, Errno::FBIG]) || is_clash(error)
}

fn is_one_of(error: &io::Error, numbers: &[Errno]) -> bool {
    numbers.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

#[allow(clippy::useless_conversion, clippy::cast_sign_loss, reason = "the types differ from system to system")]
fn stamp(stat: &Stat) -> Stamp {
    let nanoseconds = i128::from(stat.st_ctime) * 1_000_000_000 + i128::from(stat.st_ctime_nsec);
    Stamp { size: stat.st_size as u64, changed: nanoseconds }
}

#[allow(clippy::useless_conversion, reason = "the types differ from system to system")]
fn permissions(stat: &Stat) -> u32 {
    u32::from(stat.st_mode & 0o7777)
}

#[allow(clippy::useless_conversion, clippy::unnecessary_fallible_conversions, reason = "as above")]
fn raw(mode: u32) -> RawMode {
    RawMode::try_from(mode & 0o7777).unwrap_or_default()
}
