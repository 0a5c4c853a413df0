//! Texts shared by many Pods and kept once: label keys, images, hashes, names of sets and containers.

use super::fingerprints::Fingerprints;
use std::borrow::Borrow;
use std::collections::HashSet;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// A deduplicated text. It takes 8 bytes, because a Pod has dozens of them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text(Arc<Box<str>>);

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Text {
    fn borrow(&self) -> &str {
        self
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(Arc::new(text.into()))
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

/// All texts in use, and at most the same number of unused bytes.
#[derive(Debug, Default)]
pub struct Texts {
    known: HashSet<Text>,
    /// Their size in bytes.
    bytes: usize,
    /// The size at which unused texts are dropped.
    sweep_at: usize,
    /// Deduplicated fingerprints of containers.
    pub(super) fingerprints: Fingerprints,
}

/// The minimum size for a sweep.
const SMALLEST_SWEEP: usize = 256 * 1024;

impl Texts {
    /// Returns the shared copy of this text.
    pub fn share(&mut self, text: &str) -> Text {
        if let Some(known) = self.known.get(text) {
            return known.clone();
        }
        let bytes = bytes(text);
        if self.bytes + bytes > self.sweep_at.max(SMALLEST_SWEEP) {
            self.sweep();
        }
        self.bytes += bytes;
        let text = Text::from(text);
        self.known.insert(text.clone());
        text
    }

    /// Drops unused texts.
    pub fn sweep(&mut self) {
        self.known.retain(|text| Arc::strong_count(&text.0) > 1);
        self.known.shrink_to(2 * self.known.len());
        self.bytes = self.known.iter().map(|text| bytes(text)).sum();
        self.sweep_at = 2 * self.bytes;
    }
}

/// The size of a text: its bytes, its length and two counters, and its entry in the set.
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
        assert!(Arc::ptr_eq(&first.0, &texts.share(&String::from("app")).0));
        for n in 0..100_000 {
            texts.share(&n.to_string());
        }
        assert!(texts.known.len() <= SMALLEST_SWEEP / 48, "{}", texts.known.len());
        assert!(Arc::ptr_eq(&first.0, &texts.share("app").0), "a text in use stays");
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
