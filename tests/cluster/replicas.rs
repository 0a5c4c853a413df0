//! Replicas come and go, and so does the API server: Pods get their sidecars all the same.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use outrigger::admission::client::Target;
use outrigger_testbed::{Case, wait_for};
use serde_json::{Value, json};

use crate::balancer::Balancer;
use crate::certificates::Certificates;
use crate::creates::{Creates, SIDECARSET, injected};
use crate::outrigger::{Outrigger, PATIENCE, Start, install, registered, sets};

/// Two replicas, 50 Pods a second, and one replica is stopped as the kubelet stops it: no Pod is refused or goes without.
pub async fn a_replica_that_stops_under_load_costs_no_pod(case: Case<()>) -> Result<()> {
    a_replica_ends_under_load(case, "TERM").await
}

/// The same with a replica that is killed: what it was answering is lost, as a TCP connection that breaks is not repeated, and
/// nothing else; the other one leads after the Lease has run out.
pub async fn a_replica_that_is_killed_under_load_costs_what_it_was_answering(case: Case<()>) -> Result<()> {
    a_replica_ends_under_load(case, "KILL").await
}

async fn a_replica_ends_under_load(case: Case<()>, signal: &str) -> Result<()> {
    let certificates = Certificates::new()?;
    let (balancer, start) = Balancer::install(&case.plane, &certificates).await?;
    let start = Start { shutdown_delay: 2, ..start };
    let mut first = Outrigger::start(&case.plane, start.clone())?;
    first.ready().await?;
    let second = Outrigger::start(&case.plane, start)?;
    second.ready().await?;
    balancer.lead_to([first.webhook, second.webhook]);
    registered(&case.plane).await?;
    case.plane.apply(SIDECARSET).await?;
    let pods: Api<Pod> = case.namespace.api();
    injected(&pods, &[&first, &second], &certificates.ca).await?;

    let creates = Creates::start(pods, 50, PostParams::default());
    creates.more(50).await?;
    first.process().signal(signal)?;
    if signal == "TERM" {
        // A Service does so, too.
        first.not_ready().await?;
        balancer.lead_to([second.webhook]);
    }
    first.process().ended(PATIENCE).await?;
    creates.more(100).await?;
    let outcome = creates.end().await?;
    // A killed replica answers at most what it had begun to.
    outcome.at_most_failed(if signal == "KILL" { 8 } else { 0 })?;

    // Whoever led, somebody does now.
    let expected = i32::try_from(outcome.injected)?;
    wait_for("the status to tell of all Pods", PATIENCE, async || {
        let status = sets(&case.plane).get("everywhere").await?.status.context("no status")?;
        ensure!(status.matched_pods == expected, "matchedPods is {} of {expected}", status.matched_pods);
        Ok(Some(()))
    })
    .await
}

/// While the API server is away a replica answers from what it knows, and afterwards hears of what is new.
pub async fn an_api_server_that_restarts_is_not_missed(case: Case<()>) -> Result<()> {
    let kubeconfig = install(&case.plane).await?;
    let certificates = Certificates::new()?;
    let start = Start { args: certificates.arguments(), ..Start::with(&kubeconfig) };
    let outrigger = Outrigger::serving(&case.plane, start).await?;
    case.plane.apply(SIDECARSET).await?;
    let target = Target::new(([127, 0, 0, 1], outrigger.webhook).into(), &certificates.ca)?;
    let containers = async |labels: Value| -> Result<usize> {
        let object = json!({"metadata": {"name": "p", "labels": labels}, "spec": {"containers": [{"name": "app"}]}});
        let review = json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {"uid": "u", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "operation": "CREATE",
                        "namespace": "default", "object": object}
        });
        let answer = target.connect().await?.post("/mutate-pod", Bytes::from(review.to_string())).await?;
        let answer: Value = serde_json::from_slice(&answer.body)?;
        Ok(usize::from(answer["response"]["patch"].is_string()))
    };
    wait_for("the set to be known", PATIENCE, async || {
        Ok((containers(json!({"app": "everywhere"})).await? == 1).then_some(()))
    })
    .await?;

    case.plane.stop_api_server().await;
    wait_for("outrigger to notice", PATIENCE, async || {
        let (status, page) = outrigger.page("/readyz?verbose").await?;
        ensure!(status == 200, "{page}");
        Ok(page.contains("s ago").then_some(()))
    })
    .await?;
    assert_eq!(containers(json!({"app": "everywhere"})).await?, 1);
    case.plane.start_api_server().await?;

    let new = SIDECARSET.replace("everywhere", "after-the-restart");
    wait_for("SidecarSets to be written again", PATIENCE, async || Ok(Some(case.plane.apply(&new).await?))).await?;
    wait_for("the new set to be known", PATIENCE, async || {
        Ok((containers(json!({"app": "after-the-restart"})).await? == 1).then_some(()))
    })
    .await?;
    sets(&case.plane).delete("after-the-restart", &DeleteParams::default()).await?;
    wait_for("the deleted set to be forgotten", PATIENCE, async || {
        Ok((containers(json!({"app": "after-the-restart"})).await? == 0).then_some(()))
    })
    .await
}
