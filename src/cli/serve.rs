//! `outrigger serve --from DIR`: the webhook server with no cluster.

use super::InjectionArgs;
use super::source::{Loaded, Source};
use crate::admission::certificate::LOCAL_NAMES;
use crate::admission::{
    self, CertificatePair, Handler, Limits, Server, ServingCertificate, Settings, mutate_pod, reload,
};
use crate::injection::Snapshot;
use crate::telemetry::{self, AdminServer, Metrics, Readiness, Webhook};
use anyhow::{Context, Result, bail};
use arc_swap::ArcSwap;
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// How often the files are read again.
const POLL: Duration = Duration::from_secs(1);

/// Flags of `outrigger serve`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Folder (or file) of SidecarSets, Namespaces and ControllerRevisions in YAML or JSON; read again when it changes
    #[arg(long, value_name = "DIR")]
    pub from: PathBuf,
    /// Address of the webhook, HTTPS; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9443")]
    pub listen: SocketAddr,
    /// Address of /healthz, /readyz and /metrics, plain HTTP; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub admin_listen: SocketAddr,
    /// Folder with tls.crt and tls.key, read again every 10 s [default: a certificate is made for localhost and the address listened on]
    #[arg(long, value_name = "DIR")]
    pub tls_dir: Option<PathBuf>,
    /// More names or addresses for the certificate that is made
    #[arg(long = "tls-name", value_name = "NAME", conflicts_with = "tls_dir")]
    pub tls_names: Vec<String>,
    /// Write the CA of the certificate that is made to this file, for clients to trust
    #[arg(long, value_name = "FILE", conflicts_with = "tls_dir")]
    pub ca_out: Option<PathBuf>,
    /// Seconds to go on serving after SIGTERM, so that clients turn elsewhere first; a second signal ends at once
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    pub shutdown_delay: u32,
    /// Controllers to run; needs a cluster, so not with --from
    #[arg(long, value_name = "NAME,…")]
    pub controllers: Option<String>,
    #[command(flatten)]
    pub injection: InjectionArgs,
}

/// A server that runs in this process.
pub(super) struct Running {
    /// Where the webhook listens.
    pub webhook: SocketAddr,
    /// Where the admin port listens.
    pub admin: SocketAddr,
    /// CA to trust; `None` with a certificate from files.
    pub ca_pem: Option<String>,
    shutdown: CancellationToken,
    server: JoinHandle<Result<()>>,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    if args.controllers.is_some() {
        bail!("--controllers: controllers need a cluster, and --from serves without one: leave one of the two out");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
        let mut running = Running::start(args).await?;
        tracing::info!(webhook = %format_args!("https://{}/mutate-pod", running.webhook), admin = %format_args!("http://{}", running.admin), "serving");
        tokio::select! {
            ended = &mut running.server => return ended.context("the server's task failed")?.map(|()| ExitCode::SUCCESS),
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!(seconds = args.shutdown_delay, "stopping: serving on for a moment; a second signal ends at once");
        tokio::select! {
            stopped = running.stop() => stopped.map(|()| ExitCode::SUCCESS),
            _ = terminate.recv() => Ok(ExitCode::FAILURE),
            _ = interrupt.recv() => Ok(ExitCode::FAILURE),
        }
    })
}

impl Running {
    /// Loads the files, then listens.
    pub async fn start(args: &Args) -> Result<Self> {
        let certificate = if let Some(folder) = &args.tls_dir {
            CertificatePair::from_dir(folder).context("--tls-dir")?
        } else {
            let address = args.listen.ip();
            let mut names: BTreeSet<String> = LOCAL_NAMES.iter().map(ToString::to_string).collect();
            names.extend((!address.is_unspecified()).then(|| address.to_string()));
            names.extend(args.tls_names.iter().cloned());
            CertificatePair::generate(&names.iter().map(String::as_str).collect::<Vec<_>>(), SystemTime::now())?
        };
        let ca_pem = certificate.ca_pem().map(str::to_owned);
        let metrics = Arc::new(Metrics::new());
        let certificate = Arc::new(ServingCertificate::new(certificate));

        let mut source = Source::open(&args.from, args.injection.options()).context("--from")?;
        let state = Arc::new(State::default());
        if let Some(loaded) = source.refresh() {
            state.take(loaded, &metrics);
        }
        let readiness = Arc::new(readiness(&state, &certificate));

        let settings = Settings { drain_delay: Duration::from_secs(args.shutdown_delay.into()), ..Settings::default() };
        let server = Server::bind(args.listen, settings).await.context("--listen")?;
        let admin = AdminServer::bind(args.admin_listen)
            .await
            .with_context(|| format!("--admin-listen: cannot listen on {}", args.admin_listen))?;
        let (webhook_address, admin_address) = (server.address(), admin.address());
        // Only now: had a port been taken, the file would be that of the server that has it.
        if let (Some(file), Some(pem)) = (&args.ca_out, &ca_pem) {
            std::fs::write(file, pem).with_context(|| format!("--ca-out: cannot write {}", file.display()))?;
        }

        let shutdown = CancellationToken::new();
        let webhook = Webhook::MutatePod;
        let router = admission::router([(webhook, handler(&state, &metrics), Limits::of(webhook))], &metrics);
        let admin_router = telemetry::admin::router(readiness.clone(), metrics.clone());
        let (token, tls_dir) = (shutdown.clone(), args.tls_dir.clone());
        let server = tokio::spawn(async move {
            let admin_shutdown = CancellationToken::new();
            let admin = tokio::spawn(admin.run(admin_router, admin_shutdown.clone()));
            let refresh = refresh(source, state, metrics.clone());
            let (renewed, counted) = (certificate.clone(), metrics.clone());
            let reload = async move {
                match tls_dir {
                    Some(folder) => reload::reload(folder, renewed, counted, reload::PERIOD).await,
                    None => std::future::pending().await,
                }
            };
            // A server whose files are no longer read would go on with old SidecarSets for ever: its end is better seen.
            let ended = tokio::select! {
                ended = server.run(router, certificate, readiness, &metrics, token) => ended.map_err(Into::into),
                ended = refresh => ended,
                () = reload => Ok(()),
            };
            admin_shutdown.cancel();
            admin.await.context("the admin server's task failed")??;
            ended
        });
        Ok(Self { webhook: webhook_address, admin: admin_address, ca_pem, shutdown, server })
    }

    /// Drains and stops.
    pub async fn stop(self) -> Result<()> {
        self.shutdown.cancel();
        self.server.await.context("the server's task failed")?
    }
}

/// What the handlers and checks share.
struct State {
    snapshot: ArcSwap<Snapshot>,
    /// What `/readyz` says of the files: not ready while they were never read, or nothing but problems was found.
    files: Mutex<Result<String, String>>,
}

impl Default for State {
    fn default() -> Self {
        let files = Mutex::new(Err("not read yet".to_owned()));
        Self { snapshot: ArcSwap::default(), files }
    }
}

impl State {
    fn take(&self, loaded: &Loaded, metrics: &Metrics) {
        self.snapshot.store(loaded.snapshot.clone());
        metrics.sidecarsets.set(i64::try_from(loaded.sets).unwrap_or(i64::MAX));
        metrics.source_errors.set(i64::try_from(loaded.problems.len()).unwrap_or(i64::MAX));
        for problem in &loaded.problems {
            tracing::error!("{problem}");
        }
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        self.set_files(loaded);
        tracing::info!(
            sidecarsets = loaded.sets,
            ignored = loaded.ignored,
            problems = loaded.problems.len(),
            "files read"
        );
    }

    /// Sets what `/readyz` says of the files.
    fn set_files(&self, loaded: &Loaded) {
        let problems: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let in_use = format!("SidecarSets in use: {}", loaded.sets);
        *files = match problems.as_slice() {
            [] => Ok(in_use),
            // One broken object must not stop the injection of all others.
            problems if loaded.sets > 0 || files.is_ok() => Ok(format!("{in_use}; {}", problems.join("; "))),
            problems => Err(problems.join("; ")),
        };
    }
}

fn readiness(state: &Arc<State>, certificate: &Arc<ServingCertificate>) -> Readiness {
    let (state, certificate) = (state.clone(), certificate.clone());
    Readiness::new()
        .check("files", move || state.files.lock().unwrap_or_else(PoisonError::into_inner).clone())
        .check("certificate", move || certificate.current().check(Timestamp::now()))
}

fn handler(state: &Arc<State>, metrics: &Arc<Metrics>) -> Handler {
    let (state, metrics) = (state.clone(), metrics.clone());
    Arc::new(move |body| mutate_pod::answer(body, &state.snapshot.load(), Timestamp::now(), &metrics))
}

/// Reads the files again and again.
async fn refresh(mut source: Source, state: Arc<State>, metrics: Arc<Metrics>) -> Result<()> {
    let mut ticks = tokio::time::interval(POLL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (state, metrics) = (state.clone(), metrics.clone());
        source = tokio::task::spawn_blocking(move || {
            if let Some(loaded) = source.refresh() {
                state.take(loaded, &metrics);
            }
            source
        })
        .await
        .context("reading the files failed")?;
    }
}
