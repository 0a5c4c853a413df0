//! The documentation tells the truth: every command that it shows works and prints what is shown.

use crate::harness::{command, run};
use std::path::Path;
use std::process::Command;

/// A command with the lines shown under it.
struct Example<'d> {
    command: &'d str,
    shown: Vec<&'d str>,
}

/// The commands in the `console` blocks of a page; a line with `$ ` begins one.
fn examples(page: &str) -> Vec<Example<'_>> {
    let mut examples: Vec<Example<'_>> = Vec::new();
    let mut block: Option<usize> = None;
    for line in page.lines() {
        let text = line.trim_start();
        match block {
            None if text == "```console" => block = Some(line.len() - text.len()),
            None => {}
            Some(_) if text == "```" => block = None,
            Some(indent) => {
                let line = line.get(indent..).unwrap_or_default();
                match (line.strip_prefix("$ "), examples.last_mut()) {
                    (Some(command), _) => examples.push(Example { command, shown: Vec::new() }),
                    (None, Some(example)) => example.shown.push(line),
                    (None, None) => panic!("no command above {line:?}"),
                }
            }
        }
    }
    examples
}

/// Whether the shown lines are the printed ones; `…` stands for any number of lines.
fn is_shown(shown: &[&str], printed: &[&str]) -> bool {
    match shown {
        [] => printed.is_empty(),
        ["…", rest @ ..] => (0..=printed.len()).any(|skipped| is_shown(rest, &printed[skipped..])),
        [line, rest @ ..] => printed.first() == Some(line) && is_shown(rest, &printed[1..]),
    }
}

fn check(page: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join(page)).expect("the page");
    let examples = examples(&text);
    assert!(!examples.is_empty(), "{page} shows no command");
    for Example { command: line, shown } in examples {
        let args = line.strip_prefix("outrigger ").unwrap_or_else(|| panic!("{page}: {line:?} is not outrigger"));
        let mut command: Command = command(args.split_whitespace());
        let printed = run(command.current_dir(root), "").ok();
        let lines: Vec<&str> = printed.trim_end().lines().collect();
        assert!(shown.is_empty() || is_shown(&shown, &lines), "{page}: {line}\nprints\n{printed}");
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
