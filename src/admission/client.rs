//! A small HTTPS client for reviews. It keeps one connection alive; the API server keeps many.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::certificate::provider;

/// How clients connect: the CA they trust and the address. Cheap to clone; make one and connect it often.
#[derive(Clone)]
pub struct Destination {
    address: SocketAddr,
    name: ServerName<'static>,
    host: hyper::header::HeaderValue,
    connector: TlsConnector,
}

/// One connection to a webhook server.
#[derive(Debug)]
pub struct Client {
    sender: SendRequest<Full<Bytes>>,
    host: hyper::header::HeaderValue,
    open: bool,
}

/// The server's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: StatusCode,
    /// The whole body.
    pub body: Bytes,
    /// The server said `Connection: close`: this was the connection's last answer.
    pub close: bool,
}

/// Why a review could not be sent or its answer could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The CA is invalid.
    #[error("the CA cannot be used: {0}; give PEM with at least one certificate")]
    Ca(String),
    /// The connection failed.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// The server.
        address: SocketAddr,
        /// The reason.
        source: std::io::Error,
    },
    /// The exchange failed.
    #[error("the exchange with the server broke: {0}")]
    Exchange(#[from] hyper::Error),
    /// The path is invalid in a request.
    #[error("cannot send a request: {0}")]
    Request(#[from] axum::http::Error),
}

impl Destination {
    /// Returns a connector to this address. The server's certificate must be for the address's IP and signed by a CA of
    /// `ca_pem`.
    ///
    /// # Errors
    /// `ca_pem` holds no usable certificate.
    pub fn new(address: SocketAddr, ca_pem: &str) -> Result<Self, ClientError> {
        let wrong = |error: &dyn std::fmt::Display| ClientError::Ca(error.to_string());
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
            roots.add(certificate.map_err(|error| wrong(&error))?).map_err(|error| wrong(&error))?;
        }
        if roots.is_empty() {
            return Err(wrong(&"no CERTIFICATE section"));
        }
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(&error))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            address,
            name: ServerName::IpAddress(address.ip().into()),
            host: address.to_string().try_into().map_err(|error| wrong(&error))?,
            connector: TlsConnector::from(Arc::new(config)),
        })
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// The port is closed, or the certificate is not trusted.
    pub async fn connect(&self) -> Result<Client, ClientError> {
        let failed = |source| ClientError::Connect { address: self.address, source };
        let tcp = TcpStream::connect(self.address).await.map_err(failed)?;
        tcp.set_nodelay(true).map_err(failed)?;
        let tls = self.connector.connect(self.name.clone(), tcp).await.map_err(failed)?;
        let (sender, connection) = http1::handshake(TokioIo::new(tls)).await?;
        // Ends with the sender. The request in progress gets the error of the connection.
        tokio::spawn(connection);
        Ok(Client { sender, host: self.host.clone(), open: true })
    }
}

impl Client {
    /// Connects to a server whose certificate is for its IP address and signed by a CA of `ca_pem`.
    ///
    /// # Errors
    /// The CA cannot be used, the port is closed, or the certificate is not trusted.
    pub async fn connect(address: SocketAddr, ca_pem: &str) -> Result<Self, ClientError> {
        Destination::new(address, ca_pem)?.connect().await
    }

    /// Sends a JSON body and waits for the answer.
    ///
    /// # Errors
    /// The connection broke before the whole answer was read. The server may have seen the request.
    pub async fn post(&mut self, path: &str, body: Bytes) -> Result<Answer, ClientError> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(HOST, self.host.clone())
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))?;
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let close =
            response.headers().get(CONNECTION).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"));
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        self.open = !close;
        Ok(Answer { status, body, close })
    }

    /// Returns whether another request can be sent: no answer said `Connection: close`, and the connection is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open && !self.sender.is_closed()
    }
}

impl std::fmt::Debug for Destination {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Destination").field("address", &self.address).finish_non_exhaustive()
    }
}
