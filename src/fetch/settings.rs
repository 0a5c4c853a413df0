//! The settings of a fetcher: name resolution, proxies, and limits of concurrency and idle connections.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use super::proxies::Proxies;
use super::resolver::{Resolve, SystemResolver};

/// The settings of a fetcher. The limits of a single request are in its [`Rules`](super::Rules).
#[derive(Clone)]
pub struct Settings {
    /// Resolves names. Default: the system.
    pub resolver: Arc<dyn Resolve>,
    /// The proxies. Default: none, and environment variables are ignored.
    pub proxies: Option<Proxies>,
    /// The default of the header `User-Agent`. Default: `outrigger/` and the version.
    pub user_agent: HeaderValue,
    /// The limits.
    pub limits: Limits,
}

/// The limits of a fetcher, shared by all its requests.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The maximum number of concurrent requests; others wait. Default 256.
    pub requests: usize,
    /// The maximum number of concurrent requests that failed the last time, in addition to the others, so that those that
    /// always hang do not delay others. Default 64.
    pub failing_requests: usize,
    /// The maximum number of concurrent requests of both kinds to one host; others wait. Default 32.
    pub requests_per_host: usize,
    /// The idle time after which a connection is closed. Default 90 s.
    pub idle: Duration,
    /// The maximum number of combinations of rules, CA and client certificate whose connections and TLS sessions are kept, most
    /// recently used ones first. Default 64.
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
