//! The table of all scenarios: each program in turn, in the same run.

use crate::bench::Bench;
use crate::cases;
use crate::run::{Exchange, Figures, Quantiles, run};
use crate::scenario::Scenario;
use crate::server::{Files, Memory, Program, Server, memory};
use crate::{open, scenario};
use anyhow::{Context, Result};
use bytes::Bytes;
use std::time::Duration;

/// The number of connections of an API server under load.
pub const CONNECTIONS: usize = 8;
/// Turns of each program.
const TURNS: usize = 3;
/// Reviews of a turn on those connections, on a single one, and before, to warm up code, memory and connections.
const REVIEWS: usize = 5_000;
const ALONE: usize = 1_000;
const WARM_UP: usize = 2_000;
/// Reviews per second of the open loop, and its time.
const RATES: [u32; 4] = [1_000, 4_000, 8_000, 12_000];
const TIME: Duration = Duration::from_secs(2);

/// A program's results in a scenario.
pub struct Row {
    pub scenario: Scenario,
    pub program: &'static str,
    /// On one connection.
    pub alone: Figures,
    /// On [`CONNECTIONS`].
    pub together: Figures,
    pub memory: Memory,
    pub ready_after: Duration,
}

/// A program's results in the open loop.
pub struct OpenRow {
    pub program: &'static str,
    /// Reviews per second.
    pub rate: u32,
    pub latencies: Quantiles,
}

/// All results.
pub struct Measured {
    pub rows: Vec<Row>,
    pub open: Vec<OpenRow>,
    /// The results of the shortest answer, for an unknown path.
    pub empty: Figures,
}

struct Running {
    program: Program,
    server: Server,
}

/// Measures each scenario with this build, with the older one if there is one, and with the floor.
pub fn measure(bench: &Bench, scenarios: &[Scenario], old: Option<&Program>) -> Result<Measured> {
    let mut measured = Measured { rows: Vec::new(), open: Vec::new(), empty: bench.empty()? };
    // One start serves the Pods of all sizes.
    for group in scenarios.chunk_by(|one, next| (one.sets, one.matching) == (next.sets, next.matching)) {
        let files = Files::of(cases::sets(group[0].sets, group[0].matching))?;
        let programs = [Program::Present].into_iter().chain(old.cloned());
        let start = |program| Ok(Running { server: Server::start(&program, &files)?, program });
        let started: Vec<Running> = programs.map(start).collect::<Result<_>>()?;
        for scenario in group {
            let all = bench.rows(*scenario, &started, &files).with_context(|| format!("{scenario:?}"))?;
            measured.rows.extend(all);
            if *scenario == scenario::MAIN {
                measured.open = bench.open(*scenario, &started)?;
            }
        }
    }
    Ok(measured)
}

impl Bench {
    /// Measures TLS, HTTP and the client without any review.
    fn empty(&self) -> Result<Figures> {
        let server = Server::start(&Program::Present, &Files::of([])?)?;
        let (path, body) = ("/", Bytes::from_static(b"{}"));
        let answer = self.first_answer(&server.target, path, &body)?;
        let exchange = Exchange { path, body, status: 404, start: answer.body.clone(), length: answer.body.len() };
        let _warm = self.of(&server, &exchange, CONNECTIONS, WARM_UP)?;
        self.of(&server, &exchange, CONNECTIONS, TURNS * REVIEWS)
    }

    fn of(&self, server: &Server, exchange: &Exchange, connections: usize, reviews: usize) -> Result<Figures> {
        let process = Some((server.pid(), self.ticks));
        self.runtime.block_on(run(&server.target, exchange, (connections, reviews / self.share), process))
    }

    fn rows(&self, scenario: Scenario, started: &[Running], files: &Files) -> Result<Vec<Row>> {
        let body = scenario.body();
        let exchange = |running: &Running| self.exchange(&running.server, &body, scenario);
        let mut all = Vec::new();
        for running in started {
            all.push((&running.program, &running.server, exchange(running)?));
        }
        let floor = Program::Floor(all[0].2.length);
        let server = Server::start(&floor, files)?;
        let of_floor = self.exchange_like_first(&server, &body)?;
        all.push((&floor, &server, of_floor));
        let mut figures = vec![(Figures::default(), Figures::default()); all.len()];
        for (_, server, exchange) in &all {
            self.of(server, exchange, CONNECTIONS, WARM_UP)?;
        }
        for _ in 0..TURNS {
            for ((_, server, exchange), (alone, together)) in all.iter().zip(&mut figures) {
                alone.add(self.of(server, exchange, 1, ALONE)?);
                together.add(self.of(server, exchange, CONNECTIONS, REVIEWS)?);
            }
        }
        let rows = all.iter().zip(figures).map(|((program, server, _), (alone, together))| {
            let memory = memory(server.pid())?;
            Ok(Row { scenario, program: program.name(), alone, together, memory, ready_after: server.ready_after })
        });
        rows.collect()
    }

    fn open(&self, scenario: Scenario, started: &[Running]) -> Result<Vec<OpenRow>> {
        let body = scenario.body();
        let mut rows = Vec::new();
        for rate in RATES {
            for Running { program, server } in started {
                let exchange = self.exchange(server, &body, scenario)?;
                let time = TIME / u32::try_from(self.share)?;
                let latencies = self.runtime.block_on(open::run(&server.target, &exchange, rate, time))?;
                rows.push(OpenRow { program: program.name(), rate, latencies });
            }
        }
        Ok(rows)
    }
}
