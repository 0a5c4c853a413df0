//! The service account token: a Pod whose sidecar has the mount is reviewed once.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use outrigger_testbed::{Case, wait_for};
use serde_json::json;

use crate::creates::dry_run;
use crate::outrigger::{Outrigger, PATIENCE, Start, install};

const SIDECARSET: &str = r"
apiVersion: apps.kruise.io/v1beta1
kind: SidecarSet
metadata: {name: token}
spec:
  selector: {matchLabels: {app: token}}
  initContainers: [{name: prepare, image: side:1}]
  containers: [{name: sidecar, image: side:1}]
";
const PODS: u64 = 5;

/// Returns the path where all containers of a Pod mount the token; 0 without the sidecars.
fn mounting(pod: &Pod) -> usize {
    let spec = pod.spec.iter();
    let containers = spec.flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()));
    let mounts = containers.map(|container| {
        let mut mounts = container.volume_mounts.iter().flatten();
        mounts.any(|mount| mount.name.starts_with("kube-api-access-"))
    });
    let mounts: Vec<bool> = mounts.collect();
    if mounts.iter().all(|mounted| *mounted) { mounts.len() } else { 0 }
}

/// The API server's own admission has nothing to add to a sidecar, so it does not call the webhook again.
pub async fn a_pod_with_a_token_is_reviewed_once(case: Case<()>) -> Result<()> {
    let plane = &case.plane;
    let kubeconfig = install(plane).await?;
    let outrigger = Outrigger::serving(plane, Start::with(&kubeconfig)).await?;
    case.namespace.apply(SIDECARSET).await?;
    let pods: Api<Pod> = case.namespace.api();
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "p", "labels": {"app": "token"}}, "spec": {"containers": [{"name": "app", "image": "app:1"}]}
    }))?;
    wait_for("Pods to be injected", PATIENCE, async || {
        Ok((mounting(&pods.create(&dry_run(), &pod).await?) == 3).then_some(()))
    })
    .await?;
    let metric = "controller_runtime_webhook_requests_total{webhook=\"/mutate-pod\",code=\"200\"}";
    let before = outrigger.metric(metric).await?;
    for _ in 0..PODS {
        let created = pods.create(&dry_run(), &pod).await?;
        ensure!(mounting(&created) == 3, "{created:?}");
    }
    let reviews = outrigger.metric(metric).await?.checked_sub(before).context("it counts up")?;
    ensure!(reviews == PODS, "{PODS} Pods took {reviews} reviews");
    Ok(())
}
