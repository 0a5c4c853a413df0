//! What `outrigger inject` prints: injected objects, their patches, or a diff.

use crate::cli::input::{describe, object_name, text};
use crate::documents::{Document, to_yaml, to_yaml_stream};
use anyhow::Result;
use serde_json::{Value, json};
use similar::{ChangeTag, TextDiff};
use std::io::{self, IsTerminal, Write};

/// What is printed.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
pub(super) enum Format {
    /// All objects, injected
    #[default]
    Yaml,
    /// The same as JSON; several objects as a List
    Json,
    /// `{apiVersion, kind, namespace, name, patch}` for each object, one a line; `patch` is a JSON Patch
    Patch,
    /// What changes, as a unified diff
    Diff,
    /// The names of the objects that change, as kubectl takes them
    Name,
}

/// An object of the input with what injection makes of it.
pub(super) struct PrintedObject {
    pub document: Document,
    /// What happened to the object, for people.
    pub change: &'static str,
    /// The object afterwards.
    pub injected: Value,
    /// From one to the other.
    pub patch: json_patch::Patch,
}

/// Lines around a change.
const CONTEXT: usize = 3;

pub(super) fn print(outcomes: &[PrintedObject], format: Format) -> Result<()> {
    let mut out = io::stdout().lock();
    let objects = || outcomes.iter().map(|outcome| &outcome.injected);
    match format {
        Format::Yaml => out.write_all(to_yaml_stream(objects()).as_bytes())?,
        Format::Json => {
            let list: Value;
            let value = if let [single] = outcomes {
                &single.injected
            } else {
                list = json!({"apiVersion": "v1", "kind": "List", "items": objects().collect::<Vec<_>>()});
                &list
            };
            serde_json::to_writer_pretty(&mut out, value)?;
            writeln!(out)?;
        }
        Format::Patch => {
            for outcome in outcomes {
                serde_json::to_writer(&mut out, &named_patch(outcome))?;
                writeln!(out)?;
            }
        }
        Format::Name => {
            for PrintedObject { document, injected, .. } in outcomes {
                if document.value != *injected {
                    writeln!(out, "{}", kubectl_name(&document.value))?;
                }
            }
        }
        Format::Diff => {
            let colour =
                io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            for outcome in outcomes {
                write_diff(&mut out, outcome, colour)?;
            }
        }
    }
    out.flush()?;
    Ok(())
}

/// A patch with the object that it is for.
fn named_patch(PrintedObject { document, patch, .. }: &PrintedObject) -> Value {
    let field = |pointer: &str| text(&document.value, pointer);
    json!({
        "apiVersion": field("/apiVersion"),
        "kind": field("/kind"),
        "namespace": field("/metadata/namespace"),
        "name": object_name(&document.value),
        "patch": patch,
    })
}

/// `deployment.apps/web`
fn kubectl_name(object: &Value) -> String {
    let kind = text(object, "/kind").unwrap_or("object").to_lowercase();
    let name = object_name(object).unwrap_or("(no name)");
    match text(object, "/apiVersion").and_then(|version| version.split_once('/')) {
        Some((group, _)) => format!("{kind}.{group}/{name}"),
        None => format!("{kind}/{name}"),
    }
}

fn write_diff(out: &mut impl Write, outcome: &PrintedObject, colour: bool) -> io::Result<()> {
    let (before, after) = (to_yaml(&outcome.document.value), to_yaml(&outcome.injected));
    if before == after {
        return Ok(());
    }
    let mut line = |style: &str, text: &str| {
        if colour { writeln!(out, "\x1b[{style}m{text}\x1b[0m") } else { writeln!(out, "{text}") }
    };
    let what = describe(&outcome.document);
    line("1", &format!("--- {what}"))?;
    line("1", &format!("+++ {what} {}", outcome.change))?;
    let diff = TextDiff::from_lines(&before, &after);
    for hunk in diff.unified_diff().context_radius(CONTEXT).iter_hunks() {
        line("36", &hunk.header().to_string())?;
        for change in hunk.iter_changes() {
            let (style, sign) = match change.tag() {
                ChangeTag::Delete => ("31", '-'),
                ChangeTag::Insert => ("32", '+'),
                ChangeTag::Equal => ("0", ' '),
            };
            line(style, &format!("{sign}{}", change.value().trim_end_matches('\n')))?;
        }
    }
    Ok(())
}
