//! Sentences about one set: some are told, the others are only counted, so that a set with very many faults takes little memory.

/// At most 16 sentences are told of a set.
pub(super) const TOLD: usize = 16;

/// Sentences that each begin with a field.
#[derive(Debug, Default)]
pub(super) struct Sentences {
    told: Vec<String>,
    more: usize,
}

impl Sentences {
    /// One more, which is made if it is told.
    pub fn add(&mut self, sentence: impl FnOnce() -> String) {
        if self.told.len() < TOLD {
            self.told.push(sentence());
        } else {
            self.more += 1;
        }
    }

    /// Those that are told, and how many are not.
    pub fn into_told(mut self) -> Vec<String> {
        if self.more > 0 {
            self.told.push(format!("spec: {} more such fields are left out", self.more));
        }
        self.told
    }
}
