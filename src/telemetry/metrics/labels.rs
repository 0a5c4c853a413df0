//! The labels of a series.

/// Names and values, in the order of the output.
pub type Labels<const N: usize> = [(&'static str, &'static str); N];
