//! The contents that keys name by URL: each piece by piece into a file beside its place, so that none is held in memory; and asked for again
//! with what is known of the last answer. One that hangs, or an object of many that hang, keeps no other waiting for long: what failed the
//! last time has places of its own, no object has many, and none is held while a try waits for the next.

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

/// At most this many at once.
const AT_ONCE: usize = 12;

/// At most this many at once that failed before, beside the others.
const FAILING_AT_ONCE: usize = 4;

/// At most this many of them are of one object.
const OF_ONE_OBJECT: usize = 2;

/// What is known of last answers is swept when there are more than these of them, and twice what a sweep left.
const FEW: usize = 64;

type Known = HashMap<Arc<Place>, (Box<str>, Validators)>;

/// Downloads what is wanted, for ever.
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
                    known.retain(|place, _| Arc::strong_count(place) > 1); // somebody else knows the file, too
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
