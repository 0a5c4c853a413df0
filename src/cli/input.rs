//! What commands work on that end by themselves: objects of files, and the SidecarSets of a folder.

use super::{given, injection_args::InjectionArgs, source::Source};
use crate::documents::{self, Document};
use crate::injection::Snapshot;
use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Flags for the objects and for the SidecarSets.
#[derive(Debug, clap::Args)]
pub(super) struct InputArgs {
    /// File of Pods, workloads or Lists, in YAML or JSON, or a folder of such files. `-` is standard input. May be given
    /// several times, or as a list with commas
    #[arg(
        short,
        long,
        visible_alias = "filename",
        value_name = "FILE",
        required = true,
        num_args = 1..,
        value_delimiter = ','
    )]
    pub file: Vec<PathBuf>,
    /// Read the folders inside the folders of --file as well
    #[arg(short = 'R', long)]
    pub recursive: bool,
    /// Folder or file of SidecarSets, Namespaces and ControllerRevisions
    #[arg(long, value_name = "DIR")]
    pub from: PathBuf,
    /// Namespace of objects without one
    #[arg(short, long, default_value = "default")]
    pub namespace: String,
    #[command(flatten)]
    pub injection: InjectionArgs,
}

/// A file that was read.
#[derive(Debug)]
pub(super) struct InputFile {
    pub text: String,
    /// How many objects stand in it.
    pub objects: usize,
}

impl InputArgs {
    /// The SidecarSets; all of them must be usable. Namespaces among the objects of the files count, too, and take the place of
    /// those of their names.
    pub fn load(&self, objects: &[Document]) -> Result<Arc<Snapshot>> {
        load_source(self.source(objects)?, &self.from)
    }

    /// The same with the SidecarSets of a file in place of those of their names.
    pub fn load_edited(&self, objects: &[Document], edit: &Path) -> Result<Arc<Snapshot>> {
        let (_, documents) = self.read_all(&[edit.to_owned()]).context("--diff-set")?;
        load_source(self.source(objects)?.with_edits(documents).context("--diff-set")?, &self.from)
    }

    fn source(&self, objects: &[Document]) -> Result<Source> {
        let source = Source::open(&self.from, self.injection.options()).context("--from")?;
        source.with_namespaces_among(objects)
    }

    /// The files, and their objects in the order of the files: at least one.
    pub fn read(&self) -> Result<(Vec<InputFile>, Vec<Document>)> {
        let (files, documents) = self.read_all(&self.file)?;
        if documents.is_empty() {
            let files: Vec<String> = self.file.iter().map(|file| file.display().to_string()).collect();
            bail!("--file {}: no objects: give Pods or workloads", files.join(", "));
        }
        Ok((files, documents))
    }

    /// These files and folders, and all their objects.
    fn read_all(&self, paths: &[PathBuf]) -> Result<(Vec<InputFile>, Vec<Document>)> {
        let mut unread = None;
        let files = given::files(paths, self.recursive, |folder, error| {
            unread.get_or_insert_with(|| anyhow!(error).context(format!("cannot read {}", folder.display())));
        });
        if let Some(error) = unread {
            return Err(error);
        }
        let (mut read, mut all) = (Vec::new(), Vec::new());
        for file in files {
            let name = file.name();
            let text = file.read().with_context(|| format!("cannot read {name}"))?;
            let documents = documents::parse(&name, &text)?;
            let text = String::from_utf8(text).unwrap_or_default(); // it was read as such
            let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
            read.push(InputFile { text, objects: documents.len() });
            all.extend(documents);
        }
        Ok((read, all))
    }
}

/// The SidecarSets of a folder; all of them must be usable.
pub(super) fn load(from: &Path, injection: &InjectionArgs) -> Result<Arc<Snapshot>> {
    load_source(Source::open(from, injection.options()).context("--from")?, from)
}

fn load_source(mut source: Source, from: &Path) -> Result<Arc<Snapshot>> {
    let Some(loaded) = source.refresh() else { bail!("--from {}: nothing was read", from.display()) };
    for warning in &loaded.warnings {
        eprintln!("warning: {warning}");
    }
    if !loaded.problems.is_empty() {
        let problems: Vec<String> = loaded.problems.iter().map(|problem| format!("\n  {problem}")).collect();
        bail!("--from {}: not all of it can be used:{}", from.display(), problems.concat());
    }
    Ok(loaded.snapshot.clone())
}

/// A text of an object, unless it is empty.
pub(super) fn text<'o>(object: &'o Value, pointer: &str) -> Option<&'o str> {
    object.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// An object's own name, or that of which the API server would make one.
pub(super) fn object_name(object: &Value) -> Option<&str> {
    text(object, "/metadata/name").or_else(|| text(object, "/metadata/generateName"))
}

/// `Kind/namespace/name (file:line)`
pub(super) fn describe(document: &Document) -> String {
    let kind = text(&document.value, "/kind").unwrap_or("object");
    let name = object_name(&document.value).unwrap_or("(no name)");
    match text(&document.value, "/metadata/namespace") {
        Some(namespace) => format!("{kind}/{namespace}/{name} ({})", document.position),
        None => format!("{kind}/{name} ({})", document.position),
    }
}
