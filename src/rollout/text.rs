//! Texts that many Pods share, kept once: label keys, images, hashes, names of sets and containers.

use super::fingerprints::Fingerprints;
use std::collections::HashSet;
use std::sync::Arc;

/// A text that is kept once, however many objects hold it.
pub type Text = Arc<str>;

/// All texts in use, and at most as many bytes again of others.
#[derive(Debug, Default)]
pub struct Texts {
    known: HashSet<Text>,
    /// What they take.
    bytes: usize,
    /// Grown to so many bytes, those that nothing holds any more are dropped.
    sweep_at: usize,
    /// What containers are told apart by, beside texts.
    pub(super) fingerprints: Fingerprints,
}

/// Fewer bytes than this are not worth a sweep.
const SMALLEST_SWEEP: usize = 256 * 1024;

impl Texts {
    /// The one copy of this text.
    pub fn share(&mut self, text: &str) -> Text {
        if let Some(known) = self.known.get(text) {
            return Arc::clone(known);
        }
        let bytes = bytes(text);
        if self.bytes + bytes > self.sweep_at.max(SMALLEST_SWEEP) {
            self.sweep();
        }
        self.bytes += bytes;
        let text = Text::from(text);
        self.known.insert(Arc::clone(&text));
        text
    }

    /// Drops the texts that nothing holds any more.
    pub fn sweep(&mut self) {
        self.known.retain(|text| Arc::strong_count(text) > 1);
        self.known.shrink_to(2 * self.known.len());
        self.bytes = self.known.iter().map(|text| bytes(text)).sum();
        self.sweep_at = 2 * self.bytes;
    }
}

/// What a text takes: its bytes, two counters, and its place among the others.
fn bytes(text: &str) -> usize {
    text.len() + 48
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_are_kept_once_and_dropped_when_nothing_holds_them() {
        let mut texts = Texts::default();
        let first = texts.share("app");
        assert!(Arc::ptr_eq(&first, &texts.share(&String::from("app"))));
        for n in 0..100_000 {
            texts.share(&n.to_string());
        }
        assert!(texts.known.len() <= SMALLEST_SWEEP / 48, "{}", texts.known.len());
        assert!(Arc::ptr_eq(&first, &texts.share("app")), "a text in use stays");
    }

    #[test]
    fn few_but_large_texts_that_nothing_holds_are_dropped_too() {
        let mut texts = Texts::default();
        let in_use: Vec<Text> = (0..10_000).map(|n| texts.share(&n.to_string())).collect();
        for n in 0..1_000 {
            texts.share(&format!("{n:0>60000}"));
        }
        let held: usize = texts.known.iter().map(|text| text.len()).sum();
        assert!(held < 4 * 10_000 * 100, "{held} bytes of {} texts", texts.known.len());
        assert_eq!(in_use.len(), 10_000);
    }
}
