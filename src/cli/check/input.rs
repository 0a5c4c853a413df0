//! The objects of files and folders, and where each stands.

use super::print::Located;
use crate::cli::input::add_files_of;
use crate::documents::{self, Position};
use crate::mesh_integrity::{Code, Finding, Key, Object};
use anyhow::{Context, Result};
use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// What the files hold.
#[derive(Debug, Default)]
pub(super) struct Input {
    pub objects: Vec<Object>,
    pub places: Places,
    /// Files that cannot be read as objects, and objects that stand twice.
    pub unreadable: Vec<Located>,
}

/// Where objects stand.
#[derive(Debug, Default)]
pub(super) struct Places(HashMap<Key, Position>);

/// What one file holds.
type File = Result<Vec<(Position, Object)>, Located>;

impl Input {
    /// Reads files, the YAML and JSON files of folders, and `-` as standard input.
    pub fn read(paths: &[PathBuf], namespace: &str) -> Result<Self> {
        let mut files = Vec::new();
        for path in paths {
            if path.is_dir() {
                add_files_of(path, true, &mut files).with_context(|| format!("cannot read {}", path.display()))?;
            } else {
                files.push(path.clone());
            }
        }
        let mut input = Self::default();
        for file in read_all(&files, namespace)? {
            match file {
                Ok(objects) => objects.into_iter().for_each(|(position, object)| input.add(position, object)),
                Err(problem) => input.unreadable.push(problem),
            }
        }
        Ok(input)
    }

    fn add(&mut self, position: Position, object: Object) {
        let key = object.key().clone();
        let (file, line) = (position.file.to_string(), position.line);
        if let Some(first) = self.places.0.insert(key.clone(), position) {
            let message = format!("stands at {first} already; this one counts");
            let finding = Located::new(Code::OUT0002, key.to_string(), message, file, line);
            self.unreadable.push(finding.advice("remove or rename one of them"));
        }
        self.objects.push(object);
    }
}

impl Places {
    /// Whether an object is of the files.
    pub fn has(&self, key: &Key) -> bool {
        self.0.contains_key(key)
    }

    /// A finding with the place of its first object that is of the files.
    pub fn located(&self, finding: &Finding) -> Located {
        let place = finding.objects.iter().find_map(|key| self.0.get(key));
        let mut message = finding.message.clone();
        if let [_, _, ..] = &finding.objects[..] {
            let names: Vec<String> = finding.objects.iter().map(ToString::to_string).collect();
            message = format!("{message}: {}", names.join(", "));
        }
        Located {
            code: finding.code,
            severity: finding.severity,
            resource: finding.resource.clone(),
            message,
            advice: finding.advice.clone(),
            field: finding.field.clone(),
            file: place.map(|place| place.file.to_string()),
            line: place.map(|place| place.line),
        }
    }
}

/// Reads files on all processors; the order is that of the files.
fn read_all(files: &[PathBuf], namespace: &str) -> Result<Vec<File>> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut read = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(file) = files.get(index) else { return read };
            read.push((index, read_one(file, namespace)));
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(files.len()).max(1);
    let mut all = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        handles.into_iter().flat_map(|handle| handle.join().unwrap_or_default()).collect::<Vec<_>>()
    });
    all.sort_by_key(|(index, _)| *index);
    all.into_iter().map(|(_, file)| file).collect()
}

fn read_one(path: &Path, namespace: &str) -> Result<File> {
    let (name, text) = if path.as_os_str() == "-" {
        let mut text = Vec::new();
        std::io::stdin().read_to_end(&mut text).context("cannot read standard input")?;
        ("standard input".to_owned(), text)
    } else {
        let name = path.display().to_string();
        let text = std::fs::read(path).with_context(|| format!("cannot read {name}"))?;
        (name, text)
    };
    let read = |document: documents::Document| {
        Object::read(&document.value, namespace).map(|object| (document.position, object))
    };
    match documents::parse_with(&name, &text, read) {
        Ok(objects) => Ok(Ok(objects.into_iter().flatten().collect())),
        Err(error) => {
            let (line, message) = match &error {
                documents::ParseError::Syntax { line, message, .. } => {
                    (usize::try_from(*line).unwrap_or(1), message.clone())
                }
                documents::ParseError::NotAnObject { position, .. } | documents::ParseError::Field { position, .. } => {
                    (position.line, error.to_string())
                }
                _ => (1, error.to_string()),
            };
            let finding = Located::new(Code::OUT0001, format!("File/{name}"), message, name, line);
            Ok(Err(finding.advice("no object of the file is checked until it can be read")))
        }
    }
}
