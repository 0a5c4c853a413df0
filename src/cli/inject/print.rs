//! The output of `outrigger inject`: injected objects, their patches, or a diff.

use crate::cli::input::{InputFile, describe, object_name, text};
use crate::cli::output::{self, Paint};
use crate::documents::{Document, Stream, to_yaml, to_yaml_stream, written};
use anyhow::Result;
use diffy::Line;
use serde_json::{Value, json};
use std::io::{self, Write};

/// The output format.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
pub(super) enum Format {
    /// All objects, with their sidecars
    #[default]
    Yaml,
    /// The same in JSON; several objects become a List
    Json,
    /// One line per object: `{apiVersion, kind, namespace, name, patch}`, where `patch` is a JSON Patch
    Patch,
    /// The changes, as a unified diff
    Diff,
    /// The names of the objects that change, in kubectl's form
    Name,
}

/// An object of the input and its injected form.
pub(super) struct PrintedObject {
    pub document: Document,
    /// The outcome of the object, for people.
    pub change: &'static str,
    /// Whether the result equals the object in the file.
    pub is_as_given: bool,
    /// The result.
    pub injected: Value,
    /// The patch from one to the other.
    pub patch: json_patch::Patch,
}

/// Lines of context around a change.
const CONTEXT: usize = 3;

/// Prints the objects of these files.
pub(super) fn print(files: &[InputFile], outcomes: &[PrintedObject], format: Format) -> Result<()> {
    let objects = || outcomes.iter().map(|outcome| &outcome.injected);
    output::print(|out| match format {
        Format::Yaml => out.write_all(yaml(files, outcomes).as_bytes()),
        Format::Json => {
            let list: Value;
            let value = if let [single] = outcomes {
                &single.injected
            } else {
                list = json!({"apiVersion": "v1", "kind": "List", "items": objects().collect::<Vec<_>>()});
                &list
            };
            serde_json::to_writer_pretty(&mut *out, value)?;
            writeln!(out)
        }
        Format::Patch => outcomes.iter().try_for_each(|outcome| {
            serde_json::to_writer(&mut *out, &named_patch(outcome))?;
            writeln!(out)
        }),
        Format::Name => {
            let mut changed = outcomes.iter().filter(|outcome| outcome.document.value != outcome.injected);
            changed.try_for_each(|outcome| writeln!(out, "{}", kubectl_name(&outcome.document.value)))
        }
        Format::Diff => outcomes.iter().try_for_each(|outcome| write_diff(out, outcome, Paint::stdout())),
    })
}

/// Returns all documents of the files. A document whose objects are unchanged is copied byte for byte. A changed one is
/// serialized, and the text before and after it is kept.
fn yaml(files: &[InputFile], outcomes: &[PrintedObject]) -> String {
    let mut stream = Stream::default();
    let mut rest = outcomes;
    for file in files {
        let (mut objects, others) = rest.split_at(file.objects.min(rest.len()));
        rest = others;
        for document in written(&file.text).unwrap_or_default() {
            let is_in = |object: &&PrintedObject| document.has_line(object.document.position.line);
            let (here, behind) = objects.split_at(objects.iter().take_while(is_in).count());
            objects = behind;
            if here.iter().all(|object| object.is_as_given) {
                stream.push(document.text());
            } else {
                let anew = to_yaml_stream(here.iter().map(|object| &object.injected));
                stream.push(&[document.head(), &anew, document.foot()].concat());
            }
        }
        for object in objects {
            stream.push(&to_yaml(&object.injected));
        }
    }
    stream.into_text()
}

/// Returns a patch with the identity of its object.
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

fn write_diff(out: &mut impl Write, outcome: &PrintedObject, paint: Paint) -> io::Result<()> {
    let (before, after) = (to_yaml(&outcome.document.value), to_yaml(&outcome.injected));
    if before == after {
        return Ok(());
    }
    let mut line = |style: &str, text: &str| writeln!(out, "{}", paint.paint(style, text));
    let what = describe(&outcome.document);
    line("1", &format!("--- {what}"))?;
    line("1", &format!("+++ {what} {}", outcome.change))?;
    for hunk in diffy::DiffOptions::new().set_context_len(CONTEXT).create_patch(&before, &after).hunks() {
        line("36", &format!("@@ -{} +{} @@", hunk.old_range(), hunk.new_range()))?;
        for change in hunk.lines() {
            let (style, sign, text) = match change {
                Line::Delete(text) => ("31", '-', text),
                Line::Insert(text) => ("32", '+', text),
                Line::Context(text) => ("0", ' ', text),
            };
            line(style, &format!("{sign}{}", text.trim_end_matches('\n')))?;
        }
    }
    Ok(())
}
