//! Pods created through the API server: without a webhook, with outrigger and a SidecarSet that does not match, and
//! with one that matches. Needs `make testbed`. `cargo bench --bench creates`, with `-- --quick` a tenth of the Pods.

#[path = "../tests/cluster/outrigger.rs"]
#[allow(dead_code, reason = "shared with the tests, which use more of it")]
mod replica;

#[path = "cases/mod.rs"]
#[allow(dead_code, reason = "shared with the other benchmarks, which use more of it")]
mod cases;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use cases::Matching;
use http::Request;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::api::DeleteParams;
use kube::{Api, Client};
use outrigger_testbed::{ControlPlane, Parts, wait_for};
use replica::{Outrigger, PATIENCE, Start, install};
use serde_json::json;
use tokio::task::JoinSet;

/// Clients. Each creates one Pod after the other.
const CONNECTIONS: usize = 8;
/// Pods of each measurement,
const PODS: usize = 2_000;
/// and before each, to warm up code and connections.
const WARM_UP: usize = 160;
/// How often each figure is measured. The three of a round run in sequence, so that other load on the machine affects
/// all of them.
const ROUNDS: usize = 3;
/// The values of the label `app` that the SidecarSet does not match, and matches.
const APPS: [&str; 2] = ["something-else", "checkout"];
/// A container of the SidecarSet.
const SIDECAR: &str = "logs-00000-agent";

/// Creations of one Pod.
#[derive(Clone)]
struct Creates {
    client: Client,
    pod: Vec<u8>,
    /// Whether each must get its sidecar.
    injected: bool,
}

/// Pods per second of each measurement, and the reviews per Pod.
struct Row {
    label: &'static str,
    rates: Vec<f64>,
    reviews: f64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let share = if std::env::args().any(|argument| argument == "--quick") { 10 } else { 1 };
    let plane = ControlPlane::start(Parts::Full).await?;
    plane.kubectl(&["create", "namespace", cases::NAMESPACE], None).await?.ok()?;
    // Its token makes the API server's own admission complete the sidecars, see `docs/sidecarset.md`.
    plane.kubectl(&["create", "serviceaccount", cases::ACCOUNT, "--namespace", cases::NAMESPACE], None).await?.ok()?;
    let kubeconfig = install(&plane).await?;
    let configurations = Api::<MutatingWebhookConfiguration>::all(plane.client());

    let old = std::env::var_os("OLD").map(PathBuf::from);
    let labels =
        ["no webhook", "one SidecarSet, not matching", "one SidecarSet, matching", "the same with the older version"];
    let mut rows = labels.map(|label| Row { label, rates: Vec::new(), reviews: 0.0 });
    for round in 0..ROUNDS {
        let without = Creates::new(&plane, APPS[1], false);
        without.settled().await?;
        rows[0].rates.push(without.rate(share).await?);

        let outrigger = Outrigger::serving(&plane, Start::with(&kubeconfig)).await?;
        if round == 0 {
            for (_, yaml) in cases::sets(1, Matching::One) {
                plane.apply(&yaml).await?;
            }
        }
        let matching = Creates::new(&plane, APPS[1], true);
        matching.settled().await?;
        for (row, creates) in [(1, Creates::new(&plane, APPS[0], false)), (2, matching)] {
            rows[row].measure(&outrigger, &creates, share).await?;
        }
        outrigger.stop().await?;
        configurations.delete("outrigger-mutating", &DeleteParams::default()).await?;

        let Some(program) = old.clone() else { continue };
        let older = Outrigger::serving(&plane, Start { program, ..Start::with(&kubeconfig) }).await?;
        let matching = Creates::new(&plane, APPS[1], true);
        matching.settled().await?;
        rows[3].measure(&older, &matching, share).await?;
        older.stop().await?;
        configurations.delete("outrigger-mutating", &DeleteParams::default()).await?;
    }

    println!(
        "| | Pods/s, best of {ROUNDS} | all | of those without webhook | reviews per Pod |\n|---|---|---|---|---|"
    );
    let most = rows[0].best();
    for row in rows.iter().filter(|row| !row.rates.is_empty()) {
        let all: Vec<String> = row.rates.iter().map(|rate| format!("{rate:.0}")).collect();
        let (best, all) = (row.best(), all.join(", "));
        println!("| {} | {best:.0} | {all} | {:.0} % | {:.2} |", row.label, 100.0 * best / most, row.reviews);
    }
    plane.stop().await;
    Ok(())
}

/// Returns the number of answered reviews of Pods.
async fn reviews(outrigger: &Outrigger) -> Result<f64> {
    let metric = "controller_runtime_webhook_requests_total{webhook=\"/mutate-pod\",code=\"200\"}";
    Ok(number(usize::try_from(outrigger.metric(metric).await?)?))
}

#[allow(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
fn number(count: usize) -> f64 {
    count as f64
}

impl Creates {
    fn new(plane: &ControlPlane, app: &str, injected: bool) -> Self {
        let mut pod = cases::pod(3);
        pod["metadata"]["labels"]["app"] = json!(app);
        if let Some(metadata) = pod["metadata"].as_object_mut() {
            metadata.remove("managedFields");
        }
        Self { client: plane.client(), pod: pod.to_string().into_bytes(), injected }
    }

    /// Creates it as a dry run: admitted and validated, not stored. Returns whether it got its sidecar.
    async fn create(&self) -> Result<bool> {
        let request = Request::post(format!("/api/v1/namespaces/{}/pods?dryRun=All", cases::NAMESPACE))
            .header("Content-Type", "application/json")
            .body(self.pod.clone())?;
        Ok(self.client.request_text(request).await?.contains(SIDECAR))
    }

    /// Waits until the API server handles it as expected.
    async fn settled(&self) -> Result<()> {
        let look = async || Ok((self.create().await? == self.injected).then_some(()));
        wait_for("the API server to know of the webhook", PATIENCE, look).await
    }

    /// Returns Pods per second.
    async fn rate(&self, share: usize) -> Result<f64> {
        self.all(WARM_UP / share).await?;
        Ok(number(PODS / share) / self.all(PODS / share).await?.as_secs_f64())
    }

    /// Creates so many Pods, and returns how long that took.
    async fn all(&self, count: usize) -> Result<Duration> {
        let begin = Instant::now();
        let mut clients = JoinSet::new();
        for _ in 0..CONNECTIONS {
            let creates = self.clone();
            clients.spawn(async move {
                for _ in 0..count / CONNECTIONS {
                    ensure!(creates.create().await? == creates.injected, "injected: {}", !creates.injected);
                }
                anyhow::Ok(())
            });
        }
        while let Some(ended) = clients.join_next().await {
            ended??;
        }
        Ok(begin.elapsed())
    }
}

impl Row {
    /// Adds one measurement with this replica.
    async fn measure(&mut self, replica: &Outrigger, creates: &Creates, share: usize) -> Result<()> {
        let before = reviews(replica).await?;
        self.rates.push(creates.rate(share).await?);
        self.reviews = (reviews(replica).await? - before) / number((PODS + WARM_UP) / share);
        Ok(())
    }

    fn best(&self) -> f64 {
        self.rates.iter().copied().fold(0.0, f64::max)
    }
}
