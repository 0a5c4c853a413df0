//! The rules of a request: what it may reach, redirects, and limits.

use std::time::Duration;

use super::guard::Guard;

/// Rules for requests of one kind. The default has no exceptions from the refused addresses.
///
/// Connections are shared by requests with the same `Arc` of rules, so a job creates its rules once.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The check of addresses.
    pub guard: Guard,
    /// The maximum number of redirects. Default 10.
    pub redirects: usize,
    /// The time limit for name resolution, connection and TLS handshake together. Default 3 s.
    pub connect: Duration,
    /// The time limit for a request with redirects and body, without waiting for a place. Default 10 s.
    pub total: Duration,
    /// The maximum size of a body in bytes. Default 1 MiB.
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
