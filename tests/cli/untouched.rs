//! Objects that `outrigger inject` does not change are printed byte for byte.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::{Files, command, object, objects, run};
use crate::inject::{inject, logs};
use crate::objects::{SEED_POD, set};

/// Returns the YAML of objects in the repository, by file.
fn manifests() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = ["certs", "docs", "examples", "manifests", "src", "tests"]
        .map(|folder| Path::new(env!("CARGO_MANIFEST_DIR")).join(folder))
        .to_vec();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let entry = entry.expect("an entry");
            if entry.file_type().expect("a type").is_dir() {
                folders.push(entry.path());
            } else if entry.path().extension().is_some_and(|end| end == "yaml") {
                let text = std::fs::read_to_string(entry.path()).expect("text");
                // Templates of the chart are not YAML.
                let objects = outrigger::documents::parse("f.yaml", text.as_bytes());
                if objects.is_ok_and(|objects| !objects.is_empty()) {
                    found.push((entry.path(), text));
                }
            }
        }
    }
    found.sort();
    found
}

#[test]
fn files_in_which_nothing_changes_come_out_byte_for_byte() {
    let none = Files::new([("set.yaml", set("logs").replace("app: nginx", "nobody: has-this").as_str())]);
    let files = manifests();
    assert!(files.len() >= 40, "{}", files.len());
    let outputs = |files: &[(PathBuf, String)]| {
        let mut command = command(["inject", "--quiet", "--from"]);
        run(command.arg(none.path()).arg("-f").args(files.iter().map(|(path, _)| path)), "").ok()
    };
    // A Namespace may be in several files, but not in several that are given together.
    let (alone, together): (Vec<_>, Vec<_>) = files.into_iter().partition(|(_, text)| text.contains("kind: Namespace"));
    for (path, text) in &alone {
        assert!(outputs(&[(path.clone(), text.clone())]) == *text, "{} differs", path.display());
    }
    let output = outputs(&together);
    let mut rest = output.as_str();
    for (path, text) in &together {
        let (between, behind) = rest.split_once(text).unwrap_or_else(|| panic!("{} differs", path.display()));
        assert!(matches!(between, "" | "\n" | "---\n" | "\n---\n"), "{between:?} before {}", path.display());
        rest = behind;
    }
    assert_eq!(rest, "");
    let all: Vec<Value> = together.iter().flat_map(|(_, text)| objects(text)).collect();
    assert_eq!(objects(&output), all, "the stream has the same objects");
}

#[test]
fn beside_documents_that_are_injected_the_others_are_copied_and_comments_around_them_stay() {
    let logs = logs();
    let config = "# Kept as it is.\napiVersion: v1 # core\nkind: ConfigMap\nmetadata: {name: 'c'}\ndata:\n    a: &x \"1\"\n    b: *x\n\n# Its end.\n";
    let text = format!("# Licence.\n---\n# Source: chart/pod.yaml\n{SEED_POD}# Behind.\n--- # Second.\n{config}");
    let pod = object(SEED_POD);
    let (head, tail) = ("# Licence.\n---\n# Source: chart/pod.yaml\n", format!("# Behind.\n--- # Second.\n{config}"));
    let output = inject(logs.path(), &[], &text).ok();
    let injected = output.strip_prefix(head).and_then(|rest| rest.strip_suffix(tail.as_str()));
    let injected = object(injected.unwrap_or_else(|| panic!("{output}")));
    assert_ne!(injected, pod);
    assert_eq!(injected["metadata"]["name"], pod["metadata"]["name"]);
    // If one item of a List changes, the List is printed as its items.
    let list = |items: &str| format!("# A List.\napiVersion: v1\nkind: List\nitems:\n{items}");
    let one = "- {apiVersion: v1, kind: ConfigMap, metadata: {name: c}}\n";
    let untouched = list(one);
    assert_eq!(inject(logs.path(), &[], &untouched).ok(), untouched);
    let two = format!("{one}- {pod}\n");
    let output = inject(logs.path(), &[], &list(&two)).ok();
    assert!(output.starts_with("# A List.\napiVersion: v1\nkind: ConfigMap\n"), "{output}");
    assert_eq!(objects(&output).len(), 2);
}
