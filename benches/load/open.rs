//! An open loop: reviews are sent at a fixed rate, even if earlier ones are not answered. The latency of each counts
//! from the time when it was due, so a wait behind a slow answer counts too.

use crate::run::{Exchange, Quantiles};
use anyhow::{Context, Result};
use outrigger::admission::client::Destination;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

/// Connections that share the reviews.
const CONNECTIONS: usize = 32;

/// Sends so many reviews per second for a time, and returns the latencies of their answers.
pub async fn run(target: &Destination, exchange: &Exchange, rate: u32, time: Duration) -> Result<Quantiles> {
    let mut clients = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        clients.push(target.connect().await?);
    }
    let (due, arrivals) = mpsc::unbounded_channel();
    let arrivals = Arc::new(Mutex::new(arrivals));
    let mut tasks = JoinSet::new();
    for mut client in clients {
        let (exchange, arrivals) = (exchange.clone(), arrivals.clone());
        tasks.spawn(async move {
            let mut latencies = Vec::new();
            loop {
                let Some(due): Option<Instant> = arrivals.lock().await.recv().await else { break };
                let answer = client.post(exchange.path, exchange.body.clone()).await?;
                latencies.push(due.elapsed());
                exchange.check(&answer)?;
            }
            anyhow::Ok(latencies)
        });
    }
    // The runtime's own timer has a resolution of milliseconds.
    let pace = std::thread::spawn(move || {
        let begun = Instant::now();
        let count = u32::try_from(u128::from(rate) * time.as_millis() / 1000).unwrap_or(u32::MAX);
        for number in 0..count {
            let at = begun + Duration::from_secs(1) * number / rate;
            std::thread::sleep(at.saturating_duration_since(Instant::now()));
            if due.send(at).is_err() {
                return;
            }
        }
    });
    let mut latencies = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        latencies.extend(ended??);
    }
    pace.join().ok().context("the pace broke")?;
    Ok(Quantiles::of(latencies))
}
