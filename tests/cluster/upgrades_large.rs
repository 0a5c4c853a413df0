//! A rollout of 1,000 Pods: its duration, and its calls to the API server.

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use outrigger_testbed::{Case, Parts, Suite, tests, wait_for};
use serde_json::json;
use std::time::{Duration, Instant};

use crate::outrigger::{Outrigger, Start, install};
use crate::upgrades::Watcher;
use crate::{seen, upgrades_large};

/// Adds this test, which takes minutes.
pub fn add_to(suite: Suite<Outrigger>) -> Suite<Outrigger> {
    tests!(suite, apart(Parts::Full): upgrades_large::a_rollout_of_1000_pods_takes_two_calls_a_pod_at_most)
}

const PODS: u32 = 1_000;

/// Returns the number of writes so far, including failed ones.
async fn writes(outrigger: &Outrigger) -> Result<u64> {
    let (_, page) = outrigger.page("/metrics").await?;
    let lines = page.lines().filter(|line| line.starts_with("rest_client_requests_total{"));
    let writes = lines.filter(|line| ["PATCH", "POST", "PUT"].iter().any(|method| line.contains(method)));
    writes.map(|line| Ok(line.rsplit(' ').next().context("no value")?.parse::<u64>()?)).sum()
}

/// With `maxUnavailable: 10%`. Calls for Pods, the set's status and revision, and Leases are counted.
pub async fn a_rollout_of_1000_pods_takes_two_calls_a_pod_at_most(case: Case<()>) -> Result<()> {
    let (plane, pods, name) = (&case.plane, case.namespace.api::<Pod>(), "large");
    let kubeconfig = install(plane).await?;
    let outrigger = Outrigger::serving(plane, Start::with(&kubeconfig)).await?;
    let set = |image: &str| {
        seen::set(name, image, &json!({"updateStrategy": {"type": "RollingUpdate", "maxUnavailable": "10%"}}))
    };
    seen::apply(plane, &set("side:1")).await?;
    seen::injects(&case.namespace, name, Some("side:1")).await?;
    stream::iter(0..PODS)
        .map(async |number| {
            let pod = seen::pod(&format!("p-{number:04}"), name, &json!({}))?;
            anyhow::Ok(pods.create(&PostParams::default(), &pod).await?)
        })
        .buffer_unordered(16)
        .try_collect::<Vec<_>>()
        .await?;
    let all = json!({"matchedPods": PODS, "updatedPods": PODS, "updatedReadyPods": PODS});
    let done = async || -> Result<()> {
        wait_for("all Pods to be ready with the image", Duration::from_secs(150), async || {
            let set = seen::get(plane, name).await?;
            ensure!(set["status"]["observedGeneration"] == set["metadata"]["generation"], "{set}");
            let is_done = |(field, value): (&String, &serde_json::Value)| set["status"][field] == *value;
            ensure!(all.as_object().into_iter().flatten().all(is_done), "{}", set["status"]);
            Ok(Some(()))
        })
        .await
    };
    done().await?;
    // The first rollout also writes each Pod's condition, the second one does not.
    for (image, most) in [("side:2", 2.1), ("side:3", 1.1)] {
        let watcher = Watcher::of(&pods, image).await?;
        let (before, begun) = (writes(&outrigger).await?, Instant::now());
        seen::apply(plane, &set(image)).await?;
        done().await?;
        let (took, calls) = (begun.elapsed(), writes(&outrigger).await? - before);
        let (worst, each) = (watcher.worst()?, f64::from(u32::try_from(calls)?) / f64::from(PODS));
        println!(
            "{image}: {PODS} Pods in {:.1} s, {each:.3} writes a Pod, at most {worst} unavailable",
            took.as_secs_f64()
        );
        ensure!(worst <= 100, "{worst} Pods were unavailable");
        ensure!(each <= most, "{each} writes a Pod");
    }
    outrigger.stop().await
}
