//! SidecarSets, Namespaces and `ControllerRevisions` from files or a cluster, as an index for injection.
//!
//! Good content is never lost. A file that cannot be parsed keeps its last good content. An unusable object keeps its last good
//! version. The first of two objects with the same name counts. Each of these is a [`SourceProblem`].

mod folder;
mod read;
#[cfg(test)]
mod tests;

pub use folder::Source;

use crate::documents::{Content, Document, FileError};
use crate::injection::{Index, Options, Revision, Snapshot, Unfit, validate};
use read::{Key, Parsed, Read};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};
use std::sync::Arc;
use thiserror::Error;

/// The content of files, whether they are read again or not.
#[derive(Clone, Debug)]
pub struct Contents {
    options: Options,
    files: BTreeMap<String, LoadedFile>,
    /// Objects that replace those with the same names in the files.
    edits: Vec<Object>,
}

/// The content of a cluster.
#[derive(Debug, Default)]
pub struct LiveObjects {
    /// SidecarSets of either version, as stored.
    pub sets: Vec<Value>,
    /// Namespaces with their labels.
    pub namespaces: Vec<(String, BTreeMap<String, String>)>,
    /// `ControllerRevisions` of SidecarSets.
    pub revisions: Vec<Value>,
}

/// The content of one file.
#[derive(Clone, Debug, Default)]
struct LoadedFile {
    objects: Vec<Object>,
    /// The number of objects of other kinds.
    ignored: usize,
    problems: Vec<SourceProblem>,
}

/// An object of a file.
#[derive(Clone, Debug)]
struct Object {
    /// Its position, for messages.
    place: String,
    read: Read,
}

/// The usable content of all files.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The snapshot for injection.
    pub snapshot: Arc<Snapshot>,
    /// The number of SidecarSets in use.
    pub sets: usize,
    /// The number of objects of other kinds.
    pub ignored: usize,
    /// Unusable parts.
    pub problems: Vec<SourceProblem>,
    /// Warnings about usable parts.
    pub warnings: Vec<String>,
}

/// A part of the files that cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SourceProblem {
    /// A file that is not a list of objects.
    #[error("{error}{}", if *.kept { " (its last good content stays in use)" } else { "" })]
    File {
        /// The problem.
        error: String,
        /// Whether its previous objects stay in use.
        kept: bool,
    },
    /// An object that cannot be used.
    #[error("{position}: {error}{}", if *.kept { " (its last good version stays in use)" } else { "" })]
    Object {
        /// Its position.
        position: String,
        /// The problem.
        error: String,
        /// Whether its last good version stays in use.
        kept: bool,
    },
    /// A second object with the same name.
    #[error("{position}: {what} is already defined at {first}, which counts: remove or rename one of them")]
    Duplicate {
        /// The position of the second one.
        position: String,
        /// Kind and name.
        what: String,
        /// The position of the first one.
        first: String,
    },
}

impl Contents {
    /// Creates contents without files.
    pub fn new(options: Options) -> Self {
        Self { options, files: BTreeMap::new(), edits: Vec::new() }
    }

    /// Replaces the content of a file. `before` are the previous objects of all files.
    fn change(&mut self, file: String, content: Content<Parsed>, before: &BTreeMap<Key, Object>) {
        match content {
            Content::Removed => _ = self.files.remove(&file),
            Content::Documents(parsed) => _ = self.files.insert(file, LoadedFile::of(parsed, before)),
            Content::Broken(error) => {
                let file = self.files.entry(file).or_default();
                file.problems = vec![SourceProblem::File { error: error.to_string(), kept: !file.objects.is_empty() }];
            }
        }
    }

    /// Adds the objects of a file, or why it cannot be read.
    pub fn add(&mut self, file: String, documents: Result<Vec<Document>, FileError>) {
        let content = match documents {
            Ok(documents) => Content::Documents(documents.into_iter().map(Parsed::of).collect()),
            Err(error) => Content::Broken(error),
        };
        self.change(file, content, &BTreeMap::new());
    }

    /// Adds the objects of a cluster.
    pub fn add_cluster(&mut self, live: LiveObjects) {
        let place = "the cluster";
        let sets = live.sets.into_iter().map(Read::stored);
        let namespaces = live.namespaces.into_iter().map(|(name, labels)| Read::Namespace(name, labels));
        // An unreadable revision counts as absent. A SidecarSet that needs it reports that.
        let revisions = live.revisions.into_iter().filter_map(|revision| Revision::read(revision).ok()?);
        let read = sets.chain(namespaces).chain(revisions.map(|revision| Read::Revision(Box::new(revision))));
        let objects = read.map(|read| Object { place: place.to_owned(), read }).collect();
        self.files.insert(place.to_owned(), LoadedFile { objects, ..LoadedFile::default() });
    }

    /// Replaces the objects with the same names in the files.
    ///
    /// # Errors
    /// When one of them cannot be used, or none of them is of a kind that is read here.
    pub fn edit(&mut self, documents: Vec<Document>) -> anyhow::Result<()> {
        let edits = usable(documents)?;
        anyhow::ensure!(!edits.is_empty(), "the file holds no SidecarSet");
        self.edits.extend(edits);
        Ok(())
    }

    /// Replaces the Namespaces with the same names in the files.
    ///
    /// # Errors
    /// When one of them cannot be used.
    pub fn take_namespaces(&mut self, documents: &[Document]) -> anyhow::Result<()> {
        let is_namespace =
            |value: &Value| (value["apiVersion"].as_str(), value["kind"].as_str()) == (Some("v1"), Some("Namespace"));
        let namespaces = documents.iter().filter(|document| is_namespace(&document.value)).cloned();
        self.edits.extend(usable(namespaces)?);
        Ok(())
    }

    /// Combines the content of all files.
    pub fn combine(&self) -> Loaded {
        let mut index = Index::new(self.options.clone());
        let mut first: BTreeMap<Key, (&str, &Read)> = BTreeMap::new();
        let (mut problems, mut warnings) = (Vec::new(), Vec::new());
        let (mut sets, mut unfit) = (Vec::new(), Vec::new());
        let edited: BTreeSet<Key> = self.edits.iter().map(|object| object.read.key()).collect();
        let edits = LoadedFile { objects: self.edits.clone(), ..LoadedFile::default() };
        for (file, is_edit) in self.files.values().map(|file| (file, false)).chain([(&edits, true)]) {
            problems.extend(file.problems.iter().cloned());
            for Object { place, read } in &file.objects {
                if !is_edit && edited.contains(&read.key()) {
                    continue;
                }
                match first.entry(read.key()) {
                    Entry::Vacant(entry) => _ = entry.insert((place, read)),
                    Entry::Occupied(entry) if entry.get().1.is_same_namespace(read) => continue,
                    Entry::Occupied(entry) => {
                        let what = entry.key().to_string();
                        let (position, first) = (place.clone(), entry.get().0.to_owned());
                        problems.push(SourceProblem::Duplicate { position, what, first });
                        continue;
                    }
                }
                match read {
                    Read::Set(set) => {
                        warnings
                            .extend(set.warnings.iter().map(|w| format!("{place}: SidecarSet {:?}: {w}", set.name)));
                        sets.push(Arc::clone(set));
                    }
                    Read::Unfit(set) => unfit.push(set),
                    Read::Namespace(name, labels) => index.apply_namespace(name.clone(), labels.clone()),
                    Read::Revision(revision) => index.apply_revision(Revision::clone(revision)),
                }
            }
        }
        let clashes: validate::Clashes = sets.iter().cloned().collect();
        warnings.extend(clashes.sentences());
        index.reset_sets(sets);
        for set in unfit {
            index.apply_unfit_set(Unfit::clone(set));
            let instead = index.revision_in_place_of(&set.set).map_or("it is not injected".to_owned(), |revision| {
                format!("its revision {revision} is injected instead")
            });
            warnings.push(format!("{set}; {instead}"));
        }
        if index.sets() == 0 {
            warnings.push("no SidecarSet in use: no Pod is injected".to_owned());
        }
        Loaded {
            snapshot: Arc::new(index.snapshot()),
            sets: index.sets(),
            ignored: self.files.values().map(|file| file.ignored).sum(),
            problems,
            warnings,
        }
    }
}

/// Returns the objects of the kinds that are read here, all of which must be usable.
fn usable(documents: impl IntoIterator<Item = Document>) -> Result<Vec<Object>, SourceProblem> {
    let file = LoadedFile::of(documents.into_iter().map(Parsed::of), &BTreeMap::new());
    file.problems.into_iter().next().map_or(Ok(file.objects), Err)
}

/// Returns all objects by key. The first of two with the same key counts.
fn objects(files: &BTreeMap<String, LoadedFile>) -> BTreeMap<Key, Object> {
    let objects = files.values().rev().flat_map(|file| file.objects.iter().rev());
    objects.map(|object| (object.read.key(), object.clone())).collect()
}

impl LoadedFile {
    /// Creates a file from these objects. An unusable one is replaced by its last good version from `before`, in
    /// whichever file that was.
    fn of(parsed: impl IntoIterator<Item = Parsed>, before: &BTreeMap<Key, Object>) -> Self {
        let mut file = Self::default();
        for Parsed { place, key, read } in parsed {
            match read {
                Ok(Some(read)) => file.objects.push(Object { place, read }),
                Ok(None) => file.ignored += 1,
                Err(error) => {
                    let kept = before.get(&key);
                    file.problems.push(SourceProblem::Object {
                        position: place,
                        error: error.to_string(),
                        kept: kept.is_some(),
                    });
                    file.objects.extend(kept.cloned());
                }
            }
        }
        file
    }
}
