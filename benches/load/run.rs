//! Sends reviews over keep-alive connections, each answer checked, and measures.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use bytes::Bytes;
use outrigger::admission::client::{Answer, Destination};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::server::processor_time;

/// One request, and the expected form of its answers.
#[derive(Clone)]
pub struct Exchange {
    /// The path.
    pub path: &'static str,
    /// The body.
    pub body: Bytes,
    /// Checks the status, beginning and length of the answer. Its timestamp changes, but not its length.
    pub status: u16,
    /// The beginning of every answer.
    pub start: Bytes,
    /// The length of every answer.
    pub length: usize,
}

/// Latencies, ascending.
#[derive(Clone, Debug, Default)]
pub struct Quantiles(Vec<Duration>);

/// The results of a run.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// The latency of each request.
    pub latencies: Quantiles,
    elapsed: Duration,
    /// Processor time of the server.
    server: Duration,
    /// Processor time of this process.
    client: Duration,
}

impl Exchange {
    /// Fails when an answer is not as expected.
    pub fn check(&self, answer: &Answer) -> Result<()> {
        let expected = answer.status == self.status
            && answer.body.len() == self.length
            && (self.start.is_empty() || answer.body.starts_with(&self.start))
            && !answer.close;
        if !expected {
            bail!("an answer differs from the first: {} {}", answer.status, String::from_utf8_lossy(&answer.body));
        }
        Ok(())
    }
}

/// Sends `requests` in total, in sequence on each of `connections`. The server's processor time is read if the server
/// is given, with its ticks per second.
pub async fn run(
    target: &Destination,
    exchange: &Exchange,
    (connections, requests): (usize, usize),
    server: Option<(u32, u64)>,
) -> Result<Figures> {
    let start = Arc::new(Barrier::new(connections + 1));
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        let (exchange, start) = (exchange.clone(), start.clone());
        let mut client = target.connect().await?;
        tasks.spawn(async move {
            let mut latencies = Vec::with_capacity(requests / connections);
            start.wait().await;
            for _ in 0..requests / connections {
                let sent = Instant::now();
                let answer = client.post(exchange.path, exchange.body.clone()).await?;
                latencies.push(sent.elapsed());
                exchange.check(&answer)?;
            }
            anyhow::Ok(latencies)
        });
    }
    let processor_times = || -> Result<(Duration, Duration)> {
        let Some((server, ticks)) = server else { return Ok(Default::default()) };
        Ok((processor_time(server, ticks)?, processor_time(std::process::id(), ticks)?))
    };
    let (server_before, client_before) = processor_times()?;
    let begin = Instant::now();
    start.wait().await;
    let mut latencies = Vec::with_capacity(requests);
    while let Some(ended) = tasks.join_next().await {
        latencies.extend(ended??);
    }
    let elapsed = begin.elapsed();
    ensure!(!latencies.is_empty(), "no requests: ask for at least one on each connection");
    let (server, client) = processor_times()?;
    Ok(Figures {
        latencies: Quantiles::of(latencies),
        elapsed,
        server: server.saturating_sub(server_before),
        client: client.saturating_sub(client_before),
    })
}

impl Quantiles {
    /// Returns statistics of these latencies.
    pub fn of(mut latencies: Vec<Duration>) -> Self {
        latencies.sort_unstable();
        Self(latencies)
    }

    /// Returns the latency that so many of a thousand requests did not exceed.
    pub fn at(&self, permille: usize) -> Duration {
        let index = (self.0.len() * permille / 1000).min(self.0.len().saturating_sub(1));
        self.0.get(index).copied().unwrap_or_default()
    }
}

impl Figures {
    /// Adds another run of the same kind.
    pub fn add(&mut self, other: Self) {
        let Self { latencies, elapsed, server, client } = other;
        let all = [std::mem::take(&mut self.latencies.0), latencies.0].concat();
        self.latencies = Quantiles::of(all);
        self.elapsed += elapsed;
        self.server += server;
        self.client += client;
    }

    /// Returns requests per second.
    pub fn rate(&self) -> f64 {
        self.count() / self.elapsed.as_secs_f64()
    }

    /// Returns the server's processor time per request.
    pub fn server_time(&self) -> Duration {
        self.server.div_f64(self.count())
    }

    /// Returns the client's processor time per request.
    pub fn client_time(&self) -> Duration {
        self.client.div_f64(self.count())
    }

    #[allow(clippy::cast_precision_loss, reason = "far fewer than 2^52 requests")]
    fn count(&self) -> f64 {
        self.latencies.0.len() as f64
    }
}
