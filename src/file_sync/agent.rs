//! The agent: watches, files, downloads, notification of the app, and probes.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Client;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::calls::{Caller, CallerError};
use super::engine::Engine;
use super::health::Health;
use super::metrics::SyncMetrics;
use super::naming::Place;
use super::object::{Kind, WireObject};
use super::options::{Method, Options, Part};
use super::reload::{Changes, Reloader};
use super::state::Parts;
use super::{download, reading};
use crate::cluster::{Event, Feeds, Pace, Slice, Watch};
use crate::telemetry::Metrics;

/// The number of objects in one answer of the API server. All of them are in memory, and each may have a megabyte.
const PAGE: u32 = 25;

/// The first and the maximum pause between attempts to write after a failure.
const RETRIES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// The maximum pause if only one file cannot be written, and not the folder. Each attempt reads objects again, and
/// users choose the file's name.
const RETRIES_OF_A_FILE: Duration = Duration::from_secs(300);

/// The interval at which a single run checks for pending downloads.
const GLANCE: Duration = Duration::from_millis(20);

/// All parts, not started yet.
pub struct Agent {
    options: Options,
    engine: Engine,
    feeds: Feeds,
    client: Client,
    caller: Arc<Caller>,
    metrics: Arc<Metrics>,
    sync_metrics: SyncMetrics,
    changes: Changes,
    wanted: mpsc::UnboundedReceiver<Arc<Place>>,
    watches: Vec<(Part, Watch)>,
}

/// Why an agent failed.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// A file of its configuration.
    #[error(transparent)]
    Caller(#[from] CallerError),
    /// Nothing is selected.
    #[error("RESOURCE_NAME names no object of the kinds in RESOURCE")]
    Nothing,
    /// A single run did not finish in time.
    #[error("not complete after {} s: {problems}", .limit.as_secs_f64())]
    Late {
        /// Its limit.
        limit: Duration,
        /// The reasons.
        problems: String,
    },
    /// A single run finished without all files.
    #[error("not all files are there: {0}")]
    Incomplete(String),
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent").field("feeds", &self.feeds).finish_non_exhaustive()
    }
}

impl Agent {
    /// Creates an agent with these options.
    ///
    /// # Errors
    /// When they select nothing, or name files that cannot be read.
    pub fn new(options: Options, client: Client, metrics: Arc<Metrics>) -> Result<Self, AgentError> {
        let parts = options.selection.parts();
        if parts.is_empty() {
            return Err(AgentError::Nothing);
        }
        let app = options.reload.request.as_ref().map(|request| &request.target);
        let caller = Arc::new(Caller::new(options.calls.clone(), options.urls.clone(), app)?);
        let sync_metrics = metrics.register(SyncMetrics::register);
        let (changes, (downloads, wanted)) = (Changes::default(), mpsc::unbounded_channel());
        let engine = Engine::new(Parts {
            naming: options.naming.clone(),
            mode: options.mode,
            followed: parts.clone(),
            id: options.selection.id(),
            once: matches!(options.method, Method::Once(_)),
            changes: changes.clone(),
            downloads,
            metrics: sync_metrics.clone(),
        });
        let mut feeds = Feeds::new(client.clone());
        let watches = (0..).zip(parts).map(|(number, part)| {
            let engine = engine.clone();
            let sink = move |event: Event<WireObject>| engine.tell(number, event);
            let watch = feeds.subscribe(slice(&options, &part), sink);
            (part, watch)
        });
        let watches = watches.collect();
        Ok(Self { options, engine, feeds, client, caller, metrics, sync_metrics, changes, wanted, watches })
    }

    /// Returns the state for probes.
    #[must_use]
    pub fn health(&self) -> Health {
        Health { engine: self.engine.clone(), watches: self.watches.clone(), contact: self.options.contact }
    }

    /// Works until `end`, or until all is done in a single run.
    ///
    /// # Errors
    /// When a single run does not finish.
    pub async fn run(self, end: CancellationToken) -> Result<(), AgentError> {
        let method = self.options.method;
        let health = self.health();
        let Self { options, engine, feeds, client, caller, metrics, sync_metrics, changes, wanted, watches } = self;
        let only: Vec<Watch> = watches.iter().map(|(_, watch)| watch.clone()).collect();
        let reloader =
            Reloader { reload: options.reload, changes, caller: caller.clone(), metrics: sync_metrics.clone() };
        let work = async {
            tokio::join!(
                feeds.run(),
                reading::run(engine.clone(), client, only),
                download::run(engine.clone(), caller, sync_metrics.clone(), wanted),
                retry(&engine),
                count(&watches, &metrics, &sync_metrics),
                async {
                    if matches!(method, Method::Once(_)) {
                        std::future::pending::<()>().await;
                    }
                    tokio::join!(look(&engine, options.resync, options.heal), reloader.run());
                },
            );
        };
        let done = async {
            let Method::Once(limit) = method else { return std::future::pending().await };
            once(&engine, &health, limit).await?;
            reloader.once().await;
            Ok(())
        };
        tokio::select! {
            () = work => Ok(()),
            done = done => done,
            () = end.cancelled() => Ok(()),
        }
    }
}

/// Returns the slice of a watch.
fn slice(options: &Options, part: &Part) -> Slice {
    let slice = match part.kind {
        Kind::ConfigMap => Slice::all::<ConfigMap>(part.kind.plural()),
        Kind::Secret => Slice::all::<Secret>(part.kind.plural()),
    };
    let slice = slice.page_size(PAGE).longest_pause(options.longest_pause);
    let (ends_after, silence) = options.watch;
    let slice = slice.pace(match options.method {
        Method::Watch => Pace::Watch { ends_after, silence },
        Method::Poll(period) => Pace::Poll(period),
        Method::Once(_) => Pace::Poll(Duration::from_secs(24 * 60 * 60)),
    });
    let slice = match &part.namespace {
        Some(namespace) => slice.in_namespace(namespace),
        None => slice,
    };
    match (&part.name, &options.selection.labels) {
        (Some(name), _) => slice.named(name),
        (None, Some(labels)) => slice.labels(labels),
        (None, None) => slice,
    }
}

/// Waits until everything is written.
async fn once(engine: &Engine, health: &Health, limit: Duration) -> Result<(), AgentError> {
    let complete = async {
        while !engine.is_listed() || engine.is_reading() || engine.is_downloading() {
            sleep(GLANCE).await;
        }
    };
    let is_late = timeout(limit, complete).await.is_err();
    if is_late && (!engine.is_listed() || engine.is_reading()) {
        let problems = health.readiness().report().text(true).replace('\n', " ");
        return Err(AgentError::Late { limit, problems });
    }
    let problems = engine.problems();
    if problems.is_folder_broken {
        return Err(AgentError::Incomplete(problems.files.join("; ")));
    }
    // A problem of one object prevents no app from starting.
    for file in engine.downloading() {
        tracing::warn!("{file} is not downloaded after {} s", limit.as_secs_f64());
    }
    Ok(())
}

/// Checks all files periodically.
async fn look(engine: &Engine, period: Duration, heal: bool) {
    let mut ticks = interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        engine.look(heal);
    }
}

/// Retries failed writes.
async fn retry(engine: &Engine) {
    let (mut pause, mut waited) = (RETRIES.0, Duration::ZERO);
    loop {
        let step = pause.min(RETRIES.1);
        sleep(step).await;
        waited += step;
        if !engine.has_failures() {
            (pause, waited) = (RETRIES.0, Duration::ZERO);
        } else if engine.is_folder_broken() || waited >= pause {
            engine.retry();
            (pause, waited) = ((pause * 2).min(RETRIES_OF_A_FILE), Duration::ZERO);
        }
    }
}

/// Updates the metrics of watches: the oldest age of each kind, and the number of failing ones.
async fn count(watches: &[(Part, Watch)], metrics: &Metrics, sync_metrics: &SyncMetrics) {
    let mut ticks = interval(Duration::from_secs(5));
    loop {
        ticks.tick().await;
        sync_metrics.watches_fail(watches.iter().filter(|(_, watch)| watch.problem().is_some()).count());
        for kind in [Kind::ConfigMap, Kind::Secret] {
            let of = watches.iter().filter(|(part, _)| part.kind == kind);
            let oldest = of.filter_map(|(_, watch)| watch.age()).max();
            if let Some(age) = oldest {
                metrics.watch_age(kind.plural()).set(i64::try_from(age.as_secs()).unwrap_or(i64::MAX));
            }
        }
    }
}

/// Returns the addresses for probes: all addresses, of both families if available, or the given one.
///
/// # Errors
/// When the host is not an address.
pub fn probe_addresses(host: Option<&str>, port: u16) -> io::Result<Vec<SocketAddr>> {
    match host {
        Some(host) => {
            let address: IpAddr = host.parse().map_err(|_| {
                io::Error::new(io::ErrorKind::InvalidInput, format!("HEALTH_HOST {host:?} is not an address"))
            })?;
            Ok(vec![(address, port).into()])
        }
        None => Ok(vec![(Ipv6Addr::UNSPECIFIED, port).into(), (Ipv4Addr::UNSPECIFIED, port).into()]),
    }
}
