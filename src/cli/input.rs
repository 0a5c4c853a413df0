//! The input of commands that run once: objects from files, and SidecarSets.

use super::given::{self, Depth};
use super::injection_args::InjectionArgs;
use super::live::LiveArgs;
use super::serve::NAMESPACE;
use super::source::{Contents, Loaded};
use crate::documents::{self, Document, FileError};
use crate::injection::{Options, Snapshot};
use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Flags for the objects and the SidecarSets.
#[derive(Debug, clap::Args)]
pub(super) struct InputArgs {
    /// File of Pods, workloads or Lists, in YAML or JSON: a file, a folder of such files, an https URL, or `-` for standard
    /// input. May be given several times, or as a list with commas
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
    /// SidecarSets, Namespaces and ControllerRevisions: a file or a folder with all folders inside it, an https URL, or `-`. May be
    /// given several times, or as a list with commas
    #[arg(long, value_name = "FILE|DIR", value_delimiter = ',')]
    pub from: Vec<PathBuf>,
    /// Take SidecarSets, Namespaces and ControllerRevisions from the cluster
    #[arg(long, conflicts_with = "from")]
    pub from_cluster: bool,
    /// Namespace of objects without one [default: default, with --from-cluster the namespace of the context]
    #[arg(short, long)]
    pub namespace: Option<String>,
    #[command(flatten)]
    pub injection: InjectionArgs,
}

/// A file that was read.
#[derive(Debug)]
pub(super) struct InputFile {
    pub text: String,
    /// The number of its objects.
    pub objects: usize,
}

/// The given SidecarSets, with Namespaces and ControllerRevisions.
#[derive(Debug)]
pub(super) struct GivenSets {
    contents: Contents,
    /// Their source, for messages.
    pub from: String,
    /// The namespace of objects without one.
    pub namespace: String,
}

impl GivenSets {
    /// Returns the snapshot. All SidecarSets must be usable, except for those of a cluster, where the server also
    /// injects the usable ones.
    pub fn snapshot(&self) -> Result<Arc<Snapshot>> {
        usable(self.contents.combine(), &self.from)
    }

    /// Returns the snapshot after the SidecarSets of a file replaced those with the same names.
    pub fn edited(&self, edit: &Path) -> Result<Arc<Snapshot>> {
        let (_, documents) = read_all(&[edit.to_owned()], Depth::Flat).context("--diff-set")?;
        let mut contents = self.contents.clone();
        contents.edit(documents).context("--diff-set")?;
        usable(contents.combine(), &self.from)
    }
}

impl InputArgs {
    /// Loads the SidecarSets. Namespaces among the objects of the files replace those with the same names.
    pub fn sets(&self, live: &LiveArgs, objects: &[Document]) -> Result<GivenSets> {
        let mut options = self.injection.options();
        let mut namespace = "default".to_owned();
        let (mut contents, from) = if self.from_cluster {
            options.exclusions.namespaces.insert(NAMESPACE.to_owned());
            let (objects, of_context) = live.read().context("--from-cluster")?;
            namespace = of_context;
            let mut contents = Contents::new(options);
            contents.add_cluster(objects);
            (contents, "the cluster".to_owned())
        } else {
            if self.from.is_empty() {
                bail!("give the SidecarSets by --from FILE|DIR, or take those of a cluster by --from-cluster");
            }
            (contents_of(&self.from, options)?, joined(&self.from))
        };
        contents.take_namespaces(objects)?;
        Ok(GivenSets { contents, from, namespace: self.namespace.clone().unwrap_or(namespace) })
    }

    /// Reads the files and at least one object, in the order of the files.
    pub fn read(&self) -> Result<(Vec<InputFile>, Vec<Document>)> {
        if self.from.iter().chain(&self.file).filter(|path| path.as_os_str() == "-").count() > 1 {
            bail!("standard input is read once: give - to --file or to --from, and once only");
        }
        let depth = if self.recursive { Depth::Deep } else { Depth::Flat };
        let (files, documents) = read_all(&self.file, depth)?;
        if documents.is_empty() {
            bail!("--file {}: no objects: give Pods or workloads", joined(&self.file));
        }
        Ok((files, documents))
    }
}

/// Reads these files and folders, and all their objects.
fn read_all(paths: &[PathBuf], depth: Depth) -> Result<(Vec<InputFile>, Vec<Document>)> {
    let mut unread = None;
    let files = given::files(paths, depth, |path, error| {
        unread.get_or_insert_with(|| anyhow!(error).context(format!("cannot read {}", path.display())));
    });
    if let Some(error) = unread {
        return Err(error);
    }
    let (mut read, mut all) = (Vec::new(), Vec::new());
    for file in files {
        let name = file.name();
        let text = file.read().with_context(|| format!("cannot read {name}"))?;
        let documents = documents::parse(&name, &text)?;
        let text = String::from_utf8(text).unwrap_or_default(); // it was parsed as such
        let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
        read.push(InputFile { text, objects: documents.len() });
        all.extend(documents);
    }
    Ok((read, all))
}

/// Reads the content of these files and folders. Problems of all of them are reported together.
fn contents_of(paths: &[PathBuf], options: Options) -> Result<Contents> {
    let mut contents = Contents::new(options);
    let unreadable = |path: String, source| FileError::Unreadable { path, source };
    let mut unread = Vec::new();
    let files = given::files(paths, Depth::Linked, |path, error| unread.push((path.display().to_string(), error)));
    if let Some((path, error)) = unread.into_iter().next() {
        return Err(unreadable(path, error)).context("--from");
    }
    for file in files {
        let name = file.name();
        // A named file must exist. All problems of a folder are reported together.
        let text = match file.read() {
            Err(error) if !file.is_of_folder() => return Err(unreadable(name, error)).context("--from"),
            read => read.map_err(|error| unreadable(name.clone(), error)),
        };
        let documents = text.and_then(|text| Ok(documents::parse(&name, &text)?));
        contents.add(name, documents);
    }
    Ok(contents)
}

/// Loads the SidecarSets of a folder, all of which must be usable.
pub(super) fn load(from: &Path, injection: &InjectionArgs) -> Result<Arc<Snapshot>> {
    let from = [from.to_owned()];
    usable(contents_of(&from, injection.options())?.combine(), &joined(&from))
}

fn usable(loaded: Loaded, from: &str) -> Result<Arc<Snapshot>> {
    for warning in &loaded.warnings {
        eprintln!("warning: {warning}");
    }
    if !loaded.problems.is_empty() {
        let problems: Vec<String> = loaded.problems.iter().map(|problem| format!("\n  {problem}")).collect();
        bail!("--from {from}: not all of it can be used:{}", problems.concat());
    }
    Ok(loaded.snapshot)
}

fn joined(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// Returns a text of an object unless it is empty.
pub(super) fn text<'o>(object: &'o Value, pointer: &str) -> Option<&'o str> {
    object.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// Returns an object's name, or the prefix of its generated name.
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
