//! The CRD of istio-integrity-operator replaced by ours, with what was stored by it.

use anyhow::{Context, Result, ensure};
use kube::api::{Patch, PatchParams};
use outrigger_testbed::{Case, wait_for};
use serde_json::{Value, json};

use super::world::World;
use crate::outrigger::{Outrigger, PATIENCE, Start, install};

/// As users of the first operator have them: a protocol in small letters, and a port's name that the new schema would refuse.
fn stored(name: &str, port: &str, protocol: &str, namespace: &str) -> Value {
    json!({
        "apiVersion": "mesh.istio.operator/v1alpha1", "kind": "MeshService", "metadata": {"name": name},
        "spec": {
            "serviceName": name, "namespace": namespace, "hosts": [name], "gateway": {"name": "edge", "namespace": namespace},
            "ports": [{"name": port, "port": 80, "targetPort": 8080, "protocol": protocol}],
            "trafficPolicy": {"loadBalancer": {"simple": "ROUND_ROBIN"}},
            "subsets": [{"name": "v1", "labels": {"version": "v1"}, "weight": 100}],
        },
    })
}

/// Applied with kubectl, as its `make install` does it, and ours over it as the page says. What is stored stays and is followed, and its
/// status, which names an error that nobody could repair, becomes ours.
pub async fn meshservices_stored_under_the_crd_of_the_first_operator_are_followed_under_ours(
    case: Case<()>,
) -> Result<()> {
    case.plane.install_istio_crds().await?;
    let world = World::of(&case);
    let first = include_str!("first-operator-crd.yaml");
    world.plane.kubectl(&["apply", "-f", "-"], Some(first)).await?.ok()?;
    let objects = [("web", "http", "http"), ("old", "HTTP_1", "HTTP")]
        .map(|(name, port, protocol)| stored(name, port, protocol, &world.namespace));
    for object in &objects {
        wait_for("the CRD to be served", PATIENCE, async || Ok(Some(world.apply(object).await?))).await?;
        let name = object["metadata"]["name"].as_str().context("no name")?;
        world.service(name).await?;
        let status = json!({"status": {
            "consistencyState": "Inconsistent", "lastChecked": null,
            "violations": [{"type": "ReconciliationError", "resource": name, "message": "UNIQUE constraint failed", "severity": "Error"}],
        }});
        world.mesh_services().patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await?;
    }
    let before = world.mesh_service("web").await?;
    ensure!(before["status"]["violations"][0]["type"] == "ReconciliationError", "{before}");

    let kubeconfig = install(&case.plane).await?;
    let args = ["--controllers=meshservice", "--leader-elect=false"].map(str::to_owned).into();
    let _outrigger = Outrigger::start(&case.plane, Start { args, ..Start::with(&kubeconfig) })?;
    for object in &objects {
        let name = object["metadata"]["name"].as_str().context("no name")?;
        let after = world.state(name, "Consistent").await?;
        ensure!(after["spec"] == object["spec"], "it was changed: {after}");
        ensure!(!after["status"].to_string().contains("ReconciliationError"), "{after}");
        ensure!(
            after["status"]["lastChecked"].is_string() && !after["status"]["managedResources"].is_null(),
            "{after}"
        );
    }
    let after = world.mesh_service("web").await?;
    ensure!(after["metadata"]["uid"] == before["metadata"]["uid"], "it was made anew: {after}");
    world.apply(&objects[0]).await.context("as it was applied before")
}
