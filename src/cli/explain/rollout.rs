//! `outrigger explain sidecarset/NAME`: what an update would do about each Pod of a set now, read from the cluster.

use crate::api::keys;
use crate::api::sidecarset::SidecarSet;
use crate::cli::output;
use crate::cluster::{self, Event};
use crate::injection::{Revision, StoredSet};
use crate::rollout::explain::{RolloutExplanation, Verdict, explain};
use crate::rollout::revisions::KeptRevision;
use crate::rollout::{ObservedSet, RolloutIndex, WatchedPod};
use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::core::ObjectList;
use kube::{Client, ResourceExt};
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// How long the API server may take to begin an answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Objects of a page of a list.
const PAGE: u32 = 500;

/// What of the set `object`, as kubectl names it, is printed. Nothing is written to the cluster.
pub(super) fn run(object: &str, revision_namespace: &str, as_json: bool) -> Result<ExitCode> {
    let Some(name) = object.strip_prefix("sidecarset/").or_else(|| object.strip_prefix("sidecarsets/")) else {
        bail!(
            "{object}: name a SidecarSet of the cluster as sidecarset/NAME, or give Pods with -f and SidecarSets with --from"
        );
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (index, message) = runtime.block_on(async {
        let (client, _) = cluster::connect(None, TIMEOUT, Arc::new(())).await.context("there is no cluster to ask")?;
        read(&client, name, revision_namespace).await
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

/// All that the rollout of a set depends on, and what the leader says of it.
async fn read(client: &Client, name: &str, revision_namespace: &str) -> Result<(RolloutIndex, Option<String>)> {
    let mut index = RolloutIndex::default();
    index.updates_pods = true;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let all = pages("Namespaces", async |page| namespaces.list_metadata(&page).await).await?;
    let labels = all.into_iter().map(|object| (object.name_any(), object.metadata.labels.unwrap_or_default()));
    Event::list(labels).for_each(|event| _ = index.namespaces_event(event));

    let revisions: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), revision_namespace, &ApiResource::erase::<ControllerRevision>(&()));
    let selector = format!("{}={name}", keys::REVISION_OF);
    let all = pages("ControllerRevisions", async |page| revisions.list(&page.labels(&selector)).await).await?;
    let kept = all.into_iter().filter_map(|object| Revision::read(serde_json::to_value(object).ok()?).ok()?);
    Event::list(kept.map(|revision| KeptRevision::from(&revision))).for_each(|event| _ = index.revisions_event(event));

    let sets: Api<DynamicObject> = Api::all_with(client.clone(), &ApiResource::erase::<SidecarSet>(&()));
    let all = pages("SidecarSets", async |page| sets.list(&page).await).await?;
    let all: Vec<_> = all.into_iter().filter_map(|object| serde_json::to_value(object).ok()).collect();
    let told = all.iter().find(|set| set["metadata"]["name"] == name);
    let told = told.and_then(|set| set["status"]["conditions"].as_array()?.iter().find(|told| told["type"] == "Ready"));
    let message = told.and_then(|ready| Some(ready["message"].as_str()?.to_owned()));
    Event::list(all.into_iter().map(|set| Arc::new(ObservedSet::of(&StoredSet::read(set)))))
        .for_each(|event| _ = index.sets_event(event));

    let pods: Api<WatchedPod> = Api::all(client.clone());
    let all = pages("Pods", async |page| pods.list(&page).await).await?;
    Event::list(all).for_each(|event| _ = index.pods_event(event));
    Ok((index, message))
}

/// All objects of a list, page by page.
async fn pages<K: Clone>(what: &str, list: impl AsyncFn(ListParams) -> kube::Result<ObjectList<K>>) -> Result<Vec<K>> {
    let (mut all, mut page) = (Vec::new(), ListParams::default().limit(PAGE));
    loop {
        let listed = list(page.clone()).await.with_context(|| format!("cannot list {what}"))?;
        all.extend(listed.items);
        match listed.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(all),
        }
    }
}

/// Pods that are as they should be are only counted.
fn write_text(out: &mut impl Write, explanation: &RolloutExplanation, message: Option<&str>) -> std::io::Result<()> {
    let RolloutExplanation { set, problem, matched, updated, max_unavailable, unavailable, pods } = explanation;
    writeln!(out, "SidecarSet/{set}")?;
    if let Some(problem) = problem {
        return writeln!(out, "  it cannot be used: {problem}");
    }
    writeln!(out, "  {updated} of {matched} Pods have the latest containers")?;
    writeln!(out, "  maxUnavailable is {max_unavailable}, of which {unavailable} taken")?;
    if let Some(message) = message {
        writeln!(out, "  its status says: {message}")?;
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
