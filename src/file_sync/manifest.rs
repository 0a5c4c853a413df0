//! A journal next to the files that tells the next process what was written. A line is added before a file is written and after one
//! is removed, so that a file of ours is recognized whenever the process was killed.
//!
//! Its name contains the selection's id. A process locks its journal as long as it lives, so that others see when it
//! has ended.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;

use serde::{Deserialize, Serialize};

use super::folder::Folder;
use super::object::{Kind, ObjectKey};

/// The maximum number of bytes read from a journal.
const LONGEST: u64 = 64 * 1024 * 1024;

/// A journal with this many lines, and twice as many as files, is rewritten.
const SLACK: usize = 1_000;

/// The journal.
#[derive(Debug)]
pub struct Manifest {
    name: String,
    head: Head,
    lines: usize,
    /// Whether the journal's header is from this process.
    is_told: bool,
    /// Whether the last line may be incomplete.
    is_torn: bool,
    /// Kept open for its lock.
    held: Option<File>,
}

/// The writer of a journal. The last header counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Head {
    /// Whether it is a single run, whose files stay.
    once: bool,
}

/// A line.
#[derive(Debug, Deserialize, Serialize)]
pub struct Line {
    /// Whether the file exists, or was removed.
    there: bool,
    /// The absolute path.
    pub path: String,
    /// The kind of its owner.
    kind: Kind,
    /// Its namespace.
    namespace: String,
    /// Its name.
    name: String,
    /// The owner's creation time in seconds.
    pub created: i64,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Entry {
    Head(Head),
    Line(Line),
}

/// The content of a journal.
#[derive(Debug, Default)]
pub struct Journal {
    /// The existing files, without duplicates.
    pub files: Vec<Line>,
    head: Option<Head>,
    lines: usize,
    is_cut: bool,
}

impl Line {
    /// A line for an object's file.
    pub fn of(path: String, owner: &ObjectKey, created: i64) -> Self {
        let ObjectKey { kind, namespace, name } = owner;
        Self { there: true, path, kind: *kind, namespace: namespace.to_string(), name: name.to_string(), created }
    }

    /// A line for a removed file.
    pub fn gone(path: String) -> Self {
        let (namespace, name) = (String::new(), String::new());
        Self { there: false, path, kind: Kind::ConfigMap, namespace, name, created: 0 }
    }

    /// Returns the file's owner.
    pub fn owner(&self) -> ObjectKey {
        ObjectKey { kind: self.kind, namespace: self.namespace.as_str().into(), name: self.name.as_str().into() }
    }
}

impl Journal {
    /// Reads the journal of this name; an empty one if it does not exist.
    pub fn read(folder: &Folder, name: &str) -> io::Result<Self> {
        let bytes = match folder.load(name, LONGEST + 1) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            bytes => bytes?,
        };
        if bytes.len() as u64 > LONGEST {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("{name} is longer than {LONGEST} bytes")));
        }
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let mut journal = Self { is_cut: whole < bytes.len(), ..Self::default() };
        let mut files = BTreeMap::new();
        // An incomplete last line is skipped.
        for line in bytes[..whole].split(|byte| *byte == b'\n') {
            match serde_json::from_slice(line) {
                Ok(Entry::Head(head)) => journal.head = Some(head),
                Ok(Entry::Line(line)) if line.there => drop(files.insert(line.path.clone(), line)),
                Ok(Entry::Line(line)) => drop(files.remove(&line.path)),
                Err(_) => continue,
            }
            journal.lines += 1;
        }
        journal.files = files.into_values().collect();
        Ok(journal)
    }

    /// Whether it is from a single run, whose files stay.
    pub fn is_of_once(&self) -> bool {
        self.head.is_some_and(|head| head.once)
    }
}

impl Manifest {
    /// The prefix of all journal names.
    pub const PREFIX: &'static str = ".outrigger-sync-";

    /// The journal of the process with this id, which is a single run or not.
    pub fn new(id: &str, once: bool) -> Self {
        Self {
            name: format!("{}{id}", Self::PREFIX),
            head: Head { once },
            lines: 0,
            is_told: false,
            is_torn: false,
            held: None,
        }
    }

    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads its content.
    pub fn load(&mut self, folder: &Folder) -> io::Result<Journal> {
        let journal = Journal::read(folder, &self.name)?;
        (self.lines, self.is_told) = (journal.lines, journal.head == Some(self.head));
        if journal.is_cut {
            self.is_torn = true;
        }
        if journal.lines > 0 {
            self.hold(folder);
        }
        Ok(journal)
    }

    /// Adds a line.
    pub fn add(&mut self, folder: &Folder, line: &Line) -> io::Result<()> {
        // Ends an incomplete line first.
        let mut text = if self.is_torn { b"\n".to_vec() } else { Vec::new() };
        if !self.is_told {
            write_line(&mut text, &self.head)?;
        }
        write_line(&mut text, line)?;
        self.is_torn = true;
        folder.append(&self.name, &text)?;
        (self.lines, self.is_told, self.is_torn) = (self.lines + 1, true, false);
        if self.held.is_none() {
            self.hold(folder);
        }
        Ok(())
    }

    /// Whether it should be rewritten for this number of files.
    pub fn is_long(&self, files: usize) -> bool {
        self.lines > 2 * files + SLACK
    }

    /// Rewrites it with exactly these files.
    pub fn rewrite(&mut self, folder: &Folder, files: impl Iterator<Item = Line>) -> io::Result<()> {
        let mut draft = folder.draft(&self.name, Some(0o600))?;
        let (mut text, mut count) = (Vec::new(), 0);
        write_line(&mut text, &self.head)?;
        for line in files {
            write_line(&mut text, &line)?;
            count += 1;
            if text.len() > 64 * 1024 {
                draft.write(&text)?;
                text.clear();
            }
        }
        draft.write(&text)?;
        draft.publish()?;
        (self.lines, self.is_told, self.is_torn) = (count, true, false);
        self.hold(folder);
        Ok(())
    }

    /// Locks the journal. If files cannot be locked, no process considers them abandoned.
    fn hold(&mut self, folder: &Folder) {
        self.held = folder.hold(&self.name).ok();
    }
}

fn write_line(text: &mut Vec<u8>, line: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *text, line)?;
    text.push(b'\n');
    Ok(())
}
