//! The TCP stream of a connection, which ends so that the last answer arrives.
//!
//! After an answer with `Connection: close` our side ends first, and what the client still sends (the rest of a body that was refused)
//! is thrown away undecrypted until the client is done too. Closing at once would reset the connection, and the reset can
//! overtake the answer.

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
}

impl Tcp {
    pub(super) fn new(stream: TcpStream, place: Arc<Taken>) -> Self {
        Self { stream, place, ended: false }
    }

    /// The client has shown a certificate that is good.
    pub fn certify(&self) {
        self.place.certify();
    }

    /// The client's address; one of IPv4 as such, also at a port of both families.
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
        Pin::new(&mut self.stream).poll_read(context, buffer)
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
