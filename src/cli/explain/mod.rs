//! `outrigger explain`: why each SidecarSet is injected into a Pod or not, and how the rollout of one goes on.

mod rollout;

use super::input::{InputArgs, describe};
use super::serve::NAMESPACE;
use super::template::{pod_template, skipped};
use crate::api::pod::PodView;
use crate::injection::{Explanation, PodRequest, Snapshot};
use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::io::Write;
use std::process::ExitCode;

/// Flags of `outrigger explain`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A set of the cluster, as `sidecarset/NAME`: which of its Pods is updated next, and why the others are not
    #[arg(value_name = "sidecarset/NAME", conflicts_with_all = ["file", "from"])]
    rollout: Option<String>,
    /// Where the ControllerRevisions of sets are
    #[arg(long, value_name = "NAMESPACE", default_value = NAMESPACE, conflicts_with_all = ["file", "from"])]
    revision_namespace: String,
    #[command(flatten)]
    input: Option<InputArgs>,
    /// What is printed
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// What is printed.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum Format {
    /// A line for each SidecarSet
    #[default]
    Text,
    /// A list of `{object, excluded, sets: [{set, verdict, reason}], warnings}`
    Json,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    if let Some(object) = &args.rollout {
        return rollout::run(object, &args.revision_namespace, args.output);
    }
    let Some(input) = &args.input else { bail!("name files with -f and --from, or a set of the cluster as sidecarset/NAME") };
    let snapshot = input.load()?;
    let mut explained = Vec::new();
    for document in input.documents()? {
        let what = describe(&document);
        if let Some(why) = skipped(&document.value) {
            eprintln!("warning: {what}: {why}");
        }
        let Some(template) = pod_template(&document.value) else { continue };
        let explanation = explain(&template.pod(), &snapshot, &input.namespace).with_context(|| what.clone())?;
        explained.push((what, explanation));
    }
    if explained.is_empty() {
        bail!("the files hold no Pods or workloads: nothing to explain");
    }
    let mut out = std::io::stdout().lock();
    match args.output {
        Format::Text => explained.iter().try_for_each(|(what, explanation)| write_text(&mut out, what, explanation))?,
        Format::Json => {
            let list: Vec<Value> = explained.iter().map(|(what, explanation)| as_json(what, explanation)).collect();
            serde_json::to_writer_pretty(&mut out, &list)?;
            writeln!(out)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn explain(pod: &Value, snapshot: &Snapshot, namespace: &str) -> Result<Explanation> {
    let pod = pod.to_string();
    let pod: PodView<'_> = serde_json::from_str(&pod).context("not a Pod")?;
    Ok(snapshot.explain(&pod, &PodRequest::create(namespace, Timestamp::now()))?)
}

fn write_text(out: &mut impl Write, what: &str, explanation: &Explanation) -> std::io::Result<()> {
    writeln!(out, "{what}")?;
    match explanation {
        Explanation::Excluded(exclusion) => writeln!(out, "  no SidecarSet is injected: {exclusion}")?,
        Explanation::Sets { sets, .. } if sets.is_empty() => writeln!(out, "  there are no SidecarSets")?,
        Explanation::Sets { sets, warnings } => {
            let width = sets.iter().map(|explained| explained.set.chars().count()).max().unwrap_or_default();
            for explained in sets {
                writeln!(out, "  {:width$}  {}", explained.set, explained.verdict)?;
            }
            for warning in warnings {
                writeln!(out, "  warning: {warning}")?;
            }
        }
    }
    writeln!(out)
}

fn as_json(what: &str, explanation: &Explanation) -> Value {
    match explanation {
        Explanation::Excluded(exclusion) => {
            json!({"object": what, "excluded": exclusion.to_string(), "sets": [], "warnings": []})
        }
        Explanation::Sets { sets, warnings } => {
            let sets: Vec<Value> = sets
                .iter()
                .map(|e| json!({"set": e.set, "verdict": e.verdict.word(), "reason": e.verdict.to_string()}))
                .collect();
            json!({"object": what, "excluded": null, "sets": sets, "warnings": warnings})
        }
    }
}
