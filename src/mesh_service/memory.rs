//! Pure: what the leader remembers of a MeshService: which writes wait or are refused, and what its status is about to say.

use super::state::Settling;
use super::watched::ObjectKey;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

/// At most this many repairs in a row are made at once: somebody tries that out, or a tool writes a few times.
const BURST: u32 = 5;

/// The pause before the next repair of what somebody undoes again and again; it doubles with each further one.
const FIRST_REPAIR: Duration = Duration::from_secs(1);

/// No such pause is longer; after twice as long without a repair the count starts anew.
const LONGEST_REPAIR: Duration = Duration::from_secs(60);

/// What is remembered.
#[derive(Debug)]
pub struct Memory<T> {
    paces: HashMap<ObjectKey, Pace>,
    /// What the API server said to the last write of an object.
    pub refused: BTreeMap<ObjectKey, String>,
    /// What its status is about to say.
    pub settling: Settling<T>,
    /// The checks have to be of this many changes at least, before their findings are about what is there now.
    pub awaits: u64,
    /// Whether its status waits for that.
    pub is_waiting: bool,
    /// What there is to be.
    pub desired: BTreeSet<ObjectKey>,
}

/// How fast an object is written.
#[derive(Debug, Default)]
struct Pace {
    not_before: Option<Timestamp>,
    /// What was last written, as a hash, how often again, and when at last.
    written: Option<u64>,
    repairs: u32,
    repaired: Option<Timestamp>,
}

impl<T> Default for Memory<T> {
    fn default() -> Self {
        Self {
            paces: HashMap::new(),
            refused: BTreeMap::new(),
            settling: Settling::default(),
            awaits: 0,
            is_waiting: false,
            desired: BTreeSet::new(),
        }
    }
}

impl<T> Memory<T> {
    /// How long to wait before the next write of an object.
    #[must_use]
    pub fn pause(&self, object: &ObjectKey, now: Timestamp) -> Duration {
        self.paces.get(object).and_then(|pace| pace.not_before).map_or(Duration::ZERO, |then| until(now, then))
    }

    /// An object was written; what, says its hash.
    pub fn written(&mut self, object: &ObjectKey, what: u64, now: Timestamp) {
        self.refused.remove(object);
        let pace = self.paces.entry(object.clone()).or_default();
        let is_soon = pace.repaired.is_none_or(|last| until(last, now) <= 2 * LONGEST_REPAIR);
        pace.repairs = if pace.written == Some(what) && is_soon { pace.repairs.saturating_add(1) } else { 0 };
        (pace.written, pace.repaired) = (Some(what), Some(now));
        let pause = pace
            .repairs
            .checked_sub(BURST)
            .map(|more| FIRST_REPAIR.saturating_mul(2_u32.saturating_pow(more)).min(LONGEST_REPAIR));
        pace.not_before = pause.and_then(|pause| now.checked_add(pause).ok());
    }

    /// Whether it waited for the checks to be of so many changes, and now does not any more.
    pub fn stops_waiting(&mut self, changes: u64) -> bool {
        let stops = self.is_waiting && self.awaits <= changes;
        self.is_waiting &= !stops;
        stops
    }

    /// An object is not written any more.
    pub fn forget(&mut self, object: &ObjectKey) {
        self.paces.remove(object);
        self.refused.remove(object);
    }
}

/// The time from one moment to a later one; zero where that is past.
fn until(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
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
        assert_eq!(memory.pause(&object, at(9)), Duration::ZERO, "something else");
        for second in [100, 300, 500, 700, 900, 1100, 1300] {
            memory.written(&object, 8, at(second));
            assert_eq!(memory.pause(&object, at(second)), Duration::ZERO, "once in a while");
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
