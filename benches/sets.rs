//! SidecarSets created in sequence, without a webhook and through outrigger's, which widens its registration for them.
//! Needs `make testbed`. `cargo bench --bench sets`, with `-- --quick` a tenth of the sets.

#[path = "../tests/cluster/outrigger.rs"]
#[allow(dead_code, reason = "shared with the tests, which use more of it")]
mod replica;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::core::{DynamicObject, GroupVersionKind};
use kube::discovery::ApiResource;
use kube::{Api, Client};
use outrigger_testbed::{ControlPlane, Parts, wait_for};
use replica::{Outrigger, PATIENCE, Start, install};
use serde_json::json;

/// SidecarSets of each measurement. Each selects its own value of the label `app`.
const SETS: usize = 1_000;
/// Sets before each measurement.
const WARM_UP: usize = 20;

#[tokio::main]
async fn main() -> Result<()> {
    let sets = if std::env::args().any(|argument| argument == "--quick") { SETS / 10 } else { SETS };
    let plane = ControlPlane::start(Parts::ApiOnly).await?;
    let kubeconfig = install(&plane).await?;

    let without = created(&plane.client(), sets).await?;

    let outrigger = Outrigger::serving(&plane, Start::with(&kubeconfig)).await?;
    let with = created(&plane.client(), sets).await?;
    let widenings = outrigger.metric("outrigger_registration_widenings_total{result=\"widened\"}").await?;
    outrigger.stop().await?;
    Api::<MutatingWebhookConfiguration>::all(plane.client())
        .delete("outrigger-mutating", &DeleteParams::default())
        .await?;
    Api::<ValidatingWebhookConfiguration>::all(plane.client())
        .delete("outrigger-validating", &DeleteParams::default())
        .await?;

    println!("{sets} SidecarSets, one after the other:\n\n| | in all | a set |\n|---|---|---|");
    for (label, took) in [("no webhook", without), ("with outrigger", with)] {
        let each = took / u32::try_from(sets)?;
        println!("| {label} | {:.1} s | {:.1} ms |", took.as_secs_f64(), each.as_secs_f64() * 1000.0);
    }
    println!(
        "\n{widenings} writes of the registration; {:.1} times as long",
        with.as_secs_f64() / without.as_secs_f64()
    );
    plane.stop().await;
    Ok(())
}

/// Returns how long it took to create as many SidecarSets, and deletes them.
async fn created(client: &Client, sets: usize) -> Result<Duration> {
    let kind = GroupVersionKind::gvk("apps.kruise.io", "v1beta1", "SidecarSet");
    let api: Api<DynamicObject> =
        Api::all_with(client.clone(), &ApiResource::from_gvk_with_plural(&kind, "sidecarsets"));
    let mut begun = Instant::now();
    for n in 0..WARM_UP + sets {
        if n == WARM_UP {
            begun = Instant::now();
        }
        let set = json!({
            "apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet", "metadata": {"name": format!("set-{n}")},
            "spec": {
                "selector": {"matchLabels": {"app": format!("app-{n}")}},
                "containers": [{"name": "agent", "image": "agent:1", "volumeMounts": [{"name": "logs", "mountPath": "/logs"}]}],
                "volumes": [{"name": "logs", "emptyDir": {}}],
            },
        });
        api.create(&PostParams::default(), &serde_json::from_value(set)?).await.with_context(|| format!("set-{n}"))?;
    }
    let took = begun.elapsed();
    api.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
    let gone = async || Ok(api.list_metadata(&ListParams::default()).await?.items.is_empty().then_some(()));
    wait_for("the sets to be deleted", PATIENCE, gone).await?;
    Ok(took)
}
