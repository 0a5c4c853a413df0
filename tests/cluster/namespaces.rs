//! Pods of brand-new Namespaces.

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::Api;
use kube::api::PostParams;
use outrigger_testbed::{Case, ControlPlane};
use serde_json::json;

use crate::outrigger::{Outrigger, Start, install};
use crate::seen;

/// Creates a Namespace with the label that the set `blue` requires, and immediately a Pod in it. Returns the image of
/// the Pod's sidecar.
async fn image_in_new_namespace(plane: &ControlPlane, number: usize) -> Result<Option<String>> {
    let name = format!("blue-{number}");
    let namespace = json!({"metadata": {"name": name, "labels": {"team": "blue"}}});
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let (pods, pod) = (Api::<Pod>::namespaced(plane.client(), &name), seen::pod("p", "blue", &json!({}))?);
    let namespaces = Api::<Namespace>::all(plane.client());
    namespaces.create(&PostParams::default(), &serde_json::from_value(namespace)?).await?;
    Ok(seen::sidecar(&pods.create(&dry, &pod).await?).map(str::to_owned))
}

/// A set selects by a label of the Namespace. A Pod created right after its Namespace is injected every time. With the variable
/// `OUTRIGGER_LONG` the test creates many.
pub async fn a_pod_right_after_its_namespace_is_injected(case: Case<()>) -> Result<()> {
    let long = std::env::var_os("OUTRIGGER_LONG").is_some_and(|value| value != "0");
    let plane = &case.plane;
    let kubeconfig = install(plane).await?;
    let outrigger = Outrigger::serving(plane, Start::with(&kubeconfig)).await?;
    let selector = json!({"namespaceSelector": {"matchLabels": {"team": "blue"}}});
    seen::apply(plane, &seen::set("blue", "side:1", &selector)).await?;
    let labels = json!({"metadata": {"labels": {"team": "blue"}}}).to_string();
    plane.kubectl(&["patch", "namespace", case.namespace.name(), "-p", &labels], None).await?.ok()?;
    seen::injects(&case.namespace, "blue", Some("side:1")).await?;
    let rounds = if long { 500 } else { 25 };
    for number in 0..rounds {
        let image = image_in_new_namespace(plane, number).await?;
        ensure!(image.as_deref() == Some("side:1"), "in Namespace {number} of {rounds} the Pod has {image:?}");
    }
    ensure!(outrigger.metric("outrigger_awaited_namespace_timeouts_total").await? == 0);
    outrigger.stop().await
}
