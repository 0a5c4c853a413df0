//! The labels of a series.

/// Their names and values, in the order in which they are written.
pub type Labels<const N: usize> = [(&'static str, &'static str); N];
