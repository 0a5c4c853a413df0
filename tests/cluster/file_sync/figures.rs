//! Size and speed of an agent with 3,000 ConfigMaps of 2 KB: `make memory-sync`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use outrigger_testbed::{Case, wait_for};
use serde_json::json;
use tokio::time::sleep;

use super::{Agent, config_map, put};
use crate::outrigger::PATIENCE;

const COUNT: usize = 3_000;

/// A watch ends, and a check of all files comes, once a minute.
const IDLE: Duration = Duration::from_secs(65);

/// The goals, which apply only to fully optimised builds.
const MOST_ANONYMOUS: usize = 8_000_000;
const LONGEST_FIRST_SYNC: Duration = Duration::from_secs(2);
const LONGEST_LATENCY: Duration = Duration::from_millis(2);
const MOST_IDLE: f64 = 0.2;

/// Returns the folder in `/proc` of the agent with probes at this port.
fn process(port: u16) -> Result<PathBuf> {
    let port = format!("HEALTH_PORT={port}");
    let is_it = |process: &Path| {
        let text = fs::read(process.join("environ")).unwrap_or_default();
        let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
        name.trim() == "outrigger" && text.split(|byte| *byte == 0).any(|variable| variable == port.as_bytes())
    };
    let mut processes = fs::read_dir("/proc")?.filter_map(|entry| Some(entry.ok()?.path()));
    processes.find(|process| is_it(process)).context("no process of the agent")
}

/// Returns a value of `/proc/PID/status`, in bytes.
fn memory(process: &Path, figure: &str) -> Result<usize> {
    let status = fs::read_to_string(process.join("status"))?;
    let value = status.lines().find_map(|line| line.strip_prefix(figure)?.strip_suffix("kB")).context("not there")?;
    Ok(value.trim().parse::<usize>()? * 1024)
}

/// Returns the CPU time so far.
fn cpu(process: &Path) -> Result<Duration> {
    let stat = fs::read_to_string(process.join("stat"))?;
    let fields = stat.rsplit_once(')').context("a name")?.1.split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).map(|field| field.parse::<u64>().unwrap_or_default()).sum();
    Ok(Duration::from_millis(ticks * 10)) // 100 ticks a second, as on Linux
}

fn files(folder: &Path) -> Result<usize> {
    let names = fs::read_dir(folder)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.filter(|name| !name.starts_with('.')).count())
}

/// Anonymous memory, time to the first sync, time from the API server's answer to the file, and idle CPU.
pub async fn an_agent_of_three_thousand_config_maps_is_small(case: Case<()>) -> Result<()> {
    let (plane, namespace) = (&*case.plane, &case.namespace);
    let of = |number: usize, text: &str| {
        let name = format!("dashboard-{number}");
        config_map(namespace.name(), &name, &json!({format!("{name}.json"): text.repeat(2_000 / text.len())}))
    };
    let all = (0..COUNT).map(|number| {
        let object = of(number, "0123456789");
        async move { put(namespace, &object).await }
    });
    stream::iter(all).buffer_unordered(32).try_for_each(async |()| Ok(())).await?;

    let variables = [("NAMESPACE", namespace.name()), ("LABEL_VALUE", namespace.name()), ("LOG_LEVEL", "WARN")];
    let start = Instant::now();
    let agent = Agent::spawn(plane, plane.kubeconfig(), &variables)?;
    while files(agent.folder.path())? < COUNT {
        ensure!(start.elapsed() < PATIENCE, "{} files", files(agent.folder.path())?);
        sleep(Duration::from_millis(5)).await;
    }
    let first_sync = start.elapsed();
    agent.ready().await?;
    let process = process(agent.port)?;
    let peak = memory(&process, "VmHWM:")?;

    let mut latencies = Vec::new();
    for number in 0..100 {
        let text = format!("{number:010}");
        let object = of(number, &text);
        put(namespace, &object).await?;
        let (answered, path) = (Instant::now(), agent.path(&format!("dashboard-{number}.json")));
        while !fs::read_to_string(&path)?.starts_with(&text) {
            ensure!(answered.elapsed() < PATIENCE, "{}", path.display());
            sleep(Duration::from_micros(100)).await;
        }
        latencies.push(answered.elapsed());
    }
    latencies.sort();
    let latency = latencies[latencies.len() / 2];

    let before = cpu(&process)?;
    sleep(IDLE).await;
    let idle = cpu(&process)?.saturating_sub(before).as_secs_f64() / IDLE.as_secs_f64() * 100.0;
    let anonymous = memory(&process, "RssAnon:")?;
    let all = memory(&process, "VmRSS:")?;
    println!(
        "{COUNT} ConfigMaps of 2 KB: anonymous {:.1} MB (RSS {:.1}, peak {:.1}), first sync {first_sync:?}, from answer to file p50 {latency:?}, idle {idle:.2} % of a core",
        mb(anonymous),
        mb(all),
        mb(peak),
    );
    wait_for("it to be well", PATIENCE, async || Ok((agent.page("/healthz").await?.0 == 200).then_some(()))).await?;
    if cfg!(debug_assertions) {
        return Ok(());
    }
    ensure!(anonymous <= MOST_ANONYMOUS, "anonymous memory: {anonymous} bytes");
    ensure!(first_sync <= LONGEST_FIRST_SYNC, "first sync: {first_sync:?}");
    ensure!(latency <= LONGEST_LATENCY, "from answer to file: {latency:?}");
    ensure!(idle <= MOST_IDLE, "idle: {idle} %");
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "for a person to read")]
fn mb(bytes: usize) -> f64 {
    bytes as f64 / 1e6
}
