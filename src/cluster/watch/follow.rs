//! The loop of a watch: list, follow the changes, and start over after an interruption.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::{Stream, TryStreamExt};
use kube::Client;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::core::Request;
use serde_json::value::RawValue;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::decode::{self, Identity};
use super::installed::KindName;
use super::pause::Pauses;
use super::{Event, KindPresence, MOST_REMEMBERED, Pace, SharedWatch, Slice, Undecodable, Watch, WatchState};
use crate::cluster::client::describe;

/// The time between two lookups of a kind that is not installed.
const ABSENT_PAUSE: Duration = Duration::from_secs(5);

/// A watch that ends sooner without an event counts as failed. A watch that is open this long counts as working.
const SHORTEST_WATCH: Duration = Duration::from_secs(1);

/// A watch that is open this long must have delivered something, if only a bookmark. API servers send one every minute,
/// and two seconds before a watch ends.
const LONGEST_SILENCE: Duration = Duration::from_secs(55);

/// After a larger page, fewer objects are requested at once, because a whole page is in memory.
const PAGE_BYTES: usize = 1024 * 1024;

/// At most this many different problems of one outage are logged.
const MOST_LOGGED: usize = 20;

/// At most this many objects of a list are delivered in one go. Then other tasks run, so that reviews do not wait for a
/// list.
const IN_ONE_GO: usize = 16;

/// The destination of a watch's events. An error describes the problem of an object.
type Sink = Box<dyn FnMut(Event<&RawValue>) -> Result<(), String> + Send>;

/// A watch and its sinks.
pub(in crate::cluster) struct Follower {
    client: Client,
    slice: Slice,
    sinks: Vec<Sink>,
    shared: Arc<SharedWatch>,
    /// The number of lists requested when the current request was sent.
    asked: u64,
    /// The pauses of the current outage.
    pauses: Pauses,
    /// The problems of the current outage. Each is logged once.
    logged: Vec<String>,
    /// The time when the API server first reported, in the current outage, that it does not know the kind.
    absent_since: Instant,
}

/// Why listing or following ended.
enum Stop {
    /// The watch ended, as all do after a while. Continue from the same version.
    Over,
    /// A new list is needed now.
    List,
    /// The API server reports that our version has expired. List again, after a pause.
    Expired(String),
    /// It does not know the kind.
    Absent,
    /// It failed.
    Failed(Failure),
}

/// A failure.
struct Failure {
    problem: String,
    /// Whether it is the API server's own, regular answer.
    answered: bool,
}

impl Follower {
    pub fn new(client: Client, slice: Slice) -> Self {
        Self {
            client,
            shared: Arc::new(SharedWatch::new(slice.what())),
            pauses: slice.pauses(),
            slice,
            sinks: Vec::new(),
            asked: 0,
            logged: Vec::new(),
            absent_since: Instant::now(),
        }
    }

    /// Also follows this slice, if it has the same objects. Returns whether it does.
    pub fn join(&mut self, slice: &Slice) -> bool {
        let is_same = self.slice.is_same_as(slice);
        if is_same {
            self.slice.join(slice);
        }
        is_same
    }

    /// Adds a sink.
    pub fn add(&mut self, sink: Sink) {
        self.sinks.push(sink);
    }

    /// Returns the state of the watch.
    pub fn watch(&self) -> Watch {
        Watch { shared: self.shared.clone() }
    }

    /// Lists and follows forever.
    pub async fn run(mut self) {
        // The version to follow from. Without one a list is needed.
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
                // Somebody waits for a list, or knows that the API server is back: a failure now will soon be over.
                () = self.shared.wake.notified() => self.pauses.reset(),
            }
        }
    }

    /// Lists all objects and delivers them one by one, page by page. Returns the version to follow from.
    ///
    /// All pages are of the moment of the first one. If somebody asks for a newer list in between, as a new leader does right after
    /// its start, the list begins again instead of being read to its end in vain. It does so once, so that it ends however often it is
    /// asked for.
    async fn list(&mut self) -> Result<String, Stop> {
        self.asked = self.shared.wanted.load(Ordering::SeqCst);
        let mut params = self.slice.list();
        let (mut objects, mut undecodable) = (0_usize, Vec::new());
        let mut has_begun_again = false;
        let version = loop {
            let text =
                self.client.request_text(self.list_request(&params)?).await.map_err(|error| not_listed(&error))?;
            let page = decode::page(&text)
                .map_err(|error| Stop::Failed(Failure::ours(format!("listing: the answer is not a list: {error}"))))?;
            if page.next.is_empty() && page.resource_version.is_empty() {
                let problem = "listing: the list has no resourceVersion; is this an API server?".to_owned();
                return Err(Stop::Failed(Failure::ours(problem)));
            }
            if params.continue_token.is_none() {
                let _ = self.tell(Event::Begin);
            }
            for raw in page.objects {
                if let Err(problem) = self.tell(Event::Item(raw))
                    && undecodable.len() < MOST_REMEMBERED
                {
                    undecodable.push(undecodable_object(decode::identity(raw), problem));
                }
                objects += 1;
                if objects.is_multiple_of(IN_ONE_GO) {
                    yield_now().await;
                }
            }
            if page.next.is_empty() {
                break page.resource_version;
            }
            params.limit = params.limit.map(|limit| next_limit(limit, self.slice.list().limit, text.len()));
            params.continue_token = Some(page.next);
            let wanted = self.shared.wanted.load(Ordering::SeqCst);
            if wanted > self.asked && !std::mem::replace(&mut has_begun_again, true) {
                self.asked = wanted;
                params.continue_token = None;
                (objects, undecodable) = (0, Vec::new());
            }
        };
        self.shared.set_undecodable(undecodable);
        let _ = self.tell(Event::End);
        tracing::debug!(kind = self.shared.what, objects, "listed");
        let asked = self.asked;
        self.well(|state| {
            state.kind = KindPresence::Present;
            state.answered = asked;
        });
        Ok(version)
    }

    fn list_request(&self, params: &ListParams) -> Result<http::Request<Vec<u8>>, Stop> {
        let request = Request::new(self.slice.path());
        let request = if self.slice.is_metadata_only() { request.list_metadata(params) } else { request.list(params) };
        request.map_err(|error| Stop::Failed(Failure::ours(error.to_string())))
    }

    fn watch_request(&self, params: &WatchParams, version: &str) -> Result<http::Request<Vec<u8>>, Stop> {
        let request = Request::new(self.slice.path());
        let request = if self.slice.is_metadata_only() {
            request.watch_metadata(params, version)
        } else {
            request.watch(params, version)
        };
        request.map_err(|error| Stop::Failed(Failure::ours(error.to_string())))
    }

    /// Delivers an event to all sinks. Each decodes the object itself.
    ///
    /// # Errors
    /// The problem of the object, for the first sink that cannot decode it.
    fn tell(&mut self, event: Event<&RawValue>) -> Result<(), String> {
        let mut told = Ok(());
        for sink in &mut self.sinks {
            told = told.and(sink(event));
        }
        told
    }

    /// Follows the changes after `version`, and updates it.
    async fn follow(&mut self, version: &mut String) -> Stop {
        let (ends_after, silence) = match self.slice.followed_at() {
            Pace::Watch { ends_after, silence } => (ends_after, silence),
            Pace::Poll(period) => return self.poll(period).await,
        };
        let request = match self.watch_request(&self.slice.watch(ends_after), version) {
            Ok(request) => request,
            Err(stop) => return stop,
        };
        self.asked = self.shared.wanted.load(Ordering::SeqCst);
        let events = match self.client.request_events::<Box<RawValue>>(request).await {
            Ok(events) => events,
            Err(error) => return not_followed(&error),
        };
        self.shared.state.send_if_modified(|state| !std::mem::replace(&mut state.answers, true));
        let mut proven = false;
        match self.take_all(events, version, silence, &mut proven).await {
            // The API server did answer. If it counted as unreachable, each such watch would look like the end of an
            // outage and wake the others.
            Stop::Failed(failure) if !proven => Stop::Failed(Failure { answered: true, ..failure }),
            stop => stop,
        }
    }

    /// Waits for the next list.
    async fn poll(&mut self, period: Duration) -> Stop {
        self.follows();
        tokio::select! {
            () = sleep(period) => {}
            () = self.shared.wake.notified() => {}
        }
        Stop::List
    }

    /// Delivers the events of a watch until it ends. Returns whether it worked for a while.
    async fn take_all(
        &mut self,
        events: impl Stream<Item = kube::Result<WatchEvent<Box<RawValue>>>>,
        version: &mut String,
        silence: Duration,
        proven: &mut bool,
    ) -> Stop {
        let mut events = pin!(events);
        let mut heard = false;
        let proof = Instant::now() + SHORTEST_WATCH;
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
                    heard = true;
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
                // A watch from a version that the API server has not reached, as after a restore of etcd, is silent
                // forever.
                Ok(Ok(None)) | Err(_) if !heard && proof.elapsed() + SHORTEST_WATCH >= LONGEST_SILENCE => {
                    return Stop::List;
                }
                Ok(Ok(None)) | Err(_) => return Stop::Over,
                Ok(Err(error)) => return not_followed(&error),
            }
        }
        Stop::List
    }

    /// Whether somebody waits for a list that has not begun.
    fn is_list_wanted(&self) -> bool {
        self.shared.wanted.load(Ordering::SeqCst) > self.shared.state.borrow().answered
    }

    /// Delivers an event of the watch. Returns why the watch cannot continue, if so.
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
        let identity = decode::identity(&raw);
        let next = identity.resource_version.clone();
        match self.tell(if deleted { Event::Deleted(&*raw) } else { Event::Applied(&*raw) }) {
            Ok(()) => self
                .shared
                .forget_undecodable(identity.namespace.unwrap_or_default(), identity.name.unwrap_or_default()),
            // The sink may have an older state of it, and cannot be told what is gone.
            Err(_) if deleted => return Some(Stop::List),
            Err(problem) => {
                self.shared.add_undecodable(undecodable_object(identity, problem));
            }
        }
        let Some(next) = next else {
            let problem = "watching: an object has no resourceVersion; listing everything again".to_owned();
            return Some(Stop::Expired(problem));
        };
        *version = next;
        self.well(|_| {});
        None
    }

    /// The API server answered, and the state is up to date.
    fn well(&mut self, change: impl FnOnce(&mut WatchState)) {
        self.shared.state.send_if_modified(|state| {
            let answers = std::mem::replace(&mut state.answers, true);
            let before = (state.kind, state.answered, state.problem.take().is_some(), answers);
            change(state);
            state.confirmed = Some(Instant::now());
            before != (state.kind, state.answered, false, true)
        });
    }

    /// The watch itself continues, so an outage is over. A list alone does not end it, because the next watch may fail like the
    /// previous one.
    fn follows(&mut self) {
        self.well(|_| {});
        self.pauses.reset();
        if !self.logged.is_empty() {
            self.logged.clear();
            tracing::info!(kind = self.shared.what, "the watch has recovered");
        }
    }

    /// Returns how long to wait before the next attempt.
    fn failed(&mut self, Failure { problem, answered }: Failure) -> Duration {
        if self.first_time(&problem) {
            tracing::warn!(kind = self.shared.what, problem, "the watch failed; retrying");
        }
        self.shared.state.send_modify(|state| {
            state.problem = Some(problem);
            state.answers = answered;
        });
        self.pauses.next(fastrand::f64())
    }

    /// The API server does not know the kind. If it did before, this must be confirmed, and repeated after [`ABSENT_PAUSE`], however
    /// often it is asked in between, because all known objects would be dropped. Returns how long to wait before the next attempt.
    async fn absent(&mut self) -> Duration {
        let known = self.shared.state.borrow().kind == KindPresence::Present;
        if known {
            let installed = match KindName::of(&self.slice.path()) {
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
            tracing::info!(kind = self.shared.what, "{problem}; checking every {} s", ABSENT_PAUSE.as_secs());
        }
        if self.shared.state.borrow().problem.as_deref() != Some(problem) {
            self.absent_since = Instant::now();
        }
        let said_before = self.absent_since.elapsed() >= ABSENT_PAUSE;
        if known && said_before {
            self.shared.set_undecodable(Vec::new());
            for event in [Event::Begin, Event::End] {
                let _ = self.tell(event);
            }
        }
        let asked = self.asked;
        self.shared.state.send_modify(|state| {
            state.problem = Some(problem.to_owned());
            state.answers = true;
            if !known || said_before {
                state.kind = KindPresence::Absent;
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
    /// The API server did not answer, or the answer is not from it.
    fn ours(problem: String) -> Self {
        Self { problem, answered: false }
    }

    fn of(doing: &str, error: &kube::Error) -> Self {
        let answered = matches!(error, kube::Error::Api(status) if status.code < 500 && status.code != 429);
        Self { problem: format!("{doing}: {}", describe(error)), answered }
    }
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower").field("slice", &self.slice).field("sinks", &self.sinks.len()).finish_non_exhaustive()
    }
}

/// Returns how many objects to request after a page of this size. The next page has about the same size, and may be
/// larger.
fn next_limit(limit: u32, most: Option<u32>, bytes: usize) -> u32 {
    let wanted = u64::from(limit) * PAGE_BYTES as u64 / bytes.max(1) as u64;
    let most = most.unwrap_or(limit).min(limit.saturating_mul(2));
    u32::try_from(wanted).unwrap_or(u32::MAX).clamp(1, most.max(1))
}

fn undecodable_object(Identity { namespace, name, .. }: Identity, problem: String) -> Undecodable {
    Undecodable { namespace: namespace.unwrap_or_default(), name: name.unwrap_or_default(), problem }
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
        // 400: not even a version, for the API server that answers now.
        kube::Error::Api(status) if matches!(status.code, 400 | 410) => {
            Stop::Expired(format!("watching: {}; listing everything again", describe(error)))
        }
        error => Stop::Failed(Failure::of("watching", error)),
    }
}
