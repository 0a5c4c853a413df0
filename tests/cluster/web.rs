//! A web server with the test's answers that records its requests.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use axum::body::Body;
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use http::{HeaderMap, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use outrigger_testbed::wait_for;
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::certificates::Certificates;
use crate::outrigger::PATIENCE;

/// A free port.
const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A server on its own port of 127.0.0.1. Dropping it closes its connections. A path without an answer gets a 404.
pub struct Web {
    address: SocketAddr,
    scheme: &'static str,
    pages: Pages,
    serving: JoinHandle<()>,
}

/// A request.
#[derive(Clone, Debug)]
pub struct Asked {
    /// When its head arrived.
    pub at: Instant,
    /// Its headers.
    pub headers: HeaderMap,
    /// The number of its connection, from 0.
    pub connection: usize,
    /// Whether the client sent a certificate.
    pub certificate: bool,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Content,
}

#[derive(Clone, Debug)]
enum Content {
    Text(String),
    /// No head.
    Nothing,
    /// A byte every now and then, without end.
    Drip,
    /// As much as the client reads, without end.
    Endless,
}

/// The answer of a path, for the request and its number (from 1).
type Answer = Arc<dyn Fn(&Asked, usize) -> Reply + Send + Sync>;

#[derive(Clone, Default)]
struct Pages(Arc<Mutex<HashMap<String, Page>>>);

#[derive(Default)]
struct Page {
    answer: Option<Answer>,
    asked: Vec<Asked>,
    open: usize,
}

/// A request without a complete answer.
struct Open {
    pages: Pages,
    path: String,
}

impl Web {
    /// Serves HTTP.
    pub async fn http() -> Result<Self> {
        Self::http_at(ANY_PORT).await
    }

    /// Serves HTTP at an address of this machine.
    pub async fn http_at(address: SocketAddr) -> Result<Self> {
        Self::start(address, None).await
    }

    /// Serves HTTPS with this certificate.
    pub async fn https(certificates: &Certificates) -> Result<Self> {
        Self::start(ANY_PORT, Some(Self::tls(certificates, None)?)).await
    }

    /// Serves HTTPS to clients with a certificate of this CA.
    pub async fn https_for(certificates: &Certificates, clients: &Certificates) -> Result<Self> {
        Self::start(ANY_PORT, Some(Self::tls(certificates, Some(clients))?)).await
    }

    fn tls(certificates: &Certificates, clients: Option<&Certificates>) -> Result<TlsAcceptor> {
        let provider = Arc::new(default_provider());
        let config = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
        let config = match clients {
            None => config.with_no_client_auth(),
            Some(clients) => {
                let mut roots = rustls::RootCertStore::empty();
                roots.add(CertificateDer::from_pem_slice(clients.ca.as_bytes())?)?;
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build()?;
                config.with_client_cert_verifier(verifier)
            }
        };
        let chain = vec![CertificateDer::from_pem_slice(certificates.certificate()?.as_bytes())?];
        let key = PrivateKeyDer::from_pem_slice(certificates.key()?.as_bytes())?;
        Ok(TlsAcceptor::from(Arc::new(config.with_single_cert(chain, key)?)))
    }

    async fn start(address: SocketAddr, tls: Option<TlsAcceptor>) -> Result<Self> {
        let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen at {address}"))?;
        let address = listener.local_addr()?;
        let (pages, scheme) = (Pages::default(), if tls.is_some() { "https" } else { "http" });
        let for_server = pages.clone();
        let serving = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            let mut count = 0..;
            while let (Ok((stream, _)), Some(number)) = (listener.accept().await, count.next()) {
                let (tls, pages) = (tls.clone(), for_server.clone());
                connections.spawn(async move {
                    match tls {
                        None => pages.serve(stream, number, false).await,
                        Some(tls) => {
                            // A client that does not trust the certificate disconnects.
                            let Ok(stream) = tls.accept(stream).await else { return };
                            let certificate = stream.get_ref().1.peer_certificates().is_some();
                            pages.serve(stream, number, certificate).await;
                        }
                    }
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { address, scheme, pages, serving })
    }

    /// `HOST:PORT`.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Returns the URL of a path, which begins with `/`.
    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    /// Sets a path's answer to 200 with this body.
    pub fn says(&self, path: &str, body: impl Into<String>) {
        self.replies(path, Reply::ok(body));
    }

    /// Sets a path's answer.
    pub fn replies(&self, path: &str, reply: Reply) {
        self.answers(path, move |_, _| reply.clone());
    }

    /// Sets a function for a path's answers. It gets the request and the number of requests, including this one.
    pub fn answers(&self, path: &str, answer: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static) {
        self.pages.lock().entry(path.to_owned()).or_default().answer = Some(Arc::new(answer));
    }

    /// Returns the number of requests for a path.
    pub fn count(&self, path: &str) -> usize {
        self.pages.lock().get(path).map_or(0, |page| page.asked.len())
    }

    /// Returns the number of requests for a path without a complete answer.
    pub fn open(&self, path: &str) -> usize {
        self.pages.lock().get(path).map_or(0, |page| page.open)
    }

    /// Returns all requests for a path.
    pub fn requests(&self, path: &str) -> Vec<Asked> {
        self.pages.lock().get(path).map(|page| page.asked.clone()).unwrap_or_default()
    }

    /// Waits for the n-th request for a path, counted from 1.
    pub async fn asked(&self, path: &str, number: usize) -> Result<Asked> {
        wait_for(&format!("request {number} of {path}"), PATIENCE, async || {
            let requests = self.requests(path);
            requests.get(number - 1).cloned().map(Some).with_context(|| format!("there were {}", requests.len()))
        })
        .await
    }

    /// Waits for this many further requests for a path. The first one may already have been in progress.
    pub async fn more(&self, path: &str, requests: usize) -> Result<Asked> {
        self.asked(path, self.count(path) + requests).await
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Asked {
    /// Returns the text of a header; empty if it is absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

impl Reply {
    /// 200 with this body.
    pub fn ok(body: impl Into<String>) -> Self {
        Self::status(200).body(body)
    }

    /// This status without a body.
    pub fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Content::Text(String::new()) }
    }

    /// A redirect to another URL.
    pub fn redirect(location: impl Into<String>) -> Self {
        Self::status(302).header("location", location)
    }

    /// No answer.
    pub fn hang() -> Self {
        Self { body: Content::Nothing, ..Self::status(200) }
    }

    /// 200 and a body of single bytes without end.
    pub fn drip() -> Self {
        Self { body: Content::Drip, ..Self::status(200) }
    }

    /// 200 and a body without end, as fast as it is read.
    pub fn endless() -> Self {
        Self { body: Content::Endless, ..Self::status(200) }
    }

    /// Sets the body.
    pub fn body(self, body: impl Into<String>) -> Self {
        Self { body: Content::Text(body.into()), ..self }
    }

    /// Adds a header. If the client has this `etag` or `last-modified`, the answer becomes 304.
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Whether the client already has it.
    fn is_known(&self, asked: &Asked) -> bool {
        self.headers.iter().any(|(name, value)| match *name {
            "etag" => asked.header("if-none-match") == value,
            "last-modified" => asked.header("if-modified-since") == value,
            _ => false,
        })
    }
}

impl Pages {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Page>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin, connection: usize, certificate: bool) {
        let service = service_fn(|request: Request<Incoming>| {
            let pages = self.clone();
            async move {
                let (at, headers) = (Instant::now(), request.headers().clone());
                let asked = Asked { at, headers, connection, certificate };
                Ok::<_, Infallible>(pages.answer(request.uri().path(), asked).await)
            }
        });
        // Clients may disconnect at any time.
        _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    }

    async fn answer(&self, path: &str, asked: Asked) -> Response<Body> {
        let (answer, number, open) = {
            let mut pages = self.lock();
            let page = pages.entry(path.to_owned()).or_default();
            page.asked.push(asked.clone());
            page.open += 1;
            (page.answer.clone(), page.asked.len(), Open { pages: self.clone(), path: path.to_owned() })
        };
        let reply = answer.map_or_else(|| Reply::status(404), |answer| answer(&asked, number));
        let known = reply.is_known(&asked);
        let mut response =
            Response::builder().status(if known { StatusCode::NOT_MODIFIED.as_u16() } else { reply.status });
        for (name, value) in &reply.headers {
            response = response.header(*name, value);
        }
        let body = match reply.body {
            Content::Nothing => {
                std::future::pending::<()>().await;
                Body::empty()
            }
            _ if known => Body::empty(),
            // Not as a stream: this has a Content-Length.
            Content::Text(text) => Body::from(text),
            Content::Drip => endless(Bytes::from_static(b" "), Duration::from_millis(20), open),
            Content::Endless => endless(Bytes::from(vec![b' '; 64 * 1024]), Duration::ZERO, open),
        };
        let response = if response.headers_ref().is_some_and(|headers| headers.contains_key(header::CONTENT_TYPE)) {
            response
        } else {
            response.header(header::CONTENT_TYPE, "application/json")
        };
        response.body(body).unwrap_or_else(|_| Response::new(Body::empty()))
    }
}

/// Repeats a piece.
fn endless(piece: Bytes, pause: Duration, open: Open) -> Body {
    let pieces = stream::repeat(piece).then(move |piece| {
        // Closed when the stream is dropped.
        let _open = &open;
        async move {
            tokio::time::sleep(pause).await;
            Ok::<_, Infallible>(piece)
        }
    });
    Body::from_stream(pieces)
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(page) = self.pages.lock().get_mut(&self.path) {
            page.open -= 1;
        }
    }
}
