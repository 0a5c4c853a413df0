//! Does what the plan says, and remembers what failed. Whoever watches, reads and downloads tells it; nothing here waits.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;

use super::folder::{Folder, OnDisk};
use super::manifest::{Line, Manifest};
use super::metrics::SyncMetrics;
use super::naming::{Content, Entry, Naming, Place};
use super::object::{ObjectKey, WireObject};
use super::options::Part;
use super::plan::{NO_SLICE, Plan, Round, Step, Written, digest};
use super::reload::Changes;
use crate::cluster::Event;

/// A download that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// What for.
    pub place: Arc<Place>,
    /// From where.
    pub url: Box<str>,
    /// Whether the content is needed even where it is the same as the last time.
    pub anew: bool,
}

/// The files and what is known of them. A clone is the same.
#[derive(Clone, Debug)]
pub struct Engine {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// There is something to read.
    read: Notify,
}

#[derive(Debug)]
struct State {
    naming: Naming,
    mode: Option<u32>,
    parts: Vec<Part>,
    /// By part, the number of its present list.
    lists: Vec<u32>,
    /// Parts that had a complete list.
    listed: HashSet<u16>,
    plan: Plan,
    folders: Vec<Folder>,
    manifest: Manifest,
    changes: Changes,
    downloads: UnboundedSender<Wanted>,
    metrics: SyncMetrics,
    /// Objects to be read again.
    reads: BTreeSet<ObjectKey>,
    /// Files that could not be written, and why.
    failing: BTreeMap<Place, Failure>,
    /// Downloads under way.
    downloading: HashSet<(Arc<Place>, Box<str>)>,
    /// Downloads that failed, and why.
    missing: BTreeMap<Place, String>,
    /// Objects of which not all becomes files, and why.
    refused: BTreeMap<ObjectKey, String>,
}

/// What an engine is made of.
#[derive(Debug)]
pub struct Parts {
    /// How files are named.
    pub naming: Naming,
    /// Their permissions.
    pub mode: Option<u32>,
    /// What is followed.
    pub followed: Vec<Part>,
    /// What tells this agent from others.
    pub id: String,
    /// Who is told of changes.
    pub changes: Changes,
    /// Who downloads.
    pub downloads: UnboundedSender<Wanted>,
    /// What is counted.
    pub metrics: SyncMetrics,
}

impl Engine {
    /// An engine that knows what the last process wrote.
    pub fn new(parts: Parts) -> Self {
        let Parts { naming, mode, followed: parts, id, changes, downloads, metrics } = parts;
        let folders = naming.roots.iter().map(|root| Folder::new(root, &id)).collect();
        let mut state = State {
            naming,
            mode,
            lists: vec![0; parts.len()],
            parts,
            listed: HashSet::new(),
            plan: Plan::default(),
            folders,
            manifest: Manifest::new(&id),
            changes,
            downloads,
            metrics,
            reads: BTreeSet::new(),
            failing: BTreeMap::new(),
            downloading: HashSet::new(),
            missing: BTreeMap::new(),
            refused: BTreeMap::new(),
        };
        state.restore();
        Self { shared: Arc::new(Shared { state: Mutex::new(state), read: Notify::new() }) }
    }

    /// Takes an event of a part.
    pub fn tell(&self, part: u16, event: Event<WireObject>) {
        self.with(|state| state.tell(part, event));
    }

    /// Takes an object that was read again, if it is known still.
    pub fn read(&self, key: &ObjectKey, object: &WireObject) {
        self.with(|state| {
            if let Some(heard) = state.plan.heard(key) {
                state.apply(key, object, heard);
            }
        });
    }

    /// Takes what was downloaded, if it is wanted still.
    pub fn downloaded(&self, wanted: &Wanted, bytes: &[u8]) {
        self.with(|state| {
            state.missing.remove(&wanted.place);
            state.is_downloaded(wanted);
            if let Some(owner) = state.plan.wants(&wanted.place, &wanted.url) {
                state.write(&owner, &wanted.place, bytes);
            }
        });
    }

    /// What was downloaded is what it was.
    pub fn same_as_before(&self, wanted: &Wanted) {
        self.with(|state| {
            state.missing.remove(&wanted.place);
            state.is_downloaded(wanted);
        });
    }

    /// Whether something is downloaded now.
    pub fn is_downloading(&self) -> bool {
        !self.lock().downloading.is_empty()
    }

    /// A download failed; the file stays as it is.
    pub fn not_downloaded(&self, wanted: &Wanted, problem: &str) {
        self.with(|state| {
            state.is_downloaded(wanted);
            if state.plan.wants(&wanted.place, &wanted.url).is_none() {
                return;
            }
            let path = state.naming.path(&wanted.place);
            if state.missing.insert((*wanted.place).clone(), problem.to_owned()).as_deref() != Some(problem) {
                tracing::warn!("{} is not downloaded and stays as it is: {problem}", path.display());
            }
        });
    }

    /// Looks at all files: what changed on disk is made as it should be, and what is downloaded is asked for again.
    pub fn look(&self, heal: bool) {
        self.with(|state| state.look(heal));
    }

    /// The objects to be read again, once there are some.
    pub async fn to_read(&self) -> Vec<ObjectKey> {
        loop {
            let keys = std::mem::take(&mut self.lock().reads);
            if !keys.is_empty() {
                return keys.into_iter().collect();
            }
            self.shared.read.notified().await;
        }
    }

    /// Whether a file could not be written.
    pub fn has_failures(&self) -> bool {
        !self.lock().failing.is_empty()
    }

    /// Tries what failed once more.
    pub fn retry(&self) {
        self.with(|state| {
            let failing: Vec<Place> = state.failing.keys().cloned().collect();
            for place in failing {
                match state.plan.spoiled(&place) {
                    Some(step) => state.do_without_content(vec![step]),
                    None => state.remove(&place),
                }
            }
        });
    }

    /// Whether every part had a complete list.
    pub fn is_listed(&self) -> bool {
        let state = self.lock();
        state.listed.len() == state.parts.len()
    }

    /// What is wrong with files, objects and downloads.
    pub fn problems(&self) -> Problems {
        let state = self.lock();
        let named = |place: &Place, problem: &str| format!("{}: {problem}", state.naming.path(place).display());
        Problems {
            files: state.failing.iter().map(|(place, failure)| named(place, &failure.problem)).collect(),
            is_folder_broken: state.failing.values().any(|failure| failure.of_folder),
            downloads: state.missing.iter().map(|(place, problem)| named(place, problem)).collect(),
            objects: state.refused.iter().map(|(key, problem)| format!("{key}: {problem}")).collect(),
            counts: state.plan.counts(),
        }
    }

    fn with(&self, act: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        act(&mut state);
        state.count();
        if !state.reads.is_empty() {
            self.shared.read.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file that could not be written.
#[derive(Debug)]
struct Failure {
    problem: String,
    /// Whether no other file could be written, either.
    of_folder: bool,
}

/// What is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    /// Files that cannot be written.
    pub files: Vec<String>,
    /// Whether a folder cannot be written at all: it is full, read-only or forbidden.
    pub is_folder_broken: bool,
    /// Files whose content cannot be downloaded.
    pub downloads: Vec<String>,
    /// Objects of which not all becomes files.
    pub objects: Vec<String>,
    /// Objects and files.
    pub counts: (usize, usize),
}

impl State {
    fn tell(&mut self, part: u16, event: Event<WireObject>) {
        let Some(kind) = self.parts.get(usize::from(part)).map(|part| part.kind) else { return };
        let list = self.lists[usize::from(part)];
        match event {
            Event::Begin => self.lists[usize::from(part)] = list.wrapping_add(1),
            Event::Item(object) => {
                let key = object.key(kind);
                tracing::debug!("Working on {kind}: {}/{}", key.namespace, key.name);
                self.apply(&key, &object, Round { slice: part, list });
            }
            Event::End => {
                for key in self.plan.missing(Round { slice: part, list }) {
                    tracing::info!("Working on DELETED {kind} {}/{}", key.namespace, key.name);
                    self.delete(&key);
                }
                self.listed.insert(part);
                if self.listed.len() == self.parts.len() {
                    self.all_listed();
                }
            }
            Event::Applied(object) => {
                let key = object.key(kind);
                let what = if self.plan.knows(&key) { "MODIFIED" } else { "ADDED" };
                tracing::info!("Working on {what} {kind} {}/{}", key.namespace, key.name);
                self.apply(&key, &object, Round { slice: part, list });
            }
            Event::Deleted(object) => {
                let key = object.key(kind);
                tracing::info!("Working on DELETED {kind} {}/{}", key.namespace, key.name);
                self.delete(&key);
            }
        }
    }

    /// Every part has had a list: what none of them has was written for other options, and goes.
    fn all_listed(&mut self) {
        for key in self.plan.missing(Round { slice: NO_SLICE, list: 1 }) {
            self.delete(&key);
        }
        self.changes.first_list_is_over();
        self.tidy();
    }

    fn apply(&mut self, key: &ObjectKey, object: &WireObject, heard: Round) {
        let (entries, errors) = self.naming.entries(key, object);
        let problem = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        if problem.is_empty() {
            self.refused.remove(key);
        } else if self.refused.insert(key.clone(), problem.clone()).as_deref() != Some(&problem) {
            tracing::warn!("{key}: {problem}");
        }
        let steps = self.plan.apply(key, object.created(), heard, &entries);
        let mut later = Vec::new();
        for step in steps {
            match step {
                Step::Write(place, number) => {
                    if let Some(Entry { content: Content::Bytes(bytes), .. }) = entries.get(number) {
                        self.write(key, &place, bytes);
                    }
                }
                step => later.push(step),
            }
        }
        self.do_without_content(later);
    }

    fn delete(&mut self, key: &ObjectKey) {
        self.refused.remove(key);
        let steps = self.plan.delete(key);
        self.do_without_content(steps);
    }

    fn do_without_content(&mut self, steps: Vec<Step>) {
        for step in steps {
            match step {
                Step::Write(..) => {}
                Step::Fetch(place, url) => self.download(Wanted { place, url, anew: true }),
                Step::Remove(place) => self.remove(&place),
                Step::Read(key) => {
                    self.reads.insert((*key).clone());
                }
            }
        }
    }

    fn download(&mut self, wanted: Wanted) {
        if self.downloading.insert((wanted.place.clone(), wanted.url.clone())) {
            let _ = self.downloads.send(wanted);
        }
    }

    fn is_downloaded(&mut self, wanted: &Wanted) {
        self.downloading.remove(&(wanted.place.clone(), wanted.url.clone()));
    }

    /// Makes a file hold this.
    fn write(&mut self, owner: &ObjectKey, place: &Place, bytes: &[u8]) {
        let path = self.naming.path(place);
        match self.try_write(owner, place, bytes) {
            Ok(changed) => {
                if self.failing.remove(place).is_some() {
                    tracing::info!("{} can be written again", path.display());
                }
                if changed {
                    self.metrics.written();
                    self.changes.add(path.display().to_string());
                }
            }
            Err(error) => self.failed(place, "write", &error),
        }
    }

    fn try_write(&mut self, owner: &ObjectKey, place: &Place, bytes: &[u8]) -> io::Result<bool> {
        let Some(folder) = self.folders.get(usize::from(place.root)) else { return Ok(false) };
        let new = digest(bytes);
        if self.plan.written(place).is_none()
            && let Some(found) = folder.read(&place.path)?
            && found.written.digest == new
            && self.mode.is_none_or(|mode| mode == found.mode)
        {
            self.claim(owner, place)?;
            self.plan.wrote(place, found.written);
            return Ok(false);
        }
        self.claim(owner, place)?;
        let path = self.naming.path(place);
        let form = if bytes.is_ascii() { "ascii" } else { "binary" };
        tracing::info!("Writing {} ({form})", path.display());
        let folder = &self.folders[usize::from(place.root)];
        let stamp = folder.write(&place.path, bytes, self.mode)?;
        self.plan.wrote(place, Written { digest: new, stamp });
        Ok(true)
    }

    /// Notes whose a file is, before it is written.
    fn claim(&mut self, owner: &ObjectKey, place: &Place) -> io::Result<()> {
        if self.plan.is_noted(place, owner) {
            return Ok(());
        }
        let line = Line::new(true, self.naming.path(place).display().to_string(), owner, self.plan.created(owner));
        self.manifest.add(&self.folders[0], &line)?;
        self.plan.noted(place, owner);
        Ok(())
    }

    fn remove(&mut self, place: &Place) {
        let path = self.naming.path(place);
        self.missing.remove(place);
        self.downloading.retain(|(known, _)| **known != *place);
        let Some(folder) = self.folders.get(usize::from(place.root)) else { return };
        tracing::info!("Removing {}", path.display());
        match folder.remove(&place.path) {
            Ok(true) => {
                self.metrics.removed();
                self.changes.add(path.display().to_string());
            }
            Ok(false) => {}
            Err(error) => {
                self.failed(place, "remove", &error);
                return;
            }
        }
        self.failing.remove(place);
        let nobody = ObjectKey { kind: super::object::Kind::ConfigMap, namespace: "".into(), name: "".into() };
        let line = Line::new(false, path.display().to_string(), &nobody, 0);
        if let Err(error) = self.manifest.add(&self.folders[0], &line) {
            tracing::debug!("the manifest cannot be written: {error}");
        }
        if self.manifest.is_long(self.plan.counts().1) {
            self.tidy();
        }
    }

    fn failed(&mut self, place: &Place, doing: &str, error: &io::Error) {
        self.metrics.failed();
        let path = self.naming.path(place);
        let problem = format!("cannot {doing} it: {error}");
        let of_folder = matches!(
            error.kind(),
            io::ErrorKind::PermissionDenied
                | io::ErrorKind::ReadOnlyFilesystem
                | io::ErrorKind::StorageFull
                | io::ErrorKind::QuotaExceeded
        );
        let before = self.failing.insert(place.clone(), Failure { problem: problem.clone(), of_folder });
        if before.is_none_or(|before| before.problem != problem) {
            tracing::error!("{}: {problem}; what was there stays, and it is tried again", path.display());
        }
    }

    fn look(&mut self, heal: bool) {
        let (mut touched, mut wanted) = (Vec::new(), Vec::new());
        for (place, written, url) in self.plan.files() {
            let folder = self.folders.get(usize::from(place.root));
            let is_as_left = |folder: &Folder, left: Written| folder.is_as_left(&place.path, left.stamp);
            match (written, folder) {
                (Some(left), Some(folder)) if heal && !is_as_left(folder, left) => touched.push((place.clone(), left)),
                (_, _) => {
                    let anew = written.is_none();
                    wanted.extend(url.map(|url| Wanted { place: place.clone(), url: url.into(), anew }));
                }
            }
        }
        for wanted in wanted {
            self.download(wanted);
        }
        for (place, left) in touched {
            let found = self.folders[usize::from(place.root)].read(&place.path).ok().flatten();
            let is_right =
                |found: &OnDisk| found.written.digest == left.digest && self.mode.is_none_or(|mode| mode == found.mode);
            if let Some(found) = found.filter(is_right) {
                self.plan.wrote(&place, found.written);
                continue;
            }
            let path = self.naming.path(&place);
            tracing::info!("{} was changed or removed on disk and is made as it should be", path.display());
            let step = self.plan.spoiled(&place);
            self.do_without_content(step.into_iter().collect());
        }
    }

    /// Knows what the manifest says.
    fn restore(&mut self) {
        let lines = match self.manifest.load(&self.folders[0]) {
            Ok(lines) => lines,
            Err(error) => {
                tracing::warn!("the manifest cannot be read: {error}; files that were written before are not removed");
                return;
            }
        };
        let mut last: BTreeMap<Place, Line> = BTreeMap::new();
        for line in lines {
            let Some(place) = self.naming.place_of(std::path::Path::new(&line.path)) else { continue };
            if line.there {
                last.insert(place, line);
            } else {
                last.remove(&place);
            }
        }
        let mut folders = BTreeSet::from([(0, "")]);
        for (place, line) in &last {
            folders.insert((place.root, place.path.rsplit_once('/').map_or("", |(folder, _)| folder)));
            let owner = line.owner();
            let part = self.parts.iter().position(|part| part.has(owner.kind, &owner.namespace, &owner.name));
            let slice = part.and_then(|part| part.try_into().ok()).unwrap_or(NO_SLICE);
            self.plan.restore(&owner, line.created, slice, place);
            self.plan.noted(place, &owner);
        }
        for (root, path) in folders {
            let removed = self.folders.get(usize::from(root)).map(|folder| folder.remove_drafts(path));
            if let Some(Err(error)) = removed {
                tracing::debug!("unfinished files cannot be removed: {error}");
            }
        }
    }

    /// Writes the manifest anew, if that is worth it.
    fn tidy(&mut self) {
        if !self.manifest.is_long(self.plan.counts().1) {
            return;
        }
        let naming = &self.naming;
        let lines = self
            .plan
            .owned()
            .map(|(owner, created, place)| Line::new(true, naming.path(place).display().to_string(), owner, created));
        if let Err(error) = self.manifest.rewrite(&self.folders[0], lines) {
            tracing::warn!("the manifest cannot be written: {error}");
        }
    }

    fn count(&self) {
        self.metrics.are(self.plan.counts(), self.failing.len(), self.missing.len(), self.refused.len());
    }
}
