//! User-mode instructions and processor time of a review, of this build next to an older one and the floor in the same
//! run.
//!
//! Valgrind counts the instructions, so other load on the machine does not change them; they exclude the kernel.
//! Processor time includes it, and is measured in turns.

use crate::bench::Bench;
use crate::cases;
use crate::matrix::CONNECTIONS;
use crate::run::run;
use crate::scenario::{FEW, Scenario};
use crate::server::{Files, Program, Server};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The counted reviews, and those before.
const COUNTED: usize = 1_000;
const BEFORE: usize = 200;
/// Turns of each program, and reviews in each.
const TURNS: usize = 5;
const REVIEWS: usize = 8_000;

/// The cost of a review in a program.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// User-mode instructions.
    pub instructions: f64,
    /// Processor time, user and system.
    pub time: Duration,
}

/// The costs of programs, by their names.
pub type Costs = Vec<(&'static str, Cost)>;

/// `SidecarSets` while instructions are counted. With more of them a review costs the same, and the start costs more.
const SETS: usize = 100;

/// Returns the cost of one review of some scenarios, of the floor, this build, and the older one if there is one.
pub fn costs(bench: &Bench, old: Option<&Program>) -> Result<Vec<(Scenario, Costs)>> {
    let scenarios = FEW.map(|scenario| Scenario { sets: SETS, ..scenario });
    scenarios.into_iter().map(|scenario| Ok((scenario, of_scenario(bench, scenario, old)?))).collect()
}

fn of_scenario(bench: &Bench, scenario: Scenario, old: Option<&Program>) -> Result<Costs> {
    let (body, files) = (scenario.body(), Files::of(cases::sets(scenario.sets, scenario.matching))?);
    let length = bench.exchange(&Server::start(&Program::Present, &files)?, &body, scenario)?.length;
    let programs: Vec<Program> = [Program::Floor(length), Program::Present].into_iter().chain(old.cloned()).collect();
    let times = times(bench, &programs, &files, &body)?;
    let costs = programs.iter().zip(times).map(|(program, time)| {
        let instructions = instructions(bench, program, &files, &body).with_context(|| program.name())?;
        Ok((program.name(), Cost { instructions, time }))
    });
    costs.collect()
}

#[allow(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
fn instructions(bench: &Bench, program: &Program, files: &Files, body: &Bytes) -> Result<f64> {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("callgrind.out");
    let file = format!("--callgrind-out-file={}", out.display());
    let valgrind = ["valgrind", "--tool=callgrind", "--instr-atstart=no", &file].map(str::to_owned);
    let server = Server::start_under(&valgrind, program, files)?;
    let exchange = bench.exchange_like_first(&server, body)?;
    let load = |reviews| bench.runtime.block_on(run(&server.target, &exchange, (CONNECTIONS, reviews), None));
    load(BEFORE)?;
    control("--instr=on", server.pid())?;
    load(COUNTED)?;
    control("--dump", server.pid())?;
    let dumped = total(&out.with_extension("out.1"))?;
    if let Some(kept) = std::env::var_os("KEEP") {
        std::fs::copy(out.with_extension("out.1"), Path::new(&kept).join(format!("callgrind.{}", program.name())))?;
    }
    Ok(dumped as f64 / COUNTED as f64)
}

fn control(what: &str, pid: u32) -> Result<()> {
    let output = Command::new("callgrind_control").args([what, &pid.to_string()]).output()?;
    ensure!(output.status.success(), "callgrind_control {what}: {}", String::from_utf8_lossy(&output.stdout));
    Ok(())
}

/// Returns the total of a profile.
fn total(profile: &Path) -> Result<u64> {
    let text = std::fs::read_to_string(profile).with_context(|| format!("{}", profile.display()))?;
    let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    let total = line("totals:").or_else(|| line("summary:")).context("the profile has no total")?;
    Ok(total.trim().parse()?)
}

/// Returns each program's processor time of a review, over all turns.
fn times(bench: &Bench, programs: &[Program], files: &Files, body: &Bytes) -> Result<Vec<Duration>> {
    let servers = programs.iter().map(|program| {
        let server = Server::start(program, files)?;
        let exchange = bench.exchange_like_first(&server, body)?;
        Ok((server, exchange))
    });
    let servers = servers.collect::<Result<Vec<_>>>()?;
    let mut times = vec![Duration::ZERO; servers.len()];
    for turn in 0..=TURNS {
        for ((server, exchange), time) in servers.iter().zip(&mut times) {
            let process = Some((server.pid(), bench.ticks));
            let load = (CONNECTIONS, REVIEWS / bench.share);
            let figures = bench.runtime.block_on(run(&server.target, exchange, load, process))?;
            // The first one warms up.
            if turn > 0 {
                *time += figures.server_time() / u32::try_from(TURNS)?;
            }
        }
    }
    Ok(times)
}
