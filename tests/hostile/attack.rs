//! Attacks of malicious clients: each kind, on one connection after the other.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::client::TlsStream;

use crate::clients::Raw;

/// A kind of attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attack {
    SilentHandshake,
    SilentHead,
    DrippingHead,
    /// Heads without end.
    EndlessHead,
    SilentBody,
    DrippingBody,
    DrippingChunks,
    /// Bodies without their last byte.
    AlmostWhole,
    /// Reviews whose answers are not read.
    NoAnswerTaken,
    /// Bodies of all sizes, a byte now and then.
    MixedBodies,
    /// Bodies of 1 KB, a byte now and then.
    SmallBodies,
}

/// The time between two bytes of a slow client.
const DRIP: Duration = Duration::from_millis(250);

/// The pause between two connections of an attacker, so that the server is measured and not the creation of connections.
const PAUSE: Duration = Duration::from_millis(2);

const MIB: usize = 1024 * 1024;

/// The largest accepted body.
const LARGEST: usize = 5 * MIB;

impl Attack {
    pub const ALL: [Self; 11] = [
        Self::SilentHandshake,
        Self::SilentHead,
        Self::DrippingHead,
        Self::EndlessHead,
        Self::SilentBody,
        Self::DrippingBody,
        Self::DrippingChunks,
        Self::AlmostWhole,
        Self::NoAnswerTaken,
        Self::MixedBodies,
        Self::SmallBodies,
    ];

    /// Returns the number of concurrent connections.
    pub fn connections(self) -> usize {
        match self {
            Self::AlmostWhole => 20,
            // As many as fit with their bodies.
            Self::NoAnswerTaken => 12,
            Self::MixedBodies => 50,
            Self::SmallBodies => 270,
            _ => 500,
        }
    }

    /// Whether it sends almost nothing, so that it should cost almost nothing.
    pub fn is_quiet(self) -> bool {
        !matches!(self, Self::EndlessHead | Self::AlmostWhole | Self::NoAnswerTaken)
    }

    /// One attacker: opens connections repeatedly. Every second one comes from another address, and every fourth sends a valid
    /// review first.
    pub async fn run(self, number: usize, raw: Arc<Raw>, review: Arc<str>) {
        let last = if number.is_multiple_of(2) { 1 } else { 2 + u8::try_from(number % 200).unwrap_or_default() };
        let from = SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0));
        loop {
            _ = self.once(number, from, &raw, &review).await;
            sleep(PAUSE * u32::try_from(self.connections()).unwrap_or_default()).await;
        }
    }

    async fn once(self, number: usize, from: SocketAddr, raw: &Raw, review: &str) -> std::io::Result<()> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(from)?;
        if self == Self::NoAnswerTaken {
            socket.set_recv_buffer_size(4096)?;
        }
        let mut tcp = socket.connect(raw.address).await?;
        if self == Self::SilentHandshake {
            return drain(&mut tcp).await;
        }
        let mut stream = raw.handshake(tcp).await?;
        if number.is_multiple_of(4) {
            exchange(&mut stream, review).await?;
        }
        match self {
            Self::SilentHandshake => Ok(()),
            Self::SilentHead => {
                send(&mut stream, "POST /mutate-pod HT").await?;
                drain(&mut stream).await
            }
            Self::DrippingHead => drip(stream, "POST /mutate-pod HTTP/1.1\r\nX: ", "x").await,
            Self::EndlessHead => {
                send(&mut stream, "POST /mutate-pod HTTP/1.1\r\nX: ").await?;
                let piece = "x".repeat(13_000);
                // As much as a server without its own limit accepts.
                for _ in 0..30 {
                    send(&mut stream, &piece).await?;
                }
                drain(&mut stream).await
            }
            Self::SilentBody => {
                send(&mut stream, &head(announced(number))).await?;
                drain(&mut stream).await
            }
            Self::DrippingBody | Self::MixedBodies => drip(stream, &head(announced(number)), " ").await,
            Self::DrippingChunks => {
                let head = head(0).replace("Content-Length: 0", "Transfer-Encoding: chunked");
                drip(stream, &head, "1\r\n \r\n").await
            }
            Self::AlmostWhole => {
                send(&mut stream, &head(LARGEST)).await?;
                send(&mut stream, &" ".repeat(LARGEST - 1)).await?;
                drain(&mut stream).await
            }
            Self::NoAnswerTaken => {
                // A Pod's record of other sets is part of the patch, so this answer does not fit into the buffers on
                // the way.
                let record = format!(r#"{{"other":{{"hash":"{}"}}}}"#, "x".repeat(3_000_000));
                let long = review.replacen(
                    "\"metadata\":{",
                    &format!(
                        "\"metadata\":{{\"annotations\":{{\"kruise.io/sidecarset-hash\":{}}},",
                        Value::from(record)
                    ),
                    1,
                );
                send(&mut stream, &(head(long.len()) + &long)).await?;
                loop {
                    sleep(DRIP).await;
                    send(&mut stream, " ").await?;
                }
            }
            Self::SmallBodies => drip(stream, &head(1_000), " ").await,
        }
    }
}

/// Returns the announced body size of this attacker: 64 MiB in total for every fifty, to the last byte, and more of the
/// largest.
fn announced(number: usize) -> usize {
    match number % 50 {
        12 => 3 * MIB,
        few @ 13..23 => MIB >> (few - 12),
        23 | 24 => 512,
        _ => LARGEST,
    }
}

/// Returns the head of a review with a body of `length` bytes.
pub fn head(length: usize) -> String {
    format!(
        "POST /mutate-pod HTTP/1.1\r\nHost: webhook\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    )
}

async fn send(stream: &mut TlsStream<TcpStream>, text: &str) -> std::io::Result<()> {
    stream.write_all(text.as_bytes()).await?;
    stream.flush().await
}

/// Sends a review and waits for its answer.
async fn exchange(stream: &mut TlsStream<TcpStream>, review: &str) -> std::io::Result<()> {
    send(stream, &(head(review.len()) + review)).await?;
    let mut answer = vec![0; 16 * 1024];
    stream.read(&mut answer).await.map(|_| ())
}

/// Waits until the server closes the connection.
async fn drain(stream: &mut (impl AsyncReadExt + Unpin)) -> std::io::Result<()> {
    let mut rest = [0; 4096];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

/// Sends `begin`, then `drop` now and then, until the server closes the connection.
async fn drip(mut stream: TlsStream<TcpStream>, begin: &str, drop: &str) -> std::io::Result<()> {
    send(&mut stream, begin).await?;
    while timeout(DRIP, drain(&mut stream)).await.is_err() {
        send(&mut stream, drop).await?;
    }
    Ok(())
}
