//! The objects of files and folders, and their positions.

use super::print::Located;
use crate::cli::given::{self, Depth, GivenFile};
use crate::documents::{self, Lines, ParseError, Part, Position};
use crate::mesh_integrity::{Code, Finding, Key, Object};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The objects of the files.
#[derive(Debug, Default)]
pub(super) struct Input {
    pub objects: Vec<Object>,
    pub places: Places,
    /// Findings about unreadable files and duplicate objects.
    pub unreadable: Vec<Located>,
}

/// Positions of objects, and the texts of their files, in which the lines of fields are found.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// With the byte offset of that line.
    positions: HashMap<Key, (Position, usize)>,
    texts: HashMap<Arc<str>, String>,
}

/// The objects of one file, and its text.
#[derive(Default)]
struct File {
    name: String,
    objects: Vec<(Position, Object)>,
    text: String,
    problems: Vec<Located>,
}

impl Input {
    /// Reads files, the YAML and JSON files of folders, and `-` as standard input. Unreadable input is a finding.
    pub fn read(paths: &[PathBuf], namespace: &str) -> Self {
        let mut input = Self::default();
        let files = given::files(paths, Depth::Deep, |folder, error| input.unreadable.push(unread(folder, &error)));
        for file in read_all(&files, namespace) {
            input.unreadable.extend(file.problems);
            let mut starts = Starts { rest: &file.text, line: 1, start: 0 };
            for (position, object) in file.objects {
                let start = starts.of(position.line);
                input.add(position, start, object);
            }
            input.places.texts.insert(file.name.into(), file.text);
        }
        input
    }

    fn add(&mut self, position: Position, start: usize, object: Object) {
        let key = object.key().clone();
        let (file, line) = (position.file.to_string(), position.line);
        if let Some((first, _)) = self.places.positions.insert(key.clone(), (position, start)) {
            let message = format!("is also at {first}; this one counts");
            let finding = Located::new(Code::OUT0002, key.to_string(), message, file, line);
            self.unreadable.push(finding.advice("remove or rename one of them"));
        }
        self.objects.push(object);
    }
}

/// The beginnings of lines, queried in order.
struct Starts<'t> {
    rest: &'t str,
    line: usize,
    start: usize,
}

impl Starts<'_> {
    fn of(&mut self, line: usize) -> usize {
        while self.line < line
            && let Some(end) = self.rest.find('\n')
        {
            self.rest = &self.rest[end + 1..];
            self.start += end + 1;
            self.line += 1;
        }
        self.start
    }
}

impl Places {
    /// Whether an object is from the files.
    pub fn has(&self, key: &Key) -> bool {
        self.positions.contains_key(key)
    }

    /// Returns findings with the position of their first object in the files: of the field, or else of the object.
    pub fn located<'f>(&self, findings: impl Iterator<Item = &'f Finding>) -> Vec<Located> {
        let mut read: HashMap<&Position, Option<Lines<'_>>> = HashMap::new();
        let mut place = |finding: &Finding| {
            let found = finding.objects.iter().find_map(|key| Some((key, self.positions.get(key)?)));
            let (key, (position, start)) = found?;
            let has_field = !finding.field.is_empty() && finding.objects.first() == Some(key);
            let lines = if has_field {
                let text = || self.texts.get(&position.file)?.get(*start..);
                read.entry(position).or_insert_with(|| Lines::read(text()?, position)).as_ref()
            } else {
                None
            };
            Some((position, lines.and_then(|lines| lines.line(&finding.field))))
        };
        findings.map(|finding| Self::shown(finding, place(finding))).collect()
    }

    fn shown(finding: &Finding, place: Option<(&Position, Option<usize>)>) -> Located {
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
            file: place.map(|(position, _)| position.file.to_string()),
            begins: place.map(|(position, _)| position.line),
            line: place.map(|(position, line)| line.unwrap_or(position.line)),
        }
    }
}

/// Reads files on all processors. The order of the files is kept.
fn read_all(files: &[GivenFile], namespace: &str) -> Vec<File> {
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

fn unread(path: &Path, error: &std::io::Error) -> Located {
    let name = path.display().to_string();
    let message = format!("cannot be read: {error}");
    Located::new(Code::OUT0001, format!("File/{name}"), message, name, 1).advice("the file is not checked")
}

fn read_one(given: &GivenFile, namespace: &str) -> File {
    let text = match given.read() {
        Ok(text) => text,
        Err(error) => return File { problems: vec![unread(Path::new(&given.name()), &error)], ..File::default() },
    };
    let name = given.name();
    let mut file = File::default();
    let outcome = documents::parse_each(&name, &text, &mut |part| match part {
        Part::Object(document) => {
            file.objects.extend(Object::read(&document.value, namespace).map(|object| (document.position, object)));
        }
        Part::Faulty(error) => file.problems.push(faulty(&name, &error).advice("it is not checked")),
        Part::Foreign(position) => {
            let message = "holds no Kubernetes object here, and is skipped".to_owned();
            let line = position.line;
            file.problems.push(Located::new(Code::OUT0003, format!("File/{name}"), message, name.clone(), line));
        }
    });
    if let Err(error) = outcome {
        let finding = faulty(&name, &error).advice("no object of the file is checked until it can be read");
        return File { problems: vec![finding], ..File::default() };
    }
    file.name = name;
    file.text = String::from_utf8(text).unwrap_or_default(); // it was parsed as such
    file
}

fn faulty(name: &str, error: &ParseError) -> Located {
    let (line, message) = match error {
        ParseError::Syntax { line, message, .. } => (usize::try_from(*line).unwrap_or(1), message.clone()),
        ParseError::NotAnObject { position, .. } | ParseError::Field { position, .. } => {
            (position.line, error.to_string())
        }
        _ => (1, error.to_string()),
    };
    Located::new(Code::OUT0001, format!("File/{name}"), message, name.to_owned(), line)
}
