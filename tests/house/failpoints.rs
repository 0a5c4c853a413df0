//! Failpoints: each write in the sources is between two, the list has each once, and no release has any.

use std::{collections::BTreeMap, path::Path, process::Command};

use outrigger::cluster::failpoint::WRITES;

/// Strings in each write by a client of the API server.
const MARKS: [&str; 8] = [
    "PostParams::",
    "PatchParams::",
    "DeleteParams::",
    "apply::apply(",
    "apply::ensure(",
    "apply::patch(",
    "apply::delete(",
    "apply::set_status(",
];

/// The call around a write.
const AROUND: &str = "failpoint::around(";

/// Files that write on behalf of others, and the failpoints themselves.
const NOT_LOOKED_AT: [&str; 2] = ["cluster/apply.rs", "cluster/failpoint.rs"];

/// Returns the sources without their tests.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let is_of_tests = |file: &str| file.split('/').any(|part| matches!(part, "tests" | "tests.rs"));
    let sources = super::sources(&root, &root).into_iter().filter(|(file, _)| !is_of_tests(file));
    sources
        .map(|(file, text)| {
            let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
            (file, text[..end].to_owned())
        })
        .collect()
}

/// Returns the lines of a source that write.
fn writes(code: &[&str]) -> Vec<usize> {
    let is_write = |line: &str| MARKS.iter().any(|mark| line.contains(mark));
    (0..code.len()).filter(|number| is_write(code[*number])).collect()
}

/// Returns the problems of a source's writes.
fn faults(text: &str) -> Vec<String> {
    let code: Vec<_> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let writes = writes(&code);
    let mut faults = Vec::new();
    for number in &writes {
        // The write, or the variable that holds it, is in the same statement or in the next.
        let nearby = &code[number.saturating_sub(2)..code.len().min(number + 4)];
        if !nearby.iter().any(|line| line.contains(AROUND)) {
            faults.push(format!("no failpoints around `{}`", code[*number].trim()));
        }
    }
    let around = text.matches(AROUND).count();
    if faults.is_empty() && around != writes.len() {
        faults.push(format!("{} writes, of which {around} are between failpoints", writes.len()));
    }
    faults
}

#[test]
fn every_write_of_the_sources_is_between_failpoints() {
    let mut around = 0;
    for (file, text) in sources().iter().filter(|(file, _)| !NOT_LOOKED_AT.contains(&file.as_str())) {
        assert_eq!(faults(text), Vec::<String>::new(), "src/{file}: use `{AROUND}NAME, …)`");
        around += text.matches(AROUND).count();
    }
    assert!(around > 10, "the sources were not found");
}

#[test]
fn every_write_of_the_list_is_in_the_sources_once() {
    let mut found: BTreeMap<&str, Vec<&str>> = WRITES.iter().map(|write| (*write, Vec::new())).collect();
    assert_eq!(found.len(), WRITES.len(), "a name stands twice in the list");
    let sources = sources();
    for (file, text) in sources.iter().filter(|(file, _)| !NOT_LOOKED_AT.contains(&file.as_str())) {
        for (write, files) in &mut found {
            files.extend(text.matches(&format!("\"{write}\"")).map(|_| file.as_str()));
        }
    }
    found.retain(|_, files| files.len() != 1);
    assert_eq!(found, BTreeMap::new(), "each name stands at one write");
}

#[test]
fn a_write_without_failpoints_is_found() {
    let write = "let w = apply::patch(&api, &o, None, p)";
    let wrapped = format!("{write};\nmatch {AROUND}\"x\", w).await? {{\n");
    assert_eq!(faults(&wrapped), Vec::<String>::new());
    assert_eq!(faults(&format!("{write}.await?;\n")), [format!("no failpoints around `{write}.await?;`")]);
    assert_eq!(faults("api.create(&PostParams::default(), &o).await?;\n").len(), 1);
    assert_eq!(faults(&format!("{wrapped}{write}.await?;\n")), ["2 writes, of which 1 are between failpoints"]);
}

#[test]
fn no_release_has_failpoints() {
    // For any dependencies of a build without tests, the crate is absent, so none of it can be used.
    let root = env!("CARGO_MANIFEST_DIR");
    let mut tree = Command::new(env!("CARGO"));
    tree.args([
        "tree",
        "--offline",
        "--locked",
        "--package",
        "outrigger",
        "--edges",
        "normal,build",
        "--prefix",
        "none",
    ]);
    let tree = tree.current_dir(root).output().expect("cargo");
    let tree = String::from_utf8(tree.stdout).expect("text");
    assert!(tree.contains("\nkube v"), "{tree}");
    assert!(!tree.lines().any(|line| line.starts_with("fail v")), "a release depends on `fail`");
    // With the feature it also requires `debug_assertions`, which `profile.release` does not set.
    let gate = "#[cfg(all(feature = \"failpoints\", debug_assertions))]";
    for (file, text) in sources() {
        for (at, _) in text.match_indices("fail::") {
            let item = text[..at].rfind("\n}\n").unwrap_or(0);
            assert!(text[item..at].contains(gate), "src/{file}: `fail` is used outside of {gate}");
        }
    }
    let manifest = std::fs::read_to_string(Path::new(root).join("Cargo.toml")).expect("Cargo.toml");
    assert!(!manifest.contains("debug-assertions"), "a profile has other assertions than its own");
}
