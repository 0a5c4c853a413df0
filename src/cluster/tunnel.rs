//! Connections to the API server through a proxy, which is asked to connect: what is said then only the API server can read.

use std::io;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube::Config;
use kube::client::{Body, ClientBuilder, ConfigExt};
use tokio::net::TcpStream;
use tower::util::option_layer;
use tower::{BoxError, Layer, Service, ServiceExt};

use super::causes::chain;
use super::proxy::Proxy;

/// Connects to a proxy, and has it connect to a host.
#[derive(Clone)]
struct Through {
    proxy: Proxy,
    connector: HttpsConnector<HttpConnector>,
}

/// A stack as `kube` builds it for a direct connection, but through a proxy.
///
/// `kube` itself takes the proxy from the environment and compares `NO_PROXY` with the proxy's host, not the API server's.
pub(super) fn stack(
    config: &Config,
    proxy: Proxy,
) -> kube::Result<
    ClientBuilder<
        impl Service<Request<Body>, Response = Response<Incoming>, Error = BoxError, Future: Send + 'static>
        + Send
        + 'static
        + use<>,
    >,
> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    let through = Through { proxy, connector: config.rustls_https_connector_with_connector(tcp)? };
    let mut connector = TimeoutConnector::new(config.rustls_https_connector_with_connector(through)?);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    connector.set_reset_reader_on_write(config.reset_reader_on_write);
    let client = Client::builder(TokioExecutor::new()).build::<_, Body>(connector).map_err(BoxError::from);
    let service = config.extra_headers_layer()?.layer(client);
    let service = option_layer(config.auth_layer()?).layer(service);
    let service = config.base_uri_layer().layer(service).map_err(BoxError::from);
    Ok(ClientBuilder::new(service, config.default_namespace.clone()))
}

impl Service<Uri> for Through {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, server: Uri) -> Self::Future {
        let Self { proxy, connector } = self.clone();
        Box::pin(async move {
            let url = proxy.url().clone();
            let failed = |error: &(dyn std::error::Error + 'static)| {
                io::Error::other(format!("the proxy {url}: {}", chain(error)))
            };
            if proxy.is_socks() {
                let mut tcp = HttpConnector::new();
                tcp.enforce_http(false);
                let mut socks = SocksV5::new(url.clone(), tcp);
                if let Some((user, password)) = proxy.user() {
                    socks = socks.with_auth(user.to_owned(), password.to_owned());
                }
                return socks.oneshot(server).await.map(MaybeHttpsStream::Http).map_err(|error| failed(&error));
            }
            let mut tunnel = Tunnel::new(url.clone(), connector);
            if let Some(authorization) = proxy.authorization() {
                tunnel = tunnel.with_auth(authorization.clone());
            }
            tunnel.oneshot(server).await.map_err(|error| failed(&error))
        })
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
    use tokio::net::TcpListener;

    use super::*;

    async fn head_of(connection: &mut TcpStream) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(connection.read_u8().await.expect("a request"));
        }
        String::from_utf8(head).expect("text")
    }

    /// The answer about `http://api.example.com:6443` through a proxy that answers like this, and what the proxy was asked.
    async fn asked_through_a_proxy(answer: &'static str) -> (String, Result<String, BoxError>) {
        let (proxy, server) = (TcpListener::bind("127.0.0.1:0").await, TcpListener::bind("127.0.0.1:0").await);
        let (proxy, server) = (proxy.expect("a port"), server.expect("a port"));
        let (of_proxy, of_server) = (proxy.local_addr().expect("one"), server.local_addr().expect("one"));
        tokio::spawn(async move {
            let (mut connection, _) = server.accept().await.expect("a connection");
            head_of(&mut connection).await;
            connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await.expect("sent");
        });
        let asked = tokio::spawn(async move {
            let (mut connection, _) = proxy.accept().await.expect("a connection");
            let asked = head_of(&mut connection).await;
            connection.write_all(answer.as_bytes()).await.expect("sent");
            if answer.contains("200") {
                let mut server = TcpStream::connect(of_server).await.expect("the server");
                tokio::spawn(async move { copy_bidirectional(&mut connection, &mut server).await });
            }
            asked
        });
        let url = format!("http://me:pass%20word@{of_proxy}");
        let server = Uri::from_static("http://api.example.com:6443");
        let proxy = Proxy::find(&server, Some(&url), |_| None).expect("a proxy").expect("a proxy");
        let client = stack(&Config::new(server), proxy).expect("a stack").build();
        let answer = async {
            let answer = client.send(Request::get("/version").body(Body::empty())?).await?;
            Ok(String::from_utf8(answer.into_body().collect().await?.to_bytes().to_vec())?)
        };
        let answer = answer.await;
        (asked.await.expect("a proxy"), answer)
    }

    #[tokio::test]
    async fn the_proxy_is_asked_to_connect_to_the_api_server_by_name() {
        let (asked, answer) = asked_through_a_proxy("HTTP/1.1 200 Connection established\r\n\r\n").await;
        assert_eq!(answer.expect("an answer"), "hello");
        assert!(asked.starts_with("CONNECT api.example.com:6443 HTTP/1.1\r\n"), "{asked}");
        // me:pass word
        assert!(asked.to_lowercase().contains("proxy-authorization: basic bwu6cgfzcyb3b3jk"), "{asked}");
    }

    #[tokio::test]
    async fn a_proxy_that_refuses_is_named_without_its_password() {
        let (_, answer) = asked_through_a_proxy("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await;
        let error = answer.expect_err("refused");
        let text = super::super::client::describe(error.downcast_ref::<kube::Error>().expect("an error of kube"));
        assert!(text.contains("the proxy http://127.0.0.1:") && text.contains("authorization required"), "{text}");
        assert!(!text.contains("pass"), "{text}");
    }
}
