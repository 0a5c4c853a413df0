//! The admin port: plain HTTP for probes and scrapers. It is separate from the webhook's port and is served during its
//! drain.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::places::{Bounds, Places};
use super::port::{Plain, Port, Stop};
use super::stream::Timeouts;
use crate::telemetry::metrics::ConnectionCounts;

/// Connections of probes, a few scrapers, and users.
const CONNECTIONS: Bounds = Bounds { all: 64, per_peer: 48 };

/// How long answers in progress may take once the admin server stops.
const GRACE: Duration = Duration::from_secs(1);

/// The admin server, bound and not yet serving.
#[derive(Debug)]
pub struct AdminServer {
    port: Port,
    address: SocketAddr,
}

impl AdminServer {
    /// Binds the port. Port 0 takes a free one, which [`AdminServer::address`] returns.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let port = Port::bind(address).await?;
        let address = port.address()?;
        Ok(Self { port, address })
    }

    /// Returns the address of the port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown`. Stop it after the webhook server has drained: until then the probes must see "not
    /// ready".
    pub async fn run(mut self, router: Router, counts: ConnectionCounts, shutdown: CancellationToken) {
        let (places, stop) = (Places::new(CONNECTIONS, counts), Stop::default());
        tokio::select! {
            never = self.port.serve(Plain, router, &places, Timeouts::default(), &stop) => match never {},
            () = shutdown.cancelled() => {}
        }
        stop.gracefully.cancel();
        if timeout(GRACE, places.all_free()).await.is_err() {
            stop.at_once.cancel();
        }
    }
}
