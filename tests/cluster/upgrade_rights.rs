//! In-place updates need a job and permissions of their own. Without them sets are still injected and counted.

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use outrigger_testbed::{Case, ControlPlane, wait_for};
use serde_json::json;

use crate::outrigger::{Outrigger, PATIENCE, Start, install};
use crate::seen;

async fn says(plane: &ControlPlane, name: &str, reason: &str, text: &str) -> Result<()> {
    wait_for(&format!("SidecarSet {name} to say {text:?}"), PATIENCE, async || {
        let set = seen::get(plane, name).await?;
        let condition = &set["status"]["conditions"][0];
        let says = condition["message"].as_str().is_some_and(|message| message.contains(text));
        ensure!(says && condition["reason"] == reason, "{condition}");
        Ok(Some(()))
    })
    .await
}

/// First the job is missing, then the permissions, and finally both are present.
pub async fn without_the_job_or_its_rights_no_pod_is_written_and_the_set_says_so(case: Case<()>) -> Result<()> {
    let (plane, pods, name) = (&case.plane, case.namespace.api::<Pod>(), "held");
    let kubeconfig = install(plane).await?;
    let args = vec!["--controllers=sidecarset".to_owned(), "--leader-elect=false".to_owned()];
    let outrigger = Outrigger::serving(plane, Start { args, ..Start::with(&kubeconfig) }).await?;
    seen::apply(plane, &seen::set(name, "side:1", &json!({}))).await?;
    seen::injects(&case.namespace, name, Some("side:1")).await?;
    pods.create(&PostParams::default(), &seen::pod("p", name, &json!({}))?).await?;
    seen::counts(plane, name, [1, 1, 0, 0]).await?;
    let before = pods.get("p").await?;
    seen::apply(plane, &seen::set(name, "side:2", &json!({}))).await?;
    says(plane, name, "UpdatesOff", "; no Pod is updated in place: --controllers leaves out rollout").await?;
    ensure!(pods.get("p").await? == before);
    outrigger.stop().await?;

    let bindings: Api<ClusterRoleBinding> = Api::all(plane.client());
    let mut binding = bindings.get("outrigger-sidecarset-rollout").await?;
    bindings.delete("outrigger-sidecarset-rollout", &DeleteParams::default()).await?;
    let args = vec!["--controllers=sidecarset,rollout".to_owned(), "--leader-elect=false".to_owned()];
    let outrigger = Outrigger::serving(plane, Start { args, ..Start::with(&kubeconfig) }).await?;
    says(plane, name, "PodsOutdated", "apply manifests/rbac/sidecarset-rollout.yaml").await?;
    ensure!(pods.get("p").await? == before);
    binding.metadata.resource_version = None;
    bindings.create(&PostParams::default(), &binding).await?;
    seen::counts(plane, name, [1, 1, 0, 0]).await?;
    ensure!(seen::sidecar(&pods.get("p").await?) == Some("side:2"));
    outrigger.stop().await
}
