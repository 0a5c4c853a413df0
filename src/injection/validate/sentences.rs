//! Sentences about one set. Only the first ones are kept and the rest are counted, so that a set with very many
//! problems takes little memory.

/// At most 16 sentences are reported for a set.
pub(super) const TOLD: usize = 16;

/// Sentences that each begin with a field.
#[derive(Debug, Default)]
pub(super) struct Sentences {
    told: Vec<String>,
    more: usize,
}

impl Sentences {
    /// Adds a sentence, which is built only if it is reported.
    pub fn add(&mut self, sentence: impl FnOnce() -> String) {
        if self.told.len() < TOLD {
            self.told.push(sentence());
        } else {
            self.more += 1;
        }
    }

    /// Returns the reported sentences, and the number of others.
    pub fn into_told(mut self) -> Vec<String> {
        if self.more > 0 {
            self.told.push(format!("spec: {} more such fields are not shown", self.more));
        }
        self.told
    }
}
