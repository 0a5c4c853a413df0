//! Servers, clients and bodies for the tests.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use axum::body::{Body, HttpBody};
use axum::http::{Request, Response};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use outrigger::admission::client::Destination;
use outrigger::admission::{
    Answer, CertificatePair, Handler, Limits, Reply, Server, ServingCertificate, Settings, at_once, router, server,
};
use outrigger::admission::{Metrics, Webhook};
use outrigger::connections::Timeouts;
use outrigger::telemetry::Readiness;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

pub const PATH: &str = "/mutate-pod";

/// The maximum time that a test waits.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Fails the test if `future` takes too long.
pub async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("it takes too long")
}

/// Waits until `condition` holds.
pub async fn until(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

/// A handler that answers with the size of the body. It panics if the body is `panic`.
pub fn measure() -> Handler {
    at_once(|body| {
        assert!(body != b"panic", "as asked");
        Reply::json(body.len().to_string().into_bytes())
    })
}

/// A handler that answers with the size of the body once it is released.
pub fn held() -> (watch::Sender<bool>, Handler) {
    let (go, goes) = watch::channel(false);
    let handler: Handler = Arc::new(move |body, _| {
        let (mut goes, length) = (goes.clone(), body.len());
        Answer::Later(Box::pin(async move {
            goes.wait_for(|go| *go).await.expect("the test lives");
            assert!(length != 5, "as asked");
            Reply::json(length.to_string().into_bytes())
        }))
    });
    (go, handler)
}

/// A router with `handler`, and its metrics.
pub fn routed(handler: Handler, limits: Limits) -> (axum::Router, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::default());
    (router([(Webhook::MutatePod, handler, limits)], &metrics), metrics)
}

/// A review as the API server sends it.
pub fn review(body: impl Into<Body>) -> Request<Body> {
    Request::post(PATH).header("content-type", "application/json").body(body.into()).expect("a request")
}

/// Returns status and text of a response.
pub async fn read(response: Response<Body>) -> (u16, String) {
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    (status, String::from_utf8(body.to_vec()).expect("text"))
}

/// A body that arrives piece by piece, as the test sends them. `length` is the announced length.
pub fn piecemeal(length: Option<u64>) -> (mpsc::Sender<Bytes>, Body) {
    let (sender, pieces) = mpsc::channel(1);
    (sender, Body::new(Piecemeal { pieces, length }))
}

struct Piecemeal {
    pieces: mpsc::Receiver<Bytes>,
    length: Option<u64>,
}

impl HttpBody for Piecemeal {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(ready!(self.pieces.poll_recv(context)).map(|piece| Ok(Frame::data(piece))))
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// A server on a free port of 127.0.0.1, with everything a test checks.
pub struct TestServer {
    pub address: SocketAddr,
    pub ca: String,
    pub certificate: Arc<ServingCertificate>,
    pub metrics: Arc<Metrics>,
    pub readiness: Arc<Readiness>,
    pub shutdown: CancellationToken,
    pub task: JoinHandle<Result<(), server::ServerError>>,
}

pub fn certificate() -> CertificatePair {
    CertificatePair::generate(&["127.0.0.1"], SystemTime::now()).expect("a certificate")
}

impl TestServer {
    pub async fn start(handler: Handler, limits: Limits, settings: Settings) -> Self {
        let (router, metrics) = routed(handler, limits);
        Self::serve(router, metrics, settings).await
    }

    pub async fn serve(router: axum::Router, metrics: Arc<Metrics>, settings: Settings) -> Self {
        let certificate = Arc::new(ServingCertificate::new(certificate()));
        let readiness = Arc::new(Readiness::new());
        let shutdown = CancellationToken::new();
        let server = Server::bind(([127, 0, 0, 1], 0).into(), settings).await.expect("a port");
        let address = server.address();
        let ca = certificate.current().expect("a certificate").ca_pem().expect("generated").to_owned();
        let task = tokio::spawn({
            let (certificate, readiness, metrics, shutdown) =
                (certificate.clone(), readiness.clone(), metrics.clone(), shutdown.clone());
            async move { server.run(router, certificate, readiness, &metrics, shutdown).await }
        });
        Self { address, ca, certificate, metrics, readiness, shutdown, task }
    }

    pub async fn with_timeouts(timeouts: Timeouts) -> Self {
        Self::start(measure(), Limits::default(), Settings { timeouts, ..Settings::default() }).await
    }

    pub fn target(&self) -> Destination {
        Destination::new(self.address, &self.ca).expect("a CA")
    }

    /// A raw TLS connection.
    pub async fn raw(&self) -> TlsStream<TcpStream> {
        self.connect(None).await.expect("a handshake")
    }

    /// The same with an optional client certificate.
    pub async fn connect(
        &self,
        shown: Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.ca.as_bytes()).expect("PEM")).expect("a CA");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        let config = match shown {
            Some((certificate, key)) => config.with_client_auth_cert(vec![certificate], key).expect("a pair"),
            None => config.with_no_client_auth(),
        };
        let tcp = TcpStream::connect(self.address).await.expect("a connection");
        let name = ServerName::IpAddress(self.address.ip().into());
        TlsConnector::from(Arc::new(config)).connect(name, tcp).await
    }
}

/// Returns the head of a review with a body of `length` bytes.
pub fn head(length: usize) -> String {
    format!(
        "POST {PATH} HTTP/1.1\r\nHost: webhook\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    )
}

/// Writes and flushes.
pub async fn send(stream: &mut TlsStream<TcpStream>, data: impl AsRef<[u8]>) {
    stream.write_all(data.as_ref()).await.expect("written");
    stream.flush().await.expect("flushed");
}

/// Reads until the text ends with `end`.
pub async fn read_until(stream: &mut TlsStream<TcpStream>, end: &str) -> String {
    let mut text = Vec::new();
    while !text.ends_with(end.as_bytes()) {
        text.push(soon(stream.read_u8()).await.expect("more to come"));
    }
    String::from_utf8(text).expect("text")
}

/// Reads to the end of the connection. An end without TLS's `close_notify` counts too.
pub async fn read_to_end(stream: &mut TlsStream<TcpStream>) -> String {
    let mut text = Vec::new();
    let _end = soon(stream.read_to_end(&mut text)).await;
    String::from_utf8(text).expect("text")
}
