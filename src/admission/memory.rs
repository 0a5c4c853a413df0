//! The memory that reviews take, which is limited in total.
//!
//! JSON of many small values takes fifty times its size once it is decoded. So values are counted first and their
//! memory is reserved; a review that finds no memory must be retried.

use tokio::sync::{Semaphore, SemaphorePermit};

/// The largest object that is read. The API server accepts requests of up to 3 MiB, and etcd of up to 1.5 MiB.
pub(super) const LARGEST_OBJECT: usize = 4 * MIB;

/// The memory of bodies, reviews and answers together. With the rest of the process it stays below 256 MiB, the limit
/// of its container.
pub(super) static ALL: Semaphore = Semaphore::const_new(152 * MIB);

/// The memory of reviews of Pods and SidecarSets together, without their bodies.
pub(super) static REVIEWS: MemoryBudget = MemoryBudget::new(64 * MIB);

/// The memory of conversion answers together: that of one body of the largest size.
pub(super) static CONVERSIONS: MemoryBudget = MemoryBudget::new(84 * MIB);

/// The memory of other answers until their clients have read them, without those of less than 16 KiB.
pub(super) static ANSWERS: MemoryBudget = MemoryBudget::new(32 * MIB);

pub(super) const MIB: usize = 1024 * 1024;

/// Smaller amounts are not counted.
const LITTLE: usize = 16 * 1024;

/// Memory to reserve, a part of [`ALL`].
pub(super) struct MemoryBudget {
    free: Semaphore,
    bytes: usize,
    all: &'static Semaphore,
}

/// Memory that is reserved until this is dropped.
#[derive(Debug)]
pub(super) struct Reserved {
    permits: Option<[SemaphorePermit<'static>; 2]>,
}

/// Why memory is not reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoMemory {
    /// It is more than the limit.
    TooMuch,
    /// It is in use now.
    Now,
}

impl MemoryBudget {
    const fn new(bytes: usize) -> Self {
        Self::within(&ALL, bytes)
    }

    const fn within(all: &'static Semaphore, bytes: usize) -> Self {
        Self { free: Semaphore::const_new(bytes), bytes, all }
    }

    pub fn reserve(&'static self, bytes: usize) -> Result<Reserved, NoMemory> {
        if bytes > self.bytes {
            return Err(NoMemory::TooMuch);
        }
        if bytes < LITTLE {
            return Ok(Reserved::NOTHING);
        }
        let permits = u32::try_from(bytes).map_err(|_| NoMemory::TooMuch)?;
        let take = |from: &'static Semaphore| from.try_acquire_many(permits).map_err(|_| NoMemory::Now);
        Ok(Reserved { permits: Some([take(&self.free)?, take(self.all)?]) })
    }
}

impl Reserved {
    /// An empty reservation.
    pub const NOTHING: Self = Self { permits: None };

    /// Returns whether nothing is reserved.
    pub fn is_nothing(&self) -> bool {
        self.permits.is_none()
    }
}

/// The content of a JSON text that determines its memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Survey {
    /// The number of values, or more.
    pub values: usize,
    /// The depth of nested objects and lists.
    pub depth: usize,
    /// The bytes of the longest string.
    pub longest: usize,
}

impl Survey {
    /// A text of at most 1 MiB with at most 8,192 values is not examined further.
    const FEW_VALUES: usize = 8192;
    /// Each value takes two bytes or more: it has a bracket at each end, or a comma behind it.
    const LEAST_OF_A_VALUE: usize = 2;
    const FEW_BYTES: usize = MIB;

    /// Returns `None` for a text that takes little memory in any case. Its length, or a count of brackets and commas,
    /// decides this for almost every body.
    pub fn of(text: &str) -> Option<Self> {
        // The two brackets differ in one bit.
        let counts = |byte: &u8| u8::from(byte | 0x20 == b'{') + u8::from(*byte == b',');
        // Each chunk is a whole number of vectors, and its count fits in a byte.
        let count =
            || text.as_bytes().chunks(192).map(|c| usize::from(c.iter().map(counts).sum::<u8>())).sum::<usize>();
        let is_short = text.len() < Self::FEW_VALUES * Self::LEAST_OF_A_VALUE;
        let is_little = is_short || text.len() <= Self::FEW_BYTES && count() <= Self::FEW_VALUES;
        (!is_little).then(|| Self::look_closer(text))
    }

    fn look_closer(text: &str) -> Self {
        let (mut survey, mut depth, mut start) = (Self::default(), 0_usize, None);
        let mut escaped = false;
        for (at, byte) in text.bytes().enumerate() {
            if let Some(begin) = start {
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' => escaped = true,
                    b'"' => {
                        survey.longest = survey.longest.max(at - begin);
                        start = None;
                    }
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => start = Some(at),
                b'{' | b'[' => {
                    survey.values += 1;
                    depth += 1;
                    survey.depth = survey.depth.max(depth);
                }
                b'}' | b']' => depth = depth.saturating_sub(1),
                b',' => survey.values += 1,
                _ => {}
            }
        }
        survey.longest = survey.longest.max(start.map_or(0, |begin| text.len() - begin));
        survey
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_decides_about_memory_is_counted_outside_of_strings() {
        let text = format!(r#"{{"a":[1,2,{{}}],"b":"{}\"{}"}}"#, "[,{".repeat(10_000), "x".repeat(100));
        let survey = Survey::of(&text).unwrap();
        assert_eq!(survey, Survey { values: 6, depth: 3, longest: 30_000 + 2 + 100 + 1 });
        let deep = format!("{}{}", "[".repeat(10_001), "]".repeat(10_001));
        assert_eq!(Survey::of(&deep).map(|survey| survey.depth), Some(10_001));
        assert_eq!(Survey::of(&format!("[{}1]", "1,".repeat(8_191))), None, "few values");
        assert_eq!(Survey::of(&format!("[{}1]", "1,".repeat(8_192))).map(|survey| survey.values), Some(8_193));
        assert_eq!(Survey::of(&format!("\"{}", "x".repeat(2 * MIB))).map(|survey| survey.longest), Some(2 * MIB + 1));
    }

    #[test]
    fn memory_is_reserved_up_to_all_there_is() {
        static ENOUGH: Semaphore = Semaphore::const_new(64 * LITTLE);
        static MEMORY: MemoryBudget = MemoryBudget::within(&ENOUGH, 4 * LITTLE);
        assert_eq!(MEMORY.reserve(6 * LITTLE).unwrap_err(), NoMemory::TooMuch);
        let most = MEMORY.reserve(3 * LITTLE).unwrap();
        assert_eq!(MEMORY.reserve(2 * LITTLE).unwrap_err(), NoMemory::Now);
        let _little = MEMORY.reserve(LITTLE / 2).unwrap();
        let _last = MEMORY.reserve(LITTLE).unwrap();
        assert_eq!(MEMORY.reserve(LITTLE).unwrap_err(), NoMemory::Now);
        drop(most);
        assert!(MEMORY.reserve(3 * LITTLE).is_ok());
    }

    #[test]
    fn what_one_kind_of_work_takes_is_missing_for_the_others() {
        static BOTH: Semaphore = Semaphore::const_new(4 * LITTLE);
        static ONE: MemoryBudget = MemoryBudget::within(&BOTH, 3 * LITTLE);
        static OTHER: MemoryBudget = MemoryBudget::within(&BOTH, 3 * LITTLE);
        let taken = ONE.reserve(3 * LITTLE).unwrap();
        assert_eq!(OTHER.reserve(2 * LITTLE).unwrap_err(), NoMemory::Now);
        assert!(OTHER.reserve(LITTLE).is_ok(), "and a refusal takes nothing");
        drop(taken);
        assert!(OTHER.reserve(3 * LITTLE).is_ok());
    }
}
