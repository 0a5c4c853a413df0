//! outrigger killed once before and once after each of its writes for a MeshService, and started again: in the end all is as it says.

use anyhow::{Result, ensure};
use outrigger::cluster::failpoint::{KILLED, WRITES};
use outrigger::mesh_service::MeshKind;
use outrigger_testbed::Case;
use serde_json::{Value, json};
use std::path::Path;

use super::world::{World, mesh_service, subsets};
use crate::outrigger::{Outrigger, PATIENCE, Start, install};

/// Each round asks for another timeout, and for subsets by turns, so that there is something to write and something to delete.
pub async fn a_meshservice_is_right_after_a_kill_at_each_write(case: Case<()>) -> Result<()> {
    case.plane.install_istio_crds().await?;
    let kubeconfig = install(&case.plane).await?;
    let world = World::of(&case);
    world.service("web").await?;
    let mut round = 1;
    let outrigger = Outrigger::start(&world.plane, start(&kubeconfig, None))?;
    is_right(&world, round).await?;
    outrigger.stop().await?;
    for write in WRITES.iter().filter(|write| write.starts_with("mesh.")) {
        for moment in ["before", "after"] {
            round += 1;
            if *write == "mesh.object.release" {
                world.apply(&theirs()).await?;
            }
            // What was made for subsets is deleted, or given back, when there are none any more.
            if ["mesh.object.delete", "mesh.object.release"].contains(write) {
                round += (round + 1) % 2;
                let outrigger = Outrigger::start(&world.plane, start(&kubeconfig, None))?;
                is_right(&world, round).await?;
                outrigger.stop().await?;
                round += 1;
            }
            match *write {
                "mesh.object.trim" => {
                    world.edit(MeshKind::VirtualService, "web-mesh", json!({"spec": {"exportTo": ["."]}})).await?;
                }
                "mesh.service.mend" => {
                    let ports = json!([{"name": "other", "port": 9}]);
                    let annotations = json!({"outrigger.dev/mesh-repair": "AddPort"});
                    let lacking = json!({"metadata": {"annotations": annotations}, "spec": {"ports": ports}});
                    world.edit(MeshKind::Service, "web", lacking).await?;
                }
                _ => world.apply(&wanted(round)).await?,
            }
            let mut armed =
                Outrigger::start(&world.plane, start(&kubeconfig, Some(&format!("{write}.{moment}=return"))))?;
            let status = armed.process().ended(PATIENCE).await?;
            ensure!(status.code() == Some(KILLED), "{write}.{moment}: it ended with {status}");
            let outrigger = Outrigger::start(&world.plane, start(&kubeconfig, None))?;
            is_right(&world, round).await?;
            outrigger.stop().await?;
        }
    }
    Ok(())
}

fn start(kubeconfig: &Path, failpoint: Option<&str>) -> Start {
    let args = ["--controllers=meshservice", "--leader-elect=false"].map(str::to_owned).into();
    Start { args, failpoint: failpoint.map(str::to_owned), ..Start::with(kubeconfig) }
}

/// A rule that may be taken over.
fn theirs() -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "spec": {"host": "theirs"},
        "metadata": {"name": "web", "annotations": {"outrigger.dev/adopt": "true"}},
    })
}

fn wanted(round: u32) -> Value {
    let mut more = if round % 2 == 1 { subsets() } else { json!({}) };
    more["timeout"] = json!(format!("{round}s"));
    mesh_service("web", &more)
}

async fn is_right(world: &World, round: u32) -> Result<()> {
    world.apply(&wanted(round)).await?;
    world.state("web", "Consistent").await?;
    let is_right = |object: &Value| {
        object["spec"]["http"][0]["timeout"] == json!(format!("{round}s")) && object["spec"]["exportTo"].is_null()
    };
    world.object_where(MeshKind::VirtualService, &world.namespace, "web-mesh", "right", is_right).await?;
    let rule = world.objects(MeshKind::DestinationRule, &world.namespace).get_opt("web").await?;
    let is_ours = rule.as_ref().is_some_and(|rule| rule.data["spec"]["host"] != "theirs");
    ensure!(is_ours == (round % 2 == 1), "round {round}: {rule:?}");
    Ok(())
}
