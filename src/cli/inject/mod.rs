//! `outrigger inject`: injects the Pods and Pod templates of files without a cluster.

mod print;

use super::errors::with_causes;
use super::input::{InputArgs, describe, text};
use super::live::LiveArgs;
use super::template::{pod_template, skipped};
use crate::documents::Document;
use crate::injection::{Exclusion, InjectError, Injection, PodRequest, Snapshot};
use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use print::{Format, PrintedObject};
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

/// Flags of `outrigger inject`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit code:
  0: every object was injected, or needs no sidecar
  1: an object could not be injected; nothing is printed
With --exit-code:
  0: no object changes
  1: an object changes
  2: an object could not be injected

The same input gives the same output. The time in the annotations is the SidecarSet's
creationTimestamp, or else the beginning of 1970. SOURCE_DATE_EPOCH (in seconds) sets another.

Examples:
  outrigger inject -f app.yaml --from sidecarsets/ | kubectl apply -f -
  outrigger inject -f manifests/ -R --from sidecarsets/ -o diff
  outrigger inject -f app.yaml --from sidecarsets/ --diff-set edited.yaml --exit-code
  outrigger inject -f app.yaml --from <(kubectl kustomize overlays/prod) -o name
  # With the SidecarSets of a cluster
  outrigger inject -f app.yaml --from-cluster --context here -n shop")]
pub(super) struct Args {
    #[command(flatten)]
    input: InputArgs,
    /// Output format [default: yaml, with --diff-set diff]
    #[arg(short, long, value_enum)]
    output: Option<Format>,
    /// Show what an edit of SidecarSets would change. The file holds the edited SidecarSets; they replace those of --from
    /// with the same name
    #[arg(long, value_name = "FILE")]
    diff_set: Option<PathBuf>,
    /// Exit with 1 if an object changes, as `diff` does
    #[arg(long)]
    exit_code: bool,
    /// Print only warnings and errors on standard error
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    live: LiveArgs,
}

/// The outcome of an object.
enum Fate {
    /// These SidecarSets are injected.
    Injected(Vec<String>),
    /// It already has everything that these SidecarSets inject.
    Unchanged(Vec<String>),
    NotMatched,
    Excluded(Exclusion),
    /// It has containers, but the location of its Pod template is unknown.
    Skipped(String),
    /// An object of a kind without Pods.
    Other,
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Injected(sets) => write!(f, "injected: {}", sets.join(", ")),
            Self::Unchanged(sets) => write!(f, "unchanged: it has the sidecars of {}", sets.join(", ")),
            Self::NotMatched => f.write_str("not injected: no SidecarSet matches it"),
            Self::Excluded(exclusion) => write!(f, "not injected: {exclusion}"),
            Self::Skipped(why) => f.write_str(why),
            Self::Other => f.write_str("has no Pods"),
        }
    }
}

/// An object with its outcome.
struct Outcome {
    printed: PrintedObject,
    fate: Fate,
    warnings: Vec<String>,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let outcome = print_all(args);
    match outcome {
        Err(error) if args.exit_code => {
            eprintln!("outrigger: {}", with_causes(&error));
            Ok(ExitCode::from(FAILED))
        }
        Ok(Some(changes)) if args.exit_code => Ok(if changes { ExitCode::FAILURE } else { ExitCode::SUCCESS }),
        Ok(None) if args.exit_code => Ok(ExitCode::from(FAILED)),
        Ok(Some(_)) => Ok(ExitCode::SUCCESS),
        Ok(None) => Ok(ExitCode::FAILURE),
        Err(error) => Err(error),
    }
}

/// The exit code with `--exit-code` if an object could not be injected or the input could not be read.
const FAILED: u8 = 2;

/// Prints the objects. Returns whether any of them changes; `None` if one could not be injected. Nothing is printed then,
/// because a part of the objects, piped into kubectl, would look like all of them.
fn print_all(args: &Args) -> Result<Option<bool>> {
    let (files, documents) = args.input.read()?;
    let given = args.input.sets(&args.live, &documents)?;
    let namespace = given.namespace.as_str();
    let snapshot = given.snapshot()?;
    let edited = args.diff_set.as_ref().map(|edit| given.edited(edit)).transpose()?;
    let now = source_date_epoch()?;
    let (mut outcomes, mut failed) = (Vec::new(), false);
    for document in documents {
        let what = describe(&document);
        let outcome = match &edited {
            None => inject(document, &snapshot, namespace, now),
            Some(edited) => difference(document, &snapshot, edited, namespace, now),
        };
        match outcome {
            Ok(outcome) => outcomes.push(outcome),
            Err(error) => {
                eprintln!("error: {what}: {}", with_causes(&error));
                failed = true;
            }
        }
    }
    tell(&outcomes, args.quiet || edited.is_some());
    if failed {
        return Ok(None);
    }
    let usual = if edited.is_some() { Format::Diff } else { Format::Yaml };
    let printed: Vec<PrintedObject> = outcomes.into_iter().map(|outcome| outcome.printed).collect();
    print::print(&files, &printed, args.output.unwrap_or(usual))?;
    Ok(Some(printed.iter().any(|object| object.document.value != object.injected)))
}

/// Prints the outcome of each object on standard error. Objects of kinds without Pods are counted.
fn tell(outcomes: &[Outcome], quiet: bool) {
    let mut others: BTreeMap<&str, usize> = BTreeMap::new();
    for Outcome { printed: PrintedObject { document, .. }, fate, warnings } in outcomes {
        let what = describe(document);
        match fate {
            Fate::Skipped(_) => eprintln!("warning: {what}: {fate}"),
            Fate::Other => *others.entry(text(&document.value, "/kind").unwrap_or("object")).or_default() += 1,
            _ if quiet => {}
            _ => eprintln!("{what}: {fate}"),
        }
        for warning in warnings {
            eprintln!("warning: {what}: {warning}");
        }
    }
    if !quiet && !others.is_empty() {
        let kinds: Vec<String> = others.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        eprintln!("without Pods: {}", kinds.join(", "));
    }
}

/// Returns the time for the annotations, if it is given.
fn source_date_epoch() -> Result<Option<Timestamp>> {
    let Ok(seconds) = std::env::var("SOURCE_DATE_EPOCH") else { return Ok(None) };
    let time = seconds.parse().ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.with_context(|| format!("SOURCE_DATE_EPOCH={seconds:?}: write whole seconds since 1970")).map(Some)
}

/// Injects the Pod template of an object. Other objects stay unchanged.
fn inject(document: Document, snapshot: &Snapshot, namespace: &str, now: Option<Timestamp>) -> Result<Outcome> {
    let unchanged = |document: Document, fate: Fate| {
        let injected = document.value.clone();
        let patch = json_patch::Patch(Vec::new());
        Outcome {
            printed: PrintedObject { document, change: "not injected", is_as_given: true, injected, patch },
            fate,
            warnings: Vec::new(),
        }
    };
    let Some(template) = pod_template(&document.value) else {
        let fate = skipped(&document.value).map_or(Fate::Other, Fate::Skipped);
        return Ok(unchanged(document, fate));
    };
    let pod = template.pod().to_string();
    let pod = template.view(&pod)?;
    let request = PodRequest::create(namespace, now);
    let injected = match snapshot.inject(&pod, &request) {
        Ok(Injection::Matched(injected)) => injected,
        Ok(Injection::Excluded(exclusion)) => return Ok(unchanged(document, Fate::Excluded(exclusion))),
        Ok(Injection::NotMatched) => return Ok(unchanged(document, Fate::NotMatched)),
        Err(InjectError::Denied(denial)) => bail!("{denial}"),
        Err(error) => bail!("{error}"),
    };
    let sets = injected.sets.into_iter().map(|set| set.name).collect();
    let fate = if injected.patch.is_some() { Fate::Injected(sets) } else { Fate::Unchanged(sets) };
    let patch = injected.patch.unwrap_or_else(|| json!([]).to_string());
    let patch = template.re_root(serde_json::from_str(&patch)?);
    let mut value = document.value.clone();
    json_patch::patch(&mut value, &patch).context("the patch does not apply")?;
    let is_as_given = document.value == value;
    let printed = PrintedObject { document, change: "injected", is_as_given, injected: value, patch };
    Ok(Outcome { printed, fate, warnings: injected.warnings })
}

/// Returns the change from the object as injected today to the object as injected after the edit.
fn difference(
    document: Document,
    today: &Snapshot,
    edited: &Snapshot,
    namespace: &str,
    now: Option<Timestamp>,
) -> Result<Outcome> {
    let before = inject(document.clone(), today, namespace, now).context("as it is injected today")?.printed;
    let after = inject(document, edited, namespace, now).context("as it would be injected")?;
    let patch = json_patch::diff(&before.injected, &after.printed.injected);
    let document = Document { value: before.injected, ..before.document };
    Ok(Outcome { printed: PrintedObject { document, change: "with the edit", patch, ..after.printed }, ..after })
}
