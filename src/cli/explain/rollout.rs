//! `outrigger explain sidecarset/NAME`: what an update would do with each Pod of a set now, read from the cluster.

use crate::cli::live::{self, LiveArgs};
use crate::cli::output;
use crate::cluster::Event;
use crate::injection::{Revision, StoredSet};
use crate::rollout::explain::{RolloutExplanation, Verdict, explain};
use crate::rollout::revisions::KeptRevision;
use crate::rollout::{ObservedSet, RolloutIndex, WatchedPod};
use anyhow::{Result, bail};
use jiff::Timestamp;
use kube::{Api, Client};
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

/// Prints the explanation of the set `object`, in kubectl's form. Nothing is written to the cluster.
pub(super) fn run(object: &str, live: &LiveArgs, as_json: bool) -> Result<ExitCode> {
    let Some(name) = object.strip_prefix("sidecarset/").or_else(|| object.strip_prefix("sidecarsets/")) else {
        bail!(
            "{object}: name a SidecarSet of the cluster as sidecarset/NAME, or give Pods with -f and SidecarSets with --from"
        );
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (index, message) = runtime.block_on(async {
        let client = live::connect(&live.access).await?;
        read(&client, name, &live.revision_namespace).await
    })?;
    let Some(explanation) = explain(&index, name, Timestamp::now()) else { bail!("there is no SidecarSet {name:?}") };
    output::print(|out| {
        if as_json {
            serde_json::to_writer_pretty(&mut *out, &explanation)?;
            writeln!(out)
        } else {
            write_text(out, &explanation, message.as_deref())
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Reads everything that the set's rollout depends on, and what the leader reports about it.
async fn read(client: &Client, name: &str, revision_namespace: &str) -> Result<(RolloutIndex, Option<String>)> {
    let mut index = RolloutIndex::default();
    index.updates_pods = true;
    Event::list(live::namespaces(client).await?).for_each(|event| _ = index.namespaces_event(event));

    let all = live::revisions(client, revision_namespace, Some(name)).await?;
    let kept = all.into_iter().filter_map(|object| Revision::read(serde_json::to_value(object).ok()?).ok()?);
    Event::list(kept.map(|revision| KeptRevision::from(&revision))).for_each(|event| _ = index.revisions_event(event));

    let all = live::sets(client).await?;
    let told = all.iter().find(|set| set["metadata"]["name"] == name);
    let told = told.and_then(|set| set["status"]["conditions"].as_array()?.iter().find(|told| told["type"] == "Ready"));
    let message = told.and_then(|ready| Some(ready["message"].as_str()?.to_owned()));
    Event::list(all.into_iter().map(|set| Arc::new(ObservedSet::of(&StoredSet::read(set)))))
        .for_each(|event| _ = index.sets_event(event));

    let pods: Api<WatchedPod> = Api::all(client.clone());
    let all = live::pages("Pods", async |page| pods.list(&page).await).await?;
    Event::list(all).for_each(|event| _ = index.pods_event(event));
    Ok((index, message))
}

/// Pods that are up to date are only counted.
fn write_text(out: &mut impl Write, explanation: &RolloutExplanation, message: Option<&str>) -> std::io::Result<()> {
    let RolloutExplanation { set, problem, matched, updated, max_unavailable, unavailable, pods } = explanation;
    writeln!(out, "SidecarSet/{set}")?;
    if let Some(problem) = problem {
        return writeln!(out, "  it cannot be used: {problem}");
    }
    writeln!(out, "  {updated} of {matched} Pods have the latest containers")?;
    writeln!(out, "  maxUnavailable: {max_unavailable}, in use: {unavailable}")?;
    if let Some(message) = message {
        writeln!(out, "  status: {message}")?;
    }
    let told = || pods.iter().filter(|pod| pod.verdict != Verdict::Updated);
    let width = told().map(|pod| pod.namespace.len() + 1 + pod.name.len()).max().unwrap_or_default();
    for pod in told() {
        let name = format!("{}/{}", pod.namespace, pod.name);
        let line = format!("  {name:width$}  {:11}  {}", pod.verdict, pod.reason);
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}
