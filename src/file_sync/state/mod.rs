//! The files and their state: executes the plan, and remembers failures. Nothing here waits.

mod disk;
mod downloads;
mod looks;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Write as _;
use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;

use crate::cluster::Event;
use crate::file_sync::folder::{Arrived, Folder};
use crate::file_sync::former::Former;
use crate::file_sync::manifest::Manifest;
use crate::file_sync::metrics::SyncMetrics;
use crate::file_sync::naming::{Content, Entry, Naming, NamingError, Place};
use crate::file_sync::object::{ObjectKey, WireObject};
use crate::file_sync::options::Part;
use crate::file_sync::plan::{Plan, Round, Step};
use crate::file_sync::reload::Changes;

/// At most this many problems of an object are reported.
const MOST_TOLD: usize = 3;

/// A pending download.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The file.
    pub place: Arc<Place>,
    /// The URL.
    pub url: Box<str>,
    /// The owner of the file.
    pub owner: ObjectKey,
    /// Whether the content is needed even if it is unchanged.
    pub anew: bool,
    /// Whether the last attempt failed.
    pub failed_before: bool,
}

/// A download that waits for its turn or is in progress.
#[derive(Debug, Default)]
struct Download {
    is_under_way: bool,
    anew: bool,
    /// Whether it is needed once more.
    again: bool,
}

/// The parts of an engine.
#[derive(Debug)]
pub struct Parts {
    /// How files are named.
    pub naming: Naming,
    /// Their permissions.
    pub mode: Option<u32>,
    /// The parts that are followed.
    pub followed: Vec<Part>,
    /// The id of this agent.
    pub id: String,
    /// Whether it is a single run.
    pub once: bool,
    /// The changes to report.
    pub changes: Changes,
    /// The queue of downloads.
    pub downloads: UnboundedSender<Arc<Place>>,
    /// The metrics.
    pub metrics: SyncMetrics,
}

/// The current problems.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    /// Problems that prevent writes: of the folder and of each file.
    pub files: Vec<String>,
    /// Whether a folder cannot be written at all: it is full, read-only or forbidden.
    pub is_folder_broken: bool,
    /// Files whose content cannot be downloaded.
    pub downloads: Vec<String>,
    /// Objects that cannot become files completely.
    pub objects: Vec<String>,
    /// The numbers of objects and files.
    pub counts: (usize, usize),
}

#[derive(Debug)]
pub struct State {
    naming: Naming,
    mode: Option<u32>,
    parts: Vec<Part>,
    /// The number of the current list, by part.
    lists: Vec<u32>,
    /// Parts that had a complete list.
    listed: HashSet<u16>,
    plan: Plan,
    folders: Vec<Folder>,
    manifest: Manifest,
    former: Former,
    changes: Changes,
    downloads: UnboundedSender<Arc<Place>>,
    metrics: SyncMetrics,
    /// Objects to read again.
    reads: BTreeSet<ObjectKey>,
    /// Objects being read. An event that arrives in the meantime is newer.
    reading: HashSet<ObjectKey>,
    /// Files that could not be written, with the reason.
    failing: BTreeMap<Place, Failure>,
    /// Why no file can be created in the folder.
    unusable: Option<String>,
    /// Downloads that wait for their turn or are in progress.
    downloading: HashMap<Arc<Place>, Download>,
    /// Failed downloads, with the reason.
    missing: BTreeMap<Place, String>,
    /// Objects that cannot become files completely, with the reason.
    refused: BTreeMap<ObjectKey, String>,
}

/// A file that could not be written.
#[derive(Debug)]
struct Failure {
    problem: String,
    /// Whether no other file could be written either.
    of_folder: bool,
}

/// The new content of a file.
enum New<'b> {
    Bytes(&'b [u8]),
    Arrived(Arrived),
}

impl State {
    /// Loads what the last process with this id left.
    pub fn new(parts: Parts) -> Self {
        let Parts { naming, mode, followed: parts, id, once, changes, downloads, metrics } = parts;
        let folders = naming.roots.iter().map(|root| Folder::new(root, &id)).collect();
        let mut state = Self {
            naming,
            mode,
            lists: vec![0; parts.len()],
            parts,
            listed: HashSet::new(),
            plan: Plan::default(),
            folders,
            manifest: Manifest::new(&id, once),
            former: Former::default(),
            changes,
            downloads,
            metrics,
            reads: BTreeSet::new(),
            reading: HashSet::new(),
            failing: BTreeMap::new(),
            unusable: None,
            downloading: HashMap::new(),
            missing: BTreeMap::new(),
            refused: BTreeMap::new(),
        };
        state.restore(&id);
        state.try_folder();
        state
    }

    pub fn tell(&mut self, part: u16, event: Event<WireObject>) {
        let Some(kind) = self.parts.get(usize::from(part)).map(|part| part.kind) else { return };
        let list = self.lists[usize::from(part)];
        match event {
            Event::Begin => self.lists[usize::from(part)] = list.wrapping_add(1),
            Event::Item(object) => {
                let key = object.key(kind);
                self.heard_of(&key);
                tracing::debug!("Working on {kind}: {}/{}", key.namespace, key.name);
                self.apply(&key, &object, Round { slice: part, list });
            }
            Event::End => {
                for key in self.plan.missing(Round { slice: part, list }) {
                    tracing::info!("Working on DELETED {kind} {}/{}", key.namespace, key.name);
                    self.delete(&key);
                }
                self.listed.insert(part);
                if self.is_listed() {
                    self.changes.first_list_is_over();
                    self.tidy();
                }
            }
            Event::Applied(object) => {
                let key = object.key(kind);
                let what = if self.plan.knows(&key) { "MODIFIED" } else { "ADDED" };
                tracing::info!("Working on {what} {kind} {}/{}", key.namespace, key.name);
                self.heard_of(&key);
                self.apply(&key, &object, Round { slice: part, list });
            }
            Event::Deleted(object) => {
                let key = object.key(kind);
                tracing::info!("Working on DELETED {kind} {}/{}", key.namespace, key.name);
                self.delete(&key);
            }
        }
    }

    /// Takes the objects to read again.
    pub fn take_reads(&mut self) -> Vec<ObjectKey> {
        let keys: Vec<ObjectKey> = std::mem::take(&mut self.reads).into_iter().collect();
        self.reading.extend(keys.iter().cloned());
        keys
    }

    /// Handles an object that was read again, unless something newer was seen.
    pub fn read(&mut self, key: &ObjectKey, object: Option<&WireObject>) {
        if self.reading.remove(key)
            && let (Some(object), Some(heard)) = (object, self.plan.heard(key))
        {
            self.apply(key, object, heard);
        }
    }

    pub fn has_reads(&self) -> bool {
        !self.reads.is_empty()
    }

    /// Whether an object must be read again or is being read.
    pub fn is_reading(&self) -> bool {
        self.has_reads() || !self.reading.is_empty()
    }

    pub fn is_listed(&self) -> bool {
        self.listed.len() == self.parts.len()
    }

    pub fn has_failures(&self) -> bool {
        !self.failing.is_empty() || self.unusable.is_some()
    }

    pub fn is_folder_broken(&self) -> bool {
        self.unusable.is_some() || self.failing.values().any(|failure| failure.of_folder)
    }

    pub fn problems(&self) -> Problems {
        let named = |place: &Place, problem: &str| format!("{}: {problem}", self.naming.path(place).display());
        let files = self.failing.iter().map(|(place, failure)| named(place, &failure.problem));
        Problems {
            files: self.unusable.iter().cloned().chain(files).collect(),
            is_folder_broken: self.is_folder_broken(),
            downloads: self.missing.iter().map(|(place, problem)| named(place, problem)).collect(),
            objects: self.refused.iter().map(|(key, problem)| format!("{key}: {problem}")).collect(),
            counts: self.plan.counts(),
        }
    }

    pub fn count(&self) {
        self.metrics.are(self.plan.counts(), self.failing.len(), self.missing.len(), self.refused.len());
    }

    fn apply(&mut self, key: &ObjectKey, object: &WireObject, heard: Round) {
        let (entries, errors) = self.naming.entries(key, object);
        let steps = self.plan.apply(key, object.created(), heard, &entries);
        let mut later = Vec::new();
        for step in steps {
            match step {
                Step::Write(place, number) => {
                    if let Some(Entry { content: Content::Bytes(bytes), .. }) = entries.get(number) {
                        self.write(key, &place, New::Bytes(bytes));
                    }
                }
                step => later.push(step),
            }
        }
        self.refuse(key, &errors);
        self.do_without_content(later, self.listed.contains(&heard.slice));
    }

    /// Reports the parts of an object that become no file.
    fn refuse(&mut self, key: &ObjectKey, errors: &[NamingError]) {
        let others = self.plan.contested(key);
        let others = others
            .map(|(place, owner)| format!("{} is the file of the older {owner}", self.naming.path(place).display()));
        let mut told = errors.iter().map(ToString::to_string).chain(others);
        let mut problem = told.by_ref().take(MOST_TOLD).collect::<Vec<_>>().join("; ");
        let more = told.count();
        if more > 0 {
            let _ = write!(problem, "; and {more} more");
        }
        if problem.is_empty() {
            self.refused.remove(key);
        } else if self.refused.insert(key.clone(), problem.clone()).as_deref() != Some(&problem) {
            tracing::warn!("{key}: {problem}");
        }
    }

    fn delete(&mut self, key: &ObjectKey) {
        self.heard_of(key);
        self.refused.remove(key);
        let is_later = self.is_later(key);
        let steps = self.plan.delete(key);
        self.do_without_content(steps, is_later);
    }

    fn do_without_content(&mut self, steps: Vec<Step>, is_later: bool) {
        for step in steps {
            match step {
                Step::Write(..) => {}
                Step::Fetch(place, _) => self.download(place, true),
                Step::Remove(place) => self.remove(&place, is_later),
                Step::Read(key) => {
                    self.reads.insert((*key).clone());
                }
            }
        }
    }

    /// Whether a change of an object came after the first list of its part.
    fn is_later(&self, key: &ObjectKey) -> bool {
        self.plan.heard(key).is_none_or(|heard| self.listed.contains(&heard.slice))
    }

    /// The current state of an object is known, so earlier reads are outdated.
    fn heard_of(&mut self, key: &ObjectKey) {
        self.reads.remove(key);
        self.reading.remove(key);
    }
}
