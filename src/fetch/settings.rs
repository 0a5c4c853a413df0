//! How a fetcher is set up: who resolves names, which proxies there are, and how much it does and keeps at once.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use super::proxies::Proxies;
use super::resolver::{Resolve, SystemResolver};

/// The settings of a fetcher. What a request may do is in its [`Rules`](super::Rules).
#[derive(Clone)]
pub struct Settings {
    /// Who finds the addresses of names. Default: the system.
    pub resolver: Arc<dyn Resolve>,
    /// The proxies to go through. Default: none, whatever the environment says.
    pub proxies: Option<Proxies>,
    /// The header `User-Agent` of requests that have none of their own. Default: `outrigger/` and the version.
    pub user_agent: HeaderValue,
    /// How much at once.
    pub limits: Limits,
}

/// The limits of a fetcher, which all its requests share.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Requests at once; others wait. Default 256.
    pub requests: usize,
    /// Requests at once that failed the last time, beside the others: what hangs again and again keeps nobody else waiting.
    /// Default 64.
    pub failing_requests: usize,
    /// Of both, requests at once to one host; others wait. Default 32.
    pub requests_per_host: usize,
    /// How long an unused connection is kept. Default 90 s.
    pub idle: Duration,
    /// Connections and TLS sessions are kept for at most this many combinations of rules, CA and client certificate, those used
    /// last. Default 64.
    pub clients: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            resolver: Arc::new(SystemResolver::default()),
            proxies: None,
            user_agent: HeaderValue::from_static(concat!("outrigger/", env!("CARGO_PKG_VERSION"))),
            limits: Limits::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { requests: 256, failing_requests: 64, requests_per_host: 32, idle: Duration::from_secs(90), clients: 64 }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("proxies", &self.proxies)
            .field("user_agent", &self.user_agent)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
