//! The contents that keys name by URL: each by itself, so that one that hangs keeps no other waiting, and asked for again with what is
//! known of the last answer.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;

use super::calls::{Caller, DownloadError};
use super::engine::{Engine, Wanted};
use super::metrics::SyncMetrics;
use super::naming::Place;
use crate::fetch::{Answer, FetchOutcome, Validators};

/// At most this many at once: each may be as long as the limit says.
const AT_ONCE: usize = 4;

/// Downloads what is wanted, for ever.
pub async fn run(engine: Engine, caller: Arc<Caller>, metrics: SyncMetrics, mut wanted: UnboundedReceiver<Wanted>) {
    let mut known: HashMap<Arc<Place>, (Box<str>, Validators)> = HashMap::new();
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            next = wanted.recv() => {
                let Some(next) = next else { return };
                let validators = known.get(&next.place).filter(|(url, _)| *url == next.url && !next.anew);
                let validators = validators.map(|(_, validators)| validators.clone()).unwrap_or_default();
                let (caller, places) = (caller.clone(), places.clone());
                running.spawn(async move {
                    let _place = places.acquire_owned().await;
                    let answer = caller.download(&next.url, &validators).await;
                    (next, answer)
                });
            }
            Some(ended) = running.join_next() => {
                let Ok((wanted, answer)) = ended else { continue };
                metrics.downloaded(outcome(&answer));
                match answer {
                    Ok(Answer::Body { bytes, validators, .. }) => {
                        engine.downloaded(&wanted, &bytes);
                        known.insert(wanted.place, (wanted.url, validators));
                    }
                    Ok(Answer::NotModified) => engine.same_as_before(&wanted),
                    Err(error) => engine.not_downloaded(&wanted, &error.to_string()),
                }
            }
        }
    }
}

fn outcome(answer: &Result<Answer, DownloadError>) -> &'static str {
    match answer {
        Ok(Answer::Body { .. }) => FetchOutcome::Ok.label(),
        Ok(Answer::NotModified) => FetchOutcome::NotModified.label(),
        Err(DownloadError::Fetch(error)) => error.outcome().label(),
        Err(DownloadError::Target(_)) => "url",
    }
}
