//! The HTTPS server: bound first, then serving, then drained so that no request is lost.

use std::convert::Infallible;
use std::future::ready;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum_server::Handle;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::certificate::{ServingCertificate, provider};
use super::connection::{Acceptor, Exchanges, Timeouts};
use crate::telemetry::metrics::Certificate;
use crate::telemetry::{Metrics, Readiness};

/// How the server treats its connections and its own end.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The limits of a connection.
    pub timeouts: Timeouts,
    /// How long the server goes on as before after the shutdown began, but not ready and with `Connection: close` on each
    /// answer: the time in which a cluster takes it out of the Service. Default 5 s.
    pub drain_delay: Duration,
    /// Then the port is closed, and connections that are open may send for this long. Default 1 s.
    pub last_call: Duration,
    /// Then idle connections are closed, and answers under way may take this long. Default 10 s.
    pub grace: Duration,
}

/// The webhook server, bound and not yet serving.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    settings: Settings,
}

/// Why the server cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address cannot be bound.
    #[error("cannot listen on {address}: {source}; is the port taken, or the address not of this machine?")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// TLS cannot be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The server stopped by itself.
    #[error("the webhook server stopped: {0}")]
    Serve(io::Error),
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            timeouts: Timeouts::default(),
            drain_delay: Duration::from_secs(5),
            last_call: Duration::from_secs(1),
            grace: Duration::from_secs(10),
        }
    }
}

impl Server {
    /// Binds the port; port 0 takes a free one, which [`Server::address`] tells.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn bind(address: SocketAddr, settings: Settings) -> Result<Self, ServerError> {
        let failed = |source| ServerError::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address, settings })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown`, then drains: not ready, and `Connection: close` on each answer, for `drain_delay`; the port
    /// closed and a last call for open connections; idle ones closed and `grace` for the answers under way. Returns when no
    /// connection is left, or `grace` is over.
    ///
    /// The metric of the certificate's end is set for the certificate of the start; who replaces it sets it again.
    ///
    /// To stop at once (a second signal), drop the future and end the process.
    ///
    /// # Errors
    /// TLS cannot be set up, or the server stopped without being told to.
    pub async fn run(
        self,
        router: Router,
        certificate: Arc<ServingCertificate>,
        readiness: Arc<Readiness>,
        metrics: &Metrics,
        shutdown: CancellationToken,
    ) -> Result<(), ServerError> {
        let Settings { timeouts, drain_delay, last_call, grace } = self.settings;
        if let Some(shown) = certificate.current() {
            metrics.certificate_expiration(Certificate::Serving).set(shown.not_after().as_second());
        }
        let connections = TaskTracker::new();
        let handle = Handle::<SocketAddr>::new();
        let acceptor = Acceptor::new(
            RustlsAcceptor::new(RustlsConfig::from_config(Arc::new(tls(certificate)?))),
            timeouts,
            metrics.tls_handshake_errors.clone(),
        );
        // Each connection is counted here and not in its own task, which a drain might overtake before it ran.
        let make_service = {
            let (router, readiness, connections) = (router.with_state(()), readiness.clone(), connections.clone());
            tower::service_fn(move |_peer: SocketAddr| {
                ready(Ok::<_, Infallible>(Exchanges::new(router.clone(), readiness.clone(), connections.token())))
            })
        };
        let mut serve = Box::pin(
            axum_server::Server::from_listener(self.listener)
                .acceptor(acceptor)
                .handle(handle.clone())
                .http1_only()
                .serve(make_service),
        );

        tokio::select! {
            ended = &mut serve => return ended.map_err(ServerError::Serve),
            () = shutdown.cancelled() => readiness.drain(),
        }
        tracing::info!(?drain_delay, connections = connections.len(), "the webhook server drains");
        tokio::select! {
            ended = &mut serve => return ended.map_err(ServerError::Serve),
            () = sleep(drain_delay) => {}
        }
        // Closes the port only: connections have their own tasks. hyper's graceful shutdown would also close, unanswered, a
        // connection whose first request is under way, so those get a moment before it.
        drop(serve);
        connections.close();
        if timeout(last_call, connections.wait()).await.is_err() {
            handle.graceful_shutdown(None);
            if timeout(grace, connections.wait()).await.is_err() {
                tracing::warn!(connections = connections.len(), "connections are cut: they did not end in time");
                handle.shutdown();
            }
        }
        Ok(())
    }
}

fn tls(certificate: Arc<ServingCertificate>) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    // The API server speaks nothing else to webhooks.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
