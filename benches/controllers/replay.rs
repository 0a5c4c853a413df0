//! A replayed cluster with `outrigger serve` beside it.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::pods::{Change, Counts, Pods};
use crate::process::Memory;
use crate::program::Program;
use crate::recording::{NAMESPACES, Recording, Stage, namespace};
use crate::server::Server;
use crate::store::{Store, Version};

const SETS: &str = "/apis/apps.kruise.io/v1beta1/sidecarsets";
const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
/// The maximum time until the status of all sets is right.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often they are looked at.
const GLANCE: Duration = Duration::from_millis(2);
/// Freed memory is returned to the system within this time, with all settings of the allocator that are tried.
const REST: Duration = Duration::from_secs(3);
/// The events of each Pod of [`Replay::replace`].
pub const EVENTS_OF_A_POD: u64 = 7;

/// The cluster.
pub struct Replay {
    pub pods: Arc<Pods>,
    store: Arc<Store>,
    program: Program,
    _server: Server,
}

/// The first sync.
#[derive(Clone, Copy, Debug)]
pub struct FirstSync {
    /// From the first request for Pods until the status of all sets is right.
    pub took: Duration,
    /// From the first request for Pods until they are watched.
    pub listed: Duration,
    /// How often Pods were listed.
    pub lists: usize,
    /// Processor time of the program since its start.
    pub cpu: Duration,
    pub bytes: u64,
}

/// What some changes took until the status of all sets was right again.
#[derive(Clone, Copy, Debug)]
pub struct Spent {
    pub took: Duration,
    pub cpu: Duration,
    pub status_writes: usize,
}

impl Replay {
    /// Serves a cluster with ready Pods and their sets, which outrigger has not seen before, and starts outrigger.
    pub async fn start(pods: u64, sets: usize, settings: Option<&str>) -> Result<Self> {
        let version = Version::new(AtomicU64::new(0));
        let recording = Arc::new(Recording::of(sets)?);
        let pods = Arc::new(Pods::new(recording.clone(), version.clone(), pods));
        let store = Arc::new(Store::new(version));
        let namespaces = (0..NAMESPACES as u64).map(namespace).chain(["outrigger-system".to_owned()]);
        for name in namespaces {
            store.put(
                "/api/v1/namespaces",
                json!({"metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}}}),
            );
        }
        store.put(CRDS, json!({
            "metadata": {"name": "sidecarsets.apps.kruise.io", "generation": 1}, "spec": {"group": "apps.kruise.io"},
            "status": {"storedVersions": ["v1beta1"]},
        }));
        for set in &recording.sets {
            store.put(SETS, set.clone());
        }
        let server = Server::start(store.clone(), pods.clone()).await?;
        let program = Program::start(server.address, settings)?;
        Ok(Self { pods, store, program, _server: server })
    }

    /// Waits for the first sync.
    pub async fn first_sync(&self) -> Result<FirstSync> {
        self.settled().await?;
        let (now, marks) = (Instant::now(), self.pods.marks());
        let listing = marks.listing.context("Pods were listed")?;
        let watching = marks.watching.context("Pods are watched")?;
        Ok(FirstSync {
            took: now - listing,
            listed: watching - listing,
            lists: marks.lists,
            bytes: marks.bytes,
            cpu: self.program.cpu()?,
        })
    }

    /// Makes changes, and waits until the status of all sets is right again.
    pub async fn spent(&self, changes: impl Iterator<Item = Change>) -> Result<Spent> {
        timeout(PATIENCE, self.pods.watched()).await.context("Pods are not watched")?;
        let (begun, cpu, writes) = (Instant::now(), self.program.cpu()?, self.status_writes());
        for change in changes {
            self.pods.change(change).await?;
        }
        self.settled().await?;
        let took = begun.elapsed();
        let cpu = self.program.cpu()?.saturating_sub(cpu);
        Ok(Spent { took, cpu, status_writes: self.status_writes() - writes })
    }

    /// Returns the events of so many Pods that are created and become ready while the oldest ones are deleted.
    pub fn replace(&self, pods: u64) -> impl Iterator<Item = Change> + use<> {
        let numbers = self.pods.numbers();
        (0..pods).flat_map(move |n| {
            let (new, old) = (numbers.end + n, numbers.start + n);
            [
                Change::Create,
                Change::Stage(new, Stage::Assigned),
                Change::Stage(new, Stage::Starting),
                Change::Stage(new, Stage::Ready),
                Change::Stage(old, Stage::Ending),
                Change::Touch(old),
                Change::Delete,
            ]
        })
    }

    /// Returns the memory of the program after some rest.
    pub async fn memory(&self) -> Result<Memory> {
        sleep(REST).await;
        self.program.memory()
    }

    /// Returns the processor time of the program.
    pub fn cpu(&self) -> Result<Duration> {
        self.program.cpu()
    }

    /// Prints what outrigger wrote.
    pub fn print_writes(&self) {
        eprintln!("{:?}", self.store.all_writes());
    }

    fn status_writes(&self) -> usize {
        self.store.writes("PATCH sidecarsets/status")
    }

    /// Waits until the status of all sets is right.
    async fn settled(&self) -> Result<()> {
        let expected = self.pods.counts();
        let deadline = Instant::now() + PATIENCE;
        let mut changes = self.store.changes();
        loop {
            changes.borrow_and_update();
            let seen = self.store.all(SETS, counts);
            let wrong = seen.iter().zip(&expected).position(|(seen, expected)| *seen != Some(*expected));
            let Some(wrong) = wrong else { return Ok(()) };
            ensure!(
                Instant::now() < deadline,
                "the status of set {wrong} says {:?}, and not {:?}; the log of outrigger:\n{}",
                seen[wrong],
                expected[wrong],
                self.program.log()
            );
            let _none = timeout(Duration::from_secs(1), changes.changed()).await;
            sleep(GLANCE).await;
        }
    }
}

/// Returns the counts in the status of a set, if it has one.
fn counts(set: &Value) -> Option<Counts> {
    let count = |field: &str| set["status"][field].as_u64();
    count("observedGeneration")?;
    Some(Counts { matched: count("matchedPods")?, ready: count("readyPods")? })
}
