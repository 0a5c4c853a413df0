//! Replicas come and go, and so does the API server: Pods get their sidecars all the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use outrigger::admission::client::Target;
use outrigger_testbed::{Case, wait_for};
use serde_json::{Value, json};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{MissedTickBehavior, interval};

use crate::certificates::Certificates;
use crate::outrigger::{Outrigger, PATIENCE, Start, install, registered, sets};

const SIDECARSET: &str = r"
apiVersion: apps.kruise.io/v1alpha1
kind: SidecarSet
metadata: {name: everywhere}
spec:
  selector: {matchLabels: {app: everywhere}}
  containers: [{name: sidecar, image: side:1}]
";

/// Stands for the Service: new connections go to the replicas in turn, and to the next one where one does not answer.
pub async fn balance(listener: TcpListener, replicas: Vec<u16>) {
    let turn = Arc::new(AtomicUsize::new(0));
    while let Ok((mut client, _)) = listener.accept().await {
        let (replicas, turn) = (replicas.clone(), turn.clone());
        tokio::spawn(async move {
            for _ in 0..replicas.len() {
                let port = replicas[turn.fetch_add(1, Ordering::Relaxed) % replicas.len()];
                if let Ok(mut replica) = TcpStream::connect(("127.0.0.1", port)).await {
                    _ = copy_bidirectional(&mut client, &mut replica).await;
                    return;
                }
            }
        });
    }
}

fn pod(name: &str) -> Result<Pod> {
    Ok(serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"app": "everywhere"}},
        "spec": {"containers": [{"name": "app", "image": "app:1"}], "automountServiceAccountToken": false}
    }))?)
}

fn is_injected(pod: &Pod) -> bool {
    pod.spec.iter().flat_map(|spec| &spec.containers).any(|container| container.name == "sidecar")
}

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
    let kubeconfig = install(&case.plane).await?;
    let certificates = Certificates::new()?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("https://127.0.0.1:{}", listener.local_addr()?.port());
    let start = Start { url: Some(url), shutdown_delay: 2, args: certificates.arguments(), ..Start::with(&kubeconfig) };
    let mut first = Outrigger::start(&case.plane, start.clone())?;
    first.ready().await?;
    let second = Outrigger::start(&case.plane, start)?;
    second.ready().await?;
    tokio::spawn(balance(listener, vec![first.webhook, second.webhook]));
    registered(&case.plane).await?;
    case.plane.apply(SIDECARSET).await?;
    let pods: Api<Pod> = case.namespace.api();
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    wait_for("both replicas to know the set", PATIENCE, async || {
        for _ in 0..4 {
            ensure!(is_injected(&pods.create(&dry, &pod("probe")?).await?), "not injected");
        }
        Ok(Some(()))
    })
    .await?;

    let stop = Arc::new(AtomicBool::new(false));
    let load = tokio::spawn({
        let (pods, stop) = (pods.clone(), stop.clone());
        async move {
            let mut ticks = interval(Duration::from_millis(20));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            let mut requests = tokio::task::JoinSet::new();
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                ticks.tick().await;
                number += 1;
                let pods = pods.clone();
                requests.spawn(async move {
                    pods.create(&PostParams::default(), &pod(&format!("p-{number}"))?)
                        .await
                        .map_err(anyhow::Error::from)
                });
            }
            requests.join_all().await
        }
    });
    let created = async |at_least: usize| {
        wait_for("Pods to be created", PATIENCE, async || {
            let list = pods.list_metadata(&ListParams::default()).await?;
            Ok((list.items.len() >= at_least).then_some(()))
        })
        .await
    };
    created(50).await?;
    first.process().signal(signal)?;
    first.process().ended(PATIENCE).await?;
    let so_far = pods.list_metadata(&ListParams::default()).await?.items.len();
    created(so_far + 100).await?;
    stop.store(true, Ordering::Relaxed);
    let results = load.await?;
    let (good, bad): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    let errors: Vec<String> = bad.into_iter().filter_map(Result::err).map(|error| format!("{error:#}")).collect();
    // A killed replica answers at most what it had begun to.
    let allowed = if signal == "KILL" { 8 } else { 0 };
    ensure!(errors.len() <= allowed, "{} of {} failed: {}", errors.len(), good.len() + errors.len(), errors.join("\n"));
    let without = good.iter().flatten().filter(|pod| !is_injected(pod)).count();
    ensure!(without == 0, "{without} of {} Pods have no sidecar", good.len());

    // Whoever led, somebody does now.
    let expected = i32::try_from(good.len())?;
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
