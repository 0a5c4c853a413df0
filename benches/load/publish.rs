//! Writes the results into docs: the tables of one section of benchmarks.md, JSON, and plots.

use crate::matrix::Measured;
use crate::plot::{Group, bars};
use crate::report::{self, Judged};
use crate::scenario;
use anyhow::{Context, Result};
use std::path::Path;

/// The lines of benchmarks.md around the tables.
const BEGIN: &str = "<!-- what `make bench` writes -->\n";
const END: &str = "<!-- end of what `make bench` writes -->\n";

/// Writes all results.
pub fn write(measured: &Measured, goals: &[Judged]) -> Result<()> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let folder = docs.join("benchmarks");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("load.json"), format!("{:#}\n", report::json(measured)))?;
    let plots = plots(measured, &folder)?;
    let page = docs.join("benchmarks.md");
    let text = std::fs::read_to_string(&page)?;
    let place = || {
        let (before, rest) = text.split_once(BEGIN)?;
        Some((before, rest.split_once(END)?.1))
    };
    let (before, after) = place().with_context(|| format!("{}: no lines {BEGIN}{END}", page.display()))?;
    let tables = [report::table(measured), report::open_table(measured), report::judgement(goals), plots].join("\n");
    std::fs::write(&page, format!("{before}{BEGIN}\n{tables}\n{END}{after}"))?;
    Ok(())
}

/// Draws the plots, and returns the lines of the page that show them.
fn plots(measured: &Measured, folder: &Path) -> Result<String> {
    let plot = |file: &str, title: &str, unit: &str, groups: &[Group]| {
        bars(&folder.join(file), title, unit, groups)?;
        anyhow::Ok(format!("![{title}](benchmarks/{file})\n"))
    };
    let few = scenario::FEW.map(|scenario| {
        let name = format!("{} containers, {}", scenario.containers, scenario.matching());
        let rows = measured.rows.iter().filter(|row| row.scenario == scenario);
        (name, rows.collect::<Vec<_>>())
    });
    let time = few.iter().map(|(name, rows)| Group {
        name: name.clone(),
        values: rows.iter().map(|row| (row.program, report::micros(row.together.server_time()))).collect(),
    });
    let title = "Server CPU per review, 1,000 SidecarSets, 8 connections";
    let cpu = plot("cpu.svg", title, "microseconds", &time.collect::<Vec<_>>())?;
    let rate = few.iter().map(|(name, rows)| Group {
        name: name.clone(),
        values: rows.iter().map(|row| (row.program, row.together.rate())).collect(),
    });
    let title = "Reviews a second, 1,000 SidecarSets, 8 connections, client and server on the same 2 cores";
    let rate = plot("rate.svg", title, "reviews/s", &rate.collect::<Vec<_>>())?;
    let late = measured.open.chunk_by(|one, next| one.rate == next.rate).map(|rows| Group {
        name: format!("{} reviews/s", rows[0].rate),
        values: rows.iter().map(|row| (row.program, report::micros(row.latencies.at(990)))).collect(),
    });
    let title = "Open loop: p99 of the time from when a review was due to its answer";
    let late = plot("open.svg", title, "microseconds", &late.collect::<Vec<_>>())?;
    Ok([cpu, rate, late].join("\n"))
}
