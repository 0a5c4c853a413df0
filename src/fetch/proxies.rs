//! The proxies from environment variables, if an operator asks for them.
//!
//! With a proxy, the proxy resolves names. Addresses in a URL are still checked, but the addresses of a name are not.

use std::fmt;
use std::sync::Arc;

use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};

/// The proxies, and the hosts that are reached directly.
#[derive(Clone)]
pub struct Proxies(Arc<Matcher>);

impl Proxies {
    /// Reads `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, in upper or lower case. Proxies must use plain HTTP;
    /// a fetch through a TLS or SOCKS proxy fails.
    #[must_use]
    pub fn from_env() -> Self {
        Self(Arc::new(Matcher::from_env()))
    }

    /// One proxy for all hosts except those in `no`, a list like `NO_PROXY`.
    #[must_use]
    pub fn all(url: &str, no: &str) -> Self {
        Self(Arc::new(Matcher::builder().all(url.to_owned()).no(no.to_owned()).build()))
    }

    /// Returns the proxy for this URL, if there is one.
    pub(super) fn of(&self, uri: &Uri) -> Option<Intercept> {
        self.0.intercept(uri)
    }

    /// Returns the proxy credentials of a request without TLS. A request with TLS sends them while connecting.
    pub(super) fn authorization(&self, uri: &Uri) -> Option<HeaderValue> {
        let is_plain = uri.scheme() == Some(&http::uri::Scheme::HTTP);
        self.of(uri).filter(|_| is_plain)?.basic_auth().cloned()
    }
}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proxies")
    }
}
