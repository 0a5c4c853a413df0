//! Sends reviews over keep-alive connections, each answer checked, and measures.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use bytes::Bytes;
use outrigger::admission::client::{Answer, Destination};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::server::processor_time;

/// One request, and what each of its answers must look like.
#[derive(Clone)]
pub struct Exchange {
    /// Where it goes.
    pub path: &'static str,
    /// What is sent.
    pub body: Bytes,
    /// Status, beginning and length of the answer. Its timestamp changes, and that not in length.
    pub status: u16,
    /// How every answer begins.
    pub start: Bytes,
    /// How long every answer is.
    pub length: usize,
}

/// Latencies, ascending.
#[derive(Clone, Debug, Default)]
pub struct Quantiles(Vec<Duration>);

/// What a run has shown.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Of each request.
    pub latencies: Quantiles,
    elapsed: Duration,
    /// Processor time of the server.
    server: Duration,
    /// Processor time of this process.
    client: Duration,
}

impl Exchange {
    /// Errs where an answer is not as expected.
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

/// Sends `requests` in all, on each of `connections` one after the other, to a server whose processor time is looked at if it is given
/// with the ticks that make a second.
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
    /// Those of these latencies.
    pub fn of(mut latencies: Vec<Duration>) -> Self {
        latencies.sort_unstable();
        Self(latencies)
    }

    /// The latency that so many of a thousand requests did not exceed.
    pub fn at(&self, permille: usize) -> Duration {
        let index = (self.0.len() * permille / 1000).min(self.0.len().saturating_sub(1));
        self.0.get(index).copied().unwrap_or_default()
    }
}

impl Figures {
    /// Adds another run of the same.
    pub fn add(&mut self, other: Self) {
        let Self { latencies, elapsed, server, client } = other;
        let all = [std::mem::take(&mut self.latencies.0), latencies.0].concat();
        self.latencies = Quantiles::of(all);
        self.elapsed += elapsed;
        self.server += server;
        self.client += client;
    }

    /// Requests a second.
    pub fn rate(&self) -> f64 {
        self.count() / self.elapsed.as_secs_f64()
    }

    /// Processor time of the server for one request.
    pub fn server_time(&self) -> Duration {
        self.server.div_f64(self.count())
    }

    /// Processor time of the client for one request.
    pub fn client_time(&self) -> Duration {
        self.client.div_f64(self.count())
    }

    #[allow(clippy::cast_precision_loss, reason = "far fewer than 2^52 requests")]
    fn count(&self) -> f64 {
        self.latencies.0.len() as f64
    }
}
