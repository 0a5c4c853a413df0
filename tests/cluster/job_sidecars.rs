//! Sidecars that end with a Job: the API server accepts them as native sidecars, and the set counts them.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use outrigger_testbed::{Case, wait_for};
use serde_json::json;

use crate::outrigger::{Outrigger, PATIENCE};
use crate::seen;

/// One Pod that runs to completion and one that does not: each has the sidecar in the right list, and both are counted.
pub async fn a_sidecar_that_ends_with_a_job_is_a_native_one_and_counts(case: Case<Outrigger>) -> Result<()> {
    let (plane, pods, name) = (&case.plane, case.namespace.api::<Pod>(), "job-sidecars");
    let env = json!([{"name": "KRUISE_TERMINATE_SIDECAR_WHEN_JOB_EXIT", "value": "true"}]);
    let mut set = seen::set(name, "side:1", &json!({}));
    set["spec"]["containers"][0]["env"] = env;
    set["metadata"]["annotations"] = json!({"outrigger.dev/job-sidecars": "native"});
    seen::apply(plane, &set).await?;
    seen::injects(&case.namespace, name, Some("side:1")).await?;
    pods.create(&PostParams::default(), &seen::pod("service", name, &json!({}))?).await?;
    let job = seen::pod("job", name, &json!({"restartPolicy": "OnFailure"}))?;
    let created = pods.create(&PostParams::default(), &job).await?;
    let spec = created.spec.context("a Pod has a spec")?;
    let init: Vec<_> = spec.init_containers.iter().flatten().collect();
    let found: Vec<_> = init.iter().map(|one| (&*one.name, one.restart_policy.as_deref())).collect();
    ensure!(found == [("sidecar", Some("Always"))] && spec.containers.len() == 1, "{spec:?}");
    wait_for("both Pods to be counted", PATIENCE, async || {
        let status = &seen::get(plane, name).await?["status"];
        ensure!(status["matchedPods"] == 2 && status["updatedPods"] == 2, "{status}");
        Ok(Some(()))
    })
    .await
}
