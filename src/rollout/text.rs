//! Texts that many Pods share, kept once: label keys, images, hashes, names of sets and containers.

use super::fingerprints::Fingerprints;
use std::collections::HashSet;
use std::sync::Arc;

/// A text that is kept once, however many objects hold it.
pub type Text = Arc<str>;

/// All texts in use.
#[derive(Debug, Default)]
pub struct Texts {
    known: HashSet<Text>,
    /// Grown to this many, those that nothing holds any more are dropped.
    sweep_at: usize,
    /// What containers are told apart by, beside texts.
    pub(super) fingerprints: Fingerprints,
}

/// Fewer texts than this are not worth a sweep.
const SMALLEST_SWEEP: usize = 1024;

impl Texts {
    /// The one copy of this text.
    pub fn share(&mut self, text: &str) -> Text {
        if let Some(known) = self.known.get(text) {
            return Arc::clone(known);
        }
        if self.known.len() >= self.sweep_at {
            self.known.retain(|text| Arc::strong_count(text) > 1);
            self.sweep_at = (self.known.len() * 2).max(SMALLEST_SWEEP);
        }
        let text = Text::from(text);
        self.known.insert(Arc::clone(&text));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_are_kept_once_and_dropped_when_nothing_holds_them() {
        let mut texts = Texts::default();
        let first = texts.share("app");
        assert!(Arc::ptr_eq(&first, &texts.share(&String::from("app"))));
        for n in 0..10 * SMALLEST_SWEEP {
            texts.share(&n.to_string());
        }
        assert!(texts.known.len() <= SMALLEST_SWEEP, "{}", texts.known.len());
        assert!(Arc::ptr_eq(&first, &texts.share("app")), "a text in use stays");
    }
}
