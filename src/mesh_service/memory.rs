//! Pure: what the leader remembers of a MeshService: writes that wait or are refused, and its next status.

use super::selection::Answers;
use super::state::Settling;
use super::watched::ObjectKey;
use crate::cluster::Repairs;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

/// The memory of a MeshService.
#[derive(Debug)]
pub struct Memory<T> {
    paces: HashMap<ObjectKey, Pace>,
    /// Why the API server refused the last write of an object.
    pub refused: BTreeMap<ObjectKey, String>,
    /// The next status.
    pub settling: Settling<T>,
    /// The number of changes that the checks must cover before their findings are current.
    pub awaits: u64,
    /// Whether the status waits for the checks.
    pub is_waiting: bool,
    /// Whether the subsets select Pods.
    pub pods: Answers,
    /// The objects of the plan.
    pub desired: BTreeSet<ObjectKey>,
    /// The objects that have been as planned, each with the hash of the plan.
    right: BTreeMap<ObjectKey, u64>,
}

/// The pace of the writes of an object.
#[derive(Debug, Default)]
struct Pace {
    /// The generation of the MeshService at the last write.
    generation: Option<i64>,
    repairs: Repairs,
}

impl<T> Default for Memory<T> {
    fn default() -> Self {
        Self {
            paces: HashMap::new(),
            refused: BTreeMap::new(),
            settling: Settling::default(),
            awaits: 0,
            is_waiting: false,
            pods: Answers::default(),
            desired: BTreeSet::new(),
            right: BTreeMap::new(),
        }
    }
}

impl<T> Memory<T> {
    /// Returns how long to wait before the next write of an object.
    #[must_use]
    pub fn pause(&self, object: &ObjectKey, now: Timestamp) -> Duration {
        self.paces.get(object).map_or(Duration::ZERO, |pace| pace.repairs.pause(now))
    }

    /// Returns the objects that another client changes repeatedly, each with the pause before its next write.
    pub fn undone(&self, now: Timestamp) -> impl Iterator<Item = (&ObjectKey, Duration)> {
        let paces = self.paces.iter().map(move |(object, pace)| (object, pace.repairs.pause(now)));
        paces.filter(|(_, pause)| !pause.is_zero())
    }

    /// Records that an object was written or deleted for this generation of the MeshService. All writes for one
    /// generation count together, because another client may undo them in several ways at once.
    pub fn written(&mut self, object: &ObjectKey, generation: i64, now: Timestamp) {
        self.refused.remove(object);
        self.paces.retain(|_, pace| pace.repairs.rests(now).is_some());
        let pace = self.paces.entry(object.clone()).or_default();
        pace.repairs.written(pace.generation == Some(generation), now);
        pace.generation = Some(generation);
    }

    /// Returns whether it waited for the checks to cover this many changes. It waits no longer.
    pub fn stops_waiting(&mut self, changes: u64) -> bool {
        let stops = self.is_waiting && self.awaits <= changes;
        self.is_waiting &= !stops;
        stops
    }

    /// Returns how long the past writes count for the pace of the next ones, if they do.
    #[must_use]
    pub fn rests(&self, now: Timestamp) -> Option<Duration> {
        self.paces.values().filter_map(|pace| pace.repairs.rests(now)).max()
    }

    /// Takes the hash of each planned object, and whether the present one is equal. Only an object that was as planned can be repaired.
    pub fn compare(&mut self, objects: impl IntoIterator<Item = (ObjectKey, u64, bool)>) {
        let mut before = std::mem::take(&mut self.right);
        let right =
            objects.into_iter().filter(|(object, wanted, is_so)| *is_so || before.remove(object) == Some(*wanted));
        self.right = right.map(|(object, wanted, _)| (object, wanted)).collect();
    }

    /// Returns whether an object was as planned before, so that another client has changed or deleted it since.
    #[must_use]
    pub fn was_right(&self, object: &ObjectKey) -> bool {
        self.right.contains_key(object)
    }
}

#[cfg(test)]
mod tests {
    use super::super::key::Key;
    use super::super::kind::MeshKind;
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn what_is_undone_again_and_again_is_repaired_more_seldom() {
        let (object, mut memory) =
            (ObjectKey::made(MeshKind::VirtualService, Key::new("a", "b")), Memory::<()>::default());
        let mut pauses = Vec::new();
        for second in 0..8 {
            memory.written(&object, 7, at(second));
            pauses.push(memory.pause(&object, at(second)).as_secs());
        }
        assert_eq!(pauses, [0, 0, 0, 0, 0, 1, 2, 4]);
        memory.written(&object, 8, at(9));
        assert_eq!(memory.pause(&object, at(9)), Duration::ZERO, "the MeshService was changed");
        for second in [100, 300, 500, 700, 900, 1100, 1300] {
            memory.written(&object, 8, at(second));
            assert_eq!(memory.pause(&object, at(second)), Duration::ZERO, "once in a while");
        }
    }

    #[test]
    fn what_was_written_is_forgotten_once_it_matters_no_more() {
        let object = |name| ObjectKey::made(MeshKind::VirtualService, Key::new("a", name));
        let mut memory = Memory::<()>::default();
        assert_eq!(memory.rests(at(0)), None);
        memory.written(&object("x"), 1, at(0));
        assert_eq!(memory.rests(at(20)), Some(Duration::from_secs(100)));
        assert_eq!(memory.rests(at(120)), None);
        memory.written(&object("y"), 1, at(200));
        assert_eq!(memory.paces.len(), 1);
    }

    #[test]
    fn only_what_was_right_before_is_repaired() {
        let object = ObjectKey::made(MeshKind::VirtualService, Key::new("a", "b"));
        let mut memory = Memory::<()>::default();
        for (wanted, is_so, was_right) in [
            (1, false, false), // it never existed
            (1, true, true),
            (1, false, true),  // another client changed it
            (2, false, false), // its plan has changed
            (1, false, false),
        ] {
            memory.compare([(object.clone(), wanted, is_so)]);
            assert_eq!(memory.was_right(&object), was_right, "{wanted} {is_so}");
        }
    }

    #[test]
    fn a_refusal_is_over_with_the_next_write() {
        let (object, mut memory) = (ObjectKey::made(MeshKind::Gateway, Key::new("a", "b")), Memory::<()>::default());
        memory.refused.insert(object.clone(), "a quota".to_owned());
        memory.written(&object, 1, at(0));
        assert!(memory.refused.is_empty());
    }
}
