//! `make cluster`.

fn main() {}
