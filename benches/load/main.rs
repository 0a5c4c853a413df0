//! Load on the real server: the binary in file mode, AdmissionReviews over TLS, every answer checked, next to an older
//! build (`OLD`, the path of its program) and a minimal server.
//!
//! `cargo bench --bench load` measures all scenarios, `-- quick` a few; `-- instructions` counts instructions too. With
//! `--strict` a missed goal is an error. `--write` writes tables and plots into docs/benchmarks.

mod bench;
#[path = "../cases/mod.rs"]
mod cases;
mod floor;
mod instructions;
mod matrix;
mod open;
mod plot;
mod publish;
mod report;
mod run;
mod scenario;
mod server;

use anyhow::{Result, ensure};
use bench::Bench;
use server::Program;
use std::path::{Path, PathBuf};

/// The server's allocator: clients must cost as little as possible.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let ["floor", ca, answer] = arguments[..] {
        return floor::serve(Path::new(ca), answer.parse()?);
    }
    let has = |argument| arguments.contains(&argument);
    let old = std::env::var_os("OLD").map(|path| Program::Old(PathBuf::from(path)));
    if has("instructions") {
        println!("{}", report::costs_table(&instructions::costs(&Bench::new(1)?, old.as_ref())?));
        return Ok(());
    }
    let quick = has("quick");
    let scenarios = if quick { scenario::FEW.to_vec() } else { scenario::all() };
    let measured = matrix::measure(&Bench::new(if quick { 2 } else { 1 })?, &scenarios, old.as_ref())?;
    let goals = report::goals(&measured);
    println!("{}\n{}\n{}", report::table(&measured), report::open_table(&measured), report::judgement(&goals));
    if has("--write") {
        publish::write(&measured, &goals)?;
    }
    ensure!(!has("--strict") || goals.iter().all(|goal| goal.met), "a goal is missed");
    Ok(())
}
