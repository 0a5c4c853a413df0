//! The documentation tells the truth: every command that it shows works and prints what is shown.

use crate::console::{Example, examples};
use crate::harness::{command, run};
use std::path::Path;
use std::process::Command;

fn check(page: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join(page)).expect("the page");
    let examples: Vec<Example<'_>> = examples(&text);
    assert!(!examples.is_empty(), "{page} shows no command");
    for example in examples {
        let line = example.command;
        let args = line.strip_prefix("outrigger ").unwrap_or_else(|| panic!("{page}: {line:?} is not outrigger"));
        let mut command: Command = command(args.split_whitespace());
        let printed = run(command.current_dir(root), "").ok();
        assert!(example.shows(&printed), "{page}: {line}\nprints\n{printed}");
    }
}

#[test]
fn commands_of_the_readme_print_what_it_shows() {
    check("README.md");
}

#[test]
fn commands_of_the_page_on_sidecarsets_print_what_it_shows() {
    check("docs/sidecarset.md");
}

#[test]
fn commands_of_the_page_on_operations_print_what_it_shows() {
    check("docs/operations.md");
}
