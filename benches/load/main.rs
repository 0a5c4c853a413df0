//! Load on the real server: the binary in file mode, AdmissionReviews over TLS, every answer checked; prints the figures
//! beside the goals. `cargo bench --bench load`, with `-- --quick` a tenth of the reviews.

#[path = "../cases/mod.rs"]
mod cases;
mod run;
mod server;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use cases::Matching;
use outrigger::admission::client::{Answer, Destination};
use run::{Exchange, Figures, run};
use serde_json::Value;
use server::{Memory, Server, memory, ticks_per_second};
use std::time::Duration;

/// As in the server: clients should cost as little as they can.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Connections, as an API server under load holds them.
const CONNECTIONS: usize = 8;
/// Reviews on those,
const REVIEWS: usize = 20_000;
/// on a single one,
const REVIEWS_ALONE: usize = 5_000;
/// and before each measurement, so that code, memory and connections are warm.
const WARM_UP: usize = 2_000;

struct Scenario {
    sets: usize,
    matching: Matching,
    containers: usize,
}

const fn scenario(sets: usize, matching: Matching, containers: usize) -> Scenario {
    Scenario { sets, matching, containers }
}

const SCENARIOS: [Scenario; 7] = [
    scenario(1, Matching::One, 3),
    scenario(100, Matching::One, 3),
    scenario(1_000, Matching::One, 3),
    scenario(100, Matching::None, 3),
    scenario(1_000, Matching::None, 3),
    scenario(1_000, Matching::One, 12),
    scenario(1_000, Matching::EveryFeature, 3),
];
/// The scenario that the goals are for.
const OF_GOALS: usize = 2;

/// What one scenario has shown.
struct Outcome {
    alone: Figures,
    together: Figures,
    memory: Memory,
    ready_after: Duration,
}

struct Bench {
    /// A single thread leaves the rest of a small machine to the server, and wakes no other.
    runtime: tokio::runtime::Runtime,
    ticks: u64,
    /// Only one in so many reviews is sent.
    share: usize,
}

fn main() -> Result<()> {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let bench = Bench {
        runtime: tokio::runtime::Builder::new_current_thread().enable_all().build()?,
        ticks: ticks_per_second()?,
        share: if quick { 10 } else { 1 },
    };
    println!(
        "| SidecarSets | matching | Pod | p50 / p99, 1 connection | p50 / p99, {CONNECTIONS} connections | reviews/s, 1 / \
         {CONNECTIONS} | server CPU per review, 1 / {CONNECTIONS} | client CPU | RSS / peak | ready after |\n\
         |---|---|---|---|---|---|---|---|---|---|"
    );
    print_row("0 | 0 | none: 404", &bench.floor()?);
    let mut outcomes = Vec::with_capacity(SCENARIOS.len());
    for Scenario { sets, matching, containers } in SCENARIOS {
        let pod = cases::pod(containers);
        let outcome = bench.scenario(sets, matching, &pod).with_context(|| format!("{sets} SidecarSets"))?;
        let size = kilobytes(pod.to_string().len());
        print_row(&format!("{sets} | {} | {containers} containers, {size}", label(matching)), &outcome);
        outcomes.push(outcome);
    }
    print_goals(&outcomes[OF_GOALS]);
    Ok(())
}

impl Bench {
    /// What TLS, HTTP and the client cost without any review.
    fn floor(&self) -> Result<Outcome> {
        let server = Server::start([])?;
        let (path, body) = ("/", Bytes::from_static(b"{}"));
        let answer = self.first_answer(&server.target, path, &body)?;
        let exchange = Exchange { path, body, status: 404, start: answer.body.clone(), length: answer.body.len() };
        self.measure(&server, &exchange)
    }

    fn scenario(&self, sets: usize, matching: Matching, pod: &Value) -> Result<Outcome> {
        let server = Server::start(cases::sets(sets, matching))?;
        let (path, body) = ("/mutate-pod", Bytes::from(cases::review(pod)));
        let answer = self.first_answer(&server.target, path, &body)?;
        let start = check(&answer, pod, matching)
            .with_context(|| format!("{}: {}", answer.status, String::from_utf8_lossy(&answer.body)))?;
        self.measure(&server, &Exchange { path, body, status: 200, start, length: answer.body.len() })
    }

    fn first_answer(&self, target: &Destination, path: &str, body: &Bytes) -> Result<Answer> {
        self.runtime.block_on(async { Ok(target.connect().await?.post(path, body.clone()).await?) })
    }

    fn measure(&self, server: &Server, exchange: &Exchange) -> Result<Outcome> {
        let process = (server.pid(), self.ticks);
        let of = |connections, reviews: usize| {
            let load = (connections, reviews / self.share);
            self.runtime.block_on(run(&server.target, exchange, load, process))
        };
        of(CONNECTIONS, WARM_UP)?;
        Ok(Outcome {
            alone: of(1, REVIEWS_ALONE)?,
            together: of(CONNECTIONS, REVIEWS)?,
            memory: memory(server.pid())?,
            ready_after: server.ready_after,
        })
    }
}

/// Looks at an answer in full: allowed, and the patch adds what the matching SidecarSet has, and touches nothing else. Returns
/// the part of the answer that comes before its patch.
fn check(answer: &Answer, pod: &Value, matching: Matching) -> Result<Bytes> {
    ensure!(answer.status == 200, "not answered 200");
    let review: Value = serde_json::from_slice(&answer.body)?;
    ensure!(review["response"]["allowed"] == true, "not allowed");
    let Some(patch) = review["response"]["patch"].as_str() else {
        ensure!(matching == Matching::None, "no patch");
        return Ok(answer.body.clone());
    };
    ensure!(matching != Matching::None, "a patch, though nothing matches");
    let containers = if matching == Matching::EveryFeature { 3 } else { 2 }; // of the hot one there are two
    let operations: json_patch::Patch = serde_json::from_slice(&STANDARD.decode(patch)?)?;
    let mut patched = pod.clone();
    json_patch::patch(&mut patched, &operations)?;
    for (list, added) in [("containers", containers), ("initContainers", 1), ("volumes", 1)] {
        let items = |pod: &Value| pod["spec"][list].as_array().cloned().unwrap_or_default();
        let (before, after) = (items(pod), items(&patched));
        ensure!(after.len() == before.len() + added, "{list}: {} before, {} after", before.len(), after.len());
        ensure!(before.iter().all(|item| after.contains(item)), "{list}: an item of the Pod is changed");
    }
    let end =
        answer.body.windows(patch.len()).position(|part| part == patch.as_bytes()).context("the patch's place")?;
    Ok(answer.body.slice(..end))
}

fn label(matching: Matching) -> &'static str {
    match matching {
        Matching::None => "0",
        Matching::One => "1",
        Matching::EveryFeature => "1, every feature",
    }
}

fn print_row(label: &str, Outcome { alone, together, memory, ready_after }: &Outcome) {
    let latencies =
        |figures: &Figures| format!("{} / {}", milliseconds(figures.quantile(50)), milliseconds(figures.quantile(99)));
    println!(
        "| {label} | {} | {} | {:.0} / {:.0} | {} / {} | {} / {} | {} / {} | {} |",
        latencies(alone),
        latencies(together),
        alone.rate(),
        together.rate(),
        microseconds(alone.server_time()),
        microseconds(together.server_time()),
        microseconds(alone.client_time()),
        microseconds(together.client_time()),
        megabytes(memory.now),
        megabytes(memory.peak),
        milliseconds(*ready_after),
    );
}

/// The figures that have a goal, beside it.
fn print_goals(Outcome { alone, together, memory, .. }: &Outcome) {
    let (server, p50, p99) = (together.server_time(), alone.quantile(50), alone.quantile(99));
    let micros = Duration::from_micros;
    let goals = [
        ("server CPU per review, 8 connections", microseconds(server), "<= 100 µs", server <= micros(100)),
        ("p50, 1 connection", milliseconds(p50), "<= 0.2 ms", p50 <= micros(200)),
        ("p99, 1 connection", milliseconds(p99), "<= 2 ms", p99 <= micros(2000)),
        ("reviews/s, 8 connections", format!("{:.0}", together.rate()), ">= 8,000", together.rate() >= 8_000.0),
        ("RSS", megabytes(memory.now), "<= 30 MB", memory.now * 1024 <= 30_000_000),
    ];
    println!("\n| at 1,000 SidecarSets, one matching | measured | goal | |\n|---|---|---|---|");
    for (what, measured, goal, met) in goals {
        println!("| {what} | {measured} | {goal} | {} |", if met { "met" } else { "MISSED" });
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

fn microseconds(time: Duration) -> String {
    format!("{:.0} µs", time.as_secs_f64() * 1e6)
}

fn megabytes(kibibytes: u64) -> String {
    format!("{} MB", (kibibytes * 1024).div_ceil(1_000_000))
}

fn kilobytes(bytes: usize) -> String {
    format!("{}.{} KB", bytes / 1000, bytes % 1000 / 100)
}
