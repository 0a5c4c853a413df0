//! What this process reads from the cluster: one watch for each kind and slice, shared by all jobs that need it.
//!
//! Jobs subscribe before the watches start, so each sink sees everything from the first list on. What reviews and the controllers
//! of the next leader need at once is read by every replica ([`Feeds`] of the process). What only a leader uses (the registered
//! objects, and the CRD, which is large) is read by the [`Feeds`] of its term. A follower then has no watch of it and keeps it
//! out of memory, and the leader's first list is always fresh.

use std::fmt;
use std::panic::resume_unwind;

use kube::Client;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::task::JoinSet;

use super::watch::{self, Event, Follower, Slice, Watch};

/// Watches that have not started yet, with their sinks.
pub struct Feeds {
    client: Client,
    followers: Vec<Follower>,
}

impl Feeds {
    /// Creates feeds without subscriptions.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, followers: Vec::new() }
    }

    /// Subscribes a sink to the objects of this slice, decoded as `K`, a slim type with the few fields that are kept. A slice is
    /// watched once for all subscribers, under the name given by the first one.
    ///
    /// * If the API server is unreachable or rejects the watch, the sink keeps its state and [`Watch::problem`] gives the
    ///   reason. Retries continue with a pause that grows to about 3 s. The pause ends as soon as the API server answers any
    ///   of these watches.
    /// * If the kind is not installed, [`Watch::is_absent`] is true, and the kind is looked up every 5 s. When an installed kind
    ///   disappears, the sink receives an empty list, but only after both its `CustomResourceDefinition` and discovery no longer
    ///   have it.
    /// * An object that cannot be decoded is logged, listed in [`Watch::undecodable`] and skipped. If a change cannot be decoded,
    ///   the sink keeps the previous state of the object until the next list.
    pub fn subscribe<K>(&mut self, slice: Slice, mut sink: impl FnMut(Event<K>) + Send + 'static) -> Watch
    where
        K: DeserializeOwned,
    {
        let sink = Box::new(move |event: Event<&RawValue>| event.try_map(watch::decode::<K>).map(&mut sink));
        let known = self.followers.iter_mut().position(|follower| follower.join(&slice));
        let place = known.unwrap_or(self.followers.len());
        if known.is_none() {
            self.followers.push(Follower::new(self.client.clone(), slice));
        }
        let follower = &mut self.followers[place];
        follower.add(sink);
        follower.watch()
    }

    /// Like [`Feeds::subscribe`], for the single object of this name. The sink receives its current state, `None` while
    /// it does not exist.
    pub fn subscribe_one<K>(
        &mut self,
        slice: Slice,
        name: &str,
        mut sink: impl FnMut(Option<K>) + Send + 'static,
    ) -> Watch
    where
        K: DeserializeOwned + Send + 'static,
    {
        let mut listed = None;
        self.subscribe(slice.named(name), move |event| match event {
            Event::Begin => listed = None,
            Event::Item(object) => listed = Some(object),
            Event::End => sink(listed.take()),
            Event::Applied(object) => sink(Some(object)),
            Event::Deleted(_) => sink(None),
        })
    }

    /// Returns the watches of all subscribed slices.
    #[must_use]
    pub fn watches(&self) -> Vec<Watch> {
        self.followers.iter().map(Follower::watch).collect()
    }

    /// Watches forever; dropping the future ends all watches. When the API server answers one of them after an outage, the
    /// others are retried at once.
    pub async fn run(self) {
        let mut tasks = JoinSet::new();
        let recovery = watch::recover_together(self.watches());
        for follower in self.followers {
            tasks.spawn(follower.run());
        }
        let panics = async {
            while let Some(ended) = tasks.join_next().await {
                if let Err(error) = ended
                    && let Ok(panic) = error.try_into_panic()
                {
                    resume_unwind(panic);
                }
            }
        };
        tokio::join!(panics, recovery);
        std::future::pending::<()>().await; // nothing is subscribed
    }
}

impl fmt::Debug for Feeds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.followers).finish()
    }
}
