//! Makes connections: resolves a name, checks every address, connects to a checked one, and starts TLS.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::{self, BoxFuture};
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::MaybeHttpsStream;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::client::proxy::matcher::Intercept;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tower::{Service, ServiceExt, service_fn};

use super::error::{FetchProblem, cause};
use super::proxies::Proxies;
use super::resolver::Resolve;
use super::rules::Rules;
use super::tls;

/// Makes connections by the rules of a request.
#[derive(Clone)]
pub(super) struct Connector {
    pub rules: Arc<Rules>,
    pub ways: Ways,
    pub tls: Arc<ClientConfig>,
}

/// Name resolution and proxies of a fetcher, independent of rules.
#[derive(Clone)]
pub(super) struct Ways {
    pub resolver: Arc<dyn Resolve>,
    pub proxies: Option<Proxies>,
}

/// A connection, possibly to a proxy, which needs whole URLs.
pub(super) struct Stream {
    stream: MaybeHttpsStream<TokioIo<TcpStream>>,
    proxied: bool,
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = FetchProblem;
    type Future = BoxFuture<'static, Result<Stream, FetchProblem>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), FetchProblem>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move {
            let limit = connector.rules.connect;
            timeout(limit, connector.connect(uri)).await.unwrap_or(Err(FetchProblem::ConnectTimeout(limit)))
        })
    }
}

impl Connector {
    async fn connect(self, uri: Uri) -> Result<Stream, FetchProblem> {
        let is_https = uri.scheme() == Some(&http::uri::Scheme::HTTPS);
        let proxy = self.ways.proxies.as_ref().and_then(|proxies| proxies.of(&uri));
        let proxied = proxy.is_some() && !is_https;
        let tcp = match proxy {
            Some(proxy) => self.through(&proxy, &uri, is_https).await?,
            None => self.directly(&uri, is_https).await?,
        };
        if !is_https {
            return Ok(Stream { stream: MaybeHttpsStream::Http(tcp), proxied });
        }
        let name = ServerName::try_from(host(&uri).to_owned())
            .map_err(|_| FetchProblem::Tls("its host can be in no certificate".to_owned()))?;
        let tls = TlsConnector::from(self.tls).connect(name, TokioIo::new(tcp)).await.map_err(|error| {
            FetchProblem::Tls(match cause::<rustls::Error>(&error) {
                Some(error) => tls::describe(error),
                None => format!("the handshake failed: {}", error.kind()),
            })
        })?;
        Ok(Stream { stream: MaybeHttpsStream::Https(TokioIo::new(tls)), proxied })
    }

    async fn directly(&self, uri: &Uri, is_https: bool) -> Result<TokioIo<TcpStream>, FetchProblem> {
        let addresses = self.addresses(host(uri), port(uri, is_https)).await?;
        let resolver = service_fn(move |_: Name| future::ok::<_, io::Error>(addresses.clone().into_iter()));
        let mut connector = HttpConnector::new_with_resolver(resolver);
        connector.enforce_http(false);
        connector.set_nodelay(true);
        // Shared by the addresses, so that one that does not answer leaves time for the next.
        connector.set_connect_timeout(Some(self.rules.connect));
        connector.oneshot(uri.clone()).await.map_err(|error| match cause::<io::Error>(&error).map(io::Error::kind) {
            Some(io::ErrorKind::TimedOut) => FetchProblem::ConnectTimeout(self.rules.connect),
            Some(kind) => FetchProblem::Connect(kind.to_string()),
            None => FetchProblem::Connect("no answer".to_owned()),
        })
    }

    /// Returns the addresses to connect to, all checked. One refused address makes the whole name refused.
    async fn addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, FetchProblem> {
        if let Ok(address) = host.parse::<IpAddr>() {
            let address = SocketAddr::new(address, port);
            self.rules.guard.check(None, address).map_err(FetchProblem::Refused)?;
            return Ok(vec![address]);
        }
        let found = self.ways.resolver.resolve(host).await.map_err(|_| FetchProblem::Dns)?;
        if found.is_empty() {
            return Err(FetchProblem::Dns);
        }
        let judged = |address| {
            let address = SocketAddr::new(address, port);
            self.rules.guard.check(Some(host), address).map(|()| address).map_err(FetchProblem::NameRefused)
        };
        found.into_iter().map(judged).collect()
    }

    async fn through(&self, proxy: &Intercept, uri: &Uri, is_https: bool) -> Result<TokioIo<TcpStream>, FetchProblem> {
        if let Ok(address) = host(uri).parse::<IpAddr>() {
            let address = SocketAddr::new(address, port(uri, is_https));
            self.rules.guard.check(None, address).map_err(FetchProblem::Refused)?;
        }
        if proxy.uri().scheme() != Some(&http::uri::Scheme::HTTP) {
            return Err(FetchProblem::Connect("the proxy is none that is spoken to by plain HTTP".to_owned()));
        }
        let failed = |problem: String| FetchProblem::Connect(format!("the proxy: {problem}"));
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        if !is_https {
            return connector.oneshot(proxy.uri().clone()).await.map_err(|error| failed(error.to_string()));
        }
        let tunnel = Tunnel::new(proxy.uri().clone(), connector);
        let tunnel = match proxy.basic_auth() {
            Some(authorization) => tunnel.with_auth(authorization.clone()),
            None => tunnel,
        };
        tunnel.oneshot(uri.clone()).await.map_err(|error| failed(error.to_string()))
    }
}

/// Returns the host of a URL, an IPv6 address without brackets.
fn host(uri: &Uri) -> &str {
    let host = uri.host().unwrap_or_default();
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

fn port(uri: &Uri, is_https: bool) -> u16 {
    uri.port_u16().unwrap_or(if is_https { 443 } else { 80 })
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        self.stream.connected().proxy(self.proxied)
    }
}

impl Read for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
