//! Updates in place: an edited image reaches running Pods, a few at a time, and no Pod is made anew.

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, PostParams, WatchEvent, WatchParams};
use kube::{Api, ResourceExt};
use outrigger::api::keys;
use outrigger_testbed::{Case, wait_for};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::task::JoinHandle;

use crate::outrigger::{Outrigger, PATIENCE};
use crate::seen;

/// Who looks at each change of the Pods of a namespace.
pub struct Watcher {
    /// Of each Pod, whether its sidecar is this image, and whether it is ready with it.
    worst: Arc<Mutex<usize>>,
    watch: JoinHandle<()>,
}

impl Watcher {
    /// Counts, at each moment, the Pods with this image of the container `sidecar` that are not ready with it.
    pub async fn of(pods: &Api<Pod>, image: &'static str) -> Result<Self> {
        let list = pods.list(&ListParams::default()).await?;
        let version = list.metadata.resource_version.context("no resourceVersion")?;
        let events = pods.watch(&WatchParams::default().timeout(290), &version).await?.boxed();
        let worst = Arc::new(Mutex::new(0));
        let watch = tokio::spawn({
            let worst = worst.clone();
            let mut unavailable = BTreeMap::new();
            let seen = events.try_for_each(move |event| {
                match event {
                    WatchEvent::Added(pod) | WatchEvent::Modified(pod) => {
                        let is = seen::sidecar(&pod) == Some(image) && !is_ready_with(&pod, image);
                        unavailable.insert(pod.name_any(), is);
                    }
                    WatchEvent::Deleted(pod) => _ = unavailable.remove(&pod.name_any()),
                    _ => {}
                }
                let now = unavailable.values().filter(|is| **is).count();
                if let Ok(mut worst) = worst.lock() {
                    *worst = now.max(*worst);
                }
                std::future::ready(Ok(()))
            });
            async move { _ = seen.await }
        });
        Ok(Self { worst, watch })
    }

    /// The most Pods that were updated and not ready at the same time.
    pub fn worst(self) -> Result<usize> {
        ensure!(!self.watch.is_finished(), "the watch ended");
        self.watch.abort();
        let worst = self.worst.lock().map_err(|_| anyhow::anyhow!("the watch panicked"))?;
        Ok(*worst)
    }
}

/// Whether the kubelet says that the container `sidecar` runs this image, and that the Pod is ready.
fn is_ready_with(pod: &Pod, image: &str) -> bool {
    let status = pod.status.clone().unwrap_or_default();
    let ready =
        status.conditions.iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let runs =
        status.container_statuses.iter().flatten().any(|status| status.name == "sidecar" && status.image == image);
    ready && runs
}

/// The condition of a Pod that tells of updates: its status, its reason, and its message.
pub fn upgradable(pod: &Pod) -> Option<(String, String, Value)> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let condition = conditions.iter().find(|condition| condition.type_ == "SidecarSetUpgradable")?;
    let message = serde_json::from_str(condition.message.as_deref()?).ok()?;
    Some((condition.status.clone(), condition.reason.clone()?, message))
}

/// Pods of a set that are ready with its containers.
pub async fn running(case: &Case<Outrigger>, name: &str, image: &str, pods: u32) -> Result<()> {
    seen::injects(&case.namespace, name, Some(image)).await?;
    for number in 0..pods {
        let pod = seen::pod(&format!("{name}-{number}"), name, &json!({}))?;
        case.namespace.api().create(&PostParams::default(), &pod).await?;
    }
    seen::counts(&case.plane, name, [pods; 4]).await?;
    Ok(())
}

/// The whole way: the image, what the Pod records of it, its condition, and the status of the set.
pub async fn an_edited_image_reaches_running_pods_one_at_a_time(case: Case<Outrigger>) -> Result<()> {
    let (plane, pods, name) = (&case.plane, case.namespace.api::<Pod>(), "upgraded");
    seen::apply(plane, &seen::set(name, "side:1", &json!({}))).await?;
    running(&case, name, "side:1", 3).await?;
    let before = pods.list(&ListParams::default()).await?.items;

    let watcher = Watcher::of(&pods, "side:2").await?;
    seen::apply(plane, &seen::set(name, "side:2", &json!({}))).await?;
    let set = seen::counts(plane, name, [3, 3, 3, 3]).await?;
    ensure!(seen::kstatus(&set) == "Current", "{set}");
    ensure!(watcher.worst()? == 1);
    for old in before {
        let pod = wait_for("the condition of the Pod", PATIENCE, async || {
            let pod = pods.get(&old.name_any()).await?;
            let expected = ("True".to_owned(), "AllSidecarsetUpgradable".to_owned(), json!({name: true}));
            ensure!(upgradable(&pod) == Some(expected), "{:?}", upgradable(&pod));
            Ok(Some(pod))
        })
        .await?;
        ensure!(pod.uid() == old.uid(), "it was made anew");
        ensure!(seen::sidecar(&pod) == Some("side:2"));
        let record = |key: &str| serde_json::from_str::<Value>(&pod.annotations()[key]);
        let (hashes, state) = (record(keys::HASH)?, record(keys::IN_PLACE_STATE)?);
        ensure!(hashes[name]["hash"] == set["metadata"]["annotations"][keys::HASH], "{hashes}");
        ensure!(hashes[name]["controllerRevision"] == set["status"]["latestRevision"], "{hashes}");
        ensure!(hashes[name]["sidecarList"] == json!(["sidecar"]), "{hashes}");
        let status = |pod: &Pod| {
            let statuses = pod.status.clone()?.container_statuses?;
            statuses.into_iter().find(|status| status.name == "sidecar")
        };
        let ran = status(&old).context("no status")?.image_id;
        ensure!(state[name]["lastContainerStatuses"] == json!({"sidecar": {"imageID": ran}}), "{state}");
        let restarts = status(&pod).context("no status")?.restart_count;
        ensure!(restarts == 1, "{restarts} restarts");
    }
    seen::objects(plane).delete(name, &kube::api::DeleteParams::default()).await?;
    Ok(())
}
