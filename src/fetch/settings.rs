//! How a fetcher is set up: what is open, who resolves names, and how much is too much.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use super::allow::Allow;
use super::guard::Refused;
use super::proxies::Proxies;
use super::resolver::{Resolve, SystemResolver};

/// The settings of a fetcher. The default is guarded: nothing is opened, and no proxy is used.
#[derive(Clone)]
pub struct Settings {
    /// What is open beside what is open by default.
    pub allow: Vec<Allow>,
    /// What is never fetched from, whatever `allow` says. Shared: it can be set at any time.
    pub refused: Refused,
    /// Who finds the addresses of names. Default: the system.
    pub resolver: Arc<dyn Resolve>,
    /// The proxies to go through. Default: none, whatever the environment says.
    pub proxies: Option<Proxies>,
    /// The header `User-Agent`. Default: `outrigger/` and the version.
    pub user_agent: HeaderValue,
    /// How much is too much.
    pub limits: Limits,
}

/// The limits of a fetcher.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For name, connection and TLS handshake together. Default 3 s.
    pub connect: Duration,
    /// For a request with its redirects and its body; waiting for a place is not part of it. Default 10 s.
    pub total: Duration,
    /// Bytes of a body. Default 1 MiB.
    pub body: usize,
    /// Redirects that are followed. Default 10.
    pub redirects: usize,
    /// Requests at once; others wait. Default 256.
    pub requests: usize,
    /// Requests at once that failed the last time, beside the others: what hangs again and again keeps nobody else waiting.
    /// Default 64.
    pub failing_requests: usize,
    /// Of both, requests at once to one host; others wait. Default 32.
    pub requests_per_host: usize,
    /// How long an unused connection is kept. Default 90 s.
    pub idle: Duration,
    /// Connections and TLS sessions are kept for so many CAs and client certificates, those used last. Default 64.
    pub trusts: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            refused: Refused::default(),
            resolver: Arc::new(SystemResolver::default()),
            proxies: None,
            user_agent: HeaderValue::from_static(concat!("outrigger/", env!("CARGO_PKG_VERSION"))),
            limits: Limits::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            total: Duration::from_secs(10),
            body: 1024 * 1024,
            redirects: 10,
            requests: 256,
            failing_requests: 64,
            requests_per_host: 32,
            idle: Duration::from_secs(90),
            trusts: 64,
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("allow", &self.allow)
            .field("refused", &self.refused)
            .field("proxies", &self.proxies)
            .field("user_agent", &self.user_agent)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
