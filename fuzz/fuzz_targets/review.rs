//! Fuzzes the review of Pods: `make fuzz`.
#![no_main]

#[path = "../../tests/fuzz/review.rs"]
mod review;

libfuzzer_sys::fuzz_target!(|input: &[u8]| review::check(input));
