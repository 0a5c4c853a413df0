//! An engine on its own thread, so that no watch waits for the database.

use super::engine::{Change, Engine};
use super::finding::Finding;
use super::object::Object;
use super::{Options, StoreError};
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

/// At most this many changes are checked together.
const BATCH: usize = 4096;

/// The sender of changes. Sending never blocks. The thread ends once the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Changes(mpsc::UnboundedSender<Change>);

impl Changes {
    /// Sends a change. It is dropped if the thread has ended.
    pub fn tell(&self, change: Change) {
        let _ = self.0.send(change);
    }
}

/// The findings.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The findings by object.
    pub findings: Arc<[Finding]>,
    /// The number of sent changes that they cover.
    pub changes: u64,
}

/// The latest findings, or why the checks ended. `None` before the first check.
pub type Checks = Option<Result<Found, Arc<StoreError>>>;

/// Starts a thread that checks a mesh, and checks it again after changes.
///
/// # Errors
/// When the thread cannot be started.
pub fn start(options: Options, objects: Vec<Arc<Object>>) -> std::io::Result<(Changes, watch::Receiver<Checks>)> {
    let (changes, mut told) = mpsc::unbounded_channel();
    let (tell, found) = watch::channel(None);
    std::thread::Builder::new().name("mesh-integrity".to_owned()).spawn(move || {
        let say = |outcome: Result<Found, StoreError>| drop(tell.send_replace(Some(outcome.map_err(Arc::new))));
        let mut engine = match Engine::of_shared(options, objects) {
            Ok(engine) => engine,
            Err(error) => return say(Err(error)),
        };
        let mut found = Found { findings: heard(&engine), changes: 0 };
        say(Ok(found.clone()));
        let mut batch = Vec::new();
        loop {
            let count = told.blocking_recv_many(&mut batch, BATCH);
            if count == 0 {
                return;
            }
            if let Err(error) = engine.change(batch.drain(..)) {
                return say(Err(error));
            }
            let findings = heard(&engine);
            if found.findings != findings {
                found.findings = findings;
            }
            found.changes += u64::try_from(count).unwrap_or(u64::MAX);
            say(Ok(found.clone()));
        }
    })?;
    Ok((Changes(changes), found))
}

/// Returns the findings that the authors of the objects do not suppress.
fn heard(engine: &Engine) -> Arc<[Finding]> {
    engine.findings().iter().filter(|finding| !engine.suppresses(finding)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh_integrity::tests::{istio, objects};
    use std::time::Duration;

    #[test]
    fn what_an_author_wants_to_hear_nothing_of_is_not_found() {
        let rule = istio("DestinationRule", "shop/web", "{host: web}");
        let silenced = rule
            .replace("namespace: shop", "namespace: shop, annotations: {galley.istio.io/analyze-suppress: IST0174}");
        assert_ne!(rule, silenced);
        for (yaml, expected) in [(rule, 1), (silenced, 0)] {
            assert_eq!(heard(&Engine::new(Options::default(), objects(&yaml)).unwrap()).len(), expected);
        }
    }

    #[tokio::test]
    async fn changes_are_checked_on_a_thread_that_ends_with_the_last_teller() {
        let (changes, mut found) = start(Options::default(), Vec::new()).unwrap();
        let rule = objects(&istio("DestinationRule", "shop/web", "{host: web}")).remove(0);
        let key = rule.key().clone();
        let within = Duration::from_secs(20);
        changes.tell(Change::Applied(Arc::new(rule)));
        let told =
            found.wait_for(|found| matches!(found, Some(Ok(found)) if found.findings.len() == 1 && found.changes == 1));
        drop(tokio::time::timeout(within, told).await.unwrap().unwrap());
        changes.tell(Change::Deleted(key));
        let told =
            found.wait_for(|found| matches!(found, Some(Ok(found)) if found.findings.is_empty() && found.changes == 2));
        drop(tokio::time::timeout(within, told).await.unwrap().unwrap());
        drop(changes);
        let ended = async { while found.changed().await.is_ok() {} };
        tokio::time::timeout(within, ended).await.unwrap();
    }
}
