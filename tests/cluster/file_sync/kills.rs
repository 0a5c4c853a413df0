//! Files and kills: what was deleted in the meantime is removed, and no reader sees half of a file.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::future::{try_join, try_join_all};
use outrigger_testbed::Case;
use serde_json::json;

use super::{Agent, config_map, delete, put, rights};
use crate::outrigger::PATIENCE;

/// Files are created, changed and deleted with their ConfigMaps. What was deleted while the agent was dead is removed,
/// and a deleted file is restored.
pub async fn files_follow_config_maps_through_kills<W>(case: Case<W>) -> Result<()> {
    let (plane, namespace, kubeconfig) = (&*case.plane, &case.namespace, rights(&case).await?);
    let of = |name: &str, data| config_map(namespace.name(), name, &data);
    put(namespace, &of("a", json!({"x.txt": "one", "y.txt": "two"}))).await?;
    let variables =
        [("NAMESPACE", namespace.name()), ("LABEL_VALUE", namespace.name()), ("OUTRIGGER_RESYNC_SECONDS", "1")];
    let mut agent = Agent::start(plane, &kubeconfig, &variables).await?;
    agent.has("x.txt", Some("one")).await?;
    put(namespace, &of("a", json!({"x.txt": "three"}))).await?;
    agent.is(&["x.txt=three"]).await?;
    put(namespace, &of("b", json!({"z.txt": "four"}))).await?;
    agent.has("z.txt", Some("four")).await?;
    agent.restart(plane, async || delete(namespace, "b").await).await?;
    agent.has("z.txt", None).await?;
    std::fs::write(agent.path("x.txt"), "spoiled")?;
    agent.has("x.txt", Some("three")).await?;
    std::fs::remove_file(agent.path("x.txt"))?;
    agent.has("x.txt", Some("three")).await?;
    put(namespace, &config_map("others", "a", &json!({"x.txt": "five"}))).await?;
    agent.has("x.txt", None).await.context("what leaves the selection goes")?;
    let (status, body) = agent.page("/healthz").await?;
    ensure!((status, body.as_str()) == (200, "OK"), "{status} {body}");
    let ended = agent.process.stop(PATIENCE).await.context("it stops")?;
    ensure!(ended.success(), "{ended}");
    Ok(())
}

/// Identical lines.
fn text(version: usize) -> String {
    format!("{version}\n").repeat(4_000)
}

/// Reads files repeatedly. Returns how often, and how often it saw half of one.
fn read(paths: &[PathBuf], over: &AtomicBool) -> (usize, usize) {
    let (mut reads, mut torn) = (0, 0);
    while !over.load(Ordering::Relaxed) {
        for path in paths {
            let Ok(found) = std::fs::read_to_string(path) else { continue };
            let version = found.lines().next().and_then(|line| line.parse().ok());
            reads += 1;
            torn += usize::from(version.is_none_or(|version| text(version) != found));
        }
    }
    (reads, torn)
}

/// Updates as fast as the API server accepts them, with kills and with ConfigMaps that come and go: no read sees half of a file, and in the end
/// the files match the cluster.
pub async fn no_reader_sees_a_torn_file_through_updates_kills_and_churn<W>(case: Case<W>) -> Result<()> {
    let (plane, namespace, kubeconfig) = (&*case.plane, &case.namespace, rights(&case).await?);
    let of = |name: &str, text: &str| config_map(namespace.name(), name, &json!({name: text}));
    let names = ["a", "b", "c", "d"];
    try_join_all(names.iter().map(async |name| put(namespace, &of(name, &text(0))).await)).await?;
    let variables = [("NAMESPACE", namespace.name()), ("LABEL_VALUE", namespace.name()), ("LOG_LEVEL", "WARN")];
    let mut agent = Agent::start(plane, &kubeconfig, &variables).await?;
    let over = Arc::new(AtomicBool::new(false));
    let reader = std::thread::spawn({
        let (paths, over) = (names.map(|name| agent.path(name)), over.clone());
        move || read(&paths, &over)
    });
    let end = Instant::now() + Duration::from_secs(3);
    let update = |name: &'static str| {
        let of = &of;
        async move {
            let mut version = 0;
            while Instant::now() < end {
                version += 1;
                put(namespace, &of(name, &text(version))).await?;
            }
            anyhow::Ok(version)
        }
    };
    let churn = |number: usize| {
        let of = &of;
        async move {
            let name = format!("churn-{number}");
            while Instant::now() < end {
                put(namespace, &of(&name, "here")).await?;
                delete(namespace, &name).await?;
            }
            put(namespace, &of(&name, "in the end")).await
        }
    };
    let work = try_join(try_join_all(names.map(update)), try_join_all((0..3).map(churn)));
    let kills = async {
        while Instant::now() + Duration::from_millis(500) < end {
            agent.restart(plane, async || Ok(())).await?;
        }
        Ok(())
    };
    let ((versions, _), ()) = try_join(work, kills).await?;
    over.store(true, Ordering::Relaxed);
    let (reads, torn) = reader.join().map_err(|_| anyhow::anyhow!("the reader panicked"))?;
    ensure!(torn == 0 && reads > 100, "{torn} torn of {reads} reads");
    let total: usize = versions.iter().sum();
    ensure!(total > 50, "{total} updates are too few to show anything");
    let mut expected: Vec<_> =
        names.iter().zip(&versions).map(|(name, last)| format!("{name}={}", text(*last))).collect();
    expected.extend((0..3).map(|number| format!("churn-{number}=in the end")));
    expected.sort();
    let expected: Vec<_> = expected.iter().map(String::as_str).collect();
    agent.is(&expected).await?;
    only_ours(agent.folder.path())
}

/// Kills leave no unfinished file once the next agent runs.
fn only_ours(folder: &Path) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        ensure!(!name.starts_with(".outrigger-") || name.starts_with(".outrigger-sync-"), "{name} is left");
    }
    Ok(())
}
