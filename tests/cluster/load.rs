//! Load and silence between the API server and the replicas: overload is retried, a rolling restart costs nothing, and idle
//! connections stay usable.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use outrigger::admission::Limits;
use outrigger::admission::Webhook;
use outrigger::admission::client::Destination;
use outrigger_testbed::{Case, wait_for};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::balancer::Balancer;
use crate::certificates::Certificates;
use crate::creates::{Creates, SIDECARSET, dry_run, injected, is_injected, pod};
use crate::outrigger::{Outrigger, PATIENCE, Start, install, registered};

/// Returns the review that the API server would send for the creation of an object.
fn review(group: &str, version: &str, kind: &str, object: &Value) -> Bytes {
    let request = json!({
        "uid": "u", "operation": "CREATE", "namespace": "default", "object": object,
        "kind": {"group": group, "version": version, "kind": kind},
    });
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}).to_string().into()
}

/// Takes all places for reviews of Pods for about two seconds, with Pods that wait for a SidecarSet that was admitted and is never
/// stored.
async fn fill(target: &Destination) -> Result<JoinSet<Result<u16>>> {
    let set = json!({"apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet", "metadata": {"name": "never-stored"}, "spec": {
        "selector": {"matchLabels": {"app": "never"}}, "containers": [{"name": "never", "image": "never:1"}],
    }});
    let mut waiting = Vec::new();
    for _ in 0..Limits::default().reviews {
        waiting.push(target.connect().await?);
    }
    let path = Webhook::ValidateSidecarSet.path();
    let admitted = target.connect().await?.post(path, review("apps.kruise.io", "v1beta1", "SidecarSet", &set)).await?;
    ensure!(admitted.status == 200, "{}", admitted.status);
    let pod = json!({"metadata": {"name": "p", "labels": {"app": "never"}}, "spec": {"containers": [{"name": "a", "image": "a:1"}]}});
    let pod = review("", "v1", "Pod", &pod);
    let mut reviews = JoinSet::new();
    for mut client in waiting {
        let pod = pod.clone();
        reviews.spawn(async move { Ok(client.post("/mutate-pod", pod).await?.status.as_u16()) });
    }
    Ok(reviews)
}

/// A replica without a free place answers 503 with Retry-After, and the API server retries, so the creator of the Pod notices
/// nothing.
pub async fn overload_is_retried_by_the_api_server(case: Case<()>) -> Result<()> {
    let kubeconfig = install(&case.plane).await?;
    let certificates = Certificates::new()?;
    let start = Start { args: certificates.arguments(), ..Start::with(&kubeconfig) };
    let outrigger = Outrigger::serving(&case.plane, start).await?;
    case.plane.apply(SIDECARSET).await?;
    let pods: Api<Pod> = case.namespace.api();
    injected(&pods, &[&outrigger], &certificates.ca).await?;

    let target = Destination::new(([127, 0, 0, 1], outrigger.webhook).into(), &certificates.ca)?;
    let shed = async || outrigger.metric("outrigger_webhook_shed_total{reason=\"reviews\"}").await;
    let before = shed().await?;
    let full = fill(&target).await?;
    let taken = u64::try_from(full.len())?;
    wait_for("the replica to be full", PATIENCE, async || {
        let reviews =
            outrigger.metric("controller_runtime_webhook_requests_in_flight{webhook=\"/mutate-pod\"}").await?;
        Ok((reviews >= taken).then_some(()))
    })
    .await?;
    let begin = Instant::now();
    let created = pods.create(&dry_run(), &pod("while-full")?).await.context("it was refused")?;
    ensure!(shed().await? > before, "the API server was not turned away");
    ensure!(is_injected(&created), "no sidecar");
    ensure!(begin.elapsed() >= Duration::from_secs(1), "Retry-After: 1 was not heeded");
    for status in full.join_all().await {
        ensure!(status? == 200, "a Pod that waited was turned away");
    }
    Ok(())
}

/// Two replicas are replaced one by one, like in a Deployment, while 100 Pods a second are created (fewer on a slow machine): none
/// is rejected or left without its sidecar. The creates are dry runs, which the webhook can only distinguish by their flag, because
/// storing 100 Pods a second would test etcd.
pub async fn a_rolling_restart_under_load_costs_no_pod(case: Case<()>) -> Result<()> {
    let certificates = Certificates::new()?;
    let (balancer, start) = Balancer::install(&case.plane, &certificates).await?;
    let start = Start { shutdown_delay: 1, ..start };
    let (mut first, mut second) =
        (Outrigger::start(&case.plane, start.clone())?, Outrigger::start(&case.plane, start.clone())?);
    first.ready().await?;
    second.ready().await?;
    balancer.lead_to([first.webhook, second.webhook]);
    registered(&case.plane).await?;
    case.plane.apply(SIDECARSET).await?;
    let pods: Api<Pod> = case.namespace.api();
    injected(&pods, &[&first, &second], &certificates.ca).await?;

    let creates = Creates::start(pods, 100, dry_run());
    creates.more(50).await?;
    for _ in 0..2 {
        let new = Outrigger::start(&case.plane, start.clone())?;
        new.ready().await?;
        balancer.lead_to([first.webhook, second.webhook, new.webhook]);
        first.process().signal("TERM")?;
        first.not_ready().await?;
        balancer.lead_to([second.webhook, new.webhook]);
        let status = first.process().ended(PATIENCE).await?;
        ensure!(status.success(), "the old replica ended with {status}");
        creates.more(50).await?;
        (first, second) = (second, new);
    }
    let outcome = creates.end().await?;
    println!("a rolling restart: {} Pods, {:.0} a second", outcome.injected, outcome.a_second);
    outcome.at_most_failed(0)
}

/// The API server keeps connections for 90 s, outrigger for longer. An idle connection is used again, or the API server opens
/// another one itself, and no create fails. With the variable `OUTRIGGER_LONG` the test waits that long.
pub async fn connections_that_idled_are_good(case: Case<()>) -> Result<()> {
    let certificates = Certificates::new()?;
    let (balancer, start) = Balancer::install(&case.plane, &certificates).await?;
    let outrigger = Outrigger::start(&case.plane, start)?;
    outrigger.ready().await?;
    balancer.lead_to([outrigger.webhook]);
    registered(&case.plane).await?;
    case.plane.apply(SIDECARSET).await?;
    let pods: Api<Pod> = case.namespace.api();
    injected(&pods, &[&outrigger], &certificates.ca).await?;

    let long = std::env::var_os("OUTRIGGER_LONG").is_some_and(|value| value != "0");
    let seconds: &[u64] = if long { &[2, 3, 15, 45, 95] } else { &[2, 3] };
    for &idle in seconds {
        let before = balancer.accepted();
        sleep(Duration::from_secs(idle)).await; // the tested case
        let created = pods.create(&dry_run(), &pod("after-a-rest")?).await;
        ensure!(is_injected(&created.with_context(|| format!("after {idle} s"))?), "no sidecar after {idle} s");
        let opened = balancer.accepted() - before;
        ensure!(idle > 90 || opened == 0, "{opened} connections were opened after {idle} s");
    }
    let told = case.plane.log("kube-apiserver")?;
    let broken: Vec<&str> = told.lines().filter(|line| line.contains("EOF")).collect();
    ensure!(broken.is_empty(), "{broken:#?}");
    Ok(())
}
