//! The Pods of the replayed cluster: pages of lists, and the stream of their changes.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};
use bytes::Bytes;
use tokio::sync::{Notify, mpsc};

use crate::recording::{Pod, Recording, Stage};
use crate::store::Version;

/// Events that were sent and not taken yet.
const UNREAD: usize = 64;

pub struct Pods {
    recording: Arc<Recording>,
    version: Version,
    inner: Mutex<Inner>,
    /// A watch was opened.
    opened: Notify,
}

#[derive(Default)]
struct Inner {
    /// Without gaps in their numbers.
    pods: VecDeque<Pod>,
    /// The version of the last change.
    changed: u64,
    stream: Option<mpsc::Sender<Bytes>>,
    marks: Marks,
}

/// What was asked for, and when.
#[derive(Clone, Copy, Debug, Default)]
pub struct Marks {
    /// The first page of the first list.
    pub listing: Option<Instant>,
    /// The watch after the last list.
    pub watching: Option<Instant>,
    /// The number of lists.
    pub lists: usize,
    /// The number of watches.
    pub watches: usize,
    /// The number of bytes sent, of lists and of events.
    pub bytes: u64,
}

/// What the status of a set must say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub matched: u64,
    pub ready: u64,
}

/// A change of a Pod.
#[derive(Clone, Copy, Debug)]
pub enum Change {
    /// The next one is created.
    Create,
    /// The one of this number gets to another stage.
    Stage(u64, Stage),
    /// It gets or loses the label that its set selects.
    Label(u64, bool),
    /// Something changes that does not matter.
    Touch(u64),
    /// The one with the lowest number is gone.
    Delete,
}

impl Pods {
    /// Creates a cluster with this many ready Pods.
    pub fn new(recording: Arc<Recording>, version: Version, pods: u64) -> Self {
        let pod = |number| Pod { number, version: 1 + number, stage: Stage::Ready, labelled: true };
        version.fetch_max(pods, Ordering::SeqCst);
        let inner = Inner { pods: (0..pods).map(pod).collect(), changed: pods, ..Inner::default() };
        Self { recording, version, inner: Mutex::new(inner), opened: Notify::new() }
    }

    /// Returns a page of a list, from the Pod at this position.
    pub fn page(&self, from: usize, limit: usize) -> Result<Vec<u8>> {
        let mut inner = self.lock();
        if from == 0 {
            inner.marks.lists += 1;
            inner.marks.listing.get_or_insert_with(Instant::now);
        }
        let mut text = Vec::with_capacity(limit * 10_000);
        let (version, end, all) = (self.version.load(Ordering::SeqCst), from + limit, inner.pods.len());
        write!(text, "{{\"kind\":\"PodList\",\"apiVersion\":\"v1\",\"metadata\":{{\"resourceVersion\":\"{version}\"")?;
        if end < all {
            write!(text, ",\"continue\":\"{end}\",\"remainingItemCount\":{}", all - end)?;
        }
        write!(text, "}},\"items\":[")?;
        for (place, pod) in inner.pods.range(from.min(all)..end.min(all)).enumerate() {
            if place > 0 {
                text.push(b',');
            }
            self.recording.write(pod, &mut text)?;
        }
        writeln!(text, "]}}")?;
        inner.marks.bytes += text.len() as u64;
        Ok(text)
    }

    /// Opens a watch from a version. `None` if there were changes since, which the API server may not remember.
    pub fn watch(&self, version: u64) -> Option<mpsc::Receiver<Bytes>> {
        let mut inner = self.lock();
        if inner.changed > version {
            return None;
        }
        let (sender, receiver) = mpsc::channel(UNREAD);
        inner.stream = Some(sender);
        inner.marks.watching = Some(Instant::now());
        inner.marks.watches += 1;
        self.opened.notify_waiters();
        Some(receiver)
    }

    /// Waits until there is a watch.
    pub async fn watched(&self) {
        loop {
            let opened = self.opened.notified();
            if self.lock().stream.as_ref().is_some_and(|stream| !stream.is_closed()) {
                return;
            }
            opened.await;
        }
    }

    /// Changes a Pod, and waits until the watch has room for the event.
    pub async fn change(&self, change: Change) -> Result<()> {
        let (event, stream) = self.apply(change)?;
        stream.send(event).await.context("the watch of Pods has ended")
    }

    fn apply(&self, change: Change) -> Result<(Bytes, mpsc::Sender<Bytes>)> {
        let mut inner = self.lock();
        let version = self.version.fetch_add(1, Ordering::SeqCst) + 1;
        inner.changed = version;
        let first = inner.pods.front().context("a Pod")?.number;
        let mut with = |number: u64, change: &dyn Fn(&mut Pod)| {
            let place = usize::try_from(number.checked_sub(first).context("a Pod that is gone")?)?;
            let pod = inner.pods.get_mut(place).context("a Pod that does not exist yet")?;
            change(pod);
            pod.version = version;
            anyhow::Ok(*pod)
        };
        let (event, pod) = match change {
            Change::Create => {
                let number = first + inner.pods.len() as u64;
                let pod = Pod { number, version, stage: Stage::Pending, labelled: true };
                inner.pods.push_back(pod);
                ("ADDED", pod)
            }
            Change::Stage(number, stage) => ("MODIFIED", with(number, &|pod| pod.stage = stage)?),
            Change::Label(number, labelled) => ("MODIFIED", with(number, &|pod| pod.labelled = labelled)?),
            Change::Touch(number) => ("MODIFIED", with(number, &|_| ())?),
            Change::Delete => {
                let pod = inner.pods.pop_front().context("a Pod")?;
                ("DELETED", Pod { version, ..pod })
            }
        };
        let mut line = Vec::with_capacity(10_000);
        write!(line, "{{\"type\":\"{event}\",\"object\":{{\"kind\":\"Pod\",\"apiVersion\":\"v1\"")?;
        let start = line.len();
        self.recording.write(&pod, &mut line)?;
        line[start] = b','; // the object has begun already
        writeln!(line, "}}")?;
        inner.marks.bytes += line.len() as u64;
        let stream = inner.stream.clone().context("nobody watches Pods")?;
        Ok((line.into(), stream))
    }

    /// Returns the numbers of the Pods.
    pub fn numbers(&self) -> std::ops::Range<u64> {
        let inner = self.lock();
        let first = inner.pods.front().map_or(0, |pod| pod.number);
        first..first + inner.pods.len() as u64
    }

    /// Returns what the status of each set must say.
    pub fn counts(&self) -> Vec<Counts> {
        let mut counts = vec![Counts::default(); self.recording.sets.len()];
        for pod in &self.lock().pods {
            let counted = &mut counts[self.recording.set_of(pod.number)];
            if pod.labelled && pod.stage != Stage::Ending {
                counted.matched += 1;
                counted.ready += u64::from(pod.stage == Stage::Ready);
            }
        }
        counts
    }

    pub fn marks(&self) -> Marks {
        self.lock().marks
    }

    /// Returns the version of the last change of any object.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::SeqCst)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
