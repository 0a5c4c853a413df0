//! Controllers sharded by namespace, simulated: four processes, a Lease for each shard, and Pods on a real API server. outrigger
//! itself is not sharded. Needs `make testbed`. `cargo bench --bench shards`, with `-- --quick` a fifth of the namespaces.

#[path = "../cases/mod.rs"]
#[allow(dead_code, reason = "shared with the other benchmarks, which use more of it")]
mod cases;
#[path = "../load/server.rs"]
#[allow(dead_code, reason = "shared with the load on the webhook, which uses more of it")]
mod process;
mod replica;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use futures::stream;
use http::Request;
use kube::Client;
use outrigger_testbed::{ControlPlane, Parts, wait_for};
use process::{memory, processor_time, ticks_per_second};
use replica::{PODS, Report, SHARDS, shard_of};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// The allocator of the server.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The argument of a replica, before the kubeconfig.
const REPLICA: &str = "replica";
const NAMESPACES: usize = 2_000;
/// Requests at the same time while Pods are created and changed.
const CLIENTS: usize = 8;
/// Of so many Pods one changes.
const CHANGED: usize = 4;
/// How far a shard's Pods may be from an equal part.
const TOLERANCE: f64 = 0.1;
const PATIENCE: Duration = Duration::from_secs(90);

/// A replica as a process of its own.
struct Replica {
    child: Child,
    pid: u32,
    input: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

/// A row of the table.
struct Row {
    report: Report,
    list_cpu: Duration,
    events_cpu: Duration,
    memory: u64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, first, kubeconfig] = &arguments[..]
        && first == REPLICA
    {
        return replica::run(Path::new(kubeconfig)).await;
    }
    let is_quick = arguments.iter().any(|argument| argument == "--quick");
    let plane = ControlPlane::start(Parts::ApiOnly).await?;
    let measured = measure(&plane, if is_quick { NAMESPACES / 5 } else { NAMESPACES }).await;
    plane.stop().await;
    // With few namespaces, chance decides how equal the parts are.
    let spread = measured?;
    ensure!(is_quick || spread <= TOLERANCE, "a shard differs from an equal part by {:.1} %", 100.0 * spread);
    Ok(())
}

/// Measures with this many namespaces. Returns by how much a shard differs from an equal part at most.
async fn measure(plane: &ControlPlane, namespaces: usize) -> Result<f64> {
    let begun = Instant::now();
    let pods = create(&plane.client(), namespaces).await?;
    eprintln!("{} Pods in {namespaces} Namespaces after {:.1?}", pods.len(), begun.elapsed());

    let ticks = ticks_per_second()?;
    let mut replicas = (0..SHARDS).map(|_| Replica::start(plane.kubeconfig())).collect::<Result<Vec<_>>>()?;
    wait_for("each Pod to be kept", PATIENCE, async || {
        let reports = reports(&mut replicas).await?;
        ensure!(reports.iter().all(|report| report.listed.len() == 1), "a replica has no shard, or several");
        Ok((reports.iter().map(|report| report.pods).sum::<usize>() == pods.len()).then_some(()))
    })
    .await?;
    let begun = replicas.iter().map(|replica| replica.cpu(ticks)).collect::<Result<Vec<_>>>()?;
    let changed: Vec<&String> = pods.iter().step_by(CHANGED).collect();
    relabel(&plane.client(), &changed).await?;
    wait_for("each change to arrive", PATIENCE, async || {
        let reports = reports(&mut replicas).await?;
        Ok(reports.iter().all(|report| report.events >= changed.len()).then_some(()))
    })
    .await?;
    let mut rows = Vec::new();
    for (report, (replica, list_cpu)) in reports(&mut replicas).await?.into_iter().zip(replicas.iter().zip(begun)) {
        let events_cpu = replica.cpu(ticks)?.saturating_sub(list_cpu);
        rows.push(Row { report, list_cpu, events_cpu, memory: memory(replica.pid)?.now });
    }
    print(&rows, pods.len());
    is_partition(&mut replicas, &pods).await?;
    take_over(replicas.remove(0), &rows[0].report, &mut replicas, &pods).await?;
    let equal = number(pods.len()) / number(SHARDS);
    Ok(rows.iter().map(|row| (number(row.report.pods) / equal - 1.0).abs()).fold(0.0, f64::max))
}

/// Kills a replica, and waits until another one has taken over its shard.
async fn take_over(mut lost: Replica, report: &Report, others: &mut [Replica], pods: &BTreeSet<String>) -> Result<()> {
    let shard = *report.held.first().context("a shard")?;
    lost.child.kill().await?;
    let killed = Instant::now();
    let mut held = None;
    wait_for("another replica to take over", PATIENCE, async || {
        let reports = reports(others).await?;
        if reports.iter().any(|report| report.held.contains(&shard)) {
            held.get_or_insert_with(|| killed.elapsed());
        }
        Ok(reports.iter().any(|report| report.listed.contains(&shard)).then_some(()))
    })
    .await?;
    let listed = killed.elapsed();
    is_partition(others, pods).await?;
    println!(
        "\nA replica was killed: another one held its shard after {:.1} s and had its Pods after {:.1} s.",
        held.unwrap_or(listed).as_secs_f64(),
        listed.as_secs_f64()
    );
    Ok(())
}

/// Checks that each Pod is kept by exactly one replica, which holds its shard.
async fn is_partition(replicas: &mut [Replica], pods: &BTreeSet<String>) -> Result<()> {
    let mut all = BTreeSet::new();
    for replica in replicas {
        let held = replica.report().await?.held;
        for pod in replica.pods().await? {
            let shard = shard_of(pod.split('/').next().unwrap_or_default());
            ensure!(held.contains(&shard), "{pod} is of shard {shard}, and kept by the holder of {held:?}");
            ensure!(!all.contains(&pod), "{pod} is kept twice");
            all.insert(pod);
        }
    }
    ensure!(all == *pods, "{} of {} Pods are kept", all.len(), pods.len());
    Ok(())
}

fn print(rows: &[Row], pods: usize) {
    println!(
        "| shard | Pods | of an equal part | events of its Pods | CPU until listed | CPU of the events | RSS |\n\
         |---|---|---|---|---|---|---|"
    );
    for Row { report, list_cpu, events_cpu, memory } in rows {
        let shard = report.held.first().map_or_else(String::new, ToString::to_string);
        let part = 100.0 * number(report.pods * SHARDS) / number(pods);
        println!(
            "| {shard} | {} | {part:.1} % | {} of {} | {:.2} s | {:.2} s | {} MB |",
            report.pods,
            report.own_events,
            report.events,
            list_cpu.as_secs_f64(),
            events_cpu.as_secs_f64(),
            memory * 1024 / 1_000_000
        );
    }
}

/// Creates Namespaces with Pods, most of them with a few and some with many. Returns the Pods by namespace and name.
async fn create(client: &Client, namespaces: usize) -> Result<BTreeSet<String>> {
    let names: Vec<String> = (0..namespaces).map(|n| format!("team-{n:04}")).collect();
    let all = names.iter().map(|name| {
        post(
            client,
            "/api/v1/namespaces".to_owned(),
            json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name}}),
        )
    });
    at_once(all).await?;
    let mut pod = cases::pod(3);
    let metadata = pod["metadata"].as_object_mut().context("metadata")?;
    for field in ["managedFields", "generateName"] {
        metadata.remove(field);
    }
    let (mut pods, mut created) = (Vec::new(), BTreeSet::new());
    for (n, namespace) in names.iter().enumerate() {
        let count = if n % 40 == 0 {
            20
        } else if n % 10 == 0 {
            8
        } else {
            3 + n % 4
        };
        for number in 0..count {
            pod["metadata"]["namespace"] = json!(namespace);
            pod["metadata"]["name"] = json!(format!("pod-{number}"));
            created.insert(format!("{namespace}/pod-{number}"));
            pods.push((format!("/api/v1/namespaces/{namespace}/pods"), pod.clone()));
        }
    }
    at_once(pods.into_iter().map(|(path, pod)| post(client, path, pod))).await?;
    Ok(created)
}

async fn post(client: &Client, path: String, object: Value) -> Result<()> {
    let request =
        Request::post(path).header("Content-Type", "application/json").body(object.to_string().into_bytes())?;
    client.request_text(request).await?;
    Ok(())
}

/// Changes a label of these Pods.
async fn relabel(client: &Client, pods: &[&String]) -> Result<()> {
    at_once(pods.iter().map(async |pod| {
        let (namespace, name) = pod.split_once('/').context("a Pod")?;
        let patch = json!({"metadata": {"labels": {"changed": "true"}}}).to_string().into_bytes();
        let request = Request::patch(format!("/api/v1/namespaces/{namespace}/pods/{name}"))
            .header("Content-Type", "application/merge-patch+json")
            .body(patch)?;
        client.request_text(request).await?;
        anyhow::Ok(())
    }))
    .await
}

/// Does all, some at the same time.
async fn at_once(all: impl Iterator<Item = impl Future<Output = Result<()>>>) -> Result<()> {
    let mut done = stream::iter(all).buffer_unordered(CLIENTS);
    while let Some(done) = done.next().await {
        done?;
    }
    Ok(())
}

async fn reports(replicas: &mut [Replica]) -> Result<Vec<Report>> {
    let mut reports = Vec::new();
    for replica in replicas {
        reports.push(replica.report().await?);
    }
    Ok(reports)
}

impl Replica {
    fn start(kubeconfig: &Path) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(REPLICA)
            .arg(kubeconfig)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let input = child.stdin.take().context("its input")?;
        let answers = BufReader::new(child.stdout.take().context("its output")?).lines();
        Ok(Self { pid: child.id().context("its id")?, child, input, answers })
    }

    async fn report(&mut self) -> Result<Report> {
        Ok(serde_json::from_str(&self.ask("report").await?)?)
    }

    /// Returns the Pods that it keeps, by namespace and name.
    async fn pods(&mut self) -> Result<BTreeSet<String>> {
        Ok(serde_json::from_str(&self.ask(PODS).await?)?)
    }

    async fn ask(&mut self, question: &str) -> Result<String> {
        self.input.write_all(format!("{question}\n").as_bytes()).await?;
        self.input.flush().await?;
        self.answers.next_line().await?.context("a replica has ended")
    }

    fn cpu(&self, ticks: u64) -> Result<Duration> {
        processor_time(self.pid, ticks)
    }
}

#[allow(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
fn number(count: usize) -> f64 {
    count as f64
}
