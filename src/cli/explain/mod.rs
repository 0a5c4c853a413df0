//! `outrigger explain`: why each SidecarSet is or is not injected into a Pod, and how its rollout continues.

mod rollout;

use super::input::{InputArgs, describe, object_name, text};
use super::live::LiveArgs;
use super::output;
use super::template::{Template, pod_template, skipped};
use crate::documents::Document;
use crate::injection::{Explanation, PodRequest, SetExplanation, Snapshot, Verdict};
use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::io::Write;
use std::process::ExitCode;

/// Flags of `outrigger explain`.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "outrigger explain [OPTIONS] --file <FILE>... [--from <FILE|DIR>]\n       outrigger explain [OPTIONS] sidecarset/NAME"
)]
#[command(after_help = "\
Exit code: 0 if all Pods could be explained, whether they are injected or not; else 1.

Examples:
  outrigger explain -f pod.yaml --from sidecarsets/
  kubectl get pod web-0 -o yaml | outrigger explain -f - --from sidecarsets/ --set log-agent
  outrigger explain -f manifests/ -R --from sidecarsets/ -o json
  # With the SidecarSets of a cluster
  outrigger explain -f pod.yaml --from-cluster --context here -n shop
  outrigger explain sidecarset/log-agent")]
pub(super) struct Args {
    /// A SidecarSet in the cluster: explain which of its Pods are updated next, and why the others are not
    #[arg(value_name = "sidecarset/NAME", conflicts_with_all = ["file", "from", "from_cluster"])]
    rollout: Option<String>,
    #[command(flatten)]
    input: Files,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    /// Explain only this SidecarSet. May be given several times
    #[arg(long, value_name = "NAME")]
    set: Vec<String>,
    /// Explain all SidecarSets that do not match, not only the first 10
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    live: LiveArgs,
}

/// The files, unless a set in the cluster is given.
#[derive(Debug)]
struct Files(Option<InputArgs>);

impl clap::FromArgMatches for Files {
    fn from_arg_matches(matches: &clap::ArgMatches) -> Result<Self, clap::Error> {
        // Without files, clap has ensured that there is a set.
        let are_given = matches.contains_id("file");
        Ok(Self(if are_given { Some(InputArgs::from_arg_matches(matches)?) } else { None }))
    }

    fn update_from_arg_matches(&mut self, matches: &clap::ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl clap::Args for Files {
    fn augment_args(command: clap::Command) -> clap::Command {
        InputArgs::augment_args(command)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        InputArgs::augment_args_for_update(command)
    }
}

/// The output format.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum Format {
    /// One line per SidecarSet, those that match first
    #[default]
    Text,
    /// A list of `{object, kind, namespace, name, file, line, excluded, sets: [{set, verdict, reason}], warnings}`, with
    /// all SidecarSets, sorted by name
    Json,
}

/// At most this many SidecarSets that do not match are listed, unless all are requested.
const MISMATCHES_TOLD: usize = 10;

/// An object whose Pods are explained.
struct Explained {
    document: Document,
    explanation: Explanation,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    if let Some(object) = &args.rollout {
        return rollout::run(object, &args.live, matches!(args.output, Format::Json));
    }
    let Files(Some(input)) = &args.input else {
        bail!("give Pods with -f and SidecarSets with --from, or name a SidecarSet of the cluster as sidecarset/NAME")
    };
    let (_, documents) = input.read()?;
    let given = input.sets(&args.live, &documents)?;
    let snapshot = given.snapshot()?;
    if let Some(unknown) = args.set.iter().find(|name| snapshot.sets().all(|set| set.name != **name)) {
        bail!("--set {unknown}: there is no such SidecarSet in {}", given.from);
    }
    let mut explained = Vec::new();
    for document in documents {
        let what = describe(&document);
        if let Some(why) = skipped(&document.value) {
            eprintln!("warning: {what}: {why}");
        }
        let Some(template) = pod_template(&document.value) else { continue };
        let mut explanation = explain(template, &snapshot, &given.namespace).with_context(|| what.clone())?;
        if let Explanation::Sets { sets, .. } = &mut explanation {
            sets.retain(|explained| args.set.is_empty() || args.set.contains(&explained.set));
        }
        explained.push(Explained { document, explanation });
    }
    if explained.is_empty() {
        bail!("the files hold no Pods or workloads: nothing to explain");
    }
    output::print(|out| match args.output {
        Format::Text => {
            let most = if args.all || !args.set.is_empty() { usize::MAX } else { MISMATCHES_TOLD };
            explained.iter().try_for_each(|explained| write_text(out, explained, most))
        }
        Format::Json => {
            let list: Vec<Value> = explained.iter().map(as_json).collect();
            serde_json::to_writer_pretty(&mut *out, &list)?;
            writeln!(out)
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

fn explain(template: Template<'_>, snapshot: &Snapshot, namespace: &str) -> Result<Explanation> {
    let pod = template.pod().to_string();
    let pod = template.view(&pod)?;
    Ok(snapshot.explain(&pod, &PodRequest::create(namespace, Timestamp::now()))?)
}

/// Prints at most this many sets that do not match.
fn write_text(out: &mut impl Write, explained: &Explained, most: usize) -> std::io::Result<()> {
    writeln!(out, "{}", describe(&explained.document))?;
    match &explained.explanation {
        Explanation::Excluded(exclusion) => writeln!(out, "  no SidecarSet is injected: {exclusion}")?,
        Explanation::Sets { sets, .. } if sets.is_empty() => writeln!(out, "  there are no SidecarSets")?,
        Explanation::Sets { sets, warnings } => {
            let (others, matching): (Vec<_>, Vec<_>) =
                sets.iter().partition(|explained| matches!(explained.verdict, Verdict::NotMatched(_)));
            let told = || matching.iter().chain(others.iter().take(most));
            let width = told().map(|explained| explained.set.chars().count()).max().unwrap_or_default();
            for SetExplanation { set, verdict } in told() {
                writeln!(out, "  {set:width$}  {verdict}")?;
            }
            match others.len().saturating_sub(most) {
                0 => {}
                1 => writeln!(out, "  and 1 other does not match (--all says why)")?,
                more => writeln!(out, "  and {more} others do not match (--all says why)")?,
            }
            for warning in warnings {
                writeln!(out, "  warning: {warning}")?;
            }
        }
    }
    writeln!(out)
}

fn as_json(Explained { document, explanation }: &Explained) -> Value {
    let (excluded, sets, warnings) = match explanation {
        Explanation::Excluded(exclusion) => (Some(exclusion.to_string()), &[][..], &[][..]),
        Explanation::Sets { sets, warnings } => (None, sets.as_slice(), warnings.as_slice()),
    };
    let sets: Vec<Value> = sets
        .iter()
        .map(|e| json!({"set": e.set, "verdict": e.verdict.word(), "reason": e.verdict.to_string()}))
        .collect();
    json!({
        "object": describe(document),
        "kind": text(&document.value, "/kind"),
        "namespace": text(&document.value, "/metadata/namespace"),
        "name": object_name(&document.value),
        "file": document.position.file.to_string(),
        "line": document.position.line,
        "excluded": excluded,
        "sets": sets,
        "warnings": warnings,
    })
}
