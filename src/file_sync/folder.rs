//! Writes that no reader sees half of, and that do not leave their folder: each name on the way is opened in the folder before it,
//! and a symbolic link is no folder, so that nobody can lead a write elsewhere, not even in a race.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, RawMode, Stat};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use super::naming::OWN_PREFIX;
use super::plan::{Digest, Stamp, Written, half};

/// A folder that may be written to.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// In the names of unfinished files, so that those of other processes are left alone.
    id: String,
    drafts: AtomicU64,
}

/// A file as it is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnDisk {
    /// Content and stamp.
    pub written: Written,
    /// Its permissions.
    pub mode: u32,
}

const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl Folder {
    /// The folder of this path, which need not be there yet.
    pub fn new(path: &Path, id: &str) -> Self {
        Self { path: path.to_owned(), id: id.to_owned(), drafts: AtomicU64::new(0) }
    }

    /// Writes a file at once: readers see the old content or the new one. Its name, and that of no other file, is replaced, also where
    /// it is a symbolic link.
    pub fn write(&self, path: &str, bytes: &[u8], mode: Option<u32>) -> io::Result<Stamp> {
        let (folder, name) = self.parent(path, true)?;
        let draft = format!("{OWN_PREFIX}{}-{}", self.id, self.drafts.fetch_add(1, Ordering::Relaxed));
        let written = write_draft(&folder, &draft, bytes, mode).and_then(|()| {
            rustix::fs::renameat(&folder, &draft, &folder, name)?;
            Ok(stamp(&rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW)?))
        });
        if written.is_err() {
            let _ = rustix::fs::unlinkat(&folder, &draft, AtFlags::empty());
        }
        written
    }

    /// Removes a file; whether it was there.
    pub fn remove(&self, path: &str) -> io::Result<bool> {
        let removed = self.parent(path, false).and_then(|(folder, name)| {
            rustix::fs::unlinkat(&folder, name, AtFlags::empty())?;
            Ok(true)
        });
        removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(false) } else { Err(error) })
    }

    /// A file as it is now; `None` where there is no regular file.
    pub fn read(&self, path: &str) -> io::Result<Option<OnDisk>> {
        let opened = self.parent(path, false).and_then(|(folder, name)| {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            Ok(File::from(rustix::fs::openat(&folder, name, flags, Mode::empty())?))
        });
        let mut file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound || is_no_file(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let stat = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
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

    /// Whether a file is as it was left; cheap.
    pub fn is_as_left(&self, path: &str, left: Stamp) -> bool {
        let stat = self
            .parent(path, false)
            .and_then(|(folder, name)| Ok(rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW)?));
        stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stamp(&stat) == left)
    }

    /// The bytes of a file of ours, at most `limit`.
    pub fn load(&self, path: &str, limit: u64) -> io::Result<Vec<u8>> {
        let (folder, name) = self.parent(path, false)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::openat(&folder, name, flags, Mode::empty())?);
        let mut bytes = Vec::new();
        file.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Adds to a file of ours.
    pub fn append(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let (folder, name) = self.parent(path, true)?;
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        File::from(rustix::fs::openat(&folder, name, flags, Mode::from_raw_mode(0o600))?).write_all(bytes)
    }

    /// Removes unfinished files that an earlier process of this id left in a folder below.
    pub fn remove_drafts(&self, below: &str) -> io::Result<()> {
        let folder = match self.open(below, false) {
            Ok(folder) => folder,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let drafts = format!("{OWN_PREFIX}{}-", self.id);
        for entry in Dir::read_from(&folder)? {
            let name = entry?.file_name().to_owned();
            if name.to_bytes().starts_with(drafts.as_bytes()) {
                rustix::fs::unlinkat(&folder, &name, AtFlags::empty())?;
            }
        }
        Ok(())
    }

    /// The folder that a file is in, and the file's name.
    fn parent<'p>(&self, path: &'p str, create: bool) -> io::Result<(OwnedFd, &'p str)> {
        let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
        if matches!(name, "" | "." | "..") {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok((self.open(folders, create)?, name))
    }

    /// A folder below this one, or itself.
    fn open(&self, below: &str, create: bool) -> io::Result<OwnedFd> {
        let root = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut folder = match rustix::fs::openat(CWD, &self.path, root, Mode::empty()) {
            Err(Errno::NOENT) if create => {
                std::fs::create_dir_all(&self.path)?;
                rustix::fs::openat(CWD, &self.path, root, Mode::empty())?
            }
            opened => opened?,
        };
        for name in below.split('/').filter(|name| !name.is_empty()) {
            if matches!(name, "." | "..") {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            folder = match rustix::fs::openat(folder.as_fd(), name, FOLDER, Mode::empty()) {
                Err(Errno::NOENT) if create => {
                    match rustix::fs::mkdirat(&folder, name, Mode::from_raw_mode(0o777)) {
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(error) => return Err(error.into()),
                    }
                    rustix::fs::openat(&folder, name, FOLDER, Mode::empty())?
                }
                opened => opened?,
            };
        }
        Ok(folder)
    }
}

/// Writes an unfinished file.
fn write_draft(folder: &OwnedFd, draft: &str, bytes: &[u8], mode: Option<u32>) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = || rustix::fs::openat(folder, draft, flags, Mode::from_raw_mode(0o666));
    let opened = match open() {
        Err(Errno::EXIST) => {
            // Left by an earlier process of this id.
            rustix::fs::unlinkat(folder, draft, AtFlags::empty())?;
            open()?
        }
        opened => opened?,
    };
    let mut file = File::from(opened);
    if let Some(mode) = mode {
        rustix::fs::fchmod(&file, Mode::from_raw_mode(raw(mode)))?;
    }
    file.write_all(bytes)
}

/// Whether an error says that a name is a symbolic link, or something on the way no folder.
fn is_no_file(error: &io::Error) -> bool {
    let number = error.raw_os_error();
    [Errno::LOOP, Errno::NOTDIR, Errno::NXIO].iter().any(|errno| number == Some(errno.raw_os_error()))
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
