//! Replays the fuzzer's corpus: inputs that once reached new code.

mod review;

use std::fs;
use std::path::Path;

#[test]
fn the_corpus_holds() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/review");
    let mut replayed = 0;
    for entry in fs::read_dir(&corpus).unwrap() {
        review::check(&fs::read(entry.unwrap().path()).unwrap());
        replayed += 1;
    }
    assert!(replayed > 0, "{} is empty", corpus.display());
}
