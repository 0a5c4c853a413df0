//! Downloads of keys with a URL. Each is written piece by piece to a file next to its destination, so that none is held in memory, and
//! repeated with the validators of the last answer. A URL that hangs, or an object with many of them, does not delay others for long: failed
//! downloads have their own places, the places of each object are limited, and a download has no place while it waits for its next attempt.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc::UnboundedReceiver;

use super::calls::{CallError, Caller};
use super::engine::Engine;
use super::folder::Arrived;
use super::metrics::SyncMetrics;
use super::naming::Place;
use super::state::Wanted;
use crate::fetch::{Answer, FetchOutcome, Places, Validators};

/// The maximum number of concurrent downloads.
const AT_ONCE: usize = 12;

/// The maximum number of concurrent downloads that failed before, in addition to the others.
const FAILING_AT_ONCE: usize = 4;

/// The maximum number of concurrent downloads of one object.
const OF_ONE_OBJECT: usize = 2;

/// Validators are swept above this number, and above twice what the last sweep left.
const FEW: usize = 64;

type Known = HashMap<Arc<Place>, (Box<str>, Validators)>;

/// Downloads forever.
pub async fn run(engine: Engine, caller: Arc<Caller>, metrics: SyncMetrics, mut wanted: UnboundedReceiver<Arc<Place>>) {
    let (mut known, mut sweep_at) = (Known::new(), FEW);
    let places = [AT_ONCE, FAILING_AT_ONCE].map(|all| Places::new(all, OF_ONE_OBJECT));
    let mut running = FuturesUnordered::new();
    loop {
        tokio::select! {
            place = wanted.recv() => {
                let Some(place) = place else { return };
                let Some(next) = engine.begin(&place) else { continue };
                let validators = known.get(&place).filter(|(url, _)| *url == next.url && !next.anew);
                let validators = validators.map(|(_, validators)| validators.clone()).unwrap_or_default();
                let (engine, caller, places) = (&engine, &caller, &places);
                running.push(async move {
                    let answer = one(engine, caller, places, &next, validators).await;
                    (next, answer)
                });
            }
            Some((wanted, answer)) = running.next() => {
                metrics.downloaded(outcome(&answer));
                match answer {
                    Ok(Answer::Body { bytes: arrived, validators, .. }) => {
                        engine.downloaded(&wanted, arrived);
                        known.insert(wanted.place, (wanted.url, validators));
                    }
                    Ok(Answer::NotModified) => engine.same_as_before(&wanted),
                    Err(error) => engine.not_downloaded(&wanted, &error.to_string()),
                }
                if known.len() > sweep_at {
                    known.retain(|place, _| Arc::strong_count(place) > 1); // another task also has the file
                    sweep_at = FEW.max(known.len() * 2);
                }
            }
        }
    }
}

async fn one(
    engine: &Engine,
    caller: &Caller,
    places: &[Places; 2],
    wanted: &Wanted,
    known: Validators,
) -> Result<Answer<Arrived>, CallError> {
    let object = wanted.owner.to_string();
    let failed = Cell::new(wanted.failed_before);
    let turn = async || places[usize::from(failed.replace(true))].take(&object).await;
    caller.download(&wanted.url, &known, turn, || engine.draft(wanted)).await
}

fn outcome(answer: &Result<Answer<Arrived>, CallError>) -> &'static str {
    match answer {
        Ok(Answer::Body { .. }) => FetchOutcome::Ok.label(),
        Ok(Answer::NotModified) => FetchOutcome::NotModified.label(),
        Err(CallError::Fetch(error)) => error.outcome().label(),
        Err(CallError::Target(_)) => "url",
        Err(CallError::Draft(_)) => "write",
    }
}
