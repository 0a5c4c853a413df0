//! `outrigger serve`: the webhook server and the controllers of a cluster, or only the server with SidecarSets from
//! files.

mod certificates;
mod cluster;
mod dev_routing;
mod feature_gates;
mod files;
mod flags;
mod job;
mod mesh_service;
mod part;
mod queues;
mod sidecar_generator;
mod sidecarset;
mod trust;

pub(super) use flags::{Args, NAMESPACE};

use crate::admission::{self, ClientCa, Limits, Server, ServingCertificate, Settings, reload};
use crate::cluster::Shutdown;
use crate::connections::AdminServer;
use crate::telemetry::metrics::PortName;
use crate::telemetry::{self, Metrics, Readiness};
use anyhow::{Context, Result, bail};
use axum::Router;
use job::{Job, check_certificate};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The signals that end the process: from a supervisor, a keyboard, or a closed terminal.
struct Signals([Signal; 3]);

/// The port of the webhooks, and its certificate.
struct Front {
    server: Server,
    certificate: Arc<ServingCertificate>,
    /// The folder from which the certificate is read repeatedly.
    tls_dir: Option<PathBuf>,
}

/// A server running in this process.
pub(super) struct Running {
    /// The address of the webhooks, if there are any.
    pub webhook: Option<SocketAddr>,
    /// The address of the admin port.
    pub admin: SocketAddr,
    /// The CA to trust; `None` with a certificate from files.
    pub ca_pem: Option<String>,
    shutdown: Shutdown,
    server: JoinHandle<Result<()>>,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    // Each user's URL may keep a connection open. The operator sets the hard limit.
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::warn!(%error, "the limit of open files is unchanged");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    runtime.block_on(async {
        let mut signals = Signals::listen().context("cannot listen for signals")?;
        let mut running = Running::start(args).await?;
        let webhook = running.webhook.map(|address| format!("https://{address}/mutate-pod"));
        tracing::info!(webhook, admin = %format_args!("http://{}", running.admin), "serving");
        tokio::select! {
            ended = &mut running.server => return ended.context("the server's task failed")?.map(|()| ExitCode::SUCCESS),
            () = signals.next() => {}
        }
        tracing::info!(seconds = args.shutdown_delay, "stopping: still serving for a moment; a second signal exits \
            at once");
        tokio::select! {
            stopped = running.stop() => stopped.map(|()| ExitCode::SUCCESS),
            () = signals.next() => Ok(ExitCode::FAILURE),
        }
    })
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        let [terminate, interrupt, hangup] =
            [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal);
        Ok(Self([terminate?, interrupt?, hangup?]))
    }

    async fn next(&mut self) {
        let [terminate, interrupt, hangup] = &mut self.0;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

impl Front {
    async fn open(args: &Args, source: &certificates::Source) -> Result<Self> {
        let certificate = Arc::new(source.first(&args.certificates.names(args.listen))?);
        let settings = Settings::default();
        // Client connections leave half of the file descriptors for watches, fetches, files and the admin port.
        let connections = rlimit::Resource::NOFILE
            .get_soft()
            .map_or(settings.connections, |descriptors| settings.connections.within(descriptors, 2));
        let drain_delay = Duration::from_secs(args.shutdown_delay.into());
        let client_ca = args.certificates.client_ca_file.as_deref().map(ClientCa::read).transpose();
        let client_ca = client_ca.map_err(anyhow::Error::msg).context("--client-ca-file")?;
        let settings = Settings { connections, client_ca, drain_delay, ..settings };
        let server = Server::bind(args.listen(args.listen, 9443), settings).await.context("--listen")?;
        Ok(Self { server, certificate, tls_dir: source.folder() })
    }

    fn ca_pem(&self) -> Option<String> {
        self.certificate.current().and_then(|pair| pair.ca_pem().map(str::to_owned))
    }

    async fn serve(
        self,
        router: Router,
        readiness: Arc<Readiness>,
        reviews: Arc<admission::Metrics>,
        drain: CancellationToken,
    ) -> Result<()> {
        let Self { server, certificate, tls_dir } = self;
        let (renewed, counted) = (certificate.clone(), reviews.clone());
        let reload = async move {
            match tls_dir {
                Some(folder) => reload::reload(folder, renewed, counted, reload::PERIOD).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ended = server.run(router, certificate, readiness, &reviews, drain) => ended.map_err(Into::into),
            () = reload => Ok(()),
        }
    }
}

impl Running {
    /// Loads the files or connects to the cluster, then listens.
    pub async fn start(args: &Args) -> Result<Self> {
        if let Some(problem) = args.cluster.problem() {
            bail!(problem);
        }
        let source = args.certificates.source(args.from.is_none())?;
        let metrics = Arc::new(Metrics::new());
        let reviews = Arc::new(admission::Metrics::register(&metrics));
        let shutdown = Shutdown::default();
        let front = if args.serves_webhooks() { Some(Front::open(args, &source).await?) } else { None };
        let admin_listen = args.listen(args.admin_listen, 8080);
        let admin = AdminServer::bind(admin_listen)
            .await
            .with_context(|| format!("--admin-listen: cannot listen on {admin_listen}"))?;
        let health = match args.health_listen {
            Some(address) => Some(
                AdminServer::bind(address)
                    .await
                    .with_context(|| format!("--health-listen: cannot listen on {address}"))?,
            ),
            None => None,
        };
        let (webhook_address, admin_address) = (front.as_ref().map(|front| front.server.address()), admin.address());

        let certificate = front.as_ref().map(|front| &front.certificate);
        let job = match &args.from {
            Some(_) if args.cluster.controllers.is_some() => {
                bail!(
                    "--controllers: controllers need a cluster, and --from serves without one: leave one of the two out"
                )
            }
            Some(from) => {
                let job = files::job(from, &args.injection, &reviews, shutdown.stop.clone())?;
                let readiness = certificate.into_iter().fold(job.readiness, check_certificate);
                Job { readiness, ..job }
            }
            None => cluster::job(args, certificate.map(|shown| (source, shown)), &metrics, &reviews, &shutdown).await?,
        };
        let ca_pem = front.as_ref().and_then(Front::ca_pem);
        // Only now: if a port was in use, the file would belong to the server that uses it.
        if let (Some(file), Some(pem)) = (&args.certificates.ca_out, &ca_pem) {
            std::fs::write(file, pem).with_context(|| format!("--ca-out: cannot write {}", file.display()))?;
        }

        let readiness = Arc::new(job.readiness);
        let webhooks = job.webhooks.into_iter().map(|(webhook, handler)| (webhook, handler, Limits::of(webhook)));
        let router = admission::router(webhooks, &reviews);
        let admin_router = telemetry::admin::router(readiness.clone(), metrics.clone());
        let steps = shutdown.clone();
        let server = tokio::spawn(async move {
            let admin_shutdown = CancellationToken::new();
            let counts = metrics.connections(PortName::Admin).clone();
            let probes = health.map(|health| {
                let router = telemetry::admin::probes(readiness.clone());
                tokio::spawn(health.run(router, counts.clone(), admin_shutdown.clone()))
            });
            let admin = tokio::spawn(admin.run(admin_router, counts, admin_shutdown.clone()));
            let serve = async {
                if let Some(front) = front {
                    return front.serve(router, readiness, reviews, steps.drain.clone()).await;
                }
                steps.drain.cancelled().await;
                readiness.drain();
                Ok(())
            };
            let ended = run_together(serve, tokio::spawn(job.background), &steps).await;
            admin_shutdown.cancel();
            for port in probes.into_iter().chain([admin]) {
                port.await.context("an admin server's task failed")?;
            }
            ended
        });
        Ok(Self { webhook: webhook_address, admin: admin_address, ca_pem, shutdown, server })
    }

    /// Drains and stops.
    pub async fn stop(self) -> Result<()> {
        self.shutdown.drain.cancel();
        self.server.await.context("the server's task failed")?
    }
}

/// Serves, and runs the background work until the server has stopped. If the background ends first, the process drains and ends
/// too, because a server whose SidecarSets are no longer read would use old ones forever.
async fn run_together(
    serve: impl Future<Output = Result<()>>,
    background: JoinHandle<Result<()>>,
    shutdown: &Shutdown,
) -> Result<()> {
    let mut serve = std::pin::pin!(serve);
    let mut background = std::pin::pin!(async { background.await.context("a background task failed")? });
    tokio::select! {
        served = &mut serve => {
            shutdown.drain.cancel();
            shutdown.stop.cancel();
            served.and(background.await)
        }
        ended = &mut background => {
            shutdown.drain.cancel();
            let served = serve.await;
            ended.and(served)
        }
    }
}
