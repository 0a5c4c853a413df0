//! `outrigger inject`: injects the Pods and Pod templates of files, with no cluster.

mod print;
mod template;

use super::{InjectionArgs, source::Source};
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

pub(super) use template::pod_template;

/// Flags of `outrigger inject`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit code: 0 when every object could be injected or needs nothing, 1 when one could not.
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
    /// Namespace of objects that have none
    #[arg(short, long, default_value = "default")]
    namespace: String,
    #[command(flatten)]
    injection: InjectionArgs,
}

/// An object of the input with what injection makes of it.
struct Outcome {
    document: Document,
    /// The object afterwards.
    injected: Value,
    /// From one to the other.
    patch: json_patch::Patch,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let snapshot = load(&args.from, &args.injection)?;
    let now = now()?;
    let (mut outcomes, mut failed) = (Vec::new(), false);
    for document in read_all(&args.file)? {
        let what = describe(&document);
        match inject(document, &snapshot, &args.namespace, now) {
            Ok((outcome, warnings)) => {
                for warning in warnings {
                    eprintln!("warning: {what}: {warning}");
                }
                outcomes.push(outcome);
            }
            Err(error) => {
                eprintln!("error: {what}: {error:#}");
                failed = true;
            }
        }
    }
    print::print(&outcomes, args.output)?;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The SidecarSets of a folder; all of them must be usable.
pub(super) fn load(from: &Path, injection: &InjectionArgs) -> Result<std::sync::Arc<Snapshot>> {
    let mut source = Source::open(from, injection.options()).context("--from")?;
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
        Outcome { document, injected, patch: json_patch::Patch(Vec::new()) }
    };
    let Some(template) = pod_template(&document.value) else { return Ok((unchanged(document), Vec::new())) };
    let pod = template.pod().to_string();
    let pod: PodView<'_> = serde_json::from_str(&pod).context("not a Pod")?;
    let request = PodRequest { now, ..PodRequest::create(namespace) };
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
    Ok((Outcome { document, injected: value, patch }, injected.warnings))
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
