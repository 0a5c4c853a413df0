//! The work of a watch: list, follow the changes, start over where that broke off.

use std::marker::PhantomData;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::{Stream, TryStreamExt};
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::core::Request;
use kube::runtime::watcher::Config;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::decode::{self, Seen};
use super::installed::KindName;
use super::pause::Pauses;
use super::{Event, Kind, Shared, State, Undecodable};
use crate::cluster::client::describe;

/// A watch is begun anew after this many seconds, or less if the caller wants that: so soon a dead connection is noticed.
const WATCH_SECONDS: u32 = 60;

/// So much later than it should have ended, a silent watch is given up as dead.
const OVERTIME: Duration = Duration::from_secs(5);

/// Between two looks for a kind that is not installed.
const ABSENT_PAUSE: Duration = Duration::from_secs(5);

/// A watch that ends sooner, without a word, is no watch; one that is open for so long is well.
const SHORTEST_WATCH: Duration = Duration::from_secs(1);

/// So many different problems of one bad spell are logged.
const MOST_LOGGED: usize = 20;

pub(super) struct Follower<K, S> {
    client: Client,
    request: Request,
    /// `None`: every API server has it.
    name: Option<KindName>,
    /// Whether only metadata are asked for.
    metadata: bool,
    list: ListParams,
    watch: WatchParams,
    shared: Arc<Shared>,
    /// How many lists had been asked for when the present request was sent.
    asked: u64,
    /// Those of the present bad spell.
    pauses: Pauses,
    /// The problems of the present bad spell, each of which is logged once.
    logged: Vec<String>,
    /// When the API server first said, in the present bad spell, that it does not know the kind.
    absent_since: Instant,
    sink: S,
    objects: PhantomData<fn() -> K>,
}

/// Why listing or following came to an end.
enum Stop {
    /// The watch is over, as all are after a while: go on from the same place.
    Over,
    /// A new list is needed, now.
    List,
    /// The API server no longer knows where we were, which it says so: list, though not at once.
    Expired(String),
    /// It does not know the kind.
    Absent,
    /// It failed.
    Failed(Failure),
}

/// What went wrong.
struct Failure {
    problem: String,
    /// Whether the API server itself said so, in its right mind.
    answered: bool,
}

impl<K, S> Follower<K, S>
where
    K: DeserializeOwned + Send,
    S: FnMut(Event<K>) + Send,
{
    pub(super) fn new<R: Resource>(api: Api<R>, config: Config, shared: Arc<Shared>, sink: S) -> Self {
        let list = ListParams {
            label_selector: config.label_selector.clone(),
            field_selector: config.field_selector.clone(),
            limit: config.page_size,
            ..ListParams::default()
        };
        let watch = WatchParams {
            label_selector: config.label_selector,
            field_selector: config.field_selector,
            timeout: Some(config.timeout.map_or(WATCH_SECONDS, |seconds| seconds.clamp(1, WATCH_SECONDS))),
            bookmarks: true,
            send_initial_events: false,
        };
        Self {
            request: Request::new(api.resource_url()),
            name: KindName::of(api.resource_url()),
            client: api.into_client(),
            metadata: R::metadata_api(),
            list,
            watch,
            shared,
            asked: 0,
            pauses: Pauses::default(),
            logged: Vec::new(),
            absent_since: Instant::now(),
            sink,
            objects: PhantomData,
        }
    }

    pub(super) async fn run(mut self) {
        // From where to follow; a list is needed without.
        let mut version = None;
        loop {
            if self.is_list_wanted() {
                version = None;
            }
            let stop = match &mut version {
                None => match self.list().await {
                    Ok(listed) => {
                        version = Some(listed);
                        continue;
                    }
                    Err(stop) => stop,
                },
                Some(version) => self.follow(version).await,
            };
            let pause = match stop {
                Stop::Over => continue,
                Stop::List => {
                    version = None;
                    continue;
                }
                Stop::Expired(problem) => {
                    version = None;
                    self.failed(Failure { problem, answered: true })
                }
                Stop::Absent => {
                    version = None;
                    self.absent().await
                }
                Stop::Failed(failure) => self.failed(failure),
            };
            tokio::select! {
                () = sleep(pause) => {}
                // Somebody waits for a list, or knows that the API server is there again: what fails now is soon well.
                () = self.shared.wake.notified() => self.pauses.reset(),
            }
        }
    }

    /// Lists everything, page by page, and gives it to the sink. Returns from where to follow.
    async fn list(&mut self) -> Result<String, Stop> {
        self.asked = self.shared.wanted.load(Ordering::SeqCst);
        let mut params = self.list.clone();
        let (mut objects, mut undecodable) = (Vec::new(), Vec::new());
        let version = loop {
            let request = if self.metadata { self.request.list_metadata(&params) } else { self.request.list(&params) };
            let request = request.map_err(|error| Stop::Failed(Failure::ours(error.to_string())))?;
            let text = self.client.request_text(request).await.map_err(|error| not_listed(&error))?;
            let page = decode::page(&text)
                .map_err(|error| Stop::Failed(Failure::ours(format!("listing: the answer is no list: {error}"))))?;
            objects.extend(page.objects);
            undecodable.extend(page.undecodable);
            if !page.next.is_empty() {
                params.continue_token = Some(page.next);
            } else if page.resource_version.is_empty() {
                let problem = "listing: the list has no resourceVersion; is this an API server?".to_owned();
                return Err(Stop::Failed(Failure::ours(problem)));
            } else {
                break page.resource_version;
            }
        };
        self.shared.set_undecodable(undecodable);
        tracing::debug!(kind = self.shared.what, objects = objects.len(), "listed");
        (self.sink)(Event::Reset(objects));
        let asked = self.asked;
        self.well(|state| {
            state.kind = Kind::Present;
            state.answered = asked;
        });
        Ok(version)
    }

    /// Follows the changes after `version`, which goes along.
    async fn follow(&mut self, version: &mut String) -> Stop {
        let request = if self.metadata {
            self.request.watch_metadata(&self.watch, version)
        } else {
            self.request.watch(&self.watch, version)
        };
        let request = match request {
            Ok(request) => request,
            Err(error) => return Stop::Failed(Failure::ours(error.to_string())),
        };
        self.asked = self.shared.wanted.load(Ordering::SeqCst);
        let events = match self.client.request_events::<Box<RawValue>>(request).await {
            Ok(events) => events,
            Err(error) => return not_followed(&error),
        };
        self.shared.state.send_if_modified(|state| !std::mem::replace(&mut state.answers, true));
        let mut proven = false;
        match self.take_all(events, version, &mut proven).await {
            // It did answer. If it counted as away, each such watch would look like the end of an outage, and wake the others.
            Stop::Failed(failure) if !proven => Stop::Failed(Failure { answered: true, ..failure }),
            stop => stop,
        }
    }

    /// Takes the events of a watch until that ends; whether it was well for a while.
    async fn take_all(
        &mut self,
        events: impl Stream<Item = kube::Result<WatchEvent<Box<RawValue>>>>,
        version: &mut String,
        proven: &mut bool,
    ) -> Stop {
        let mut events = pin!(events);
        let proof = Instant::now() + SHORTEST_WATCH;
        let silence = Duration::from_secs(self.watch.timeout.unwrap_or(WATCH_SECONDS).into()) + OVERTIME;
        while !self.is_list_wanted() {
            let event = tokio::select! {
                event = timeout(silence, events.try_next()) => event,
                () = self.shared.wake.notified() => continue,
                () = sleep_until(proof), if !*proven => {
                    *proven = true;
                    self.follows();
                    continue;
                }
            };
            match event {
                Ok(Ok(Some(event))) => {
                    if let Some(stop) = self.take(event, version) {
                        return stop;
                    }
                    if !std::mem::replace(proven, true) {
                        self.follows();
                    }
                }
                Ok(Ok(None)) if !*proven => {
                    return Stop::Failed(Failure::ours("watching: the watch ended at once".to_owned()));
                }
                Ok(Ok(None)) | Err(_) => return Stop::Over,
                Ok(Err(error)) => return not_followed(&error),
            }
        }
        Stop::List
    }

    /// Whether somebody waits for a list that was not begun yet.
    fn is_list_wanted(&self) -> bool {
        self.shared.wanted.load(Ordering::SeqCst) > self.shared.state.borrow().answered
    }

    /// Gives the sink an event of the watch. Why it cannot go on, if so.
    fn take(&mut self, event: WatchEvent<Box<RawValue>>, version: &mut String) -> Option<Stop> {
        let (raw, deleted) = match event {
            WatchEvent::Added(raw) | WatchEvent::Modified(raw) => (raw, false),
            WatchEvent::Deleted(raw) => (raw, true),
            WatchEvent::Bookmark(bookmark) => {
                *version = bookmark.metadata.resource_version;
                self.well(|_| {});
                return None;
            }
            WatchEvent::Error(status) => return Some(not_followed(&kube::Error::Api(status))),
        };
        let Seen { resource_version, namespace, name, object } = decode::object(&raw);
        match object {
            Ok(object) => {
                self.shared.forget_undecodable(namespace, name);
                (self.sink)(if deleted { Event::Deleted(object) } else { Event::Applied(object) });
            }
            // The sink may have an older state of it, and cannot be told what is gone.
            Err(_) if deleted => return Some(Stop::List),
            Err(problem) => self.shared.add_undecodable(Undecodable { namespace, name, problem }),
        }
        let Some(next) = resource_version else {
            let problem = "watching: an object has no resourceVersion; everything is listed anew".to_owned();
            return Some(Stop::Expired(problem));
        };
        *version = next;
        self.well(|_| {});
        None
    }

    /// The API server answered; what is known is up to date.
    fn well(&mut self, change: impl FnOnce(&mut State)) {
        self.shared.state.send_if_modified(|state| {
            let answers = std::mem::replace(&mut state.answers, true);
            let before = (state.kind, state.answered, state.problem.take().is_some(), answers);
            change(state);
            state.confirmed = Some(Instant::now());
            before != (state.kind, state.answered, false, true)
        });
    }

    /// The watch itself goes on: a bad spell, if there was one, is over. A list alone does not end it, for the next watch may break
    /// off like the one before.
    fn follows(&mut self) {
        self.well(|_| {});
        self.pauses.reset();
        if !self.logged.is_empty() {
            self.logged.clear();
            tracing::info!(kind = self.shared.what, "the watch is well again");
        }
    }

    /// How long to wait until it is tried again.
    fn failed(&mut self, Failure { problem, answered }: Failure) -> Duration {
        if self.first_time(&problem) {
            tracing::warn!(kind = self.shared.what, problem, "the watch is broken; it is tried again");
        }
        self.shared.state.send_modify(|state| {
            state.problem = Some(problem);
            state.answers = answered;
        });
        self.pauses.next(fastrand::f64())
    }

    /// The API server does not know the kind. Where it did before, that must be certain, and said again after [`ABSENT_PAUSE`], however
    /// often it is asked meanwhile: what is known would all be dropped. How long to wait until it is tried again.
    async fn absent(&mut self) -> Duration {
        let known = self.shared.state.borrow().kind == Kind::Present;
        if known {
            let installed = match &self.name {
                Some(name) => name.is_installed(&self.client).await,
                None => Ok(true),
            };
            let kept = match installed {
                Ok(false) => None,
                Ok(true) => Some("although it is installed".to_owned()),
                Err(error) => Some(format!("and not whether it is installed: {}", describe(&error))),
            };
            if let Some(why) = kept {
                let problem = format!("the API server does not know this kind now, {why}; what was known is kept");
                return self.failed(Failure { problem, answered: true });
            }
        }
        let problem = "the API server does not know this kind: its CustomResourceDefinition is not installed";
        if self.first_time(problem) {
            tracing::info!(kind = self.shared.what, "{problem}; it is looked for every {} s", ABSENT_PAUSE.as_secs());
        }
        if self.shared.state.borrow().problem.as_deref() != Some(problem) {
            self.absent_since = Instant::now();
        }
        let said_before = self.absent_since.elapsed() >= ABSENT_PAUSE;
        if known && said_before {
            self.shared.set_undecodable(Vec::new());
            (self.sink)(Event::Reset(Vec::new()));
        }
        let asked = self.asked;
        self.shared.state.send_modify(|state| {
            state.problem = Some(problem.to_owned());
            state.answers = true;
            if !known || said_before {
                state.kind = Kind::Absent;
                state.answered = asked;
                state.confirmed = Some(Instant::now());
            }
        });
        ABSENT_PAUSE
    }

    fn first_time(&mut self, problem: &str) -> bool {
        let new = self.logged.len() < MOST_LOGGED && !self.logged.iter().any(|logged| logged == problem);
        if new {
            self.logged.push(problem.to_owned());
        }
        new
    }
}

impl Failure {
    /// No answer of the API server, or none that it would give.
    fn ours(problem: String) -> Self {
        Self { problem, answered: false }
    }

    fn of(doing: &str, error: &kube::Error) -> Self {
        let answered = matches!(error, kube::Error::Api(status) if status.code < 500 && status.code != 429);
        Self { problem: format!("{doing}: {}", describe(error)), answered }
    }
}

fn not_listed(error: &kube::Error) -> Stop {
    match error {
        kube::Error::Api(status) if status.code == 404 => Stop::Absent,
        error => Stop::Failed(Failure::of("listing", error)),
    }
}

fn not_followed(error: &kube::Error) -> Stop {
    match error {
        kube::Error::Api(status) if status.code == 404 => Stop::Absent,
        // 400: not even a version, for the API server that is there now.
        kube::Error::Api(status) if matches!(status.code, 400 | 410) => {
            Stop::Expired(format!("watching: {}; everything is listed anew", describe(error)))
        }
        error => Stop::Failed(Failure::of("watching", error)),
    }
}
