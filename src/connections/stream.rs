//! The stream of a connection, which ends when the client takes too long or the connection loses its place.
//!
//! hyper's own head timeout also runs between requests and so closes idle connections, on which the API server's next
//! POST then fails. The API server pools connections for 90 s and does not retry a POST. Here a connection has a phase:
//! it may be idle for long, but a started head must be complete soon.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::place::ConnectionPhase;
use super::places::Taken;
use crate::telemetry::metrics::Closed;

/// How long a connection may stay in each phase. The reader of a body limits that itself.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// The TLS handshake. Default 10 s.
    pub handshake: Duration,
    /// Before the first byte of a request. Default 120 s: longer than the 90 s that the API server keeps a connection.
    pub idle: Duration,
    /// From the first byte of a request to the end of its head. Default 5 s.
    pub head: Duration,
    /// For the client to read an answer, in addition to the time for its size: see [`allowance`]. Default 2 s.
    pub answer: Duration,
    /// From the close of our side to that of the client's. Default 5 s.
    pub close: Duration,
}

/// The minimum of bytes per second. A slower client cannot use a webhook: the API server waits for 5 s.
const RATE: u64 = 4 * 1024 * 1024;

/// Returns how long it may take to send or read so many bytes: a base time, and more for more bytes.
#[must_use]
pub fn allowance(moment: Duration, bytes: usize) -> Duration {
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    moment + Duration::from_micros(bytes.saturating_mul(1_000_000) / RATE)
}

impl Default for Timeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { handshake: seconds(10), idle: seconds(120), head: seconds(5), answer: seconds(2), close: seconds(5) }
    }
}

/// The decrypted stream of a connection.
#[derive(Debug)]
pub(super) struct Stream<T> {
    inner: T,
    place: Arc<Taken>,
    timeouts: Timeouts,
    phase: ConnectionPhase,
    since: Instant,
    /// Bytes of the current answer.
    written: usize,
    /// Fires at or before the limit of the phase, so that it is set once per idle time and not once per request.
    timer: Pin<Box<Sleep>>,
}

impl<T> Stream<T> {
    pub fn new(inner: T, place: Arc<Taken>, timeouts: Timeouts) -> Self {
        let timer = Box::pin(sleep(timeouts.idle));
        Self { inner, place, timeouts, phase: ConnectionPhase::Idle, since: Instant::now(), written: 0, timer }
    }

    /// Returns the current phase; a new one begins at this time.
    fn observe(&mut self) -> ConnectionPhase {
        let phase = self.place.phase();
        if phase != self.phase {
            self.phase = phase;
            self.since = Instant::now();
            self.written = 0;
        }
        phase
    }

    fn enter(&mut self, phase: ConnectionPhase) {
        self.place.enter(phase);
        self.observe();
    }

    /// Returns whether the connection has to close. If not, the task is woken when it has to.
    fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        if self.place.poll_lost(context) {
            tracing::debug!(phase = ?self.phase, "a connection gives way to a new one");
            return true;
        }
        let limit = match self.observe() {
            ConnectionPhase::Idle => self.timeouts.idle,
            ConnectionPhase::Head => self.timeouts.head,
            ConnectionPhase::Body | ConnectionPhase::Busy => return false,
            ConnectionPhase::Answer => allowance(self.timeouts.answer, self.written),
            ConnectionPhase::Close => self.timeouts.close,
        };
        let deadline = self.since + limit;
        if deadline < self.timer.deadline() {
            self.timer.as_mut().reset(deadline);
        }
        while self.timer.as_mut().poll(context).is_ready() {
            if Instant::now() >= deadline {
                tracing::debug!(phase = ?self.phase, "a connection took too long and is closed");
                let counts = self.place.places.counts();
                match self.phase {
                    ConnectionPhase::Head => _ = counts.closed(Closed::SlowHead).inc(),
                    ConnectionPhase::Answer => _ = counts.closed(Closed::SlowAnswer).inc(),
                    ConnectionPhase::Idle | ConnectionPhase::Body | ConnectionPhase::Busy | ConnectionPhase::Close => {}
                }
                return true;
            }
            self.timer.as_mut().reset(deadline);
        }
        false
    }

    fn bounded<R>(&mut self, context: &mut Context<'_>, poll: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if poll.is_pending() && self.is_over(context) { Poll::Ready(Err(io::ErrorKind::TimedOut.into())) } else { poll }
    }

    /// Handles the result of a write.
    fn wrote(&mut self, context: &mut Context<'_>, poll: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.observe();
        if let Poll::Ready(Ok(written)) = poll {
            self.written += written;
        }
        self.bounded(context, poll)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Stream<T> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        match Pin::new(&mut this.inner).poll_read(context, buffer) {
            Poll::Ready(Ok(())) => {
                if buffer.filled().len() > before && this.observe() == ConnectionPhase::Idle {
                    this.enter(ConnectionPhase::Head);
                }
                Poll::Ready(Ok(()))
            }
            // To hyper this is the end of the client's stream, and hyper closes properly, with TLS's close_notify.
            Poll::Pending if this.is_over(context) => Poll::Ready(Ok(())),
            other => other,
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Stream<T> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.inner).poll_write(context, data);
        this.wrote(context, poll)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.inner).poll_write_vectored(context, data);
        this.wrote(context, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    /// hyper flushes when a whole answer is written. The connection is idle then.
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.inner).poll_flush(context);
        if matches!(poll, Poll::Ready(Ok(()))) && this.observe() == ConnectionPhase::Answer {
            this.enter(ConnectionPhase::Idle);
        }
        this.bounded(context, poll)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.enter(ConnectionPhase::Close);
        let poll = Pin::new(&mut this.inner).poll_shutdown(context);
        this.bounded(context, poll)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_idles_longer_than_the_api_server_keeps_a_connection() {
        assert!(Timeouts::default().idle > Duration::from_secs(90));
    }

    #[test]
    fn a_body_as_large_as_any_pod_has_less_time_than_the_api_server_waits() {
        let moment = Duration::from_secs(2);
        assert_eq!(allowance(moment, 0), moment);
        assert_eq!(allowance(moment, 4 * 1024 * 1024), Duration::from_secs(3));
        assert!(allowance(moment, 7 * 1024 * 1024) < Duration::from_secs(5));
        assert!(allowance(moment, usize::MAX) > Duration::from_secs(1_000_000));
    }
}
