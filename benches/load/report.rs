//! The results as tables, as JSON, and compared with the goals.

use crate::instructions::{Cost, Costs};
use crate::matrix::{CONNECTIONS, Measured, Row};
use crate::scenario::{self, Scenario};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::Duration;

/// A goal and its measured value.
pub struct Judged {
    what: String,
    measured: String,
    goal: String,
    pub met: bool,
}

impl Judged {
    fn at_most(what: &str, measured: f64, goal: f64, unit: &str) -> Self {
        let (measured_text, goal_text) = (format!("{measured:.2}{unit}"), format!("<= {goal}{unit}"));
        Self { what: what.to_owned(), measured: measured_text, goal: goal_text, met: measured <= goal }
    }

    fn at_least(what: &str, measured: f64, goal: f64, unit: &str) -> Self {
        let (measured_text, goal_text) = (format!("{measured:.2}{unit}"), format!(">= {goal}{unit}"));
        Self { what: what.to_owned(), measured: measured_text, goal: goal_text, met: measured >= goal }
    }
}

/// Returns the rows of all scenarios.
pub fn table(measured: &Measured) -> String {
    let mut table = format!(
        "| SidecarSets | matching | containers | server | p50 / p90 / p99 / p99.9, 1 connection | the same, {CONNECTIONS} connections | \
         reviews/s, 1 / {CONNECTIONS} | server CPU per review, 1 / {CONNECTIONS} | : floor | RSS | ready after |\n\
         |---|---|---|---|---|---|---|---|---|---|---|\n"
    );
    for row in &measured.rows {
        let Row { scenario, program, alone, together, memory, ready_after } = row;
        let latencies = |figures: &crate::run::Figures| {
            [500, 900, 990, 999].map(|permille| format!("{:.2}", millis(figures.latencies.at(permille)))).join(" / ")
        };
        let floor = of(measured, *scenario, "floor").map_or(f64::NAN, |floor| ratio(together, &floor.together));
        let ready = if *program == "floor" { String::new() } else { format!("{:.2} s", ready_after.as_secs_f64()) };
        let _ = writeln!(
            table,
            "| {} | {} | {} | {program} | {} ms | {} ms | {:.0} / {:.0} | {:.0} / {:.0} µs | {floor:.2} | {} MB | {ready} |",
            scenario.sets,
            scenario.matching(),
            scenario.containers,
            latencies(alone),
            latencies(together),
            alone.rate(),
            together.rate(),
            micros(alone.server_time()),
            micros(together.server_time()),
            megabytes(memory.now),
        );
    }
    table
}

/// Returns the table of the open loop.
pub fn open_table(measured: &Measured) -> String {
    let mut table = String::from("| reviews/s, due | server | p50 | p90 | p99 | p99.9 |\n|---|---|---|---|---|---|\n");
    for row in &measured.open {
        let at = [500, 900, 990, 999].map(|permille| format!("{:.2} ms", millis(row.latencies.at(permille))));
        let _ = writeln!(table, "| {} | {} | {} |", row.rate, row.program, at.join(" | "));
    }
    table
}

/// Returns the figures that have a goal.
pub fn goals(measured: &Measured) -> Vec<Judged> {
    let mut judged = Vec::new();
    let ours = |scenario| of(measured, scenario, "outrigger");
    let old = |scenario| of(measured, scenario, "before");
    if let Some(main) = ours(scenario::MAIN) {
        let empty = ratio(&main.together, &measured.empty);
        judged.push(Judged::at_most("server CPU per review : empty answer", empty, 3.0, ""));
        if let Some(floor) = of(measured, scenario::MAIN, "floor") {
            let ratio = ratio(&main.together, &floor.together);
            judged.push(Judged::at_most("server CPU per review : floor", ratio, 1.8, ""));
        }
        judged.push(Judged::at_most("p50, 1 connection", millis(main.alone.latencies.at(500)), 0.2, " ms"));
        judged.push(Judged::at_most("p99, 1 connection", millis(main.alone.latencies.at(990)), 2.0, " ms"));
        judged.push(Judged::at_least("reviews/s, 8 connections", main.together.rate(), 8_000.0, ""));
        if let Some(old) = old(scenario::MAIN) {
            let rate = main.together.rate() / old.together.rate();
            judged.push(Judged::at_least("reviews/s, 8 connections : before", rate, 1.8, ""));
        }
    }
    for (what, scenario, goal) in [
        ("server CPU per review : before", scenario::MAIN, 0.5),
        ("12 containers: server CPU per review : before", scenario::LARGE_POD, 0.55),
        ("every feature: server CPU per review : before", scenario::EVERY_FEATURE, 0.55),
    ] {
        if let (Some(ours), Some(old)) = (ours(scenario), old(scenario)) {
            judged.push(Judged::at_most(what, ratio(&ours.together, &old.together), goal, ""));
        }
    }
    for (sets, goal) in [(1_000, 20.0), (10_000, 90.0)] {
        if let Some(row) = ours(Scenario { sets, ..scenario::MAIN }) {
            judged.push(Judged::at_most(&format!("RSS at {sets} sets"), megabytes_exact(row.memory.now), goal, " MB"));
        }
    }
    if let Some(main) = ours(scenario::MAIN) {
        let ready = main.ready_after.as_secs_f64();
        judged.push(Judged::at_most("ready after, 1000 sets", ready, 0.15, " s"));
    }
    judged
}

/// Returns the goals as a table.
pub fn judgement(goals: &[Judged]) -> String {
    let mut table = String::from("| | measured | goal | |\n|---|---|---|---|\n");
    for Judged { what, measured, goal, met } in goals {
        let _ = writeln!(table, "| {what} | {measured} | {goal} | {} |", if *met { "met" } else { "MISSED" });
    }
    table
}

/// Returns all results as JSON.
pub fn json(measured: &Measured) -> Value {
    let latencies = |latencies: &crate::run::Quantiles| {
        let at = |permille| micros(latencies.at(permille));
        json!({"p50": at(500), "p90": at(900), "p99": at(990), "p99.9": at(999)})
    };
    let figures = |figures: &crate::run::Figures| {
        json!({"latency_us": latencies(&figures.latencies), "reviews_per_second": figures.rate(),
               "server_cpu_us": micros(figures.server_time()), "client_cpu_us": micros(figures.client_time())})
    };
    let rows = measured.rows.iter().map(|row| {
        json!({"sidecarsets": row.scenario.sets, "matching": row.scenario.matching(), "containers": row.scenario.containers,
               "server": row.program, "connections": {"1": figures(&row.alone), "8": figures(&row.together)},
               "rss_kib": row.memory.now, "peak_rss_kib": row.memory.peak, "ready_after_s": row.ready_after.as_secs_f64()})
    });
    let open = measured.open.iter().map(
        |row| json!({"server": row.program, "reviews_per_second": row.rate, "latency_us": latencies(&row.latencies)}),
    );
    json!({"closed_loop": rows.collect::<Vec<_>>(), "open_loop": open.collect::<Vec<_>>(), "empty": figures(&measured.empty)})
}

/// Returns the table of a review's cost in each program.
pub fn costs_table(costs: &[(Scenario, Costs)]) -> String {
    let mut table = String::from(
        "| Pod | server | instructions per review | : floor | : before | server CPU per review | : floor | : before |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for (scenario, costs) in costs {
        let cost = |name: &str| costs.iter().find(|(program, _)| *program == name).map(|(_, cost)| *cost);
        for (program, ours) in costs {
            let ratios = |of: fn(&Cost) -> f64| {
                let ratio = |name| cost(name).map_or(String::new(), |base| format!("{:.2}", of(ours) / of(&base)));
                format!("{} | {}", ratio("floor"), ratio("before"))
            };
            let _ = writeln!(
                table,
                "| {} containers, {} | {program} | {:.0} | {} | {:.0} µs | {} |",
                scenario.containers,
                scenario.matching(),
                ours.instructions,
                ratios(|cost| cost.instructions),
                micros(ours.time),
                ratios(|cost| cost.time.as_secs_f64()),
            );
        }
    }
    table
}

/// Returns a program's results in a scenario.
pub fn of<'m>(measured: &'m Measured, scenario: Scenario, program: &str) -> Option<&'m Row> {
    measured.rows.iter().find(|row| row.scenario == scenario && row.program == program)
}

fn ratio(of: &crate::run::Figures, to: &crate::run::Figures) -> f64 {
    of.server_time().as_secs_f64() / to.server_time().as_secs_f64()
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Returns microseconds.
pub fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn megabytes(kibibytes: u64) -> u64 {
    (kibibytes * 1024).div_ceil(1_000_000)
}

#[allow(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
fn megabytes_exact(kibibytes: u64) -> f64 {
    kibibytes as f64 * 1024.0 / 1e6
}
