//! Load and quiet between the API server and the replicas: overload is retried, a rolling restart costs nothing, and connections
//! that idled are good.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use outrigger::admission::Limits;
use outrigger::admission::client::Target;
use outrigger_testbed::{Case, wait_for};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::balancer::Balancer;
use crate::certificates::Certificates;
use crate::creates::{Creates, SIDECARSET, dry_run, injected, is_injected, pod};
use crate::outrigger::{Outrigger, PATIENCE, Start, install, registered};

/// Announces bodies and sends none, until no place is left for another review. The places are free again when this is dropped.
async fn fill(outrigger: &Outrigger, certificates: &Certificates) -> Result<Vec<TlsStream<TcpStream>>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(certificates.ca.as_bytes())?)?;
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    let limits = Limits::default();
    let (mut free, mut connections) = (limits.bytes, Vec::new());
    while free > 0 {
        let length = free.min(limits.body);
        free -= length;
        let tcp = TcpStream::connect(("127.0.0.1", outrigger.webhook)).await?;
        let mut tls = connector.connect(ServerName::try_from("127.0.0.1")?, tcp).await?;
        let head = format!(
            "POST /mutate-pod HTTP/1.1\r\nHost: w\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        );
        tls.write_all(head.as_bytes()).await?;
        tls.flush().await?;
        connections.push(tls);
    }
    Ok(connections)
}

/// A replica that has no place for a review answers 503 with Retry-After, and the API server asks again by itself: who creates the
/// Pod sees nothing of it.
pub async fn overload_is_retried_by_the_api_server(case: Case<()>) -> Result<()> {
    let kubeconfig = install(&case.plane).await?;
    let certificates = Certificates::new()?;
    let start = Start { args: certificates.arguments(), ..Start::with(&kubeconfig) };
    let outrigger = Outrigger::serving(&case.plane, start).await?;
    case.plane.apply(SIDECARSET).await?;
    let pods: Api<Pod> = case.namespace.api();
    injected(&pods, &[&outrigger], &certificates.ca).await?;

    let full = fill(&outrigger, &certificates).await?;
    let target = Target::new(([127, 0, 0, 1], outrigger.webhook).into(), &certificates.ca)?;
    let mut client = target.connect().await?;
    wait_for("the replica to be full", PATIENCE, async || {
        let answer = client.post("/mutate-pod", Bytes::from_static(b"{}")).await?;
        Ok((answer.status == 503).then_some(()))
    })
    .await?;
    let shed = async || outrigger.metric("outrigger_webhook_shed_total{reason=\"bytes\"}").await;
    let before = shed().await?;
    let begin = Instant::now();
    let create = tokio::spawn({
        let pods = pods.clone();
        async move { pods.create(&dry_run(), &pod("while-full")?).await.context("it was refused") }
    });
    let turned_away = async || Ok((shed().await? > before).then_some(()));
    wait_for("the API server to be turned away", PATIENCE, turned_away).await?;
    ensure!(!create.is_finished(), "it did not wait");
    drop(full);
    ensure!(is_injected(&create.await??), "no sidecar");
    ensure!(begin.elapsed() >= Duration::from_secs(1), "Retry-After: 1 was not heeded");
    Ok(())
}

/// Two replicas are replaced one by one, as a Deployment replaces them, while 100 Pods a second are created (fewer where the machine
/// cannot keep up): none is refused or goes without. The creates are dry runs, which the webhook cannot tell apart but by their
/// flag: storing 100 Pods a second would be a test of etcd.
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

/// The API server keeps connections for 90 s, outrigger for longer: a connection that idled is used again, or the API server itself
/// opens another, and no create fails. With the variable `OUTRIGGER_LONG` for as long as that takes.
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
        sleep(Duration::from_secs(idle)).await; // what is tested
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
