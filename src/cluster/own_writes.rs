//! Pure: our own writes with stale caches. Until a watch reports a write, it shows the object's previous state. A plan from that
//! state would repeat or undo the write.
//!
//! For each written object the newer state counts: the API server's answer, until the watch shows that state or a later one.
//! [`Overlay`] keeps it for an index. [`OwnWrite`] alone is enough if the watched objects are used directly.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};

use super::objects::{ObjectVersion, Versioned};
use super::watch::Event;

/// At most this many overwritten versions of an object are remembered if versions cannot be compared.
const MOST_OLDER: usize = 16;

/// The state of an object that the API server returned for a write.
#[derive(Clone, Debug)]
pub struct OwnWrite {
    uid: String,
    version: String,
    /// Versions that this state is certainly newer than. Used if versions cannot be compared.
    older: Vec<String>,
}

/// Objects as the API server returned them, until a watch shows them; at most one state of each object.
///
/// All events of the watch go through [`Overlay::pass`], whose result goes into the index. Answers go through [`Overlay::answered`].
/// So the index never returns to a state before a write, and a plan never sees one. Only a new list ([`super::Watch::fresh`]) can show
/// the outcome of a write whose answer was lost, and the writes of an earlier leader.
///
/// An answer may arrive during a list and is not part of it. An object that was known when the list began and is not in
/// the list is still gone.
#[derive(Debug)]
pub struct Overlay<T> {
    ahead: HashMap<(String, String), Ahead<T>>,
    /// The latest version of any object that the watch has shown. The watch has reported everything before it. `None` if no
    /// version can be compared. A list updates it only when complete.
    reached: Option<String>,
    /// During a list, the hashes of the names in it: at least 8 bytes for each object.
    listed: Option<HashSet<u64>>,
    hasher: RandomState,
}

#[derive(Debug)]
struct Ahead<T> {
    object: T,
    write: OwnWrite,
    /// Whether the watch has shown an earlier state of it. A list without it then means that it is gone.
    was_shown: bool,
    /// Whether a list was processed since. The next list began after the write, and is right about it.
    was_listed: bool,
    /// Whether the list in progress contains it.
    is_listed: bool,
}

impl OwnWrite {
    /// The object has had this state since a write over version `over`; `None` if it did not exist.
    #[must_use]
    pub fn new(after: ObjectVersion<'_>, over: Option<&str>) -> Self {
        let version = after.resource_version.to_owned();
        let older = over.filter(|_| !is_number(&version)).map(str::to_owned).into_iter().collect();
        Self { uid: after.uid.to_owned(), version, older }
    }

    /// Whether the object in the watch is older than the write.
    #[must_use]
    pub fn is_newer_than(&self, shown: ObjectVersion<'_>) -> bool {
        match compare(&self.version, shown.resource_version) {
            Some(order) => order == Ordering::Greater,
            None => self.uid == shown.uid && self.older.iter().any(|older| older == shown.resource_version),
        }
    }

    /// This state is also newer than everything that an earlier write was newer than.
    fn after(mut self, earlier: OwnWrite) -> Self {
        self.older.extend(earlier.older);
        self.older.truncate(MOST_OLDER);
        self
    }
}

impl<T> Default for Overlay<T> {
    fn default() -> Self {
        Self { ahead: HashMap::new(), reached: None, listed: None, hasher: RandomState::new() }
    }
}

impl<T: Versioned + Clone> Overlay<T> {
    /// The API server returned this state of an object: after a write over version `over`, or with `None` after a create or a
    /// read. `known` is the object's state in the index. Returns the new state for the index, if it is newer.
    pub fn answered(&mut self, after: T, over: Option<&str>, known: Option<&T>) -> Option<T> {
        if !self.is_ahead(after.version(), over, known.map(Versioned::version)) {
            return None;
        }
        let mut write = OwnWrite::new(after.version(), over);
        let earlier = self.ahead.remove(&name_of(&after)).filter(|earlier| earlier.write.uid == write.uid);
        let is_known = known.is_some_and(|known| known.version().uid == after.version().uid);
        let was_shown = earlier.as_ref().map_or(is_known, |earlier| earlier.was_shown);
        if let Some(earlier) = earlier {
            write = write.after(earlier.write);
        }
        let name = name_of(&after);
        let is_listed = self.listed.as_ref().is_some_and(|listed| listed.contains(&self.hasher.hash_one(&name)));
        self.ahead.insert(name, Ahead { object: after.clone(), write, was_shown, was_listed: false, is_listed });
        Some(after)
    }

    /// Whether the watch has reported neither this answer nor anything later.
    fn is_ahead(&self, after: ObjectVersion<'_>, over: Option<&str>, known: Option<ObjectVersion<'_>>) -> bool {
        let is_later =
            |than: &str| compare(after.resource_version, than).is_none_or(|order| order == Ordering::Greater);
        match known {
            None if over.is_some() => false, // it has been deleted since
            Some(known) if over.is_some() && known.uid != after.uid => false, // and created again
            known if is_number(after.resource_version) => {
                self.reached.as_deref().filter(|_| self.listed.is_none()).is_none_or(is_later)
                    && known.is_none_or(|known| is_later(known.resource_version))
            }
            known => known.map(|known| known.resource_version) == over,
        }
    }

    /// Returns the events for the index for an event of the watch. Events older than an answer are dropped.
    pub fn pass(&mut self, event: Event<T>) -> impl Iterator<Item = Event<T>> + use<T> {
        let mut corrected = Vec::new();
        let event = match event {
            Event::Begin => {
                self.begin_list();
                Some(Event::Begin)
            }
            Event::Item(object) => Some(Event::Item(self.lists(object))),
            Event::End => {
                corrected = self.end_list();
                Some(Event::End)
            }
            Event::Applied(object) => self.shows(&object).then_some(Event::Applied(object)),
            Event::Deleted(object) => self.shows_end_of(&object).then_some(Event::Deleted(object)),
        };
        corrected.into_iter().chain(event)
    }

    /// Whether the API server returned a later state of this object than the watch has shown.
    #[must_use]
    pub fn is_ahead_of(&self, shown: &T) -> bool {
        self.ahead.get(&name_of(shown)).is_some_and(|ahead| ahead.write.is_newer_than(shown.version()))
    }

    /// Returns the number of objects with a state that the watch has not shown yet.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.ahead.len()
    }

    /// Whether to accept that an object is new or changed.
    fn shows(&mut self, object: &T) -> bool {
        self.reach(object);
        if self.ahead.is_empty() {
            return true;
        }
        let name = name_of(object);
        match self.ahead.get_mut(&name) {
            Some(ahead) if ahead.write.is_newer_than(object.version()) => {
                ahead.was_shown |= ahead.write.uid == object.version().uid;
                false
            }
            Some(_) => self.ahead.remove(&name).is_some(),
            None => true,
        }
    }

    /// Whether to accept that an object is gone.
    fn shows_end_of(&mut self, object: &T) -> bool {
        self.reach(object);
        let name = name_of(object);
        match self.ahead.get(&name) {
            // It was an earlier object of this name.
            Some(ahead) if ahead.write.uid != object.version().uid && ahead.write.is_newer_than(object.version()) => {
                false
            }
            Some(_) => self.ahead.remove(&name).is_some(),
            None => true,
        }
    }

    /// A list begins. The previous one may have been interrupted.
    fn begin_list(&mut self) {
        self.reached = None; // after a restore of the API server's storage, versions are lower than before
        self.listed = Some(HashSet::new());
        for ahead in self.ahead.values_mut() {
            ahead.is_listed = false;
        }
    }

    /// Returns the state that counts for an object in a list.
    fn lists(&mut self, object: T) -> T {
        self.reach(&object);
        let name = name_of(&object);
        if let Some(listed) = &mut self.listed {
            listed.insert(self.hasher.hash_one(&name));
        }
        match self.ahead.get_mut(&name) {
            Some(ahead) if !ahead.was_listed && ahead.write.is_newer_than(object.version()) => {
                ahead.was_shown |= ahead.write.uid == object.version().uid;
                ahead.is_listed = true;
                ahead.object.clone()
            }
            Some(_) => {
                self.ahead.remove(&name);
                object
            }
            None => object,
        }
    }

    /// The list is complete. A missing object may exist, because the list may have begun before its creation. It may also be gone,
    /// although its answer came later.
    fn end_list(&mut self) -> Vec<Event<T>> {
        self.listed = None;
        let reached = self.reached.as_deref();
        let mut corrected = Vec::new();
        self.ahead.retain(|_, ahead| {
            let was_before = reached.and_then(|reached| compare(&ahead.write.version, reached));
            let was_before = was_before.is_some_and(|order| order != Ordering::Greater);
            let is_gone = !ahead.is_listed && (ahead.was_shown || ahead.was_listed || was_before);
            if is_gone {
                corrected.push(Event::Deleted(ahead.object.clone()));
            } else if !ahead.is_listed {
                corrected.push(Event::Item(ahead.object.clone()));
            }
            (ahead.was_listed, ahead.is_listed) = (true, false);
            !is_gone
        });
        corrected
    }

    fn reach(&mut self, object: &T) {
        let version = object.version().resource_version;
        let is_later = |reached: &str| compare(version, reached) == Some(Ordering::Greater);
        if is_number(version) && self.reached.as_deref().is_none_or(is_later) {
            self.reached = Some(version.to_owned());
        }
    }
}

fn name_of(object: &impl Versioned) -> (String, String) {
    let ObjectVersion { namespace, name, .. } = object.version();
    (namespace.to_owned(), name.to_owned())
}

/// Compares versions of one resource, which are decimal numbers of any length:
/// <https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions>.
fn compare(one: &str, other: &str) -> Option<Ordering> {
    (is_number(one) && is_number(other)).then(|| one.len().cmp(&other.len()).then_with(|| one.cmp(other)))
}

fn is_number(version: &str) -> bool {
    !version.is_empty() && !version.starts_with('0') && version.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers_and_others_not_at_all() {
        assert_eq!(compare("999", "1000"), Some(Ordering::Less));
        assert_eq!(compare("36893488147419103233", "36893488147419103232"), Some(Ordering::Greater));
        assert_eq!(compare("7", "7"), Some(Ordering::Equal));
        for other in ["", "a1", "007", "-1", "1.5"] {
            assert_eq!(compare("7", other), None, "{other}");
        }
    }
}
