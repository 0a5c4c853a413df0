//! Hashes with a random key for each process, so that nobody can construct colliding texts.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::LazyLock;

static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);

pub(super) fn hash(value: impl Hash) -> u64 {
    KEY.hash_one(value)
}
