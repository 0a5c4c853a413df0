//! In-place updates by an outrigger that is killed: once at each write, and repeatedly.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use outrigger::api::keys;
use outrigger::cluster::failpoint::{KILLED, WRITES};
use outrigger_testbed::{Case, Parts, Suite, tests};
use serde_json::{Value, json};
use std::path::Path;

use crate::outrigger::{Outrigger, PATIENCE, Start, install};
use crate::seen;
use crate::upgrades::Watcher;
use crate::upgrades_killed;

/// Adds these tests, which take minutes.
pub fn add_to(suite: Suite<Outrigger>) -> Suite<Outrigger> {
    tests!(
        suite,
        apart(Parts::Full):
        upgrades_killed::an_upgrade_ends_right_after_a_kill_at_each_write,
        upgrades_killed::a_leader_that_is_killed_again_and_again_never_exceeds_the_budget,
    )
}

const NAME: &str = "killed";

fn start(case: &Case<()>, kubeconfig: &Path, failpoint: Option<String>) -> Result<Outrigger> {
    let args = vec!["--leader-elect=false".to_owned()];
    Outrigger::start(&case.plane, Start { args, failpoint, ..Start::with(kubeconfig) })
}

fn set(image: &str, max_unavailable: &Value) -> Value {
    let strategy = json!({"type": "RollingUpdate", "maxUnavailable": max_unavailable});
    seen::set(NAME, image, &json!({"updateStrategy": strategy}))
}

/// The same with this CPU request.
fn asking(mut set: Value, cpu: u32) -> Value {
    set["metadata"]["annotations"] = json!({keys::RESIZE: keys::IN_PLACE});
    set["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": format!("{cpu}m")}});
    set
}

/// Creates this number of Pods that are ready with the first image.
async fn running(case: &Case<()>, set: &Value, pods: u32) -> Result<()> {
    seen::apply(&case.plane, set).await?;
    seen::injects(&case.namespace, NAME, Some("side:1")).await?;
    for number in 0..pods {
        let pod = seen::pod(&format!("p-{number}"), NAME, &json!({}))?;
        case.namespace.api().create(&PostParams::default(), &pod).await?;
    }
    seen::counts(&case.plane, NAME, [pods; 4]).await?;
    Ok(())
}

/// Killed before and after the first and the third of each kind of write: the next process continues, one Pod at a
/// time.
pub async fn an_upgrade_ends_right_after_a_kill_at_each_write(case: Case<()>) -> Result<()> {
    let (plane, pods) = (&case.plane, case.namespace.api::<Pod>());
    let kubeconfig = install(plane).await?;
    let outrigger = Outrigger::serving(plane, Start::with(&kubeconfig)).await?;
    let mut cpu = 100;
    running(&case, &asking(set("side:1", &json!(1)), cpu), 4).await?;
    outrigger.stop().await?;
    let mut version = 1;
    let mut writes: Vec<&str> = WRITES.into_iter().filter(|write| write.starts_with("upgrade.")).collect();
    // The conditions first: later they would be written at the process's start, and kill it before it is ready.
    writes.sort_by_key(|write| *write != "upgrade.pod.tell");
    for write in &writes {
        for moment in ["before", "after"] {
            for action in ["return", "2*off->return"] {
                // Conditions are written once for each set, so only the first edit causes them.
                if *write == "upgrade.pod.tell" && (action, moment) != ("return", "before") {
                    continue;
                }
                version += 1;
                let image: &'static str = Box::leak(format!("side:{version}").into_boxed_str());
                if *write == "upgrade.pod.tell" {
                    forget_conditions(&case).await?;
                }
                // Amounts are only sent if they changed.
                if *write == "upgrade.pod.resize" {
                    cpu += 1;
                    support_resizes(&case).await?;
                }
                let round = format!("{write}.{moment}={action}");
                let watcher = Watcher::of(&pods, image).await?;
                let mut armed = start(&case, &kubeconfig, Some(round.clone()))?;
                armed.ready().await?;
                seen::apply(plane, &asking(set(image, &json!(1)), cpu)).await?;
                let status = armed.process().ended(PATIENCE).await.with_context(|| round.clone())?;
                ensure!(status.code() == Some(KILLED), "{round}: it ended with {status}");
                let outrigger = start(&case, &kubeconfig, None)?;
                seen::counts(plane, NAME, [4; 4]).await.with_context(|| round.clone())?;
                ensure!(watcher.worst()? <= 1, "{round}: more than one Pod was unavailable");
                outrigger.stop().await?;
            }
        }
    }
    Ok(())
}

/// Simulates a node that can resize and does not report CPU and memory.
async fn support_resizes(case: &Case<()>) -> Result<()> {
    use kube::ResourceExt;
    use kube::api::{ListParams, Patch, PatchParams};
    let pods = case.namespace.api::<Pod>();
    for pod in pods.list(&ListParams::default()).await?.items {
        let mut statuses = serde_json::to_value(pod.status.clone().and_then(|status| status.container_statuses))?;
        for status in statuses.as_array_mut().into_iter().flatten() {
            status["resources"] = json!({"requests": {"ephemeral-storage": "1Gi"}});
        }
        let patch = Patch::Strategic(json!({"status": {"containerStatuses": statuses}}));
        pods.patch_status(&pod.name_any(), &PatchParams::default(), &patch).await?;
    }
    Ok(())
}

/// Simulates Pods that were never updated.
async fn forget_conditions(case: &Case<()>) -> Result<()> {
    use kube::ResourceExt;
    use kube::api::{ListParams, Patch, PatchParams};
    let pods = case.namespace.api::<Pod>();
    for pod in pods.list(&ListParams::default()).await?.items {
        let forget = json!({"status": {"conditions": [{"type": "SidecarSetUpgradable", "$patch": "delete"}]}});
        pods.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Strategic(forget)).await?;
    }
    Ok(())
}

/// A rollout of 100 Pods whose leader is killed about every second.
pub async fn a_leader_that_is_killed_again_and_again_never_exceeds_the_budget(case: Case<()>) -> Result<()> {
    const PODS: u32 = 100;
    let (plane, pods) = (&case.plane, case.namespace.api::<Pod>());
    let kubeconfig = install(plane).await?;
    let outrigger = Outrigger::serving(plane, Start::with(&kubeconfig)).await?;
    running(&case, &set("side:1", &json!("10%")), PODS).await?;
    outrigger.stop().await?;
    let watcher = Watcher::of(&pods, "side:2").await?;
    let mut leader = start(&case, &kubeconfig, None)?;
    leader.ready().await?;
    seen::apply(plane, &set("side:2", &json!("10%"))).await?;
    let mut kills = 0;
    for _ in 0..40 {
        let set = seen::get(plane, NAME).await?;
        let is_observed = set["status"]["observedGeneration"] == set["metadata"]["generation"];
        if is_observed && set["status"]["updatedReadyPods"] == PODS {
            break;
        }
        // It is killed wherever it is by then.
        _ = leader.process().ended(Duration::from_millis(1500)).await;
        leader.process().signal("KILL")?;
        _ = leader.process().ended(PATIENCE).await?;
        kills += 1;
        leader = start(&case, &kubeconfig, None)?;
    }
    seen::counts(plane, NAME, [PODS; 4]).await?;
    let worst = watcher.worst()?;
    ensure!(worst <= 10 && kills > 0, "{worst} Pods were unavailable; {kills} kills");
    println!("{PODS} Pods, {kills} kills, at most {worst} unavailable");
    leader.ready().await?;
    leader.stop().await
}
