//! What this process reads of the cluster: one watch for each kind and slice that a job wants, however many jobs want it, and none
//! for what nobody wants.
//!
//! Jobs subscribe before the watches start, so that each sink is told of everything from the first list on. What reviews, and the
//! controllers of the next leader, have to know at once is read by every replica ([`Feeds`] of the process). What only a leader
//! acts on (the registered objects and the CRD, which is large) is read by [`Feeds`] of its term: a follower then has no watch
//! and no memory of it, and the leader's first list is a fresh one by itself.

use std::fmt;
use std::panic::resume_unwind;

use kube::Client;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::task::JoinSet;

use super::watch::{self, Event, Follower, Slice, Watch};

/// Watches that were not started yet, and the sinks of each.
pub struct Feeds {
    client: Client,
    followers: Vec<Follower>,
}

impl Feeds {
    /// Nothing is wanted yet.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, followers: Vec::new() }
    }

    /// Has the sink told of the objects of this slice, decoded as `K`: a slim type with the few fields that are kept of them. The
    /// same slice is watched once for all who want it, under the name that the first one gave it.
    ///
    /// * The API server is away, or refuses: the sink keeps what it has; [`Watch::problem`] says why; tries go on with a pause
    ///   that grows to about 3 s, or ends as soon as the API server answers any of these watches.
    /// * The kind is not installed: [`Watch::is_absent`]; it is looked for every 5 s. When an installed kind vanishes, the sink is
    ///   told an empty list, but not before its `CustomResourceDefinition` and discovery are without it, too.
    /// * An object cannot be decoded: it is logged, found in [`Watch::undecodable`] and left out. A change that cannot be decoded
    ///   leaves the object in the sink as it was until the next list.
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

    /// As [`Feeds::subscribe`], for the one object of this name. The sink is told how it is now, `None` while there is none.
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

    /// The watches of all slices that are wanted.
    #[must_use]
    pub fn watches(&self) -> Vec<Watch> {
        self.followers.iter().map(Follower::watch).collect()
    }

    /// Watches, for ever; dropped, it ends all watches. Whenever the API server answers one of them again after it was away, the
    /// others are tried at once.
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
        std::future::pending::<()>().await; // nothing is wanted
    }
}

impl fmt::Debug for Feeds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.followers).finish()
    }
}
