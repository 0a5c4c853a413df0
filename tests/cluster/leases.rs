//! Which replica leads which job: one Lease for each, next to older versions with one Lease for all.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use outrigger_testbed::{Case, ControlPlane, wait_for};
use serde_json::json;

use crate::certificates::Certificates;
use crate::outrigger::{Outrigger, PATIENCE, Start, install};

/// The Leases of all jobs.
const JOBS: [&str; 4] =
    ["outrigger-sidecarset", "outrigger-sidecargenerator", "outrigger-devrouting", "outrigger-meshservice"];

fn leases(plane: &ControlPlane) -> Api<Lease> {
    Api::namespaced(plane.client(), "outrigger-system")
}

/// Whether this replica leads with this Lease.
pub async fn leads(replica: &Outrigger, lease: &str) -> Result<bool> {
    Ok(replica.metric(&format!("leader_election_master_status{{name=\"{lease}\"}}")).await? == 1)
}

async fn until_leads(replica: &Outrigger, lease: &str) -> Result<()> {
    let what = format!("a replica to lead by {lease}");
    wait_for(&what, PATIENCE, async || Ok(leads(replica, lease).await?.then_some(()))).await
}

/// Two Deployments in one namespace with different jobs: both lead and continue to.
pub async fn replicas_of_different_jobs_do_not_exclude_each_other(case: Case<()>) -> Result<()> {
    case.plane.install_istio_crds().await?;
    let kubeconfig = install(&case.plane).await?;
    let of = |job: &str| Start { args: vec![format!("--controllers={job}")], ..Start::with(&kubeconfig) };
    let sets = Outrigger::serving(&case.plane, of("sidecarset")).await?;
    let generators = Outrigger::start(&case.plane, of("sidecargenerator"))?;
    until_leads(&sets, JOBS[0]).await?;
    until_leads(&generators, JOBS[1]).await?;
    ensure!(!leads(&sets, JOBS[1]).await? && !leads(&generators, JOBS[0]).await?);
    // Both renew the shared Lease.
    let version = async || leases(&case.plane).get("outrigger").await?.metadata.resource_version.context("no version");
    let first = version().await?;
    wait_for("the shared Lease to be renewed", PATIENCE, async || Ok((version().await? != first).then_some(())))
        .await?;
    ensure!(leads(&sets, JOBS[0]).await? && leads(&generators, JOBS[1]).await?);
    sets.stop().await?;
    generators.stop().await
}

/// While a replica of an older version holds the shared Lease, no replica of this version leads a job, registers anything or
/// writes, however long that lasts. When the older one ends, all jobs are led.
pub async fn no_job_is_led_beside_an_older_version(case: Case<()>) -> Result<()> {
    let plane = &case.plane;
    let (kubeconfig, certificates) = (install(plane).await?, Certificates::new()?);
    let renewed =
        || json!({"renewTime": MicroTime(Timestamp::now()), "holderIdentity": "older", "leaseDurationSeconds": 15});
    let lease = json!({"metadata": {"name": "outrigger"}, "spec": renewed()});
    leases(plane).create(&PostParams::default(), &serde_json::from_value(lease)?).await?;
    let replica = Outrigger::start(plane, Start { args: certificates.arguments(), ..Start::with(&kubeconfig) })?;
    replica.ready().await?;

    let started = Instant::now();
    let renew = async |spec: serde_json::Value| {
        let patch = Patch::Merge(json!({"spec": spec}));
        leases(plane).patch("outrigger", &PatchParams::default(), &patch).await
    };
    // Longer than a Lease is valid without renewal.
    wait_for("the older version to lead for a while", PATIENCE, async || {
        renew(renewed()).await?;
        for job in JOBS {
            ensure!(!leads(&replica, job).await?, "{job} is led beside an older version");
        }
        Ok((started.elapsed() > Duration::from_secs(22)).then_some(()))
    })
    .await?;
    let (status, page) = replica.page("/readyz?verbose").await?;
    ensure!(status == 200, "{page}");
    for job in JOBS {
        let waits = format!("{job} ok: older leads all jobs by the Lease outrigger, as older versions do");
        ensure!(page.contains(&waits), "{page}");
    }
    let registered = Api::<MutatingWebhookConfiguration>::all(plane.client()).get_opt("outrigger-mutating").await?;
    ensure!(registered.is_none(), "the webhooks were registered beside an older version");

    renew(json!({"holderIdentity": "", "leaseDurationSeconds": 1})).await?;
    let ended = Instant::now();
    for job in JOBS {
        until_leads(&replica, job).await?;
    }
    println!("led {:.1?} after the older version ended", ended.elapsed());
    let holder = leases(plane).get("outrigger").await?.spec.context("no spec")?.holder_identity;
    ensure!(holder.as_deref() == Some("outrigger-leaders-of-jobs"), "{holder:?}");
    replica.stop().await
}

/// Without permissions for Leases nobody leads. The log, `/readyz?verbose` and a metric report it, and Pods are still
/// injected.
pub async fn a_lease_that_is_forbidden_is_told(case: Case<()>) -> Result<()> {
    let plane = &case.plane;
    let (kubeconfig, certificates) = (install(plane).await?, Certificates::new()?);
    plane.kubectl(&["delete", "role", "outrigger", "-n", "outrigger-system"], None).await?.ok()?;
    let replica = Outrigger::start(plane, Start { args: certificates.arguments(), ..Start::with(&kubeconfig) })?;
    for job in JOBS {
        wait_for("the Lease to fail", PATIENCE, async || {
            let failing = replica.metric(&format!("outrigger_lease_failing{{name=\"{job}\"}}")).await?;
            Ok((failing == 1).then_some(()))
        })
        .await?;
        ensure!(!leads(&replica, job).await?);
        let (_, page) = replica.page("/readyz?verbose").await?;
        let line =
            page.lines().find(|line| line.starts_with(&format!("[+]{job} ok: FAILS: "))).context(page.clone())?;
        ensure!(line.contains("forbidden"), "{line}");
        let log = replica.log()?;
        ensure!(log.lines().any(|line| line.contains("cannot lead: ") && line.contains(job)), "{log}");
    }
    replica.stop().await
}

/// A killed leader releases nothing. The other replica leads when the Lease has expired.
pub async fn a_leader_that_is_killed_is_followed_within_seconds(case: Case<()>) -> Result<()> {
    let kubeconfig = install(&case.plane).await?;
    let mut first = Outrigger::serving(&case.plane, Start::with(&kubeconfig)).await?;
    until_leads(&first, JOBS[0]).await?;
    let second = Outrigger::start(&case.plane, Start::with(&kubeconfig))?;
    second.ready().await?;
    first.process().signal("KILL")?;
    first.process().ended(PATIENCE).await?;
    let killed = Instant::now();
    for job in JOBS {
        until_leads(&second, job).await?;
    }
    let took = killed.elapsed();
    println!("led again {took:.1?} after the leader was killed");
    ensure!(took < Duration::from_secs(22), "it took {took:?}");
    second.stop().await
}
