//! Hashes by a key that each process draws anew, so that nobody can look for texts that share one.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::LazyLock;

static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);

pub(super) fn hash(value: impl Hash) -> u64 {
    KEY.hash_one(value)
}
