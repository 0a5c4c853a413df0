//! Replicas and the API server come and go, and Pods still get their sidecars.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use outrigger::admission::client::Destination;
use outrigger_testbed::{Case, wait_for};
use serde_json::{Value, json};

use crate::balancer::Balancer;
use crate::certificates::Certificates;
use crate::creates::{Creates, SIDECARSET, injected};
use crate::leases::leads;
use crate::outrigger::{Outrigger, PATIENCE, Start, install, registered, sets};

/// Two replicas, 50 Pods a second, and one replica is stopped like by the kubelet: no Pod is rejected or left without
/// its sidecar.
pub async fn a_replica_that_stops_under_load_costs_no_pod(case: Case<()>) -> Result<()> {
    a_replica_ends_under_load(case, "TERM").await
}

/// The same with a killed replica: only the requests that it was answering are lost, because a broken TCP connection is not
/// retried. The other one leads after the Lease has expired.
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
        // A Service does this too.
        first.not_ready().await?;
        balancer.lead_to([second.webhook]);
    }
    first.process().ended(PATIENCE).await?;
    creates.more(100).await?;
    let outcome = creates.end().await?;
    // A killed replica answers at most the requests that it had begun.
    outcome.at_most_failed(if signal == "KILL" { 8 } else { 0 })?;

    // Whichever replica led, one leads now.
    let expected = i32::try_from(outcome.injected)?;
    wait_for("the status to tell of all Pods", PATIENCE, async || {
        let status = sets(&case.plane).get("everywhere").await?.status.context("no status")?;
        ensure!(status.matched_pods == expected, "matchedPods is {} of {expected}", status.matched_pods);
        Ok(Some(()))
    })
    .await
}

/// Whether a replica injects new Pods with this label `app`.
async fn injects(target: &Destination, app: &str) -> Result<bool> {
    let object = json!({"metadata": {"name": "p", "labels": {"app": app}}, "spec": {"containers": [{"name": "app"}]}});
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {"uid": "u", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "operation": "CREATE",
                    "namespace": "default", "object": object}
    });
    let answer = target.connect().await?.post("/mutate-pod", Bytes::from(review.to_string())).await?;
    let answer: Value = serde_json::from_slice(&answer.body)?;
    Ok(answer["response"]["patch"].is_string())
}

async fn until_injects(target: &Destination, app: &str, wanted: bool) -> Result<()> {
    let what = format!("{app} {} injected", if wanted { "to be" } else { "not to be" });
    wait_for(&what, PATIENCE, async || Ok((injects(target, app).await? == wanted).then_some(()))).await
}

/// While the API server is away, a replica answers from its cache. Afterwards it learns of changes.
pub async fn an_api_server_that_restarts_is_not_missed(case: Case<()>) -> Result<()> {
    let kubeconfig = install(&case.plane).await?;
    let certificates = Certificates::new()?;
    let start = Start { args: certificates.arguments(), ..Start::with(&kubeconfig) };
    let outrigger = Outrigger::serving(&case.plane, start).await?;
    case.plane.apply(SIDECARSET).await?;
    let target = Destination::new(([127, 0, 0, 1], outrigger.webhook).into(), &certificates.ca)?;
    until_injects(&target, "everywhere", true).await?;

    case.plane.stop_api_server().await;
    wait_for("outrigger to notice", PATIENCE, async || {
        let (status, page) = outrigger.page("/readyz?verbose").await?;
        ensure!(status == 200, "{page}");
        Ok(page.contains("s ago").then_some(()))
    })
    .await?;
    assert!(injects(&target, "everywhere").await?);
    case.plane.start_api_server().await?;

    let new = SIDECARSET.replace("everywhere", "after-the-restart");
    wait_for("SidecarSets to be written again", PATIENCE, async || Ok(Some(case.plane.apply(&new).await?))).await?;
    until_injects(&target, "after-the-restart", true).await?;
    sets(&case.plane).delete("after-the-restart", &DeleteParams::default()).await?;
    until_injects(&target, "after-the-restart", false).await
}

/// However long the API server was away, a set stored afterwards is injected within 5 s by a replica that does not lead, and its
/// cache is up to date again. With the variable `OUTRIGGER_LONG` the outage lasts a minute.
pub async fn a_follower_is_in_step_seconds_after_an_outage(case: Case<()>) -> Result<()> {
    let long = std::env::var_os("OUTRIGGER_LONG").is_some_and(|value| value != "0");
    let outage = if long { 60 } else { 12 };
    let certificates = Certificates::new()?;
    let (balancer, start) = Balancer::install(&case.plane, &certificates).await?;
    let replicas = balancer.pair(&case.plane, start).await?;
    let leads = leads(&replicas[0], "outrigger-sidecarset").await?;
    let follower = &replicas[usize::from(leads)];
    let target = Destination::new(([127, 0, 0, 1], follower.webhook).into(), &certificates.ca)?;

    case.plane.stop_api_server().await;
    wait_for("the outage to last", PATIENCE * 3, async || {
        let age = follower.metric("outrigger_watch_age_seconds{kind=\"sidecarsets\"}").await?;
        Ok((age >= outage).then_some(()))
    })
    .await?;
    let (status, page) = follower.page("/readyz?verbose").await?;
    ensure!(status == 200, "{page}");
    for kind in ["sidecarsets", "namespaces", "break-glass"] {
        let told = page.lines().find(|line| line.contains(kind)).context(kind)?;
        ensure!(told.contains("s ago: "), "{told}");
    }
    case.plane.start_api_server().await?;
    let new = SIDECARSET.replace("everywhere", "after-the-outage");
    wait_for("SidecarSets to be written again", PATIENCE, async || Ok(Some(case.plane.apply(&new).await?))).await?;
    let stored = Instant::now();
    until_injects(&target, "after-the-outage", true).await?;
    let injected = stored.elapsed();
    let mut behind = String::new();
    wait_for("the follower to be in step", PATIENCE, async || {
        let (_, page) = follower.page("/readyz?verbose").await?;
        let lines: Vec<&str> = page.lines().filter(|line| line.contains("s ago")).collect();
        if lines.is_empty() {
            return Ok(Some(()));
        }
        behind = lines.join("\n");
        Ok(None)
    })
    .await?;
    let in_step = stored.elapsed();
    println!(
        "after an outage of {outage} s: injected after {injected:.1?}, all in step after {in_step:.1?}; last {behind}"
    );
    // The long run has the machine for itself.
    let most = Duration::from_secs(if long { 5 } else { 10 });
    ensure!(in_step < most, "it took {in_step:?}: {behind}");
    Ok(())
}

/// A replica that is shutting down no longer leads. While it answers, it learns of changes.
pub async fn a_replica_that_drains_injects_a_set_that_is_new(case: Case<()>) -> Result<()> {
    let kubeconfig = install(&case.plane).await?;
    let certificates = Certificates::new()?;
    let start = Start { args: certificates.arguments(), shutdown_delay: 60, ..Start::with(&kubeconfig) };
    let mut outrigger = Outrigger::serving(&case.plane, start).await?;
    let target = Destination::new(([127, 0, 0, 1], outrigger.webhook).into(), &certificates.ca)?;
    ensure!(!injects(&target, "everywhere").await?);

    outrigger.process().signal("TERM")?;
    outrigger.not_ready().await?;
    let leases = Api::<Lease>::namespaced(case.plane.client(), "outrigger-system");
    wait_for("the Lease to be given back", PATIENCE / 4, async || {
        let holder = leases.get("outrigger-sidecarset").await?.spec.context("no spec")?.holder_identity;
        ensure!(holder.as_deref().unwrap_or_default().is_empty(), "{holder:?} leads");
        Ok(Some(()))
    })
    .await?;
    case.plane.apply(SIDECARSET).await?;
    wait_for("the new set to be injected", PATIENCE / 4, async || {
        Ok(injects(&target, "everywhere").await?.then_some(()))
    })
    .await?;
    ensure!(outrigger.process().exited()?.is_none(), "it still drains");
    outrigger.process().signal("TERM")?;
    outrigger.process().ended(PATIENCE).await?;
    Ok(())
}

/// The API server does not answer while etcd hangs. A replica that is called still injects Pods. The leader steps down because it cannot
/// renew its Lease. Soon after etcd recovers, a replica leads again and new sets are injected.
pub async fn while_etcd_hangs_pods_are_injected_and_afterwards_all_goes_on(case: Case<()>) -> Result<()> {
    let kubeconfig = install(&case.plane).await?;
    let certificates = Certificates::new()?;
    let start = Start { args: certificates.arguments(), ..Start::with(&kubeconfig) };
    let outrigger = Outrigger::serving(&case.plane, start).await?;
    case.plane.apply(SIDECARSET).await?;
    let target = Destination::new(([127, 0, 0, 1], outrigger.webhook).into(), &certificates.ca)?;
    until_injects(&target, "everywhere", true).await?;
    let jobs = ["outrigger-sidecarset", "outrigger-sidecargenerator", "outrigger-devrouting", "outrigger-meshservice"];
    let until_all = async |lead: bool| {
        wait_for(&format!("to lead: {lead}"), PATIENCE, async || {
            let (one, other) = (leads(&outrigger, jobs[0]).await?, leads(&outrigger, jobs[1]).await?);
            Ok((one == lead && other == lead).then_some(()))
        })
        .await
    };
    until_all(true).await?;

    case.plane.signal("etcd", "STOP").await?;
    let frozen = Instant::now();
    until_all(false).await?;
    let stepped_down = frozen.elapsed();
    ensure!(injects(&target, "everywhere").await?);
    let (status, page) = outrigger.page("/readyz?verbose").await?;
    ensure!(status == 200, "{page}");
    case.plane.signal("etcd", "CONT").await?;

    let thawed = Instant::now();
    until_all(true).await?;
    let leading = thawed.elapsed();
    let new = SIDECARSET.replace("everywhere", "after-etcd");
    wait_for("SidecarSets to be written again", PATIENCE, async || Ok(Some(case.plane.apply(&new).await?))).await?;
    until_injects(&target, "after-etcd", true).await?;
    println!(
        "etcd hung: no leader after {stepped_down:.1?}; it went on: leading after {leading:.1?}, a new set injected after {:.1?}",
        thawed.elapsed()
    );
    // After 15 s, which a Lease lasts, another one would lead.
    ensure!(stepped_down < Duration::from_secs(15), "two could have led: {stepped_down:?}");
    outrigger.stop().await
}
