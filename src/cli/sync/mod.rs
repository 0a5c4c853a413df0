//! `outrigger sync`: ConfigMaps and Secrets as files next to an app, configured by k8s-sidecar's environment variables.

mod args;
mod options;
#[cfg(test)]
mod table;

use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use http::Uri;
use tokio::net::lookup_host;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub(super) use args::Args;

use crate::cluster::calls::HEAD_TIMEOUT;
use crate::cluster::{Access, connect_by};
use crate::connections::AdminServer;
use crate::file_sync::agent::probe_addresses;
use crate::file_sync::{Agent, Options};
use crate::telemetry::Metrics;
use crate::telemetry::metrics::PortName;

/// The program name that means `outrigger sync --profile gsidecar`.
const GSIDECAR: &str = "k8s-gsidecar";

/// Returns the arguments for a program name: an image's original name runs its agent.
pub(super) fn by_name(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.collect();
    let name = args.first().map(Path::new).and_then(Path::file_name);
    if name == Some(OsStr::new(GSIDECAR)) {
        args.splice(1..1, ["sync", "--profile", "gsidecar"].map(OsString::from));
    }
    args
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    // A single thread, because an agent runs next to every replica of an app.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    runtime.block_on(agent(args))?;
    // A name lookup that hangs must not delay the exit.
    runtime.shutdown_background();
    Ok(ExitCode::SUCCESS)
}

async fn agent(args: &Args) -> Result<()> {
    let end = CancellationToken::new();
    let ended = end.clone();
    let mut signals = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(async move {
        tokio::select! {
            _ = signals.0.recv() => {}
            _ = signals.1.recv() => {}
        }
        ended.cancel();
    });
    let skip_verify = args.skip_tls_verify();
    let (client, url) = connect_by(Access::default(), HEAD_TIMEOUT, std::sync::Arc::new(()), |config| {
        config.accept_invalid_certs |= skip_verify;
    })
    .await?;
    tracing::info!("Config for cluster api at '{}' loaded.", url.to_string().trim_end_matches('/'));
    let mut options: Options = options::of(args, client.default_namespace())?;
    options.urls.refused = api_server(&url).await;
    let metrics = Arc::new(Metrics::new());
    let agent = Agent::new(options, client, metrics.clone())?;
    let health = agent.health();
    let server = serve(args, &health, &metrics, end.clone()).await?;
    let ran = Box::pin(agent.run(end.clone())).await;
    end.cancel();
    let _ = server.await;
    Ok(ran?)
}

/// Returns the known addresses of the API server, which objects may not name.
async fn api_server(url: &Uri) -> Vec<SocketAddr> {
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    let port = url.port_u16().unwrap_or(if url.scheme_str() == Some("http") { 80 } else { 443 });
    let found = timeout(Duration::from_secs(2), lookup_host((host, port))).await;
    let mut addresses: Vec<SocketAddr> = found.ok().and_then(Result::ok).into_iter().flatten().collect();
    let of_pod = |name| std::env::var(name).ok();
    if let (Some(host), Some(port)) = (of_pod("KUBERNETES_SERVICE_HOST"), of_pod("KUBERNETES_SERVICE_PORT"))
        && let (Ok(host), Ok(port)) = (host.parse::<IpAddr>(), port.parse())
    {
        addresses.push((host, port).into());
    }
    addresses
}

/// Serves probes.
async fn serve(
    args: &Args,
    health: &crate::file_sync::health::Health,
    metrics: &Arc<Metrics>,
    end: CancellationToken,
) -> Result<tokio::task::JoinHandle<()>> {
    let mut failed = None;
    for address in probe_addresses(args.health_host(), args.health_port()?)? {
        match AdminServer::bind(address).await {
            Ok(server) => {
                tracing::info!("Starting health server on port {}", server.address().port());
                let router = health.router(Arc::new(health.readiness()), metrics.clone());
                let counts = metrics.connections(PortName::Admin).clone();
                return Ok(tokio::spawn(server.run(router, counts, end)));
            }
            Err(error) => failed = Some((address, error)),
        }
    }
    let (address, error) = failed.context("no address for probes")?;
    Err(error).with_context(|| format!("HEALTH_PORT: cannot listen at {address}"))
}
