//! SidecarGenerators that request a local server every minute: their cost for outrigger once all have a Sidecar. Needs
//! `make testbed`. `cargo bench --bench generators`, with `-- --quick` a tenth of them and one minute.

#[path = "../tests/cluster/certificates.rs"]
#[allow(dead_code, reason = "shared with the tests, which use more of it")]
mod certificates;

#[path = "../tests/cluster/outrigger.rs"]
#[allow(dead_code, reason = "shared with the tests, which use more of it")]
mod outrigger;

#[path = "load/server.rs"]
#[allow(dead_code, reason = "shared with the load on the webhook, which uses more of it")]
mod process;

#[path = "../tests/cluster/web.rs"]
#[allow(dead_code, reason = "shared with the tests, which use more of it")]
mod web;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use http::Request;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, PostParams};
use kube::{Api, Client};
use outrigger::{Outrigger, Start, install};
use outrigger_testbed::{ControlPlane, Parts, wait_for};
use process::{memory, processor_time, ticks_per_second};
use serde_json::json;
use tokio::task::JoinSet;
use web::Web;

/// The number of SidecarGenerators and namespaces. Each generator has its own labels.
const GENERATORS: usize = 5_000;
const NAMESPACES: usize = 50;
/// Clients that create them.
const CLIENTS: usize = 8;
/// The time of a measurement.
const MINUTES: u32 = 3;
/// The share of a core for all of them: 5 core-minutes an hour.
const GOAL: f64 = 5.0 / 60.0;
/// The time that a round of all of them may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(600);
/// The answer of all URLs: twenty hosts.
const PATH: &str = "/dependencies";

/// What was used and done until now.
#[derive(Clone, Copy)]
struct Spent {
    at: Instant,
    cpu: Duration,
    fetches: f64,
    status_writes: f64,
    sidecar_writes: f64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let (count, minutes) = if quick { (GENERATORS / 10, 1) } else { (GENERATORS, MINUTES) };
    let plane = ControlPlane::start(Parts::ApiOnly).await?;
    plane.install_istio_crds().await?;
    let kubeconfig = install(&plane).await?;
    let web = Web::http().await?;
    let hosts: Vec<String> = (0..20).map(|n| format!("namespace-{n}/*")).collect();
    web.replies(PATH, web::Reply::ok(json!([{"hosts": hosts}]).to_string()).header("etag", "\"one\""));

    let args = ["--controllers=sidecargenerator", "--fetch-allow=127.0.0.1", "--log-level=info"];
    let start = Start { args: args.map(str::to_owned).into(), ..Start::with(&kubeconfig) };
    let outrigger = Outrigger::start(&plane, start)?;
    outrigger.ready().await?;
    let pid = pid_of(&outrigger)?;

    let begin = Instant::now();
    create(&plane, &web, count).await?;
    println!("{count} SidecarGenerators created in {:.1} s", begin.elapsed().as_secs_f64());
    wait_for("all Sidecars", PATIENCE, async || {
        let written = requests(&plane.client(), "sidecars", "POST", "").await?;
        ensure!(written >= number(count), "{written} of {count}");
        Ok(Some(()))
    })
    .await?;
    println!("all Sidecars written {:.1} s after the first SidecarGenerator", begin.elapsed().as_secs_f64());
    let first_round = web.count(PATH);
    wait_for("another round", PATIENCE, async || {
        ensure!(web.count(PATH) >= first_round + count, "{}", web.count(PATH) - first_round);
        Ok(Some(()))
    })
    .await?;

    let before = Spent::so_far(&plane, &web, pid).await?;
    tokio::time::sleep(Duration::from_secs(60) * minutes).await;
    let after = Spent::so_far(&plane, &web, pid).await?;
    before.print(&after, count);
    let memory = memory(pid)?;
    println!("memory: {} KiB now, {} KiB at most", memory.now, memory.peak);
    outrigger.stop().await?;
    plane.stop().await;
    Ok(())
}

/// Creates them in the namespaces, several at a time.
async fn create(plane: &ControlPlane, web: &Web, count: usize) -> Result<()> {
    let resource =
        ApiResource::from_gvk(&GroupVersionKind::gvk("networking.example.com", "v1alpha1", "SidecarGenerator"));
    let mut clients = JoinSet::new();
    for namespace in 0..NAMESPACES {
        plane.kubectl(&["create", "namespace", &format!("shop-{namespace}")], None).await?.ok()?;
    }
    for client in 0..CLIENTS {
        let (api, resource, url) = (plane.client(), resource.clone(), web.url(PATH));
        clients.spawn(async move {
            for n in (client..count).step_by(CLIENTS) {
                let generator: DynamicObject = serde_json::from_value(json!({
                    "apiVersion": "networking.example.com/v1alpha1", "kind": "SidecarGenerator",
                    "metadata": {"name": format!("generator-{n}")},
                    "spec": {"url": url, "refreshPeriod": "1m", "workloadSelector": {"labels": {"app": n.to_string()}}},
                }))?;
                let namespace = format!("shop-{}", n % NAMESPACES);
                let generators: Api<DynamicObject> = Api::namespaced_with(api.clone(), &namespace, &resource);
                generators.create(&PostParams::default(), &generator).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended??;
    }
    Ok(())
}

/// Returns the process that serves: a child of a shell that the testbed started.
fn pid_of(outrigger: &Outrigger) -> Result<u32> {
    let (program, port) = (Path::new(env!("CARGO_BIN_EXE_outrigger")), format!("127.0.0.1:{}", outrigger.admin));
    for entry in std::fs::read_dir("/proc")? {
        let path = entry?.path();
        let is_outrigger = std::fs::read_link(path.join("exe")).is_ok_and(|exe| exe == program);
        if is_outrigger && std::fs::read_to_string(path.join("cmdline")).is_ok_and(|line| line.contains(&port)) {
            let name = path.file_name().and_then(|name| name.to_str()).context("a process without id")?;
            return Ok(name.parse()?);
        }
    }
    anyhow::bail!("outrigger does not run")
}

/// Returns the number of requests that the API server has answered, by its own metrics.
async fn requests(client: &Client, resource: &str, verb: &str, subresource: &str) -> Result<f64> {
    let metrics = client.request_text(Request::get("/metrics").body(Vec::new())?).await?;
    let labels = [("resource", resource), ("verb", verb), ("subresource", subresource)];
    let counts = |line: &&str| labels.iter().all(|(label, value)| line.contains(&format!("{label}=\"{value}\"")));
    let lines = metrics.lines().filter(|line| line.starts_with("apiserver_request_total{")).filter(counts);
    lines.map(|line| line.rsplit(' ').next().unwrap_or_default().parse::<f64>().context("no number")).sum()
}

impl Spent {
    async fn so_far(plane: &ControlPlane, web: &Web, pid: u32) -> Result<Self> {
        let client = plane.client();
        Ok(Self {
            status_writes: requests(&client, "sidecargenerators", "PATCH", "status").await?,
            sidecar_writes: requests(&client, "sidecars", "PATCH", "").await?
                + requests(&client, "sidecars", "POST", "").await?,
            fetches: number(web.count(PATH)),
            cpu: processor_time(pid, ticks_per_second()?)?,
            at: Instant::now(),
        })
    }

    fn print(&self, after: &Self, count: usize) {
        let minutes = (after.at - self.at).as_secs_f64() / 60.0;
        let a_minute = |before: f64, after: f64| (after - before) / minutes;
        let cpu = after.cpu.saturating_sub(self.cpu).as_secs_f64() / minutes;
        let goal = GOAL * 60.0 * number(count) / number(GENERATORS);
        println!("| of {count} SidecarGenerators, a minute | measured | goal | |\n|---|---|---|---|");
        let verdict = if cpu <= goal { "met" } else { "**missed**" };
        println!("| CPU of outrigger, s | {cpu:.2} | <= {goal:.2} | {verdict} |");
        for (label, before, after) in [
            ("fetches", self.fetches, after.fetches),
            ("writes of a status", self.status_writes, after.status_writes),
            ("writes of a Sidecar", self.sidecar_writes, after.sidecar_writes),
        ] {
            println!("| {label} | {:.0} | | |", a_minute(before, after));
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
fn number(count: usize) -> f64 {
    count as f64
}
