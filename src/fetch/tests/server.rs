//! A server whose answers a test writes byte by byte.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc};
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

use super::soon;

/// What follows an answer.
#[derive(Clone)]
pub enum Then {
    /// Waits for the next request on the connection.
    Next,
    /// Closes the connection.
    Close,
    /// Sends nothing until the client disconnects.
    Hang,
    /// Sends these bytes every few milliseconds until the client disconnects.
    Repeat(Vec<u8>),
}

pub type Reply = (Vec<u8>, Then);

/// A server. Dropping it stops it.
pub struct Server {
    pub address: SocketAddr,
    scheme: &'static str,
    state: Arc<ServerState>,
    heads: Mutex<mpsc::UnboundedReceiver<String>>,
    accepting: AbortHandle,
}

#[derive(Default)]
struct ServerState {
    accepted: AtomicUsize,
    closed: tokio::sync::Notify,
}

impl Server {
    /// Answers each request by its head and the number of its connection, from 0.
    pub async fn start(answer: impl Fn(&str, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::with(None, answer).await
    }

    /// The same over TLS.
    pub async fn tls(config: ServerConfig, answer: impl Fn(&str, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::with(Some(TlsAcceptor::from(Arc::new(config))), answer).await
    }

    /// Answers every request with the same bytes, and closes.
    pub async fn answering(bytes: &[u8]) -> Self {
        let bytes = bytes.to_vec();
        Self::start(move |_, _| (bytes.clone(), Then::Close)).await
    }

    async fn with(tls: Option<TlsAcceptor>, answer: impl Fn(&str, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let scheme = if tls.is_some() { "https" } else { "http" };
        let state = Arc::new(ServerState::default());
        let (sender, heads) = mpsc::unbounded_channel();
        let (shared, answer) = (state.clone(), Arc::new(answer));
        let accept = async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let number = shared.accepted.fetch_add(1, Ordering::SeqCst);
                let (tls, shared, answer, sender) = (tls.clone(), shared.clone(), answer.clone(), sender.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(tcp, number, &*answer, &sender).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(tcp).await {
                                serve(stream, number, &*answer, &sender).await;
                            }
                        }
                    }
                    shared.closed.notify_one();
                });
            }
        };
        let accepting = tokio::spawn(accept).abort_handle();
        Self { address, scheme, state, heads: Mutex::new(heads), accepting }
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    /// Returns the URL with another name for this machine.
    pub fn url_at(&self, host: &str, path: &str) -> String {
        format!("{}://{host}:{}{path}", self.scheme, self.address.port())
    }

    /// Returns the number of connections so far.
    pub fn accepted(&self) -> usize {
        self.state.accepted.load(Ordering::SeqCst)
    }

    /// Returns the next request's head, in lower case except for values.
    pub async fn head(&self) -> String {
        soon("a request", self.heads.lock().await.recv()).await.expect("the server is there")
    }

    /// Waits until a connection is closed.
    pub async fn closed(&self) {
        soon("the end of a connection", self.state.closed.notified()).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    number: usize,
    answer: &(impl Fn(&str, usize) -> Reply + Sync),
    heads: &mpsc::UnboundedSender<String>,
) {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        let mut head = String::from_utf8(head).expect("text");
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next()?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        if stream.read_exact(&mut body).await.is_err() {
            return;
        }
        head.push_str(str::from_utf8(&body).expect("text"));
        let (bytes, then) = answer(&head, number);
        // The test may have ended.
        let _ = heads.send(head);
        if stream.write_all(&bytes).await.is_err() {
            return;
        }
        match then {
            Then::Next => {}
            Then::Close => {
                let _ = stream.shutdown().await;
                return;
            }
            Then::Hang => {
                let _ = stream.read_u8().await;
                return;
            }
            Then::Repeat(bytes) => {
                let mut interval = tokio::time::interval(Duration::from_millis(2));
                while stream.write_all(&bytes).await.is_ok() {
                    interval.tick().await;
                }
                return;
            }
        }
    }
}

/// An answer that keeps the connection open.
pub fn ok(body: &str) -> Reply {
    with_head("200 OK", "", body)
}

/// An answer with this status and these header lines, each ended by a line feed, that keeps the connection open.
pub fn with_head(status: &str, headers: &str, body: &str) -> Reply {
    let headers = headers.replace('\n', "\r\n");
    (format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len()).into_bytes(), Then::Next)
}

/// A redirect.
pub fn redirect(location: &str) -> Reply {
    with_head("302 Found", &format!("location: {location}\n"), "")
}
