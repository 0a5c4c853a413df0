//! Pure: which file each key of an object becomes, and why some become none. No key and no annotation leads out of the folders that
//! are allowed.

use std::borrow::Cow;
use std::path::{Component, Path, PathBuf};

use super::object::{ObjectKey, WireObject};

/// How the files are named that this program makes for itself, in the folders that it writes to.
pub const OWN_PREFIX: &str = ".outrigger-";

/// At most this many bytes of a file's name; no file system has more.
const LONGEST_NAME: usize = 255;

/// At most this many bytes of a file's path below the folder, and this many folders on it: each is opened at each look.
const LONGEST_PATH: usize = 1_024;
const DEEPEST: usize = 32;

/// At most this many keys of an object become files, and this many of them are downloaded.
const MOST_KEYS: usize = 5_000;
const MOST_URLS: usize = 64;

/// At most this many characters of what somebody wrote are told.
const LONGEST_TOLD: usize = 200;

/// A file: one of the folders that may be written to, and the path below it, of plain names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Its number among [`Naming::roots`].
    pub root: u16,
    /// Relative, without `.`, `..`, empty names and a slash at its end.
    pub path: Box<str>,
}

impl Place {
    /// Whether one needs a folder where the other is a file.
    #[must_use]
    pub fn clashes_with(&self, other: &Self) -> bool {
        let is_below = |path: &str, folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
        self.root == other.root && (is_below(&self.path, &other.path) || is_below(&other.path, &self.path))
    }

    /// The path of its folder; empty at the root.
    #[must_use]
    pub fn folder(&self) -> &str {
        self.path.rsplit_once('/').map_or("", |(folder, _)| folder)
    }
}

/// What a file is to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content<'o> {
    /// This.
    Bytes(Cow<'o, [u8]>),
    /// What this URL answers with.
    Url(Box<str>),
}

/// A key of an object as a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'o> {
    /// Where.
    pub place: Place,
    /// What.
    pub content: Content<'o>,
}

/// Why a key, or a whole object, becomes no file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NamingError {
    /// The annotation leads out of the folder.
    #[error("the annotation {annotation}: {folder:?} leads out of {root}; name a folder below it")]
    Outside {
        /// The annotation's name.
        annotation: String,
        /// Its value.
        folder: String,
        /// The folder that it leads out of.
        root: String,
    },
    /// The annotation names an absolute folder that is not allowed.
    #[error(
        "the annotation {annotation}: the folder {folder:?} may not be written to; name one below FOLDER, or allow it by OUTRIGGER_ABSOLUTE_FOLDERS"
    )]
    Absolute {
        /// The annotation's name.
        annotation: String,
        /// Its value.
        folder: String,
    },
    /// A key that is no name of a file.
    #[error("the key {0:?} is no name of a file")]
    Key(String),
    /// A name that is longer than a file system has it.
    #[error("the file of the key {0:?} has a name of more than 255 bytes, or a path of more than 1,024")]
    Long(String),
    /// The annotation names too deep a folder, or one with characters that nobody sees.
    #[error(
        "the annotation {annotation}: {folder:?} is longer than 1,024 bytes, deeper than 32 folders, or has control characters"
    )]
    Folder {
        /// The annotation's name.
        annotation: String,
        /// Its value.
        folder: String,
    },
    /// Too many keys.
    #[error("{0} keys: at most 5,000 become files, and at most 64 of them are downloaded")]
    Many(usize),
    /// An absolute folder that is another namespace's.
    #[error("the annotation {annotation}: {folder:?} is not below the folder of the namespace {namespace}")]
    Namespace {
        /// The annotation's name.
        annotation: String,
        /// Its value.
        folder: String,
        /// Whose object it is.
        namespace: String,
    },
    /// A URL that is no text.
    #[error("the value of the key {0:?} is no URL")]
    Url(String),
    /// A value that cannot be decoded.
    #[error(transparent)]
    Value(#[from] super::object::ValueError),
}

/// What absolute folders in annotations mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absolute {
    /// The folder itself, where that is allowed.
    Itself,
    /// A folder of that path below `FOLDER`.
    Nested,
}

/// How files are named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naming {
    /// The folders that may be written to, absolute; the first is where files go by default.
    pub roots: Vec<PathBuf>,
    /// The annotation that names an object's folder.
    pub annotation: String,
    /// What an absolute one means.
    pub absolute: Absolute,
    /// A folder for each namespace.
    pub per_namespace: bool,
    /// Namespace, kind and name of the object in the name of the file.
    pub unique: bool,
    /// Keys that do not end so are left out; empty takes all.
    pub suffixes: Vec<String>,
    /// Whether keys that end in `.url` are downloaded.
    pub urls: bool,
}

impl Naming {
    /// The files of an object, each once, and what is wrong with the rest.
    #[must_use]
    pub fn entries<'o>(&self, key: &ObjectKey, object: &'o WireObject) -> (Vec<Entry<'o>>, Vec<NamingError>) {
        let (mut entries, mut errors): (Vec<Entry<'o>>, _) = (Vec::new(), Vec::new());
        let mut urls = Vec::new();
        let folder = match self.folder(key, object) {
            Ok(folder) => folder,
            Err(error) => return (entries, vec![error]),
        };
        for (name, value) in object.values(key.kind) {
            if !self.suffixes.is_empty() && !self.suffixes.iter().any(|suffix| name.ends_with(suffix.as_str())) {
                continue;
            }
            match self.entry(key, &folder, name, value) {
                Ok(entry) if matches!(entry.content, Content::Url(_)) => urls.push(entry),
                Ok(entry) => entries.push(entry),
                Err(error) => errors.push(error),
            }
        }
        let keys = entries.len() + urls.len();
        if entries.len() > MOST_KEYS || urls.len() > MOST_URLS {
            errors.push(NamingError::Many(keys));
            entries.truncate(MOST_KEYS);
            urls.truncate(MOST_URLS);
        }
        // What is there as it is comes before what has to be fetched, `data` before `binaryData`.
        entries.extend(urls);
        let mut places = std::collections::HashSet::new();
        entries.retain(|entry| places.insert(entry.place.clone()));
        (entries, errors)
    }

    /// The path of a file, for messages and for apps.
    #[must_use]
    pub fn path(&self, place: &Place) -> PathBuf {
        let root = self.roots.get(usize::from(place.root)).map(PathBuf::as_path);
        root.unwrap_or(Path::new("")).join(&*place.path)
    }

    /// The place of a folder of this absolute path, if it may be written to.
    #[must_use]
    pub fn place_of(&self, path: &Path) -> Option<Place> {
        let mut best: Option<(usize, &Path, usize)> = None;
        for (number, root) in self.roots.iter().enumerate() {
            if let Ok(rest) = path.strip_prefix(root) {
                let length = root.components().count();
                if best.is_none_or(|(_, _, longest)| length > longest) {
                    best = Some((number, rest, length));
                }
            }
        }
        let (number, rest, _) = best?;
        Some(Place { root: number.try_into().ok()?, path: normal(rest.to_str()?)?.into() })
    }

    /// The place of a file of this absolute path, if it may be written to.
    #[must_use]
    pub fn place_of_file(&self, path: &Path) -> Option<Place> {
        let folder = self.place_of(path.parent()?)?;
        let name = path.file_name()?.to_str()?;
        let path = if folder.path.is_empty() { name.to_owned() } else { format!("{}/{name}", folder.path) };
        Some(Place { path: normal(&path)?.into(), ..folder })
    }

    fn entry<'o>(
        &self,
        key: &ObjectKey,
        folder: &Place,
        name: &str,
        value: Result<Cow<'o, [u8]>, super::object::ValueError>,
    ) -> Result<Entry<'o>, NamingError> {
        let value = value?;
        let (file, content) = match name.strip_suffix(".url").filter(|_| self.urls) {
            None => (name, Content::Bytes(value)),
            Some(file) => {
                let url = str::from_utf8(&value).map_err(|_| NamingError::Url(name.to_owned()))?;
                (file, Content::Url(url.trim().into()))
            }
        };
        let is_name = !matches!(file, "" | "." | "..") && !file.contains(['/', '\0']) && !file.starts_with(OWN_PREFIX);
        if !is_name {
            return Err(NamingError::Key(shortened(name)));
        }
        let file = if self.unique {
            Cow::Owned(format!("namespace_{}.{}_{}.{file}", key.namespace, key.kind, key.name))
        } else {
            Cow::Borrowed(file)
        };
        let path: Box<str> =
            if folder.path.is_empty() { file.into() } else { format!("{}/{file}", folder.path).into() };
        if path.len() > LONGEST_PATH || path.rsplit('/').next().is_some_and(|name| name.len() > LONGEST_NAME) {
            return Err(NamingError::Long(shortened(name)));
        }
        Ok(Entry { place: Place { root: folder.root, path }, content })
    }

    /// The folder of an object, as a place.
    fn folder(&self, key: &ObjectKey, object: &WireObject) -> Result<Place, NamingError> {
        let annotations = object.metadata.annotations.as_ref();
        let given = annotations.and_then(|annotations| annotations.get(&self.annotation)).map_or("", String::as_str);
        let (annotation, told) = (self.annotation.clone(), shortened(given));
        let is_long = |name: &str| name.len() > LONGEST_NAME;
        let (is_deep, is_long) = (given.split('/').count() > DEEPEST, given.split('/').any(is_long));
        if given.len() > LONGEST_PATH || is_deep || is_long || given.chars().any(is_unseen) {
            return Err(NamingError::Folder { annotation, folder: told });
        }
        let root = self.roots.first().map_or(Path::new(""), PathBuf::as_path);
        let outside = || {
            let root = root.display().to_string();
            NamingError::Outside { annotation: annotation.clone(), folder: told.clone(), root }
        };
        if given.starts_with('/') && self.absolute == Absolute::Itself {
            let path = normal(given).ok_or_else(outside)?;
            let absolute = || NamingError::Absolute { annotation: annotation.clone(), folder: told.clone() };
            let place = self.place_of(Path::new(&format!("/{path}"))).ok_or_else(absolute)?;
            let is_own = place.path.split('/').next() == Some(&*key.namespace);
            if self.per_namespace && place.root == 0 && !is_own {
                return Err(NamingError::Namespace { annotation, folder: told, namespace: key.namespace.to_string() });
            }
            return Ok(place);
        }
        let below = normal(given).ok_or_else(outside)?;
        let path = match (self.per_namespace, below.is_empty()) {
            (false, _) => below,
            (true, true) => key.namespace.to_string(),
            (true, false) => format!("{}/{below}", key.namespace),
        };
        // A folder that may be named as an absolute one is the same by its path below the first.
        self.place_of(&root.join(path)).ok_or_else(outside)
    }
}

/// Whether a character is not seen where it is printed, or makes others look different: names of folders are others' words in logs and lists.
fn is_unseen(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn shortened(text: &str) -> String {
    let end = text.char_indices().nth(LONGEST_TOLD).map_or(text.len(), |(end, _)| end);
    format!("{}{}", &text[..end], if end < text.len() { "…" } else { "" })
}

/// A path of plain names only; `None` for one that leads out of where it begins, or that no file can have.
fn normal(path: &str) -> Option<String> {
    if path.contains('\0') {
        return None;
    }
    let mut names: Vec<&str> = Vec::new();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) => names.push(name.to_str()?),
            Component::ParentDir => {
                names.pop()?;
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    if names.iter().any(|name| name.starts_with(OWN_PREFIX)) {
        return None;
    }
    Some(names.join("/"))
}
