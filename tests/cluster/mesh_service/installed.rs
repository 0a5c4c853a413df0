//! Kinds that are installed later, and a leader that follows another.

use anyhow::{Context, Result, ensure};
use outrigger::mesh_service::MeshKind;
use outrigger_testbed::{Case, wait_for};
use serde_json::{Value, json};
use std::time::Duration;

use super::world::{World, mesh_service, subsets};
use crate::outrigger::{Outrigger, PATIENCE, Start, install};

/// Without Istio a MeshService says what it waits for. With it, its objects are made. The next leader writes nothing, and sweeps what
/// nobody asks for any more.
pub async fn istio_may_be_installed_after_meshservices_and_the_next_leader_writes_nothing(
    case: Case<()>,
) -> Result<()> {
    let kubeconfig = install(&case.plane).await?;
    let start = || {
        let args = ["--controllers=meshservice", "--leader-elect=false"].map(str::to_owned).into();
        Start { args, ..Start::with(&kubeconfig) }
    };
    let outrigger = Outrigger::start(&case.plane, start())?;
    let world = World::of(&case);
    world.service("web").await?;
    world.apply(&mesh_service("web", &subsets())).await?;
    let waiting = world.state("web", "Checking").await?;
    let ready = &waiting["status"]["conditions"][0];
    ensure!(ready["status"] == "Unknown" && ready["reason"] == "KindNotInstalled", "{ready}");
    ensure!(
        ready["message"].to_string().contains("VirtualService of networking.istio.io/v1 is not installed"),
        "{ready}"
    );

    case.plane.install_istio_crds().await?;
    let made = world.state("web", "Consistent").await?;
    let routes = world.object(MeshKind::VirtualService, "web-mesh").await?;
    world.apply(&mesh_service("left", &json!({"serviceName": "gone"}))).await?;
    world.object(MeshKind::VirtualService, "left-mesh").await?;
    outrigger.stop().await?;

    world.delete_mesh_service("left").await?; // what it owns stays: nobody collects garbage here
    let outrigger = Outrigger::start(&case.plane, start())?;
    world.swept(&world.namespace, "left").await?;
    wait_for("all to be looked at", PATIENCE, async || {
        // The one that is gone, and the one whose Pods are requested again later.
        let mut looks = 0;
        for result in ["success", "requeue_after"] {
            let name = format!("controller_runtime_reconcile_total{{controller=\"meshservice\",result=\"{result}\"}}");
            looks += outrigger.metric(&name).await?;
        }
        ensure!(looks >= 2, "{looks}");
        Ok(Some(()))
    })
    .await?;
    let is_same =
        |before: &Value, after: &Value| before["metadata"]["resourceVersion"] == after["metadata"]["resourceVersion"];
    let after = world.object(MeshKind::VirtualService, "web-mesh").await?;
    ensure!(is_same(&routes, &after), "it was written: {after}");
    let after = world.mesh_service("web").await?;
    ensure!(is_same(&made, &after), "its status was written: {}", after["status"]);
    let log = outrigger.log()?;
    log.contains("the object was deleted").then_some(()).context("what was swept is in the log")
}

/// Twenty of them, each with two objects: an apply for each, and one write for each status. Only time shows that nothing happens then.
pub async fn beside_meshservices_that_are_well_nothing_is_written_for_a_minute(case: Case<()>) -> Result<()> {
    case.plane.install_istio_crds().await?;
    let kubeconfig = install(&case.plane).await?;
    let args = ["--controllers=meshservice", "--leader-elect=false"].map(str::to_owned).into();
    let outrigger = Outrigger::start(&case.plane, Start { args, ..Start::with(&kubeconfig) })?;
    let world = World::of(&case);
    for number in 0..20 {
        world.service(&format!("web-{number}")).await?;
        world.apply(&mesh_service(&format!("web-{number}"), &subsets())).await?;
    }
    for number in 0..20 {
        world.state(&format!("web-{number}"), "Consistent").await?;
    }
    let writes = async || {
        let (_, metrics) = outrigger.page("/metrics").await?;
        let is_write = |line: &&str| line.starts_with("rest_client_requests_total") && !line.contains("method=\"GET\"");
        Ok::<_, anyhow::Error>(metrics.lines().filter(is_write).map(str::to_owned).collect::<Vec<_>>())
    };
    let before = writes().await?;
    let patches =
        before.iter().filter(|line| line.contains("method=\"PATCH\"")).filter_map(|line| line.rsplit(' ').next());
    let patches: Vec<u32> = patches.map(str::parse).collect::<Result<_, _>>()?;
    ensure!(patches.iter().sum::<u32>() == 20 * 3, "{before:?}");
    tokio::time::sleep(Duration::from_secs(60)).await;
    let after = writes().await?;
    ensure!(after == before, "{before:?} became {after:?}");
    Ok(())
}
