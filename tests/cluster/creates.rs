//! Continuous creation of Pods.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::Bytes;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::PostParams;
use outrigger::admission::client::Destination;
use outrigger_testbed::wait_for;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::outrigger::{Outrigger, PATIENCE};

/// The set that the Pods match; see [`Creates`].
pub const SIDECARSET: &str = r"
apiVersion: apps.kruise.io/v1alpha1
kind: SidecarSet
metadata: {name: everywhere}
spec:
  selector: {matchLabels: {app: everywhere}}
  containers: [{name: sidecar, image: side:1}]
";

/// More requests would pile up on a slow machine until it does nothing else. Above this, fewer Pods are created in a
/// second.
const UNANSWERED: usize = 32;

/// Creates Pods at the requested rate without waiting for earlier answers, up to [`UNANSWERED`]. Dropping it stops it.
pub struct Creates {
    done: Arc<AtomicUsize>,
    running: JoinHandle<Vec<Result<Pod>>>,
    stop: DropGuard,
    begin: Instant,
}

/// The outcome.
pub struct Outcome {
    /// Pods created with their sidecar.
    pub injected: usize,
    /// Pods created without it.
    pub uninjected: usize,
    /// Why the others were not created.
    pub errors: Vec<String>,
    /// The actual rate in a second: lower than requested if the machine is slow.
    pub a_second: f64,
}

/// A Pod that matches [`SIDECARSET`].
pub fn pod(name: &str) -> Result<Pod> {
    Ok(serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"app": "everywhere"}},
        "spec": {"containers": [{"name": "app", "image": "app:1"}], "automountServiceAccountToken": false}
    }))?)
}

/// Nothing is stored, but the webhook is called.
pub fn dry_run() -> PostParams {
    PostParams { dry_run: true, ..PostParams::default() }
}

/// Whether it has the sidecar of [`SIDECARSET`].
pub fn is_injected(pod: &Pod) -> bool {
    pod.spec.iter().flat_map(|spec| &spec.containers).any(|container| container.name == "sidecar")
}

/// Waits until each replica knows [`SIDECARSET`] and the API server sends its Pods. The replicas are asked directly, because the API
/// server would reuse one connection and so ask the same replica.
pub async fn injected(pods: &Api<Pod>, replicas: &[&Outrigger], ca: &str) -> Result<()> {
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {"uid": "u", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "operation": "CREATE",
                    "namespace": "default", "object": pod("probe")?}
    });
    let review = Bytes::from(review.to_string());
    for replica in replicas {
        let target = Destination::new(([127, 0, 0, 1], replica.webhook).into(), ca)?;
        wait_for("the replica to know the SidecarSet", PATIENCE, async || {
            let answer = target.connect().await?.post("/mutate-pod", review.clone()).await?;
            let answer: Value = serde_json::from_slice(&answer.body)?;
            Ok(answer["response"]["patch"].is_string().then_some(()))
        })
        .await?;
    }
    wait_for("Pods to be injected", PATIENCE, async || {
        Ok(is_injected(&pods.create(&dry_run(), &pod("probe")?).await?).then_some(()))
    })
    .await
}

impl Creates {
    /// Starts.
    pub fn start(pods: Api<Pod>, a_second: u32, params: PostParams) -> Self {
        let (done, stop) = (Arc::new(AtomicUsize::new(0)), CancellationToken::new());
        let (counter, stopped) = (done.clone(), stop.clone());
        let running = tokio::spawn(async move {
            let mut ticks = interval(Duration::from_secs(1) / a_second);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            let places = Arc::new(Semaphore::new(UNANSWERED));
            let mut requests = JoinSet::new();
            for number in 1_u64.. {
                let next = async {
                    ticks.tick().await;
                    places.clone().acquire_owned().await
                };
                let place = tokio::select! {
                    place = next => place,
                    () = stopped.cancelled() => break,
                };
                let (pods, params, done) = (pods.clone(), params.clone(), counter.clone());
                requests.spawn(async move {
                    let created = pods.create(&params, &pod(&format!("p-{number}"))?).await;
                    done.fetch_add(1, Ordering::Relaxed);
                    drop(place);
                    Ok(created?)
                });
            }
            requests.join_all().await
        });
        Self { done, running, stop: stop.drop_guard(), begin: Instant::now() }
    }

    /// Waits for this many further answers.
    pub async fn more(&self, count: usize) -> Result<()> {
        let enough = self.done.load(Ordering::Relaxed) + count;
        let look = async || Ok((self.done.load(Ordering::Relaxed) >= enough).then_some(()));
        wait_for(&format!("{count} more Pods to be created"), PATIENCE, look).await
    }

    /// Stops, and waits for all answers.
    pub async fn end(self) -> Result<Outcome> {
        drop(self.stop);
        let results = self.running.await?;
        #[expect(clippy::cast_precision_loss, reason = "there are thousands")]
        let a_second = results.len() as f64 / self.begin.elapsed().as_secs_f64();
        let mut outcome = Outcome { injected: 0, uninjected: 0, errors: Vec::new(), a_second };
        for result in results {
            match result {
                Ok(pod) if is_injected(&pod) => outcome.injected += 1,
                Ok(_) => outcome.uninjected += 1,
                Err(error) => outcome.errors.push(format!("{error:#}")),
            }
        }
        Ok(outcome)
    }
}

impl Outcome {
    /// Asserts that all were injected except for this many failures.
    pub fn at_most_failed(&self, allowed: usize) -> Result<()> {
        let Self { injected, uninjected, errors, .. } = self;
        let failed = errors.len();
        ensure!(
            failed <= allowed && *uninjected == 0,
            "{failed} failed, {uninjected} have no sidecar, {injected} are fine: {}",
            errors.join("\n")
        );
        Ok(())
    }
}
