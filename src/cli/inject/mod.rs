//! `outrigger inject`: injects the Pods and Pod templates of files, with no cluster.

mod print;
mod template;

use super::{InjectionArgs, source::Source, with_causes};
use crate::api::pod::PodView;
use crate::documents::{self, Document};
use crate::injection::{InjectError, Injection, PodRequest, Snapshot};
use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use print::Format;
use serde_json::{Value, json};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

pub(super) use template::pod_template;

/// Flags of `outrigger inject`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit code: 0 when every object could be injected or needs nothing; 1 when one could not, and then nothing is printed.
The environment variable SOURCE_DATE_EPOCH (seconds) sets the time in the annotations, for output that can be repeated.")]
pub(super) struct Args {
    /// File of Pods, workloads or Lists, in YAML or JSON; `-` reads standard input. May be given several times
    #[arg(short, long = "file", value_name = "FILE", required = true, num_args = 1..)]
    file: Vec<PathBuf>,
    /// Folder (or file) of SidecarSets, Namespaces and ControllerRevisions
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// What is printed
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    /// Show what this edit of SidecarSets would change: the diff between the objects injected as --from says and with
    /// the SidecarSets of this file in place of those of their names
    #[arg(long, value_name = "FILE", conflicts_with = "output")]
    diff_set: Option<PathBuf>,
    /// Namespace of objects that have none
    #[arg(short, long, default_value = "default")]
    namespace: String,
    #[command(flatten)]
    injection: InjectionArgs,
}

/// An object of the input with what injection makes of it.
struct Outcome {
    document: Document,
    /// What happened to the object, for people.
    change: &'static str,
    /// The object afterwards.
    injected: Value,
    /// From one to the other.
    patch: json_patch::Patch,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let snapshot = load(&args.from, &args.injection)?;
    let edited = args.diff_set.as_ref().map(|edit| load_edited(&args.from, edit, &args.injection)).transpose()?;
    let now = now()?;
    let (mut outcomes, mut failed) = (Vec::new(), false);
    for document in read_all(&args.file)? {
        let what = describe(&document);
        let outcome = match &edited {
            None => inject(document, &snapshot, &args.namespace, now),
            Some(edited) => difference(document, &snapshot, edited, &args.namespace, now),
        };
        match outcome {
            Ok((outcome, warnings)) => {
                for warning in warnings {
                    eprintln!("warning: {what}: {warning}");
                }
                outcomes.push(outcome);
            }
            Err(error) => {
                eprintln!("error: {what}: {}", with_causes(&error));
                failed = true;
            }
        }
    }
    if failed {
        // Half of the objects, piped into kubectl, would look like all of them.
        return Ok(ExitCode::FAILURE);
    }
    print::print(&outcomes, if edited.is_some() { Format::Diff } else { args.output })?;
    Ok(ExitCode::SUCCESS)
}

/// The SidecarSets of a folder; all of them must be usable.
pub(super) fn load(from: &Path, injection: &InjectionArgs) -> Result<Arc<Snapshot>> {
    load_source(Source::open(from, injection.options()).context("--from")?, from)
}

/// The same with the SidecarSets of a file in place of those of their names.
fn load_edited(from: &Path, edit: &Path, injection: &InjectionArgs) -> Result<Arc<Snapshot>> {
    let documents = read_all(&[edit.to_owned()]).context("--diff-set")?;
    let source = Source::open(from, injection.options()).context("--from")?;
    load_source(source.with_edits(documents).context("--diff-set")?, from)
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
pub(super) fn read_all(files: &[PathBuf]) -> Result<Vec<Document>> {
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

fn now() -> Result<Timestamp> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(seconds) => seconds
            .parse()
            .ok()
            .and_then(|seconds| Timestamp::from_second(seconds).ok())
            .with_context(|| format!("SOURCE_DATE_EPOCH={seconds:?}: write whole seconds since 1970")),
        Err(_) => Ok(Timestamp::now()),
    }
}

/// Injects the Pod template of an object; other objects stay as they are.
fn inject(document: Document, snapshot: &Snapshot, namespace: &str, now: Timestamp) -> Result<(Outcome, Vec<String>)> {
    let unchanged = |document: Document| {
        let injected = document.value.clone();
        Outcome { document, change: "not injected", injected, patch: json_patch::Patch(Vec::new()) }
    };
    let Some(template) = pod_template(&document.value) else { return Ok((unchanged(document), Vec::new())) };
    let pod = template.pod().to_string();
    let pod: PodView<'_> = serde_json::from_str(&pod).context("not a Pod")?;
    let request = PodRequest::create(namespace, now);
    let injected = match snapshot.inject(&pod, &request) {
        Ok(Injection::Matched(injected)) => injected,
        Ok(Injection::Excluded(_) | Injection::NotMatched) => return Ok((unchanged(document), Vec::new())),
        Err(InjectError::Denied(denial)) => bail!("{denial}"),
        Err(error) => bail!("{error}"),
    };
    let patch = injected.patch.unwrap_or_else(|| json!([]).to_string());
    let patch = template.re_root(serde_json::from_str(&patch)?);
    let mut value = document.value.clone();
    json_patch::patch(&mut value, &patch).context("the patch does not apply")?;
    Ok((Outcome { document, change: "injected", injected: value, patch }, injected.warnings))
}

/// From the object as it is injected today to the object as it would be.
fn difference(
    document: Document,
    today: &Snapshot,
    edited: &Snapshot,
    namespace: &str,
    now: Timestamp,
) -> Result<(Outcome, Vec<String>)> {
    let (before, _) = inject(document.clone(), today, namespace, now).context("as it is injected today")?;
    let (after, warnings) = inject(document, edited, namespace, now).context("as it would be injected")?;
    let document = Document { value: before.injected, ..before.document };
    Ok((Outcome { document, change: "with the edit", ..after }, warnings))
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
