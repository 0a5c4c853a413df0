//! A port: accepts connections and serves them until it is told to stop.

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::exchange::Exchanges;
use super::places::{Places, Taken};
use super::self_woken::SelfWoken;
use super::stream::{Stream, Timeouts};
use super::tcp::Tcp;
use crate::telemetry::Throttle;
use crate::telemetry::metrics::Closed;

/// Makes a stream of requests of a TCP stream, with TLS or without.
pub trait Handshake: Clone + Send + Sync + 'static {
    /// The stream of requests.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send;

    /// Performs the handshake. It may take [`Timeouts::handshake`].
    fn shake(self, tcp: Tcp) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

/// No handshake: plain HTTP.
#[derive(Clone, Copy, Debug)]
pub struct Plain;

/// Tells the connections of a port to stop.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// Idle connections close, others after the answer in progress.
    pub gracefully: CancellationToken,
    /// All close.
    pub at_once: CancellationToken,
}

/// A port that listens.
#[derive(Debug)]
pub struct Port {
    listener: TcpListener,
    /// A spare descriptor. It is released when the process has none left, so that a client can still be accepted.
    spare: Option<File>,
    warnings: Throttle,
}

/// Why a connection could not be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The client or its network is gone: accept(2) reports an error of the new connection.
    Client,
    /// There is no file descriptor for it.
    Descriptors,
    /// Another error, which closing a connection does not fix.
    Other,
}

/// Bytes of the head of a request. The API server sends less than 1 KiB.
const HEAD: usize = 16 * 1024;

/// Bytes of a body in one read.
const BUFFER: usize = 64 * 1024;

/// Bytes of an answer that the kernel may buffer for a client that does not read. By default it buffers megabytes,
/// which our limits do not count.
const UNREAD: u32 = 128 * 1024;

/// Clients that wait to be accepted, within the system's limit (`net.core.somaxconn`). In a larger burst, clients are
/// delayed by seconds.
const BACKLOG: u32 = 4096;

/// The pause after a failed accept that cannot be fixed.
const PAUSE: Duration = Duration::from_millis(50);

/// How often a spare descriptor is requested while no client connects.
const REFILL: Duration = Duration::from_secs(1);

impl Handshake for Plain {
    type Stream = Tcp;

    async fn shake(self, tcp: Tcp) -> io::Result<Tcp> {
        Ok(tcp)
    }
}

impl Port {
    /// Binds an address. Port 0 takes a free one, and `[::]` is every address of both families, or of IPv4 if there is
    /// only that.
    ///
    /// # Errors
    /// The address cannot be bound.
    #[expect(clippy::unused_async, reason = "it must be called within a runtime")]
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = everywhere(address, listen)?;
        Ok(Self { listener, spare: spare(), warnings: Throttle::default() })
    }

    /// Returns the address of the port.
    ///
    /// # Errors
    /// The system does not report it.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves every client until this is dropped. Connections continue in their own tasks, until they end or `stop`
    /// closes them.
    pub async fn serve(
        &mut self,
        handshake: impl Handshake,
        router: Router,
        places: &Arc<Places>,
        timeouts: Timeouts,
        stop: &Stop,
    ) -> Infallible {
        let mut http = http1::Builder::new();
        http.max_header_size(HEAD).max_buf_size(BUFFER).header_read_timeout(None);
        loop {
            let (tcp, peer) = self.accept(places).await;
            // This is taken here and not in the connection's task, because a drain might begin before that runs.
            let Some(place) = places.take(peer.ip()).await else { continue };
            let (handshake, stop) = (handshake.clone(), stop.clone());
            let exchanges = Exchanges::new(router.clone(), place.clone());
            let http = http.clone();
            tokio::spawn(SelfWoken::new(async move {
                tokio::select! {
                    biased;
                    () = stop.at_once.cancelled() => {}
                    () = connection(tcp, handshake, place, timeouts, http, exchanges, &stop.gracefully) => {}
                }
            }));
        }
    }

    /// Opens the spare descriptor again if one is free.
    fn refill(&mut self) {
        if self.spare.is_none() {
            self.spare = spare();
        }
    }

    /// Returns the next client. A client that is gone is skipped. When the system has no descriptor for it, our
    /// connection of least worth gives way.
    async fn accept(&mut self, places: &Places) -> (TcpStream, SocketAddr) {
        loop {
            let error = match timeout(REFILL, self.listener.accept()).await {
                Ok(Ok(accepted)) => {
                    self.refill();
                    return accepted;
                }
                Ok(Err(error)) => error,
                Err(_elapsed) => {
                    self.refill();
                    continue;
                }
            };
            let fault = Fault::of(&error);
            if fault == Fault::Client {
                continue;
            }
            places.counts().accept_errors.inc();
            if let Some(suppressed) = self.warnings.pass() {
                let (address, open) = (self.address().ok().map(tracing::field::display), places.open());
                let hint = if fault == Fault::Descriptors { "; raise the limit of open files (ulimit -n)" } else { "" };
                tracing::error!(address, open, suppressed, %error, "a connection cannot be accepted{hint}");
            }
            let freed =
                fault == Fault::Descriptors && (self.spare.take().is_some() || places.free_a_descriptor().await);
            if !freed {
                sleep(PAUSE).await;
            }
        }
    }
}

/// Listens at an address; `[::]` becomes `0.0.0.0` on a system without IPv6.
fn everywhere<L>(address: SocketAddr, listen: impl Fn(SocketAddr) -> io::Result<L>) -> io::Result<L> {
    match listen(address) {
        Err(error)
            if address.ip() == Ipv6Addr::UNSPECIFIED
                && matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)) =>
        {
            listen((Ipv4Addr::UNSPECIFIED, address.port()).into())
        }
        listening => listening,
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    #[cfg(unix)] // elsewhere it would let others take the port
    socket.set_reuseaddr(true)?;
    #[cfg(unix)] // whatever net.ipv6.bindv6only says
    if address.is_ipv6() {
        rustix::net::sockopt::set_ipv6_v6only(&socket, false)?;
    }
    // Connections inherit this.
    socket.set_send_buffer_size(UNREAD)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

impl Fault {
    fn of(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE) => Self::Descriptors,
            Some(
                libc::ECONNABORTED
                | libc::ECONNRESET
                | libc::ECONNREFUSED
                | libc::EPROTO
                | libc::ENOPROTOOPT
                | libc::ENETDOWN
                | libc::ENETUNREACH
                | libc::EHOSTUNREACH
                | libc::ETIMEDOUT,
            ) => Self::Client,
            _ => Self::Other,
        }
    }
}

fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}

/// Serves one connection from its handshake to its end.
async fn connection(
    tcp: TcpStream,
    handshake: impl Handshake,
    place: Arc<Taken>,
    timeouts: Timeouts,
    http: http1::Builder,
    exchanges: Exchanges<Router>,
    last_call: &CancellationToken,
) {
    if tcp.set_nodelay(true).is_err() {
        return;
    }
    let tcp = Tcp::new(tcp, place.clone());
    let stream = tokio::select! {
        biased;
        () = std::future::poll_fn(|context| if place.poll_lost(context) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }) => return,
        shaken = timeout(timeouts.handshake, handshake.shake(tcp)) => match shaken {
            Ok(Ok(stream)) => stream,
            Ok(Err(_told)) => return,
            Err(_elapsed) => {
                place.places.counts().closed(Closed::SlowHandshake).inc();
                return;
            }
        },
    };
    let stream = TokioIo::new(Stream::new(stream, place, timeouts));
    let mut served = std::pin::pin!(http.serve_connection(stream, exchanges));
    tokio::select! {
        biased;
        () = last_call.cancelled() => {
            served.as_mut().graceful_shutdown();
            _ = served.await;
        }
        _ended = &mut served => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_where_descriptors_are_lacking_does_a_connection_give_way() {
        let fault = |code| Fault::of(&io::Error::from_raw_os_error(code));
        for code in [libc::EMFILE, libc::ENFILE] {
            assert_eq!(fault(code), Fault::Descriptors);
        }
        for code in [libc::ECONNABORTED, libc::EPROTO, libc::EHOSTUNREACH, libc::ENETDOWN, libc::ENETUNREACH] {
            assert_eq!(fault(code), Fault::Client);
        }
        for code in [libc::ENOBUFS, libc::ENOMEM, libc::EPERM, libc::EINVAL] {
            assert_eq!(fault(code), Fault::Other);
        }
    }

    #[test]
    fn without_ipv6_all_addresses_are_those_of_ipv4() {
        let without_ipv6 = |address: SocketAddr| match address {
            SocketAddr::V6(_) => Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT)),
            SocketAddr::V4(_) => Ok(address),
        };
        let bound = |address: &str| everywhere(address.parse().unwrap(), without_ipv6).map(|bound| bound.to_string());
        assert_eq!(bound("[::]:9443").unwrap(), "0.0.0.0:9443");
        assert_eq!(bound("127.0.0.1:9443").unwrap(), "127.0.0.1:9443");
        assert!(bound("[::1]:9443").is_err(), "one address is no other");
        let taken = |_| Err::<(), _>(io::Error::from_raw_os_error(libc::EADDRINUSE));
        assert_eq!(everywhere("[::]:1".parse().unwrap(), taken).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn all_addresses_are_those_of_ipv4_too() {
        let port = Port::bind((Ipv6Addr::UNSPECIFIED, 0).into()).await.unwrap();
        let address = (Ipv4Addr::LOCALHOST, port.address().unwrap().port());
        TcpStream::connect(address).await.unwrap();
    }
}
