//! What commands work on that end by themselves: objects of files, and the SidecarSets of a folder.

use super::{injection_args::InjectionArgs, source::Source};
use crate::documents::{self, Document};
use crate::injection::Snapshot;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Flags for the objects and for the SidecarSets.
#[derive(Debug, clap::Args)]
pub(super) struct InputArgs {
    /// File of Pods, workloads or Lists, in YAML or JSON; `-` reads standard input. May be given several times
    #[arg(short, long, value_name = "FILE", required = true, num_args = 1..)]
    pub file: Vec<PathBuf>,
    /// Folder (or file) of SidecarSets, Namespaces and ControllerRevisions
    #[arg(long, value_name = "DIR")]
    pub from: PathBuf,
    /// Namespace of objects that have none
    #[arg(short, long, default_value = "default")]
    pub namespace: String,
    #[command(flatten)]
    pub injection: InjectionArgs,
}

impl InputArgs {
    /// The SidecarSets; all of them must be usable.
    pub fn load(&self) -> Result<Arc<Snapshot>> {
        load(&self.from, &self.injection)
    }

    /// The same with the SidecarSets of a file in place of those of their names.
    pub fn load_edited(&self, edit: &Path) -> Result<Arc<Snapshot>> {
        let documents = read_all(&[edit.to_owned()]).context("--diff-set")?;
        let source = Source::open(&self.from, self.injection.options()).context("--from")?;
        load_source(source.with_edits(documents).context("--diff-set")?, &self.from)
    }

    /// The objects of the files.
    pub fn documents(&self) -> Result<Vec<Document>> {
        read_all(&self.file)
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

/// All objects of the files; `-` is standard input.
fn read_all(files: &[PathBuf]) -> Result<Vec<Document>> {
    let mut all = Vec::new();
    for file in files {
        let (name, text) = if file.as_os_str() == "-" {
            let mut text = Vec::new();
            std::io::stdin().read_to_end(&mut text).context("cannot read standard input")?;
            ("standard input".to_owned(), text)
        } else {
            let name = file.display().to_string();
            let text = std::fs::read(file).with_context(|| format!("cannot read {name}"))?;
            (name, text)
        };
        all.extend(documents::parse(&name, &text)?);
    }
    Ok(all)
}

/// `Kind/namespace/name (file:line)`
pub(super) fn describe(document: &Document) -> String {
    let text = |pointer: &str| document.value.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
    let kind = text("/kind").unwrap_or("object");
    let name = text("/metadata/name").or_else(|| text("/metadata/generateName")).unwrap_or("(no name)");
    match text("/metadata/namespace") {
        Some(namespace) => format!("{kind}/{namespace}/{name} ({})", document.position),
        None => format!("{kind}/{name} ({})", document.position),
    }
}
