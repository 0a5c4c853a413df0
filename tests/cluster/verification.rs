//! Pods whose authors pretend that their own container is the sidecar.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use outrigger::api::keys;
use outrigger_testbed::{Case, TestNamespace, wait_for};
use serde_json::{Value, json};

use crate::outrigger::{Outrigger, PATIENCE};
use crate::seen;

/// A Pod with an injected Pod's annotations and another image.
async fn forged(namespace: &TestNamespace, name: &str, set: &str) -> Result<Value> {
    let genuine = namespace.api::<Pod>().get("genuine").await?;
    let annotations = genuine.metadata.annotations.context("no annotations")?;
    let sidecar = json!({"name": "sidecar", "image": "evil:1", "env": [{"name": "IS_INJECTED", "value": "true"}]});
    let mut pod = serde_json::to_value(seen::pod(name, set, &json!({}))?)?;
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["metadata"]["annotations"] = json!({keys::HASH: annotations[keys::HASH]});
    pod["spec"]["containers"] = json!([sidecar, pod["spec"]["containers"][0]]);
    Ok(pod)
}

/// By default it stays, its author gets a warning, and it does not count as updated. A set that enforces replaces it by
/// its own container.
pub async fn a_container_that_only_claims_to_be_the_sidecar_is_told_and_replaced(case: Case<Outrigger>) -> Result<()> {
    let (plane, namespace, name) = (&case.plane, &case.namespace, "verified");
    let pods = namespace.api::<Pod>();
    seen::apply(plane, &seen::set(name, "side:1", &json!({}))).await?;
    seen::injects(namespace, name, Some("side:1")).await?;
    pods.create(&PostParams::default(), &seen::pod("genuine", name, &json!({}))?).await?;
    seen::counts(plane, name, [1, 1, 1, 1]).await?;

    let pod = forged(namespace, "forged", name).await?.to_string();
    let created = namespace.kubectl(&["create", "-f", "-"], Some(&pod)).await?;
    let deviation = "spec.containers \"sidecar\" does not have the set's image";
    let warning = format!("Warning: SidecarSet \"{name}\": {deviation}: the Pod counts as not updated");
    ensure!(created.status.success() && created.stderr.contains(&warning), "{}", created.stderr);
    ensure!(seen::sidecar(&pods.get("forged").await?) == Some("evil:1"), "it was replaced");
    let set = seen::counts(plane, name, [2, 1, 2, 1]).await?;
    let told = format!("others: 1, such as {}/forged: {deviation}", namespace.name());
    ensure!(seen::message(&set, "Reconciling").is_some_and(|message| message.ends_with(&told)), "{set}");

    let annotate = async |value: &str| {
        let annotation = Patch::Merge(json!({"metadata": {"annotations": {keys::VERIFY: value}}}));
        seen::objects(plane).patch(name, &PatchParams::default(), &annotation).await
    };
    let refused = annotate("always").await.err().context("a value that does not exist was accepted")?.to_string();
    ensure!(refused.contains("metadata.annotations[outrigger.dev/verify]: Unsupported value: \"always\""), "{refused}");
    annotate("enforce").await?;
    let (dry, again) = (PostParams { dry_run: true, ..PostParams::default() }, forged(namespace, "again", name).await?);
    let again: Pod = serde_json::from_value(again)?;
    wait_for("the set to be enforced", PATIENCE, async || {
        let pod = pods.create(&dry, &again).await?;
        ensure!(seen::sidecar(&pod) == Some("side:1"), "{:?}", seen::sidecar(&pod));
        Ok(Some(()))
    })
    .await?;
    let replaced = pods.create(&PostParams::default(), &again).await?;
    let containers = &replaced.spec.context("no spec")?.containers;
    let names: Vec<&str> = containers.iter().map(|container| container.name.as_str()).collect();
    ensure!(names == ["sidecar", "app"], "{names:?}");
    seen::counts(plane, name, [3, 2, 3, 2]).await?;

    pods.delete("forged", &DeleteParams::default().grace_period(0)).await?;
    let set = seen::counts(plane, name, [2, 2, 2, 2]).await?;
    ensure!(!set.to_string().contains("does not have the set's image"), "{set}");
    seen::objects(plane).delete(name, &DeleteParams::default()).await?;
    Ok(())
}
