//! The controller of SidecarSets at scale: `outrigger serve` beside a replayed watch stream of 100,000 Pods, without a control
//! plane. `cargo bench --bench controllers`, with `-- --quick` a tenth of all; `-- --allocator` compares settings of the
//! allocator instead. `-- sync`, `-- cluster` or `-- passes` measures only this.

#[path = "../cases/mod.rs"]
#[allow(dead_code, reason = "shared with the other benchmarks, which use more of it")]
mod cases;
mod pods;
#[path = "../load/server.rs"]
#[allow(dead_code, reason = "shared with the load on the webhook, which uses more of it")]
mod process;
mod program;
mod recording;
mod replay;
mod server;
mod store;
mod table;

use anyhow::Result;
use pods::Change;
use process::Memory;
use recording::Stage;
use replay::{EVENTS_OF_A_POD, Replay};
use table::{Row, Table};

/// The allocator of the server.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What can be measured alone, by its name as an argument.
const PARTS: [&str; 3] = ["sync", "cluster", "passes"];
/// The events of an hour: 50 a second.
const EVENTS_OF_AN_HOUR: u64 = 50 * 3_600;
const FEW_SETS: usize = 100;
const MANY_SETS: usize = 1_000;

/// The size of the clusters.
#[derive(Clone, Copy)]
struct Scale {
    small: u64,
    large: u64,
    hour: u64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let has = |argument: &str| std::env::args().any(|given| given == argument);
    let share = if has("--quick") { 10 } else { 1 };
    let scale = Scale { small: 10_000 / share, large: 100_000 / share, hour: EVENTS_OF_AN_HOUR / share };
    if has("--allocator") {
        return allocators(scale).await;
    }
    let mut table = Table::default();
    let is_named = |name: &str| has(name) || !PARTS.iter().any(|name| has(name));
    if is_named(PARTS[0]) {
        first_sync(scale, &mut table).await?;
    }
    if is_named(PARTS[1]) {
        large_cluster(scale, &mut table).await?;
    }
    if is_named(PARTS[2]) {
        passes(scale, &mut table).await?;
    }
    println!("{table}");
    Ok(())
}

/// The first sync of a small cluster.
async fn first_sync(scale: Scale, table: &mut Table) -> Result<()> {
    let sync = Replay::start(scale.small, FEW_SETS, None).await?.first_sync().await?;
    let what = format!("first sync of {} Pods, {FEW_SETS} SidecarSets", scale.small);
    table.add(Row::time(&what, sync.took).at_most(1.0));
    table.add(Row::time("its lists", sync.listed).note(&format!("{} lists", sync.lists)));
    table.add(Row::time("CPU since the start", sync.cpu));
    Ok(())
}

/// Memory, storms and churn of a large cluster.
async fn large_cluster(scale: Scale, table: &mut Table) -> Result<()> {
    let empty = Replay::start(0, FEW_SETS, None).await?;
    empty.first_sync().await?;
    let without = empty.memory().await?;
    drop(empty);
    let replay = Replay::start(scale.large, FEW_SETS, None).await?;
    let sync = replay.first_sync().await?;
    let with = replay.memory().await?;
    replay.print_writes();
    table.add(Row::time(&format!("first sync of {} Pods, {FEW_SETS} SidecarSets", scale.large), sync.took));
    table.add(Row::time("its lists", sync.listed).note(&format!(
        "{} lists, {} MB",
        sync.lists,
        sync.bytes / 1_000_000
    )));
    table.add(Row::time("CPU since the start", sync.cpu));
    table.add(Row::memory(&format!("RSS with {} Pods", scale.large), with.now).at_most(150_000_000.0 / 1024.0));
    table.add(Row::memory("RSS without Pods", without.now));
    table.add(Row::ratio("peak until then : RSS", ratio(with.peak, with.now)).at_most(1.2));
    table.add(Row::number(
        "memory of one Pod, bytes",
        1024.0 * (float(with.now) - float(without.now)) / float(scale.large),
    ));

    let storms: [(&str, Vec<u64>); 2] = [
        ("all Pods of a set lose their label", (0..scale.large).step_by(FEW_SETS).collect()),
        ("all Pods of all sets lose their label", (0..scale.large).collect()),
    ];
    for (what, numbers) in storms {
        let away = replay.spent(numbers.iter().map(|number| Change::Label(*number, false))).await?;
        let back = replay.spent(numbers.iter().map(|number| Change::Label(*number, true))).await?;
        for (what, spent) in [(what, away), ("and get it back", back)] {
            let note =
                format!("{} events, {} status writes, CPU {:.2?}", numbers.len(), spent.status_writes, spent.cpu);
            table.add(Row::time(what, spent.took).note(&note));
        }
    }

    let before = replay.memory().await?;
    let mut samples = vec![before.now];
    let (pods, cpu) = (scale.hour / EVENTS_OF_A_POD / 10, replay.cpu()?);
    for _ in 0..10 {
        replay.spent(replay.replace(pods)).await?;
        samples.push(replay.memory().await?.now);
    }
    let most = samples.iter().max().copied().unwrap_or_default();
    let note = format!(
        "{} events; {}; CPU {:.2?}",
        10 * pods * EVENTS_OF_A_POD,
        samples.iter().map(|kib| (kib * 1024 / 1_000_000).to_string()).collect::<Vec<_>>().join(" "),
        replay.cpu()?.saturating_sub(cpu),
    );
    table.add(Row::ratio("RSS in an hour of churn : RSS before", ratio(most, before.now)).at_most(1.05).note(&note));
    Ok(())
}

/// Passes over many sets.
async fn passes(scale: Scale, table: &mut Table) -> Result<()> {
    let replay = Replay::start(scale.large, MANY_SETS, None).await?;
    let sync = replay.first_sync().await?;
    let memory = replay.memory().await?;
    table.add(Row::time(&format!("first sync of {} Pods, {MANY_SETS} SidecarSets", scale.large), sync.took));
    table.add(Row::time("CPU since the start", sync.cpu));
    table.add(Row::memory("RSS", memory.now).note(&format!("peak : RSS {:.2}", ratio(memory.peak, memory.now))));
    let one_of_each = replay.spent((0..MANY_SETS as u64).map(|number| Change::Stage(number, Stage::Starting))).await?;
    let irrelevant = (0..scale.large).map(Change::Touch).chain([Change::Stage(0, Stage::Ready)]);
    let touched = replay.spent(irrelevant).await?;
    for (what, spent) in
        [("a Pod of each set is not ready any more", one_of_each), ("each Pod changes without effect", touched)]
    {
        let note = format!("{} status writes, CPU {:.2?}", spent.status_writes, spent.cpu);
        table.add(Row::time(what, spent.took).note(&note));
    }
    Ok(())
}

/// Compares settings of the allocator.
async fn allocators(scale: Scale) -> Result<()> {
    println!(
        "| settings | RSS | peak | RSS after churn | CPU of the first sync | CPU of churn |\n|---|---|---|---|---|---|"
    );
    for settings in [
        "",
        "dirty_decay_ms:0,muzzy_decay_ms:0,background_thread:false",
        "dirty_decay_ms:500,muzzy_decay_ms:0,background_thread:true,narenas:1",
        "dirty_decay_ms:500,muzzy_decay_ms:0,background_thread:true,narenas:2",
        "dirty_decay_ms:10000,muzzy_decay_ms:0,background_thread:true",
        "dirty_decay_ms:100,muzzy_decay_ms:0,background_thread:true,narenas:2",
    ] {
        let replay = Replay::start(scale.large, FEW_SETS, Some(settings)).await?;
        let sync = replay.first_sync().await?;
        let Memory { now, peak } = replay.memory().await?;
        let churn = replay.spent(replay.replace(scale.hour / EVENTS_OF_A_POD / 5)).await?;
        let after = replay.memory().await?;
        let settings = if settings.is_empty() { "as built" } else { settings };
        println!(
            "| {settings} | {} | {} | {} | {:.2?} | {:.2?} |",
            table::megabytes(now),
            table::megabytes(peak),
            table::megabytes(after.now),
            sync.cpu,
            churn.cpu
        );
    }
    Ok(())
}

fn ratio(one: u64, other: u64) -> f64 {
    float(one) / float(other)
}

#[allow(clippy::cast_precision_loss, reason = "far less than 2^52")]
fn float(number: u64) -> f64 {
    number as f64
}
