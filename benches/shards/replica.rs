//! A simulated replica: competes for the Leases of shards, watches all Pods, and keeps those of the shards that it holds.

use std::collections::BTreeSet;
use std::io::stdin;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use outrigger::cluster::calls::HEAD_TIMEOUT;
use outrigger::cluster::{Access, Event, Feeds, Leadership, Slice, Term, Versioned, Watch, connect, lease};
use outrigger::rollout::{PodIndex, WatchedPod};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

/// The number of shards.
pub const SHARDS: usize = 4;
/// The namespace of the Leases.
pub const LEASES: &str = "default";
/// A process that holds a shard competes for others only after this time, so that those that start with it find one.
const MODESTY: Duration = Duration::from_secs(5);

/// A line of the standard input that asks for the namespaces and names of all Pods that are kept. Any other line asks for a
/// [`Report`].
pub const PODS: &str = "pods";

/// What a replica answers.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Report {
    /// The shards whose Leases it holds.
    pub held: BTreeSet<usize>,
    /// Those of which it has all Pods.
    pub listed: BTreeSet<usize>,
    /// The number of Pods that it keeps.
    pub pods: usize,
    /// The changes of Pods that it received.
    pub events: usize,
    /// Those of its own shards.
    pub own_events: usize,
}

/// A replica.
#[derive(Clone)]
struct Replica {
    client: Client,
    identity: String,
    kept: Arc<Mutex<Kept>>,
    watch: Watch,
}

#[derive(Default)]
struct Kept {
    report: Report,
    index: PodIndex,
    /// The Pods by namespace and name.
    pods: BTreeSet<String>,
    /// The Pods of a list that has begun.
    listed: BTreeSet<String>,
}

/// The part of a Pod that decides whether the rest is read.
#[derive(Deserialize)]
struct Head {
    metadata: Name,
}

#[derive(Deserialize)]
struct Name {
    namespace: String,
    name: String,
}

/// A shard that is held.
struct Held {
    shard: usize,
    kept: Arc<Mutex<Kept>>,
}

/// Returns the shard of a namespace, the same in each process and version.
pub fn shard_of(namespace: &str) -> usize {
    usize::from(Sha256::digest(namespace.as_bytes())[0]) % SHARDS
}

/// Runs a replica until its standard input ends.
pub async fn run(kubeconfig: &Path) -> Result<()> {
    let access = Access { kubeconfig: Some(kubeconfig), context: None };
    let (client, _) = connect(access, HEAD_TIMEOUT, Arc::new(())).await?;
    let kept = Arc::new(Mutex::new(Kept::default()));
    let mut feeds = Feeds::new(client.clone());
    let sink = Arc::clone(&kept);
    let watch = feeds.subscribe(Slice::all::<Pod>("pods").page_size(200), move |event: Event<Box<RawValue>>| {
        if let Err(error) = lock(&sink).take(event) {
            eprintln!("{error:#}");
        }
    });
    tokio::spawn(feeds.run());
    let replica = Replica { client, identity: lease::identity(), kept, watch };
    tokio::spawn(replica.clone().compete());
    spawn_blocking(move || answer(&replica.kept)).await?
}

/// Answers what it is asked.
fn answer(kept: &Mutex<Kept>) -> Result<()> {
    for line in stdin().lines() {
        let answer = match (line?.as_str(), &*lock(kept)) {
            (PODS, kept) => serde_json::to_string(&kept.pods)?,
            (_, kept) => serde_json::to_string(&Report { pods: kept.pods.len(), ..kept.report.clone() })?,
        };
        println!("{answer}");
    }
    Ok(())
}

impl Replica {
    /// Competes for one shard after the other until it holds one, and for all others later.
    async fn compete(self) {
        let begin = fastrand::usize(..SHARDS);
        let mut order = (begin..begin + SHARDS).map(|shard| shard % SHARDS).cycle();
        let first = loop {
            let Some(shard) = order.next() else { return };
            if self.try_hold(shard).await {
                break shard;
            }
        };
        tokio::time::sleep(MODESTY).await;
        for shard in (0..SHARDS).filter(|shard| *shard != first) {
            tokio::spawn(self.clone().hold(self.leadership(shard), shard, CancellationToken::new()));
        }
    }

    /// Competes for a shard until somebody holds it. Returns whether it is this process, which then goes on.
    async fn try_hold(&self, shard: usize) -> bool {
        let (leadership, stop) = (self.leadership(shard), CancellationToken::new());
        let mut standing = leadership.standing();
        let competing = tokio::spawn(self.clone().hold(leadership, shard, stop.clone()));
        let decided = standing.wait_for(|now| now.leads || !now.fails && now.says.ends_with(" leads")).await;
        let leads = decided.is_ok_and(|now| now.leads);
        if !leads {
            stop.cancel();
            let _ended = competing.await;
        }
        leads
    }

    fn leadership(&self, shard: usize) -> Leadership {
        Leadership::new(self.client.clone(), LEASES, &format!("shard-{shard}"), self.identity.clone())
    }

    async fn hold(self, leadership: Leadership, shard: usize, stop: CancellationToken) {
        leadership.run(&stop, |term| self.clone().work(term, shard)).await;
    }

    /// Keeps the Pods of a shard for a term. It dropped them until now, so it needs a new list.
    async fn work(self, term: Term, shard: usize) {
        lock(&self.kept).report.held.insert(shard);
        let _held = Held { shard, kept: Arc::clone(&self.kept) };
        self.watch.fresh().await;
        lock(&self.kept).report.listed.insert(shard);
        term.ended().await;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut kept = lock(&self.kept);
        kept.report.held.remove(&self.shard);
        kept.report.listed.remove(&self.shard);
    }
}

impl Kept {
    fn take(&mut self, event: Event<Box<RawValue>>) -> Result<()> {
        self.report.events += usize::from(matches!(event, Event::Applied(_) | Event::Deleted(_)));
        match event {
            Event::Begin => {
                self.index.begin_list();
                self.listed.clear();
            }
            Event::Item(pod) => {
                if let Some(pod) = self.own(&pod)? {
                    self.index.apply_pod(&pod);
                    self.listed.insert(key(&pod));
                }
            }
            Event::End => {
                self.index.end_list();
                self.pods = std::mem::take(&mut self.listed);
            }
            Event::Applied(pod) => {
                if let Some(pod) = self.own(&pod)? {
                    self.report.own_events += 1;
                    self.index.apply_pod(&pod);
                    self.pods.insert(key(&pod));
                }
            }
            Event::Deleted(pod) => {
                if let Some(pod) = self.own(&pod)? {
                    self.report.own_events += 1;
                    let version = pod.version();
                    self.index.delete_pod(version.namespace, version.name);
                    self.pods.remove(&key(&pod));
                }
            }
        }
        Ok(())
    }

    /// Reads a Pod if it is of a shard that is held.
    fn own(&self, pod: &RawValue) -> Result<Option<WatchedPod>> {
        let Head { metadata: Name { namespace, name } } = serde_json::from_str(pod.get())?;
        if !self.report.held.contains(&shard_of(&namespace)) {
            return Ok(None);
        }
        serde_json::from_str(pod.get()).map(Some).with_context(|| format!("{namespace}/{name}"))
    }
}

fn key(pod: &WatchedPod) -> String {
    let version = pod.version();
    format!("{}/{}", version.namespace, version.name)
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}
