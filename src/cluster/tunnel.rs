//! Connections to the API server through a proxy's tunnel. Only the API server can read what is sent.

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

/// Connects to a proxy, and through it to a host.
#[derive(Clone)]
struct Through {
    proxy: Proxy,
    connector: HttpsConnector<HttpConnector>,
}

/// Builds a stack like `kube`'s for a direct connection, but through a proxy.
///
/// `kube` itself takes the proxy from the environment, and compares `NO_PROXY` with the proxy's host instead of the API
/// server's.
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
    use std::sync::Arc;

    use http_body_util::BodyExt;
    use rustls::ServerConfig;
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    /// The server that a client reaches instead of the API server.
    async fn server() -> TcpStream {
        let server = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = server.local_addr().expect("one");
        tokio::spawn(async move {
            let (mut connection, _) = server.accept().await.expect("a connection");
            head_of(&mut connection).await;
            connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await.expect("sent");
        });
        TcpStream::connect(address).await.expect("the server")
    }

    async fn head_of(connection: &mut (impl AsyncRead + Unpin)) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(connection.read_u8().await.expect("a request"));
        }
        String::from_utf8(head).expect("text")
    }

    async fn bytes_of<const N: usize>(connection: &mut TcpStream) -> [u8; N] {
        let mut bytes = [0; N];
        connection.read_exact(&mut bytes).await.expect("bytes");
        bytes
    }

    async fn text_of(connection: &mut TcpStream) -> String {
        let mut text = vec![0; connection.read_u8().await.expect("a length").into()];
        connection.read_exact(&mut text).await.expect("a text");
        String::from_utf8(text).expect("text")
    }

    /// An HTTP proxy with this answer. Returns what it received.
    async fn http_proxy(mut connection: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, answer: &str) -> String {
        let asked = head_of(&mut connection).await;
        connection.write_all(answer.as_bytes()).await.expect("sent");
        if answer.contains("200") {
            tokio::spawn(async move { copy_bidirectional(&mut connection, &mut server().await).await });
        } else {
            connection.flush().await.expect("sent");
        }
        asked
    }

    /// A SOCKS 5 proxy that requires user and password (RFC 1928, RFC 1929). Returns what it received.
    async fn socks_proxy(mut connection: TcpStream) -> String {
        assert_eq!(connection.read_u8().await.expect("a version"), 5);
        let methods = text_of(&mut connection).await;
        assert!(methods.contains('\u{2}'), "it has a password: {methods:?}");
        connection.write_all(&[5, 2]).await.expect("sent");
        assert_eq!(bytes_of(&mut connection).await, [1]);
        let (user, password) = (text_of(&mut connection).await, text_of(&mut connection).await);
        connection.write_all(&[1, 0]).await.expect("sent");
        assert_eq!(bytes_of(&mut connection).await, [5, 1, 0, 3], "to connect to a name");
        let host = text_of(&mut connection).await;
        let port = connection.read_u16().await.expect("a port");
        connection.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await.expect("sent");
        tokio::spawn(async move { copy_bidirectional(&mut connection, &mut server().await).await });
        format!("{user}:{password}@{host}:{port}")
    }

    /// Returns the answer for `http://api.example.com:6443` through a proxy with this scheme and address.
    async fn answer_through(scheme: &str, proxy: &TcpListener, config: Config) -> Result<String, BoxError> {
        let url = format!("{scheme}://me:pass%20word@{}", proxy.local_addr()?);
        let proxy = Proxy::find(&config.cluster_url, Some(&url), |_| None)?.expect("a proxy");
        let client = stack(&config, proxy)?.build();
        let answer = client.send(Request::get("/version").body(Body::empty())?).await?;
        Ok(String::from_utf8(answer.into_body().collect().await?.to_bytes().to_vec())?)
    }

    fn config() -> Config {
        Config::new(Uri::from_static("http://api.example.com:6443"))
    }

    async fn listener() -> TcpListener {
        TcpListener::bind("127.0.0.1:0").await.expect("a port")
    }

    async fn accepted(proxy: &TcpListener) -> TcpStream {
        proxy.accept().await.expect("a connection").0
    }

    fn is_right(asked: &str) {
        assert!(asked.starts_with("CONNECT api.example.com:6443 HTTP/1.1\r\n"), "{asked}");
        // me:pass word
        assert!(asked.to_lowercase().contains("proxy-authorization: basic bwu6cgfzcyb3b3jk"), "{asked}");
    }

    #[tokio::test]
    async fn the_proxy_is_asked_to_connect_to_the_api_server_by_name() {
        let proxy = listener().await;
        let asked = async { http_proxy(accepted(&proxy).await, "HTTP/1.1 200 Connection established\r\n\r\n").await };
        let (asked, answer) = tokio::join!(asked, answer_through("http", &proxy, config()));
        assert_eq!(answer.expect("an answer"), "hello");
        is_right(&asked);
    }

    /// As in kubectl, the kubeconfig's CAs are also used for the proxy.
    #[tokio::test]
    async fn a_proxy_of_https_is_spoken_to_by_tls() {
        let proxy = listener().await;
        let certificate = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(certificate.signing_key.serialize_der()));
        let tls = ServerConfig::builder().with_no_client_auth();
        let tls = tls.with_single_cert(vec![certificate.cert.der().clone()], key).expect("a certificate and its key");
        let asked = async {
            let connection = TlsAcceptor::from(Arc::new(tls)).accept(accepted(&proxy).await).await;
            http_proxy(connection.expect("TLS"), "HTTP/1.1 200 Connection established\r\n\r\n").await
        };
        let mut config = config();
        config.root_cert = Some(vec![certificate.cert.der().to_vec()]);
        let (asked, answer) = tokio::join!(asked, answer_through("https", &proxy, config));
        assert_eq!(answer.expect("an answer"), "hello");
        is_right(&asked);
    }

    #[tokio::test]
    async fn a_proxy_of_socks_resolves_the_name_of_the_api_server() {
        for scheme in ["socks5", "socks5h"] {
            let proxy = listener().await;
            let told = async { socks_proxy(accepted(&proxy).await).await };
            let (told, answer) = tokio::join!(told, answer_through(scheme, &proxy, config()));
            assert_eq!(answer.expect("an answer"), "hello");
            assert_eq!(told, "me:pass word@api.example.com:6443", "{scheme}");
        }
    }

    #[tokio::test]
    async fn a_proxy_that_refuses_is_named_without_its_password() {
        let proxy = listener().await;
        let answer = "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n";
        let asked = async { http_proxy(accepted(&proxy).await, answer).await };
        let (_, answer) = tokio::join!(asked, answer_through("http", &proxy, config()));
        let error = answer.expect_err("refused");
        let text = super::super::client::describe(error.downcast_ref::<kube::Error>().expect("an error of kube"));
        assert!(text.contains("the proxy http://127.0.0.1:") && text.contains("authorization required"), "{text}");
        assert!(!text.contains("pass"), "{text}");
    }
}
