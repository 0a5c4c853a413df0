//! What was written, for the next start: a journal beside the files, to which a line is added before a file is written and after one
//! is removed. So a file of ours is never taken for another's, whenever the process is killed.
//!
//! Its name is that of the selection. A process holds its journal for as long as it lives, so that others see when nobody does.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;

use serde::{Deserialize, Serialize};

use super::folder::Folder;
use super::object::{Kind, ObjectKey};

/// At most this many bytes of a journal are read.
const LONGEST: u64 = 64 * 1024 * 1024;

/// A journal with more lines than twice its files, and this many, is written anew.
const SLACK: usize = 1_000;

/// The journal.
#[derive(Debug)]
pub struct Manifest {
    name: String,
    head: Head,
    lines: usize,
    /// Whether the head that the journal has is ours.
    is_told: bool,
    /// Whether the last line may be there in part.
    is_torn: bool,
    /// Kept open, and so held.
    held: Option<File>,
}

/// Who wrote a journal; the last one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Head {
    /// A process that ends when all is written, and whose files stay.
    once: bool,
}

/// A line.
#[derive(Debug, Deserialize, Serialize)]
pub struct Line {
    /// Whether the file is there, rather than removed.
    there: bool,
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

#[derive(Deserialize)]
#[serde(untagged)]
enum Entry {
    Head(Head),
    Line(Line),
}

/// What a journal says.
#[derive(Debug, Default)]
pub struct Journal {
    /// The files that are there, each once.
    pub files: Vec<Line>,
    head: Option<Head>,
    lines: usize,
    is_cut: bool,
}

impl Line {
    /// A file that is an object's.
    pub fn of(path: String, owner: &ObjectKey, created: i64) -> Self {
        let ObjectKey { kind, namespace, name } = owner;
        Self { there: true, path, kind: *kind, namespace: namespace.to_string(), name: name.to_string(), created }
    }

    /// A file that is gone.
    pub fn gone(path: String) -> Self {
        let (namespace, name) = (String::new(), String::new());
        Self { there: false, path, kind: Kind::ConfigMap, namespace, name, created: 0 }
    }

    /// Whose file it is.
    pub fn owner(&self) -> ObjectKey {
        ObjectKey { kind: self.kind, namespace: self.namespace.as_str().into(), name: self.name.as_str().into() }
    }
}

impl Journal {
    /// The journal of this name; an empty one where there is none.
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
        // The last line is left out where it is not whole.
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

    /// Whether it is that of a process that ended when all was written, and whose files stay.
    pub fn is_of_once(&self) -> bool {
        self.head.is_some_and(|head| head.once)
    }
}

impl Manifest {
    /// How the names of all journals begin.
    pub const PREFIX: &'static str = ".outrigger-sync-";

    /// The journal of the process of this id, which is one that ends when all is written, or not.
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

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it says.
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
        // What follows a part of a line is a line of its own.
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

    /// Whether it is worth to write it anew, with this many files.
    pub fn is_long(&self, files: usize) -> bool {
        self.lines > 2 * files + SLACK
    }

    /// Writes it anew, with these files and no others.
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

    /// Where files cannot be held, nobody takes them for free, either.
    fn hold(&mut self, folder: &Folder) {
        self.held = folder.hold(&self.name).ok();
    }
}

fn write_line(text: &mut Vec<u8>, line: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *text, line)?;
    text.push(b'\n');
    Ok(())
}
