//! What a connection may do, and for how long: the TLS handshake, then requests, each with phases of its own limits.
//!
//! hyper's own head timeout also runs between requests and so closes idle connections, on which the API server's next POST
//! then fails; it pools connections for 90 s and does not repeat a POST. Here a connection knows its phase: it may idle long,
//! but a head that has begun must soon be whole.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::http::{HeaderValue, Request, Response, header};
use axum_server::accept::Accept;
use axum_server::tls_rustls::RustlsAcceptor;
use pin_project_lite::pin_project;
use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};
use tokio_rustls::server::TlsStream;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tower::Service;

use crate::telemetry::{Readiness, Throttle};

/// How long a connection may stay in each phase. The body has its own limit, [`super::Limits::body_timeout`].
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// The TLS handshake. Default 10 s.
    pub handshake: Duration,
    /// Before the first byte of a request. Default 120 s: longer than the 90 s that the API server keeps a connection.
    pub idle: Duration,
    /// From the first byte of a request to the end of its head. Default 5 s.
    pub head: Duration,
    /// For the client to take an answer. Default 10 s.
    pub answer: Duration,
    /// From the end of our side to the end of the client's. Default 5 s.
    pub close: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { handshake: seconds(10), idle: seconds(120), head: seconds(5), answer: seconds(10), close: seconds(5) }
    }
}

/// Makes connections of TCP streams.
#[derive(Clone)]
pub(super) struct Acceptor {
    shared: Arc<Shared>,
}

struct Shared {
    tls: RustlsAcceptor,
    timeouts: Timeouts,
    handshake_errors: Counter,
    handshake_warnings: Throttle,
}

impl Acceptor {
    pub(super) fn new(tls: RustlsAcceptor, timeouts: Timeouts, handshake_errors: Counter) -> Self {
        let tls = tls.handshake_timeout(timeouts.handshake);
        Self { shared: Arc::new(Shared { tls, timeouts, handshake_errors, handshake_warnings: Throttle::default() }) }
    }
}

impl<S: Send + 'static> Accept<TcpStream, Exchanges<S>> for Acceptor {
    type Stream = Connection;
    type Service = Exchanges<S>;
    type Future = Pin<Box<dyn Future<Output = io::Result<(Connection, Exchanges<S>)>> + Send>>;

    fn accept(&self, tcp: TcpStream, service: Exchanges<S>) -> Self::Future {
        let shared = self.shared.clone();
        Box::pin(async move {
            let peer = tcp.peer_addr();
            tcp.set_nodelay(true)?;
            let state = service.state.clone();
            let tcp = Closing { tcp, state: state.clone(), ended: false };
            match shared.tls.accept(tcp, service).await {
                Ok((tls, service)) => Ok((Connection::new(tls, state, shared.timeouts), service)),
                Err(error) => {
                    shared.handshake_failed(peer.ok(), &error);
                    Err(error)
                }
            }
        })
    }
}

impl Shared {
    fn handshake_failed(&self, peer: Option<SocketAddr>, error: &io::Error) {
        let peer = peer.map(tracing::field::display);
        // A client that goes away without a word looks whether the port is open. One that rejects us says so by an alert.
        if matches!(
            error.kind(),
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected
        ) {
            tracing::debug!(peer, "a client left during the TLS handshake");
            return;
        }
        self.handshake_errors.inc();
        tracing::debug!(peer, %error, "TLS handshake failed");
        if let Some(unsaid) = self.handshake_warnings.pass() {
            tracing::warn!(peer, %error, unsaid, "TLS handshake failed; if it repeats, the caBundle registered for this webhook may not fit its certificate");
        }
    }
}

/// Where a connection is in its exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    /// Between requests.
    Idle,
    /// A request has begun; its head is not whole.
    Head,
    /// The service has the request.
    Busy,
    /// The answer is being written.
    Answer,
    /// Our side is over.
    Close,
}

/// What the two halves of a connection, its stream and its service, tell each other. Both live in one task.
#[derive(Debug)]
struct State {
    phase: AtomicU8,
    last_answer: AtomicBool,
    readiness: Arc<Readiness>,
    _open: TaskTrackerToken,
}

impl State {
    fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Idle,
            1 => Phase::Head,
            2 => Phase::Busy,
            3 => Phase::Answer,
            _ => Phase::Close,
        }
    }

    fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }
}

/// The decrypted stream of a connection, which ends when a phase takes too long.
pub(super) struct Connection {
    tls: TlsStream<Closing>,
    state: Arc<State>,
    timeouts: Timeouts,
    phase: Phase,
    since: Instant,
    /// Fires at or before the limit of the phase, so that it is set once in an idle time and not once a request.
    timer: Pin<Box<Sleep>>,
}

impl Connection {
    fn new(tls: TlsStream<Closing>, state: Arc<State>, timeouts: Timeouts) -> Self {
        let timer = Box::pin(sleep(timeouts.idle));
        Self { tls, state, timeouts, phase: Phase::Idle, since: Instant::now(), timer }
    }

    /// The phase now; a new one begins at this moment.
    fn observe(&mut self) -> Phase {
        let phase = self.state.phase();
        if phase != self.phase {
            self.phase = phase;
            self.since = Instant::now();
        }
        phase
    }

    fn enter(&mut self, phase: Phase) {
        self.state.enter(phase);
        self.observe();
    }

    /// Whether the phase took too long. If not, the task is woken when it does.
    fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        let limit = match self.observe() {
            Phase::Idle => self.timeouts.idle,
            Phase::Head => self.timeouts.head,
            Phase::Busy => return false,
            Phase::Answer => self.timeouts.answer,
            Phase::Close => self.timeouts.close,
        };
        let deadline = self.since + limit;
        if deadline < self.timer.deadline() {
            self.timer.as_mut().reset(deadline);
        }
        while self.timer.as_mut().poll(context).is_ready() {
            if Instant::now() >= deadline {
                tracing::debug!(phase = ?self.phase, "a connection took too long and is closed");
                return true;
            }
            self.timer.as_mut().reset(deadline);
        }
        false
    }

    fn bounded<T>(&mut self, context: &mut Context<'_>, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if poll.is_pending() && self.is_over(context) { Poll::Ready(Err(io::ErrorKind::TimedOut.into())) } else { poll }
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        match Pin::new(&mut this.tls).poll_read(context, buffer) {
            Poll::Ready(Ok(())) => {
                if buffer.filled().len() > before && this.observe() == Phase::Idle {
                    this.enter(Phase::Head);
                }
                Poll::Ready(Ok(()))
            }
            // To hyper this is the client's end, which it answers in order, with TLS's own goodbye.
            Poll::Pending if this.is_over(context) => Poll::Ready(Ok(())),
            other => other,
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.tls).poll_write(context, data);
        this.bounded(context, poll)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.tls).poll_write_vectored(context, data);
        this.bounded(context, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.tls.is_write_vectored()
    }

    /// hyper flushes when a whole answer is written; then the connection is idle.
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.tls).poll_flush(context);
        if matches!(poll, Poll::Ready(Ok(()))) && this.observe() == Phase::Answer {
            this.enter(Phase::Idle);
        }
        this.bounded(context, poll)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.enter(Phase::Close);
        let poll = Pin::new(&mut this.tls).poll_shutdown(context);
        this.bounded(context, poll)
    }
}

/// The TCP stream under TLS. After an answer with `Connection: close` it ends in order: our side first, and what the client
/// still sends (the rest of a body that was refused) is thrown away undecrypted until the client is done too. Closing at once
/// would reset the connection, and the reset can overtake the answer.
struct Closing {
    tcp: TcpStream,
    state: Arc<State>,
    ended: bool,
}

impl AsyncRead for Closing {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(context, buffer)
    }
}

impl AsyncWrite for Closing {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(context, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(context, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.ended {
            ready!(Pin::new(&mut self.tcp).poll_shutdown(context))?;
            self.ended = true;
        }
        if !self.state.last_answer.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        let mut space = [MaybeUninit::uninit(); 16 * 1024];
        loop {
            let mut rest = ReadBuf::uninit(&mut space);
            ready!(Pin::new(&mut self.tcp).poll_read(context, &mut rest))?;
            if rest.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

/// The service of one connection. It moves the connection through its phases, and says `Connection: close` while the server
/// drains.
#[derive(Clone)]
pub(super) struct Exchanges<S> {
    service: S,
    state: Arc<State>,
}

impl<S> Exchanges<S> {
    /// `open` is held until the connection has ended.
    pub(super) fn new(service: S, readiness: Arc<Readiness>, open: TaskTrackerToken) -> Self {
        let (phase, last_answer) = (AtomicU8::new(Phase::Idle as u8), AtomicBool::new(false));
        Self { service, state: Arc::new(State { phase, last_answer, readiness, _open: open }) }
    }
}

impl<S, A, B> Service<Request<A>> for Exchanges<S>
where
    S: Service<Request<A>, Response = Response<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Exchange<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        self.state.enter(Phase::Busy);
        Exchange { answer: self.service.call(request), state: self.state.clone() }
    }
}

pin_project! {
    /// One request on its way to an answer.
    pub(super) struct Exchange<F> {
        #[pin]
        answer: F,
        state: Arc<State>,
    }
}

impl<F, B, E> Future for Exchange<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let mut answer = ready!(this.answer.poll(context));
        if let Ok(answer) = &mut answer {
            if this.state.readiness.is_draining() {
                answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            if answer.headers().get(header::CONNECTION).is_some_and(|value| value == "close") {
                this.state.last_answer.store(true, Ordering::Relaxed);
            }
        }
        this.state.enter(Phase::Answer);
        Poll::Ready(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_idles_longer_than_the_api_server_keeps_a_connection() {
        assert!(Timeouts::default().idle > Duration::from_secs(90));
    }
}
