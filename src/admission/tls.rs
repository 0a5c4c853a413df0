//! The TLS handshake of the webhook's port: the server's certificate, client certificates, and logs of failures.

use std::io;
use std::net::SocketAddr;
use std::num::NonZero;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::thread::available_parallelism;

use arc_swap::ArcSwap;
use futures::poll;
use prometheus_client::metrics::counter::Counter;
use rustls::ServerConfig;
use rustls::server::Acceptor;
use tokio::sync::Semaphore;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::certificate::{ServingCertificate, provider};
use super::client_ca::ClientCa;
use crate::connections::{Handshake, Tcp};
use crate::telemetry::Throttle;

/// Accepts TLS on TCP connections.
#[derive(Clone)]
pub(super) struct Tls {
    shared: Arc<Shared>,
}

struct Shared {
    certificate: Arc<ServingCertificate>,
    config: ArcSwap<ServerConfig>,
    turns: Semaphore,
    errors: Counter,
    warnings: Throttle,
}

impl Tls {
    /// # Errors
    /// TLS cannot be set up.
    pub fn new(
        certificate: Arc<ServingCertificate>,
        clients: Option<&ClientCa>,
        errors: Counter,
    ) -> Result<Self, rustls::Error> {
        let config = ArcSwap::from_pointee(config(certificate.clone(), clients)?);
        let turns = Semaphore::new(available_parallelism().map_or(1, NonZero::get));
        let warnings = Throttle::default();
        Ok(Self { shared: Arc::new(Shared { certificate, config, turns, errors, warnings }) })
    }

    /// Asks new connections for a certificate of this CA. Older sessions are not resumed.
    pub fn renew(&self, clients: &ClientCa) {
        match config(self.shared.certificate.clone(), Some(clients)) {
            Ok(config) => self.shared.config.store(Arc::new(config)),
            Err(error) => tracing::error!(%error, "the CA certificates for clients cannot be used"),
        }
    }
}

impl Handshake for Tls {
    type Stream = TlsStream<Tcp>;

    async fn shake(self, tcp: Tcp) -> io::Result<Self::Stream> {
        let peer = tcp.peer_addr();
        let stream = self.shared.accept(tcp).await.inspect_err(|error| self.shared.failed(peer.ok(), error))?;
        let (tcp, tls) = stream.get_ref();
        if tls.peer_certificates().is_some() {
            tcp.certify();
        }
        Ok(stream)
    }
}

impl Shared {
    /// Performs the handshake when its turn comes. So those of hundreds of new connections have a queue of their own,
    /// and do not all run before the next review.
    async fn accept(&self, tcp: Tcp) -> io::Result<TlsStream<Tcp>> {
        let hello = LazyConfigAcceptor::new(Acceptor::default(), tcp).await?;
        let mut handshake = pin!(hello.into_stream(self.config.load_full()));
        let calculated = {
            let _turn = self.turns.acquire().await;
            poll!(&mut handshake)
        };
        match calculated {
            Poll::Ready(ended) => ended,
            Poll::Pending => handshake.await,
        }
    }

    fn failed(&self, peer: Option<SocketAddr>, error: &io::Error) {
        let peer = peer.map(tracing::field::display);
        // A client that disconnects silently checks whether the port is open. One that rejects the certificate sends an
        // alert.
        if matches!(
            error.kind(),
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected
        ) {
            tracing::debug!(peer, "a client left during the TLS handshake");
            return;
        }
        self.errors.inc();
        tracing::debug!(peer, %error, "TLS handshake failed");
        if let Some(unsaid) = self.warnings.pass() {
            tracing::warn!(peer, %error, unsaid, "TLS handshake failed; if it repeats, the caBundle registered for this webhook may not fit its certificate");
        }
    }
}

fn config(certificate: Arc<ServingCertificate>, clients: Option<&ClientCa>) -> Result<ServerConfig, rustls::Error> {
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = match clients {
        Some(clients) => builder.with_client_cert_verifier(clients.verifier.clone()),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(certificate);
    // The API server speaks only this protocol to webhooks.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
