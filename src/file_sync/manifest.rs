//! What was written, for the next start: a journal beside the files, to which a line is added before a file is written and after one
//! is removed. So a file of ours is never taken for another's, whenever the process is killed.

use std::io;

use serde::{Deserialize, Serialize};

use super::folder::Folder;
use super::naming::OWN_PREFIX;
use super::object::{Kind, ObjectKey};

/// At most this many bytes of a journal are read.
const LONGEST: u64 = 64 * 1024 * 1024;

/// A journal with more lines than twice its files, and this many, is written anew.
const SLACK: usize = 1_000;

/// The journal.
#[derive(Debug)]
pub struct Manifest {
    name: String,
    lines: usize,
}

/// A line.
#[derive(Debug, Deserialize, Serialize)]
pub struct Line {
    /// Whether the file is there, rather than removed.
    pub there: bool,
    /// The absolute path.
    pub path: String,
    /// The kind of its owner.
    kind: Kind,
    /// Its namespace.
    namespace: String,
    /// Its name.
    name: String,
    /// When the owner was created, in seconds.
    pub created: i64,
}

impl Line {
    /// A line about a file.
    pub fn new(there: bool, path: String, owner: &ObjectKey, created: i64) -> Self {
        let ObjectKey { kind, namespace, name } = owner;
        Self { there, path, kind: *kind, namespace: namespace.to_string(), name: name.to_string(), created }
    }

    /// Whose file it is.
    pub fn owner(&self) -> ObjectKey {
        ObjectKey { kind: self.kind, namespace: self.namespace.as_str().into(), name: self.name.as_str().into() }
    }
}

impl Manifest {
    /// The journal of the process of this id.
    pub fn new(id: &str) -> Self {
        Self { name: format!("{OWN_PREFIX}sync-{id}"), lines: 0 }
    }

    /// The lines that are there. The last is left out where it is not whole.
    pub fn load(&mut self, folder: &Folder) -> io::Result<Vec<Line>> {
        let bytes = match folder.load(&self.name, LONGEST) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            bytes => bytes?,
        };
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let lines: Vec<Line> =
            bytes[..whole].split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
        self.lines = lines.len();
        if whole < bytes.len() {
            folder.append(&self.name, b"\n")?; // what is added next is a line of its own
        }
        Ok(lines)
    }

    /// Adds a line.
    pub fn add(&mut self, folder: &Folder, line: &Line) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.lines += 1;
        folder.append(&self.name, &text)
    }

    /// Whether it is worth to write it anew, with this many files.
    pub fn is_long(&self, files: usize) -> bool {
        self.lines > 2 * files + SLACK
    }

    /// Writes it anew, with these files and no others.
    pub fn rewrite(&mut self, folder: &Folder, lines: impl Iterator<Item = Line>) -> io::Result<()> {
        let (mut text, mut count) = (Vec::new(), 0);
        for line in lines {
            serde_json::to_writer(&mut text, &line)?;
            text.push(b'\n');
            count += 1;
        }
        folder.write(&self.name, &text, Some(0o600))?;
        self.lines = count;
        Ok(())
    }
}
