//! The HTTPS server: binds its port, serves, and drains so that no request is lost.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::certificate::ServingCertificate;
use super::client_ca::{ClientCa, require_certificates};
use super::metrics::{Certificate, Metrics};
use super::tls::Tls;
use crate::connections::{Bounds, Places, Port, Stop, Timeouts};
use crate::telemetry::Readiness;

/// How the server handles its connections and its shutdown.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The maximum of connections. Default 2,048 in total, 1,536 of one address: all API servers may connect through
    /// one.
    pub connections: Bounds,
    /// The limits of a connection.
    pub timeouts: Timeouts,
    /// The CA of the certificates that clients must present. By default they need none.
    pub client_ca: Option<ClientCa>,
    /// How long the server continues after the shutdown began, not ready and with `Connection: close` on each answer.
    /// In this time a cluster removes it from the Service. Default 5 s.
    pub drain_delay: Duration,
    /// Then the port is closed, and open connections may send for this long. Default 1 s.
    pub last_call: Duration,
    /// Then idle connections are closed, and answers in progress may take this long. Default 10 s.
    pub grace: Duration,
}

/// The webhook server, bound and not yet serving.
#[derive(Debug)]
pub struct Server {
    port: Port,
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
        /// The reason.
        source: io::Error,
    },
    /// TLS cannot be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connections: Bounds { all: 2048, per_peer: 1536 },
            timeouts: Timeouts::default(),
            client_ca: None,
            drain_delay: Duration::from_secs(5),
            last_call: Duration::from_secs(1),
            grace: Duration::from_secs(10),
        }
    }
}

impl Server {
    /// Binds the port. Port 0 takes a free one, which [`Server::address`] returns.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn bind(address: SocketAddr, settings: Settings) -> Result<Self, ServerError> {
        let failed = |source| ServerError::Bind { address, source };
        let port = Port::bind(address).await.map_err(failed)?;
        let address = port.address().map_err(failed)?;
        Ok(Self { port, address, settings })
    }

    /// Returns the address of the port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown`, then drains. For `drain_delay` it is not ready and answers with `Connection: close`.
    /// Then it closes the port, lets open connections send for a moment, closes idle ones, and waits `grace` for the
    /// answers in progress. Returns when no connection is left, or `grace` is over.
    ///
    /// The metric of the certificate's expiry is set for the first certificate. The code that replaces it sets it
    /// again.
    ///
    /// To stop at once (a second signal), drop the future and end the process.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub async fn run(
        mut self,
        router: Router,
        certificate: Arc<ServingCertificate>,
        readiness: Arc<Readiness>,
        metrics: &Metrics,
        shutdown: CancellationToken,
    ) -> Result<(), ServerError> {
        let Settings { connections, timeouts, client_ca, drain_delay, last_call, grace } = self.settings;
        if let Some(shown) = certificate.current() {
            metrics.certificates.expiration(Certificate::Serving).set(shown.not_after().as_second());
        }
        let tls = Tls::new(certificate, client_ca.as_ref(), metrics.certificates.handshake_errors.clone())?;
        let router = if client_ca.is_some() { require_certificates(router) } else { router };
        let places = Places::new(connections, metrics.connections.clone());
        let stop = Stop::default();
        let router = router.with_state(());
        let reload = async {
            match client_ca {
                Some(ca) => ca.reload(|new| tls.renew(new)).await,
                None => pending().await,
            }
        };
        let mut serve = Box::pin(async {
            tokio::select! {
                never = self.port.serve(tls.clone(), router, &places, timeouts, &stop) => never,
                never = reload => never,
            }
        });

        tokio::select! {
            never = &mut serve => match never {},
            () = shutdown.cancelled() => {}
        }
        readiness.drain();
        places.answer_for_the_last_time();
        tracing::info!(?drain_delay, connections = places.open(), "the webhook server drains");
        tokio::select! {
            never = &mut serve => match never {},
            () = sleep(drain_delay) => {}
        }
        drop(serve);
        // Closes the port only: connections have their own tasks. hyper's graceful shutdown would also close a
        // connection whose first request is in progress, so those get a moment first.
        drop(self.port);
        if timeout(last_call, places.all_free()).await.is_err() {
            stop.gracefully.cancel();
            if timeout(grace, places.all_free()).await.is_err() {
                tracing::warn!(connections = places.open(), "connections are cut: they did not end in time");
                stop.at_once.cancel();
            }
        }
        Ok(())
    }
}
