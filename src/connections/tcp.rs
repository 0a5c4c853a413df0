//! The TCP stream of a connection, which closes so that the last answer arrives.
//!
//! After an answer with `Connection: close` our side closes first. What the client still sends (the rest of a refused
//! body) is discarded undecrypted until the client closes too. An immediate close would reset the connection, and the
//! reset can arrive before the answer.
//!
//! It reads ahead: TLS reads 4 KiB at a time, and each read would cost a system call.

use std::cell::RefCell;
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::places::Taken;

/// The TCP stream of a connection.
#[derive(Debug)]
pub struct Tcp {
    stream: TcpStream,
    place: Arc<Taken>,
    ended: bool,
    ahead: Ahead,
}

/// Bytes that were read ahead. They take memory only while there are some.
#[derive(Debug, Default)]
struct Ahead {
    bytes: Vec<u8>,
    taken: usize,
}

/// Bytes in one read: the review of a common Pod.
const AT_ONCE: usize = 16 * 1024;

thread_local! {
    /// The buffer of a read.
    static SPACE: RefCell<Box<[u8]>> = RefCell::new(vec![0; AT_ONCE].into());
}

impl Ahead {
    /// Fills the buffer with the bytes that are available.
    fn fill(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        if self.bytes.is_empty() {
            return false;
        }
        let rest = &self.bytes[self.taken..];
        let most = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..most]);
        self.taken += most;
        if self.taken == self.bytes.len() {
            *self = Self::default();
        }
        true
    }

    /// Keeps the bytes that do not fit in the buffer.
    fn keep(&mut self, read: &[u8], buffer: &mut ReadBuf<'_>) {
        let (now, later) = read.split_at(read.len().min(buffer.remaining()));
        buffer.put_slice(now);
        self.bytes.extend_from_slice(later);
    }
}

impl Tcp {
    pub(super) fn new(stream: TcpStream, place: Arc<Taken>) -> Self {
        Self { stream, place, ended: false, ahead: Ahead::default() }
    }

    /// Records that the client has presented a valid certificate.
    pub fn certify(&self) {
        self.place.certify();
    }

    /// Returns the client's address. An IPv4 address is returned as such, even at a port of both families.
    ///
    /// # Errors
    /// The connection is broken.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        let address = self.stream.peer_addr()?;
        Ok((address.ip().to_canonical(), address.port()).into())
    }
}

impl AsyncRead for Tcp {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, ahead, .. } = &mut *self;
        if ahead.fill(buffer) {
            return Poll::Ready(Ok(()));
        }
        if buffer.remaining() >= AT_ONCE {
            return Pin::new(stream).poll_read(context, buffer);
        }
        SPACE.with_borrow_mut(|space| {
            let mut space = ReadBuf::new(space);
            ready!(Pin::new(stream).poll_read(context, &mut space))?;
            ahead.keep(space.filled(), buffer);
            Poll::Ready(Ok(()))
        })
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.ended {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
            self.ended = true;
        }
        if !self.place.had_its_last_answer() {
            return Poll::Ready(Ok(()));
        }
        let mut space = [MaybeUninit::uninit(); 16 * 1024];
        loop {
            let mut rest = ReadBuf::uninit(&mut space);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut rest))?;
            if rest.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}
