//! Many Services and developers at once.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use kube::api::ListParams;
use outrigger_testbed::{Case, wait_for};

use super::world::World;
use crate::outrigger::{PATIENCE, install};

const SERVICES: usize = 200;
const DEVELOPERS: [&str; 10] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];

/// 200 Services, each with copies of ten developers: one write for each VirtualService, within 20 s. A restart writes
/// nothing.
pub async fn two_hundred_services_of_ten_developers_are_routed_by_one_write_each(case: Case<()>) -> Result<()> {
    case.plane.install_istio_crds().await?;
    install(&case.plane).await?;
    let world = World::new(&case, &DEVELOPERS).await?;
    let namespaces: Vec<&String> = std::iter::once(&world.default).chain(&world.developers).collect();
    let all = namespaces.iter().flat_map(|namespace| (0..SERVICES).map(move |number| (namespace, number)));
    let created = stream::iter(
        all.map(async |(namespace, number)| world.service(namespace, &format!("app-{number}")).await.map(|_| ())),
    );
    created.buffer_unordered(64).try_collect::<Vec<()>>().await?;
    world.configure("").await?;

    let begin = Instant::now();
    let outrigger = world.replica().await?;
    let versions = wait_for("all to be routed", PATIENCE, async || {
        let all = world.virtual_services().list(&ListParams::default()).await?.items;
        let routes = |index: usize| all[index].data["spec"]["http"].as_array().map_or(0, Vec::len);
        let done = (0..all.len()).filter(|index| routes(*index) == DEVELOPERS.len() + 1).count();
        ensure!(done == SERVICES, "{done} of {}", all.len());
        Ok(Some(all))
    })
    .await?;
    let took = begin.elapsed();
    eprintln!("{SERVICES} Services of {} developers were routed in {took:?}", DEVELOPERS.len());
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert!(versions.iter().all(|object| object.metadata.generation == Some(1)), "more than one write");
    outrigger.stop().await?;

    let outrigger = world.replica().await?;
    world.service(&world.default, "last").await?;
    world.routed("last", &[]).await?;
    let after = world.virtual_services().list(&ListParams::default()).await?.items;
    for object in &versions {
        ensure!(after.contains(object), "{:?} was written again", object.metadata.name);
    }
    outrigger.stop().await
}
