//! A replica that is killed before and after each of its writes: no route is lost, and in the end everything is up to
//! date.

use anyhow::{Context, Result, ensure};
use kube::api::{Patch, PatchParams, PostParams};
use outrigger::cluster::failpoint::{KILLED, WRITES};
use outrigger_testbed::{Case, wait_for};
use serde_json::{Value, json};

use super::world::{CONFIG_MAP, PLACEHOLDER, World};
use crate::outrigger::{Outrigger, PATIENCE, Start};

const CONFIGURATION: &str = "enablePlaceholderServices: true";

/// A change of a VirtualService is a single write, so earlier routes stay whenever it is interrupted.
pub async fn a_kill_never_leaves_a_virtual_service_without_the_routes_it_had(case: Case<Outrigger>) -> Result<()> {
    killed_at(&case, &["routing.virtualservice.change"]).await
}

/// The same for all writes.
pub async fn routing_is_right_after_a_kill_at_each_write(case: Case<()>) -> Result<()> {
    case.plane.install_istio_crds().await?;
    crate::outrigger::install(&case.plane).await?;
    let writes: Vec<&str> = WRITES.into_iter().filter(|write| write.starts_with("routing.")).collect();
    ensure!(writes.len() == 8, "{writes:?}");
    killed_at(&case, &writes).await
}

async fn killed_at<W>(case: &Case<W>, writes: &[&str]) -> Result<()> {
    let world = World::new(case, &["alice", "bob"]).await?;
    let alice = &world.developers[0];
    world.configure(CONFIGURATION).await?;
    world.service(&world.default, "app").await?;
    world.service(alice, "app").await?;
    let outrigger = world.replica().await?;
    world.routed("app", &[alice]).await?;
    outrigger.stop().await?;
    for write in writes {
        for moment in ["before", "after"] {
            let failpoint = format!("{write}.{moment}");
            round(&world, write, &failpoint).await.with_context(|| format!("killed at {failpoint}"))?;
        }
    }
    Ok(())
}

async fn round(world: &World, write: &str, failpoint: &str) -> Result<()> {
    let [alice, bob] = &world.developers[..] else { anyhow::bail!("two developers") };
    let name = failpoint.replace('.', "-");
    provoke(world, write, &name).await?;
    let start = Start { failpoint: Some(format!("{failpoint}=return")), ..world.start().await? };
    let mut armed = Outrigger::start(&world.plane, start)?;
    let status = armed.process().ended(PATIENCE).await?;
    ensure!(status.code() == Some(KILLED), "it ended with {status}");
    let routes = world.virtual_service("app").await?["spec"]["http"].to_string();
    ensure!(routes.contains(alice.as_str()), "a route is lost: {routes}");

    world.configure(CONFIGURATION).await?;
    let outrigger = world.replica().await?;
    match write {
        "routing.virtualservice.delete" => {
            world.not_routed(&name).await?;
            port_of(world, &name, "http").await?;
            world.routed(&name, &[alice]).await?;
        }
        "routing.placeholder.hand-over" | "routing.placeholder.take-over" => {
            let is_handed_over = |service: &Value| service["spec"]["type"] == "ClusterIP";
            world.service_where(bob, &name, "the developer's", is_handed_over).await?;
            world.routed(&name, &[alice, bob]).await?;
        }
        "routing.placeholder.delete" => world.no_service(bob, &name).await?,
        _ => {
            world.routed(&name, &[alice]).await?;
            world.placeholder(bob, &name).await?;
        }
    }
    world.routed("app", &[alice]).await?;
    wait_for("the annotation to be gone", PATIENCE, async || {
        let annotations = world.config_maps().get(CONFIG_MAP).await?.metadata.annotations.unwrap_or_default();
        Ok((!annotations.contains_key("outrigger.dev/configuration-problem")).then_some(()))
    })
    .await?;
    outrigger.stop().await
}

/// Sets the name of a Service's only port.
async fn port_of(world: &World, service: &str, port: &str) -> Result<()> {
    let ports = json!({"spec": {"ports": [{"port": 80, "name": port}]}});
    world.services(&world.default).patch(service, &PatchParams::default(), &Patch::Merge(ports)).await?;
    Ok(())
}

/// Creates a state in which a starting replica makes this write.
async fn provoke(world: &World, write: &str, name: &str) -> Result<()> {
    let [alice, bob] = &world.developers[..] else { anyhow::bail!("two developers") };
    let settle = async || -> Result<()> {
        let outrigger = world.replica().await?;
        world.placeholder(bob, name).await?;
        world.virtual_service(name).await?;
        outrigger.stop().await
    };
    let source = format!("{name}.{}.svc.cluster.local", world.default);
    let placeholder = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": name, "annotations": {PLACEHOLDER: "true", "virtualservice-operator/source-service": source},
        },
        "spec": {"type": "ExternalName", "externalName": source},
    });
    if write != "routing.placeholder.delete" {
        world.service(&world.default, name).await?;
    }
    match write {
        "routing.virtualservice.change" => {
            settle().await?;
            let applied = json!({"spec": {"type": "ClusterIP", "externalName": null, "ports": [{"port": 80}]}});
            world.services(alice).patch(name, &PatchParams::default(), &Patch::Merge(applied)).await?;
        }
        "routing.virtualservice.delete" => {
            world.service(alice, name).await?;
            settle().await?;
            port_of(world, name, "tcp").await?;
        }
        "routing.placeholder.delete" => {
            let params = PatchParams::apply("helm");
            world.services(bob).patch(name, &params, &Patch::Apply(placeholder)).await?;
        }
        "routing.placeholder.hand-over" | "routing.placeholder.take-over" => {
            world.service(alice, name).await?;
            if write.ends_with("hand-over") {
                let params = PatchParams::apply("helm");
                world.services(bob).patch(name, &params, &Patch::Apply(placeholder)).await?;
            } else {
                let by_operator = PostParams { field_manager: Some("manager".to_owned()), ..PostParams::default() };
                world.services(bob).create(&by_operator, &serde_json::from_value(placeholder)?).await?;
            }
            let applied = json!({"spec": {"selector": {"app": name}, "ports": [{"port": 80}]}});
            world.services(bob).patch(name, &PatchParams::default(), &Patch::Merge(applied)).await?;
        }
        "routing.configuration.annotate" => {
            world.service(alice, name).await?;
            world.write_config_map(&json!({"config.yaml": "developerNamespaces: [default]"})).await?;
        }
        _ => drop(world.service(alice, name).await?),
    }
    Ok(())
}
