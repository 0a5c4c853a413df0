//! `outrigger inject`: injects the Pods and Pod templates of files, with no cluster.

mod print;

use super::errors::with_causes;
use super::input::{InputArgs, describe};
use super::template::{pod_template, skipped};
use crate::api::pod::PodView;
use crate::documents::Document;
use crate::injection::{InjectError, Injection, PodRequest, Snapshot};
use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use print::{Format, PrintedObject};
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

/// Flags of `outrigger inject`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit code: 0 when every object could be injected or needs nothing; 1 when one could not, and then nothing is printed.
The environment variable SOURCE_DATE_EPOCH (seconds) sets the time in the annotations, for output that can be repeated.")]
pub(super) struct Args {
    #[command(flatten)]
    input: InputArgs,
    /// What is printed
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    /// Show what this edit of SidecarSets would change: the diff between the objects injected as --from says and with
    /// the SidecarSets of this file in place of those of their names
    #[arg(long, value_name = "FILE", conflicts_with = "output")]
    diff_set: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let namespace = &args.input.namespace;
    let snapshot = args.input.load()?;
    let edited = args.diff_set.as_ref().map(|edit| args.input.load_edited(edit)).transpose()?;
    let now = now()?;
    let (mut outcomes, mut failed) = (Vec::new(), false);
    for document in args.input.documents()? {
        let what = describe(&document);
        let outcome = match &edited {
            None => inject(document, &snapshot, namespace, now),
            Some(edited) => difference(document, &snapshot, edited, namespace, now),
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
fn inject(
    document: Document,
    snapshot: &Snapshot,
    namespace: &str,
    now: Timestamp,
) -> Result<(PrintedObject, Vec<String>)> {
    let unchanged = |document: Document| {
        let injected = document.value.clone();
        PrintedObject { document, change: "not injected", injected, patch: json_patch::Patch(Vec::new()) }
    };
    let Some(template) = pod_template(&document.value) else {
        let skipped = skipped(&document.value).into_iter().collect();
        return Ok((unchanged(document), skipped));
    };
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
    Ok((PrintedObject { document, change: "injected", injected: value, patch }, injected.warnings))
}

/// From the object as it is injected today to the object as it would be.
fn difference(
    document: Document,
    today: &Snapshot,
    edited: &Snapshot,
    namespace: &str,
    now: Timestamp,
) -> Result<(PrintedObject, Vec<String>)> {
    let (before, _) = inject(document.clone(), today, namespace, now).context("as it is injected today")?;
    let (after, warnings) = inject(document, edited, namespace, now).context("as it would be injected")?;
    let document = Document { value: before.injected, ..before.document };
    Ok((PrintedObject { document, change: "with the edit", ..after }, warnings))
}
