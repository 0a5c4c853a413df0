//! The rules that a request is made by: what it may reach, where it may be led, and how much is too much.

use std::time::Duration;

use super::guard::Guard;

/// Rules for requests of one kind. The default is guarded: nothing is opened that is refused by itself.
///
/// Connections are kept for requests by the same `Arc` of rules, so a job makes its rules once.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The addresses that may be spoken to.
    pub guard: Guard,
    /// Redirects that are followed. Default 10.
    pub redirects: usize,
    /// For name, connection and TLS handshake together. Default 3 s.
    pub connect: Duration,
    /// For a request with its redirects and its body; waiting for a place is not part of it. Default 10 s.
    pub total: Duration,
    /// Bytes of an answer's body. Default 1 MiB.
    pub body: usize,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            guard: Guard::default(),
            redirects: 10,
            connect: Duration::from_secs(3),
            total: Duration::from_secs(10),
            body: 1024 * 1024,
        }
    }
}
