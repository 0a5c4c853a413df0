//! SidecarSets, Namespaces and `ControllerRevisions` from files, kept as an index for injection.
//!
//! Nothing that once was good is lost: a file that cannot be parsed keeps its last good content, an object that cannot be used
//! keeps its last good version, and the first of two objects of one name counts. Everything of the kind is a [`SourceProblem`].

use crate::api::decode::{self, DecodeError};
use crate::api::unknown_fields;
use crate::documents::{Content, Document, FileError, Folder, Position};
use crate::injection::{Index, InjectableSet, Options, Revision, SetError, Snapshot, validate};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use thiserror::Error;

/// A folder (or one file) of objects.
#[derive(Debug)]
pub struct Source {
    folder: Folder,
    options: Options,
    files: BTreeMap<String, LoadedFile>,
    /// Objects that take the place of those of their names in the files.
    edits: Vec<Object>,
    /// What the files say together, as of the last refresh; `None` before the first.
    loaded: Option<Loaded>,
}

/// What one file holds.
#[derive(Debug, Default)]
struct LoadedFile {
    objects: Vec<Object>,
    /// Objects of kinds that are not read here.
    ignored: usize,
    problems: Vec<SourceProblem>,
}

/// An object of a file.
#[derive(Clone, Debug)]
struct Object {
    position: Position,
    read: Read,
}

/// What a document comes to.
struct Parsed {
    position: Position,
    key: Key,
    /// `None` for kinds that are not read here.
    read: Result<Option<Read>, ObjectError>,
}

/// An object that is read here.
#[derive(Clone, Debug)]
enum Read {
    Set(Arc<InjectableSet>),
    Namespace(String, BTreeMap<String, String>),
    Revision(Box<Revision>),
}

/// The usable content of all files.
#[derive(Debug, Default)]
pub struct Loaded {
    /// For injection.
    pub snapshot: Arc<Snapshot>,
    /// SidecarSets in use.
    pub sets: usize,
    /// Objects of kinds that are not read here.
    pub ignored: usize,
    /// What cannot be used as it stands.
    pub problems: Vec<SourceProblem>,
    /// What works but deserves a look.
    pub warnings: Vec<String>,
}

/// Something in the files that cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SourceProblem {
    /// A file that is no list of objects.
    #[error("{error}{}", if *.kept { " (its last good content stays in use)" } else { "" })]
    File {
        /// What is wrong.
        error: String,
        /// Whether objects from before stay in use.
        kept: bool,
    },
    /// An object that cannot be used.
    #[error("{position}: {error}{}", if *.kept { " (its last good version stays in use)" } else { "" })]
    Object {
        /// Where it stands.
        position: String,
        /// What is wrong.
        error: String,
        /// Whether its last good version stays in use.
        kept: bool,
    },
    /// A second object of a name.
    #[error("{position}: {what} stands at {first} already, which is used: remove or rename one of them")]
    Duplicate {
        /// Where the second one stands.
        position: String,
        /// Kind and name.
        what: String,
        /// Where the first one stands.
        first: String,
    },
}

#[derive(Debug, Error)]
enum ObjectError {
    #[error(
        "apiVersion: {api_version:?} of {kind} is not known: use apps.kruise.io/v1beta1 or apps.kruise.io/v1alpha1"
    )]
    UnknownVersion { api_version: String, kind: String },
    #[error("{key}: {error}")]
    Decode { key: Key, error: DecodeError },
    #[error("{key}: {}", causes.join("; "))]
    Invalid { key: Key, causes: Vec<String> },
    #[error("{key}: {}", unknown(.fields, .api_version))]
    UnknownFields { key: Key, api_version: String, fields: Vec<String> },
    #[error(transparent)]
    Set(#[from] SetError),
    #[error("{kind}: metadata.name: required")]
    Unnamed { kind: String },
}

/// By which two objects are the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    kind: String,
    namespace: String,
    name: String,
}

/// A Namespace, as far as it is read.
#[derive(Debug, Deserialize)]
struct Namespace {
    #[serde(default)]
    metadata: NamespaceMetadata,
}

#[derive(Debug, Default, Deserialize)]
struct NamespaceMetadata {
    #[serde(default)]
    name: String,
    labels: Option<BTreeMap<String, String>>,
}

impl Source {
    /// Opens a folder or a file; nothing is read yet.
    ///
    /// # Errors
    /// When there is nothing at `path`, or it cannot be read.
    pub fn open(path: &Path, options: Options) -> Result<Self, FileError> {
        let folder = Folder::new(path)?;
        Ok(Self { folder, options, files: BTreeMap::new(), edits: Vec::new(), loaded: None })
    }

    /// Puts these objects in place of those of their names in the files.
    ///
    /// # Errors
    /// When one of them cannot be used, or none of them is of a kind that is read here.
    pub fn with_edits(mut self, documents: Vec<Document>) -> anyhow::Result<Self> {
        let edits = usable(documents)?;
        anyhow::ensure!(!edits.is_empty(), "the file holds no SidecarSet");
        self.edits.extend(edits);
        Ok(self)
    }

    /// Puts the Namespaces among these objects in place of those of their names in the files.
    ///
    /// # Errors
    /// When one of them cannot be used.
    pub fn with_namespaces_among(mut self, documents: &[Document]) -> anyhow::Result<Self> {
        let is_namespace =
            |value: &Value| (value["apiVersion"].as_str(), value["kind"].as_str()) == (Some("v1"), Some("Namespace"));
        let namespaces = documents.iter().filter(|document| is_namespace(&document.value)).cloned();
        self.edits.extend(usable(namespaces)?);
        Ok(self)
    }

    /// Reads what changed (at first: everything); `None` when nothing did. This blocks on the file system.
    pub fn refresh(&mut self) -> Option<&Loaded> {
        let Self { folder, files, .. } = self;
        let mut before = None;
        folder.poll(Parsed::of, |change| {
            let before = before.get_or_insert_with(|| objects(files));
            match change.content {
                Content::Removed => _ = files.remove(&change.file),
                Content::Documents(parsed) => {
                    files.insert(change.file, LoadedFile::of(parsed, before));
                }
                Content::Broken(error) => {
                    let file = files.entry(change.file).or_default();
                    file.problems =
                        vec![SourceProblem::File { error: error.to_string(), kept: !file.objects.is_empty() }];
                }
            }
        });
        if before.is_none() && self.loaded.is_some() {
            return None;
        }
        Some(self.loaded.insert(self.combine()))
    }

    fn combine(&self) -> Loaded {
        let mut index = Index::new(self.options.clone());
        let mut first: BTreeMap<Key, (&Position, &Read)> = BTreeMap::new();
        let (mut problems, mut warnings) = (Vec::new(), Vec::new());
        let mut sets = Vec::new();
        let edited: BTreeSet<Key> = self.edits.iter().map(|object| object.read.key()).collect();
        let edits = LoadedFile { objects: self.edits.clone(), ..LoadedFile::default() };
        for (file, is_edit) in self.files.values().map(|file| (file, false)).chain([(&edits, true)]) {
            problems.extend(file.problems.iter().cloned());
            for Object { position, read } in &file.objects {
                if !is_edit && edited.contains(&read.key()) {
                    continue;
                }
                match first.entry(read.key()) {
                    Entry::Vacant(entry) => _ = entry.insert((position, read)),
                    Entry::Occupied(entry) if entry.get().1.is_same_namespace(read) => continue,
                    Entry::Occupied(entry) => {
                        let what = entry.key().to_string();
                        let (position, first) = (position.to_string(), entry.get().0.to_string());
                        problems.push(SourceProblem::Duplicate { position, what, first });
                        continue;
                    }
                }
                match read {
                    Read::Set(set) => {
                        warnings
                            .extend(set.warnings.iter().map(|w| format!("{position}: SidecarSet {:?}: {w}", set.name)));
                        sets.push(Arc::clone(set));
                    }
                    Read::Namespace(name, labels) => index.apply_namespace(name.clone(), labels.clone()),
                    Read::Revision(revision) => index.apply_revision(Revision::clone(revision)),
                }
            }
        }
        let clashes: validate::Clashes = sets.iter().cloned().collect();
        warnings.extend(clashes.sentences());
        index.reset_sets(sets);
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

/// The objects that are read here, all of which must be usable.
fn usable(documents: impl IntoIterator<Item = Document>) -> Result<Vec<Object>, SourceProblem> {
    let file = LoadedFile::of(documents.into_iter().map(Parsed::of), &BTreeMap::new());
    file.problems.into_iter().next().map_or(Ok(file.objects), Err)
}

/// All objects, by key; of two with one key the first.
fn objects(files: &BTreeMap<String, LoadedFile>) -> BTreeMap<Key, Object> {
    let objects = files.values().rev().flat_map(|file| file.objects.iter().rev());
    objects.map(|object| (object.read.key(), object.clone())).collect()
}

impl LoadedFile {
    /// A file of these objects; of one that cannot be used the last good version, wherever it stood `before`, stays.
    fn of(parsed: impl IntoIterator<Item = Parsed>, before: &BTreeMap<Key, Object>) -> Self {
        let mut file = Self::default();
        for Parsed { position, key, read } in parsed {
            match read {
                Ok(Some(read)) => file.objects.push(Object { position, read }),
                Ok(None) => file.ignored += 1,
                Err(error) => {
                    let kept = before.get(&key);
                    file.problems.push(SourceProblem::Object {
                        position: position.to_string(),
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

impl Parsed {
    fn of(Document { position, value }: Document) -> Self {
        let key = Key::of(&value);
        Self { position, read: Read::new(&key, value), key }
    }
}

impl Read {
    /// Reads an object; `None` for kinds that are not read here.
    fn new(key: &Key, object: Value) -> Result<Option<Self>, ObjectError> {
        let api_version = object.get("apiVersion").and_then(Value::as_str).unwrap_or_default().to_owned();
        let kind = key.kind.as_str();
        if let Some(version) = api_version.strip_prefix("apps.kruise.io/")
            && !["v1alpha1", "v1beta1"].contains(&version)
        {
            return Err(ObjectError::UnknownVersion { api_version, kind: kind.to_owned() });
        }
        let invalid = |error: DecodeError| ObjectError::Decode { key: key.clone(), error };
        let read = match (api_version.as_str(), kind) {
            ("apps.kruise.io/v1alpha1" | "apps.kruise.io/v1beta1", "SidecarSet") => {
                none_unknown(key, &api_version, unknown_fields::of_sidecarset(&object))?;
                let set = decode::sidecarset(object).map_err(invalid)?;
                let causes = validate::validate(&set, None, &validate::World::default());
                if !causes.is_empty() {
                    let causes = causes.iter().map(ToString::to_string).collect();
                    return Err(ObjectError::Invalid { key: key.clone(), causes });
                }
                let advice = validate::advice(&set);
                let mut set = InjectableSet::new(set)?;
                set.warnings.extend(advice);
                Self::Set(Arc::new(set))
            }
            ("v1", "Namespace") => {
                none_unknown(key, &api_version, unknown_fields::of_namespace(&object))?;
                let Namespace { metadata } = decode::typed(object).map_err(|error| invalid(error.into()))?;
                Self::Namespace(metadata.name, metadata.labels.unwrap_or_default())
            }
            ("apps/v1", "ControllerRevision") => {
                match Revision::read(object).map_err(|error| invalid(error.into()))? {
                    Some(revision) => Self::Revision(Box::new(revision)),
                    None => return Ok(None),
                }
            }
            _ => return Ok(None),
        };
        if key.name.is_empty() {
            return Err(ObjectError::Unnamed { kind: kind.to_owned() });
        }
        Ok(Some(read))
    }

    /// Whether both say the same of one Namespace: many files bring theirs along.
    fn is_same_namespace(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Namespace(name, labels), Self::Namespace(other, others)) if (name, labels) == (other, others))
    }

    fn key(&self) -> Key {
        let key = |kind: &str, namespace: &str, name: &str| Key {
            kind: kind.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        match self {
            Self::Set(set) => key("SidecarSet", "", &set.name),
            Self::Namespace(name, _) => key("Namespace", "", name),
            Self::Revision(revision) => key("ControllerRevision", &revision.namespace, &revision.name),
        }
    }
}

/// As the API server refuses fields that kubectl asks it to be strict about.
fn none_unknown(key: &Key, api_version: &str, fields: Vec<String>) -> Result<(), ObjectError> {
    if fields.is_empty() {
        return Ok(());
    }
    Err(ObjectError::UnknownFields { key: key.clone(), api_version: api_version.to_owned(), fields })
}

fn unknown(fields: &[String], api_version: &str) -> String {
    let fields: Vec<String> = fields.iter().map(|field| format!("{field}: unknown field in {api_version}")).collect();
    fields.join("; ")
}

impl Key {
    /// The key of an object of any kind. Kinds that are not in a namespace have none, whatever the object says.
    fn of(object: &Value) -> Self {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (kind, name) = (text("/kind"), text("/metadata/name"));
        let namespace = if kind == "ControllerRevision" { text("/metadata/namespace") } else { String::new() };
        Self { kind, namespace, name }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace.as_str() {
            "" => write!(f, "{} {:?}", self.kind, self.name),
            namespace => write!(f, "{} {:?} of namespace {namespace:?}", self.kind, self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const SET: &str = "apiVersion: apps.kruise.io/v1beta1\nkind: SidecarSet\nmetadata: {name: NAME}\nspec:\n  selector: {matchLabels: {app: nginx}}\n  containers: [{name: NAME, image: busybox:1.36.1}]\n";

    fn set(name: &str) -> String {
        SET.replace("NAME", name)
    }

    struct Dir {
        dir: tempfile::TempDir,
        source: Source,
    }

    fn loaded(source: &Source) -> &Loaded {
        source.loaded.as_ref().unwrap()
    }

    impl Dir {
        fn new(files: &[(&str, &str)]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let source = Source::open(dir.path(), Options::default()).unwrap();
            let this = Self { dir, source };
            for (name, text) in files {
                this.write(name, text);
            }
            this
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.dir.path().join(name), text).unwrap();
        }

        fn problems(&mut self) -> Vec<String> {
            self.source.refresh();
            self.source.refresh(); // a change is settled once it was seen twice
            loaded(&self.source).problems.iter().map(ToString::to_string).collect()
        }

        fn names(&self) -> Vec<String> {
            loaded(&self.source).snapshot.sets().map(|set| set.name.clone()).collect()
        }
    }

    #[test]
    fn a_broken_file_keeps_its_last_good_content() {
        let mut dir = Dir::new(&[("a.yaml", &set("a"))]);
        assert!(dir.problems().is_empty());
        dir.write("a.yaml", "kind: [");
        let problems = dir.problems();
        assert_eq!(problems.len(), 1);
        assert!(problems[0].starts_with("a.yaml") && problems[0].contains("last good content"), "{problems:?}");
        assert_eq!(dir.names(), ["a"]);
        dir.write("a.yaml", &set("b"));
        assert!(dir.problems().is_empty());
        assert_eq!(dir.names(), ["b"]);
    }

    #[test]
    fn a_broken_object_keeps_its_last_good_version_and_its_neighbours_load() {
        let mut dir = Dir::new(&[("a.yaml", &format!("{}---\n{}", set("a"), set("b")))]);
        dir.problems();
        let broken = set("a").replace("matchLabels: {app: nginx}", "matchLabels: {app: 5}");
        dir.write("a.yaml", &format!("{broken}---\n{}---\n{}", set("b"), set("c")));
        let problems = dir.problems();
        assert_eq!(problems.len(), 1);
        assert!(problems[0].starts_with("a.yaml:1: SidecarSet \"a\": spec.selector.matchLabels.app: "), "{problems:?}");
        assert!(problems[0].ends_with("(its last good version stays in use)"), "{problems:?}");
        assert_eq!(dir.names(), ["a", "b", "c"]);
    }

    #[test]
    fn a_set_that_moves_to_another_file_broken_keeps_its_last_good_version() {
        let mut dir = Dir::new(&[("a.yaml", &set("a"))]);
        dir.problems();
        fs::remove_file(dir.dir.path().join("a.yaml")).unwrap();
        dir.write("z.yaml", &set("a").replace("selector: {", "selector: {matchExpressions: 5, "));
        let problems = dir.problems();
        assert_eq!(problems.len(), 1);
        assert!(problems[0].ends_with("(its last good version stays in use)"), "{problems:?}");
        assert_eq!(dir.names(), ["a"]);
    }

    #[test]
    fn a_file_that_never_was_good_is_not_said_to_stay_in_use() {
        let mut dir = Dir::new(&[("a.yaml", "kind: [")]);
        let problems = dir.problems();
        assert!(!problems[0].contains("stays in use"), "{problems:?}");
    }

    #[test]
    fn a_label_of_wrong_type_is_named() {
        let mut dir =
            Dir::new(&[("a.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {app: 5}}\n")]);
        let problems = dir.problems();
        assert!(problems[0].starts_with("a.yaml:1: Namespace \"shop\": metadata.labels.app: "), "{problems:?}");
    }

    #[test]
    fn the_first_of_two_objects_of_a_name_counts() {
        let mut dir = Dir::new(&[("a.yaml", &set("a")), ("b.yaml", &set("a"))]);
        assert_eq!(
            dir.problems(),
            ["b.yaml:1: SidecarSet \"a\" stands at a.yaml:1 already, which is used: remove or rename one of them"]
        );
        fs::remove_file(dir.dir.path().join("a.yaml")).unwrap();
        assert!(dir.problems().is_empty());
        assert_eq!(dir.names(), ["a"]);
    }

    #[test]
    fn a_namespace_may_stand_in_several_files_that_say_the_same_of_it() {
        let namespace = |team: &str| {
            format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: shop, labels: {{team: {team}}}}}}}\n")
        };
        let mut dir =
            Dir::new(&[("a.yaml", &namespace("blue")), ("b.yaml", &namespace("blue")), ("c.yaml", &namespace("red"))]);
        assert_eq!(
            dir.problems(),
            ["c.yaml:1: Namespace \"shop\" stands at a.yaml:1 already, which is used: remove or rename one of them"]
        );
    }

    #[test]
    fn an_unknown_version_is_an_error_and_other_kinds_are_counted() {
        let mut dir = Dir::new(&[
            ("a.yaml", &set("a").replace("v1beta1", "v2")),
            (
                "b.yaml",
                "apiVersion: v1\nkind: Service\nmetadata: {name: s}\n---\napiVersion: apps.kruise.io/v1alpha1\nkind: CloneSet\nmetadata: {name: c}\n",
            ),
        ]);
        assert_eq!(
            dir.problems(),
            [
                "a.yaml:1: apiVersion: \"apps.kruise.io/v2\" of SidecarSet is not known: use apps.kruise.io/v1beta1 or apps.kruise.io/v1alpha1"
            ]
        );
        assert_eq!(loaded(&dir.source).ignored, 2);
    }

    /// The API server says the same: `strict decoding error: unknown field "spec.injectStrategy", …`.
    #[test]
    fn fields_that_kubectl_refuses_are_errors_that_name_them() {
        let misspelt = set("a").replace("spec:\n", "spec:\n  namespace: team-a\n  injectStrategy: {paused: true}\n");
        let namespace = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: shop, label: {a: b}}\n";
        let mut dir = Dir::new(&[("a.yaml", &format!("{misspelt}{namespace}"))]);
        let [set, namespace] = &dir.problems()[..] else { panic!("two problems") };
        assert_eq!(
            set,
            "a.yaml:1: SidecarSet \"a\": spec.namespace: unknown field in apps.kruise.io/v1beta1; \
             spec.injectStrategy: unknown field in apps.kruise.io/v1beta1"
        );
        assert!(namespace.ends_with("Namespace \"shop\": metadata.label: unknown field in v1"), "{namespace}");
        dir.write("a.yaml", &misspelt.replace("v1beta1", "v1alpha1").replace("injectStrategy", "injectionStrategy"));
        assert_eq!(dir.problems(), [""; 0]);
    }

    #[test]
    fn an_empty_folder_is_a_warning() {
        let mut dir = Dir::new(&[]);
        assert!(dir.problems().is_empty());
        let mut dir = Dir::new(&[("a.yaml", "# nothing\n")]);
        assert!(dir.problems().is_empty());
        assert_eq!(loaded(&dir.source).warnings, ["no SidecarSet in use: no Pod is injected"]);
    }
}
