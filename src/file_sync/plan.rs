//! Pure: the owner of each file, and the steps when objects come, change and go. Only digests of contents are kept.
//!
//! A file that several objects name belongs to the one created first. Objects created in the same second are ordered by kind,
//! namespace and name. So all Pods agree, a restart changes nothing, and a new object cannot take over a file. When the owner goes,
//! the file belongs to the next object, which is read again because its content is no longer known.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::naming::{Content, Entry, Place};
use super::object::ObjectKey;

/// The identity of a content: half of its SHA-256.
pub type Digest = [u8; 16];

/// Shows whether a file was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Its size in bytes.
    pub size: u64,
    /// The time of the inode's last change, in nanoseconds. No program can set it.
    pub changed: i128,
}

/// A file as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The digest of its content.
    pub digest: Digest,
    /// The stamp of the file.
    pub stamp: Stamp,
}

/// A step to take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write this entry, unless the file already has its content.
    Write(Arc<Place>, usize),
    /// Download the content of the file from this URL.
    Fetch(Arc<Place>, Box<str>),
    /// Remove the file.
    Remove(Arc<Place>),
    /// The file now belongs to this object: read it.
    Read(Arc<ObjectKey>),
}

/// Where an object was last seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Round {
    /// The slice.
    pub slice: u16,
    /// The number of its list.
    pub list: u32,
}

/// All objects and files.
#[derive(Debug, Default)]
pub struct Plan {
    objects: HashMap<Arc<ObjectKey>, Known>,
    files: HashMap<Arc<Place>, File>,
}

#[derive(Debug)]
struct Known {
    created: i64,
    heard: Round,
    places: Vec<Arc<Place>>,
}

#[derive(Debug, Default)]
struct File {
    claimants: Vec<Arc<ObjectKey>>,
    url: Option<Box<str>>,
    written: Option<Written>,
    /// The owner according to the manifest.
    noted: Option<Arc<ObjectKey>>,
}

/// Returns the digest of a content.
pub fn digest(bytes: &[u8]) -> Digest {
    half(Sha256::digest(bytes).into())
}

/// Returns the half that is kept.
pub fn half(full: [u8; 32]) -> Digest {
    let mut half = [0; 16];
    half.copy_from_slice(&full[..16]);
    half
}

impl Plan {
    /// An object exists, new or known, with these files.
    pub fn apply(&mut self, key: &ObjectKey, created: i64, heard: Round, entries: &[Entry<'_>]) -> Vec<Step> {
        let mut steps = Vec::new();
        let key = self.known_key(key).unwrap_or_else(|| Arc::new(key.clone()));
        let before = self.objects.get(&key).map_or(&[][..], |known| &known.places).to_vec();
        let mine: HashSet<&Arc<Place>> = before.iter().filter(|place| self.owner(place) == Some(&key)).collect();
        let places: Vec<Arc<Place>> = entries.iter().map(|entry| self.known_place(&entry.place)).collect();
        self.objects.insert(key.clone(), Known { created, heard, places: places.clone() });
        for (number, (place, entry)) in places.iter().zip(entries).enumerate() {
            let file = self.files.entry(place.clone()).or_default();
            if !file.claimants.contains(&key) {
                file.claimants.push(key.clone());
            }
            match self.owner(place) {
                Some(owner) if *owner == key => steps.extend(self.want(place, number, &entry.content)),
                Some(owner) if mine.contains(place) => steps.push(Step::Read(owner.clone())),
                _ => {}
            }
        }
        let named: HashSet<&Arc<Place>> = places.iter().collect();
        for place in before.iter().filter(|place| !named.contains(place)) {
            steps.extend(self.release(place, &key, mine.contains(place)));
        }
        steps
    }

    /// An object is gone.
    pub fn delete(&mut self, key: &ObjectKey) -> Vec<Step> {
        let Some(key) = self.known_key(key) else { return Vec::new() };
        let places = self.objects.get(&key).map(|known| known.places.clone()).unwrap_or_default();
        let owned: Vec<bool> = places.iter().map(|place| self.owner(place) == Some(&key)).collect();
        self.objects.remove(&key);
        places.iter().zip(owned).filter_map(|(place, owned)| self.release(place, &key, owned)).collect()
    }

    /// Returns the objects of a slice that were missing from this list.
    pub fn missing(&self, ended: Round) -> Vec<ObjectKey> {
        let is_missing = |known: &Known| known.heard.slice == ended.slice && known.heard.list != ended.list;
        self.objects.iter().filter(|(_, known)| is_missing(known)).map(|(key, _)| (**key).clone()).collect()
    }

    /// A file was written before this process began. Called once for each.
    pub fn restore(&mut self, key: &ObjectKey, created: i64, slice: u16, place: &Place) {
        let key = self.known_key(key).unwrap_or_else(|| Arc::new(key.clone()));
        let place = self.known_place(place);
        let heard = Round { slice, list: 0 };
        let known = self.objects.entry(key.clone()).or_insert(Known { created, heard, places: Vec::new() });
        known.places.push(place.clone());
        let file = self.files.entry(place).or_default();
        if !file.claimants.contains(&key) {
            file.claimants.push(key);
        }
    }

    /// A file was written.
    pub fn wrote(&mut self, place: &Place, written: Written) {
        if let Some(file) = self.files.get_mut(place) {
            file.written = Some(written);
        }
    }

    /// A file was changed by others. Returns its owner, which must be read again, or the URL of its download.
    pub fn spoiled(&mut self, place: &Place) -> Option<Step> {
        let owner = self.owner(place).cloned();
        let (place, _) = self.files.get_key_value(place)?;
        let place = place.clone();
        let file = self.files.get_mut(&place)?;
        file.written = None;
        match &file.url {
            Some(url) => Some(Step::Fetch(place, url.clone())),
            None => owner.map(Step::Read),
        }
    }

    /// Whether an object is known.
    pub fn knows(&self, key: &ObjectKey) -> bool {
        self.objects.contains_key(key)
    }

    /// Returns when an object was last seen.
    pub fn heard(&self, key: &ObjectKey) -> Option<Round> {
        self.objects.get(key).map(|known| known.heard)
    }

    /// Returns the owner of a file that still needs the answer of this URL.
    pub fn wants(&self, place: &Place, url: &str) -> Option<ObjectKey> {
        let file = self.files.get(place)?;
        (file.url.as_deref() == Some(url)).then(|| self.owner(place).map(|owner| (**owner).clone())).flatten()
    }

    /// Returns the URL of a file's download, and its object.
    pub fn url(&self, place: &Place) -> Option<(&str, &ObjectKey)> {
        Some((self.files.get(place)?.url.as_deref()?, self.owner(place)?))
    }

    /// Returns the files that an object names and another one owns.
    pub fn contested(&self, key: &ObjectKey) -> impl Iterator<Item = (&Place, &ObjectKey)> {
        let places = self.objects.get(key).map_or(&[][..], |known| &known.places);
        places.iter().filter_map(move |place| Some((&**place, &**self.owner(place).filter(|owner| ***owner != *key)?)))
    }

    /// Returns the files that must be removed for this file of an owner: a file in place of its folder, or the files in a folder in its place.
    /// `None` if there are none, or if one belongs to an older object, in which case the owner must wait.
    pub fn in_the_way(&self, place: &Place, owner: &ObjectKey) -> Option<Vec<Arc<Place>>> {
        let found: Vec<_> = self.files.keys().filter(|other| other.clashes_with(place)).cloned().collect();
        let is_younger =
            |other: &Arc<Place>| self.owner(other).is_some_and(|other| self.rank(owner) < self.rank(other));
        (!found.is_empty() && found.iter().all(is_younger)).then_some(found)
    }

    /// Whether the file belongs to this object according to the manifest.
    pub fn is_noted(&self, place: &Place, owner: &ObjectKey) -> bool {
        self.files.get(place).is_some_and(|file| file.noted.as_deref() == Some(owner))
    }

    /// Records that the file belongs to this object according to the manifest.
    pub fn noted(&mut self, place: &Place, owner: &ObjectKey) {
        let owner = self.known_key(owner);
        if let Some(file) = self.files.get_mut(place) {
            file.noted = owner;
        }
    }

    /// Returns when an object was created.
    pub fn created(&self, key: &ObjectKey) -> i64 {
        self.objects.get(key).map_or(i64::MAX, |known| known.created)
    }

    /// Whether an object owns a file.
    pub fn has(&self, place: &Place) -> bool {
        self.files.contains_key(place)
    }

    /// Returns a file as it was written.
    pub fn written(&self, place: &Place) -> Option<Written> {
        self.files.get(place)?.written
    }

    /// Returns all files, as they were written, with the URLs of downloads.
    pub fn files(&self) -> impl Iterator<Item = (&Arc<Place>, Option<Written>, Option<&str>)> {
        self.files.iter().map(|(place, file)| (place, file.written, file.url.as_deref()))
    }

    /// Returns all files with their owners and the owners' creation times.
    pub fn owned(&self) -> impl Iterator<Item = (&ObjectKey, i64, &Place)> {
        self.files.keys().filter_map(|place| {
            let owner = self.owner(place)?;
            Some((&**owner, self.objects.get(owner)?.created, &**place))
        })
    }

    /// Returns the numbers of objects and files.
    pub fn counts(&self) -> (usize, usize) {
        (self.objects.len(), self.files.len())
    }

    /// The owner has this content for a file.
    fn want(&mut self, place: &Arc<Place>, number: usize, content: &Content<'_>) -> Option<Step> {
        let file = self.files.get_mut(place)?;
        match content {
            Content::Bytes(bytes) => {
                file.url = None;
                let is_so = file.written.is_some_and(|written| written.digest == digest(bytes));
                (!is_so).then(|| Step::Write(place.clone(), number))
            }
            Content::Url(url) => {
                let is_so = file.written.is_some() && file.url.as_ref() == Some(url);
                file.url = Some(url.clone());
                (!is_so).then(|| Step::Fetch(place.clone(), url.clone()))
            }
        }
    }

    /// An object no longer names a file.
    fn release(&mut self, place: &Arc<Place>, key: &ObjectKey, was_owner: bool) -> Option<Step> {
        let file = self.files.get_mut(place)?;
        file.claimants.retain(|claimant| **claimant != *key);
        if file.claimants.is_empty() {
            self.files.remove(place);
            return Some(Step::Remove(place.clone()));
        }
        if was_owner {
            file.url = None;
        }
        self.owner(place).filter(|_| was_owner).cloned().map(Step::Read)
    }

    fn owner(&self, place: &Place) -> Option<&Arc<ObjectKey>> {
        self.files.get(place)?.claimants.iter().min_by(|a, b| self.rank(a).cmp(&self.rank(b)))
    }

    /// The object with the lower rank is the owner.
    fn rank<'k>(&self, key: &'k ObjectKey) -> (i64, &'k ObjectKey) {
        (self.created(key), key)
    }

    fn known_key(&self, key: &ObjectKey) -> Option<Arc<ObjectKey>> {
        self.objects.get_key_value(key).map(|(key, _)| key.clone())
    }

    fn known_place(&self, place: &Place) -> Arc<Place> {
        self.files.get_key_value(place).map_or_else(|| Arc::new(place.clone()), |(place, _)| place.clone())
    }
}
