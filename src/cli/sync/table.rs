//! The table of all options in the documentation. A test compares it.

use std::fmt::Write as _;

use super::args::VARIABLES;

/// Returns the table for the documentation.
fn table() -> String {
    let mut text = String::new();
    let mut heading = "";
    for variable in VARIABLES {
        if variable.heading != heading {
            heading = variable.heading;
            let _ = write!(text, "\n### {heading}\n\n| variable | flag | default | meaning |\n|---|---|---|---|\n");
        }
        let flag = variable.flag.replace('_', "-");
        let default = if variable.default.is_empty() { "–" } else { variable.default };
        let help = variable.help.trim().replace('|', "\\|");
        let _ = writeln!(text, "| `{}` | `--{flag}` | {default} | {help} |", variable.name);
    }
    text
}

#[test]
fn the_documentation_has_the_table_of_all_options() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/file-sync.md");
    let page = std::fs::read_to_string(path).expect("the page");
    let (start, end) = ("<!-- options: begin -->\n", "<!-- options: end -->");
    let (before, rest) = page.split_once(start).expect("where it begins");
    let (found, after) = rest.split_once(end).expect("where it ends");
    let table = table();
    if std::env::var_os("OUTRIGGER_WRITE_DOCS").is_some() {
        std::fs::write(path, format!("{before}{start}{table}\n{end}{after}")).expect("written");
        return;
    }
    assert_eq!(found.trim(), table.trim(), "run this test with OUTRIGGER_WRITE_DOCS=1");
}
