//! Pure: which file each key of an object becomes, and why some become none. No key or annotation can leave the allowed folders.

use std::borrow::Cow;
use std::path::{Component, Path, PathBuf};

use super::object::{ObjectKey, WireObject};

/// The prefix of outrigger's own files in the folders.
pub const OWN_PREFIX: &str = ".outrigger-";

/// The maximum length of a file name, which no file system exceeds.
const LONGEST_NAME: usize = 255;

/// The maximum length of a file's path below the folder, and the maximum number of folders in it. Each is opened at
/// each check.
const LONGEST_PATH: usize = 1_024;
const DEEPEST: usize = 32;

/// The maximum number of keys of an object that become files, and of those that are downloaded.
const MOST_KEYS: usize = 5_000;
const MOST_URLS: usize = 64;

/// The maximum length of quoted user text in messages.
const LONGEST_TOLD: usize = 200;

/// A file: one of the writable folders, and the path below it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Its index in [`Naming::roots`].
    pub root: u16,
    /// Relative, without `.`, `..`, empty names and a trailing slash.
    pub path: Box<str>,
}

impl Place {
    /// Whether one needs a folder with the name of the other.
    #[must_use]
    pub fn clashes_with(&self, other: &Self) -> bool {
        let is_below = |path: &str, folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
        self.root == other.root && (is_below(&self.path, &other.path) || is_below(&other.path, &self.path))
    }

    /// Returns the path of its folder; empty at the root.
    #[must_use]
    pub fn folder(&self) -> &str {
        self.path.rsplit_once('/').map_or("", |(folder, _)| folder)
    }
}

/// The content of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content<'o> {
    /// These bytes.
    Bytes(Cow<'o, [u8]>),
    /// The answer of this URL.
    Url(Box<str>),
}

/// A key of an object as a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'o> {
    /// The file.
    pub place: Place,
    /// Its content.
    pub content: Content<'o>,
}

/// Why a key or a whole object becomes no file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NamingError {
    /// The annotation leaves the folder.
    #[error("the annotation {annotation}: {folder:?} leads out of {root}; name a folder below it")]
    Outside {
        /// The annotation's name.
        annotation: String,
        /// Its value.
        folder: String,
        /// The folder that it would leave.
        root: String,
    },
    /// The annotation has an absolute folder that is not allowed.
    #[error(
        "the annotation {annotation}: the folder {folder:?} may not be written to; name one below FOLDER, or allow it by OUTRIGGER_ABSOLUTE_FOLDERS"
    )]
    Absolute {
        /// The annotation's name.
        annotation: String,
        /// Its value.
        folder: String,
    },
    /// A key that is not a valid file name.
    #[error("the key {0:?} is not a valid file name")]
    Key(String),
    /// A name that is too long for a file system.
    #[error("the file of the key {0:?} has a name of more than 255 bytes, or a path of more than 1,024")]
    Long(String),
    /// The annotation's folder is too deep, or has invisible characters.
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
    /// An absolute folder that belongs to another namespace.
    #[error("the annotation {annotation}: {folder:?} is not below the folder of the namespace {namespace}")]
    Namespace {
        /// The annotation's name.
        annotation: String,
        /// Its value.
        folder: String,
        /// The namespace of the object.
        namespace: String,
    },
    /// A URL that is not text.
    #[error("the value of the key {0:?} is not a URL")]
    Url(String),
    /// A value that cannot be decoded.
    #[error(transparent)]
    Value(#[from] super::object::ValueError),
}

/// The meaning of absolute folders in annotations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absolute {
    /// The folder itself, if it is allowed.
    Itself,
    /// A folder of that path below `FOLDER`.
    Nested,
}

/// The rules for names of files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naming {
    /// The absolute paths of the writable folders. The first one is the default.
    pub roots: Vec<PathBuf>,
    /// The annotation that names an object's folder.
    pub annotation: String,
    /// The meaning of absolute folders.
    pub absolute: Absolute,
    /// Whether each namespace has its own folder.
    pub per_namespace: bool,
    /// Whether file names include namespace, kind and name of the object.
    pub unique: bool,
    /// The suffixes of accepted keys; all keys if empty.
    pub suffixes: Vec<String>,
    /// Whether keys ending in `.url` are downloaded.
    pub urls: bool,
}

impl Naming {
    /// Returns the files of an object without duplicates, and the problems of the rest.
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
        // Literal content has precedence over URLs, and `data` over `binaryData`.
        entries.extend(urls);
        let mut places = std::collections::HashSet::new();
        entries.retain(|entry| places.insert(entry.place.clone()));
        (entries, errors)
    }

    /// Returns the path of a file, for messages and apps.
    #[must_use]
    pub fn path(&self, place: &Place) -> PathBuf {
        let root = self.roots.get(usize::from(place.root)).map(PathBuf::as_path);
        root.unwrap_or(Path::new("")).join(&*place.path)
    }

    /// Returns the place of a folder with this absolute path, if it may be written.
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

    /// Returns the place of a file with this absolute path, if it may be written.
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

    /// Returns the folder of an object as a place.
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
        // An allowed absolute folder is the same one when it is given by its path below the first folder.
        self.place_of(&root.join(path)).ok_or_else(outside)
    }
}

/// Whether a character is invisible when printed, or changes how others look. Users choose the folder names in logs and
/// lists.
fn is_unseen(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn shortened(text: &str) -> String {
    let end = text.char_indices().nth(LONGEST_TOLD).map_or(text.len(), |(end, _)| end);
    format!("{}{}", &text[..end], if end < text.len() { "…" } else { "" })
}

/// Normalizes a relative path; `None` if it leaves its folder, or cannot be a file's.
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
