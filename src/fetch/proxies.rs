//! The proxies that an environment names, for operators who ask for them.
//!
//! Behind a proxy names are resolved by the proxy, not by us: addresses in a URL are judged as always, but what a name
//! leads to is then the proxy's to judge.

use std::fmt;
use std::sync::Arc;

use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};

/// The proxies to go through, and the hosts that are reached without.
#[derive(Clone)]
pub struct Proxies(Arc<Matcher>);

impl Proxies {
    /// Those of `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, in capitals or not. Proxies are spoken to by plain
    /// HTTP; a fetch through one that wants TLS or SOCKS fails.
    #[must_use]
    pub fn from_env() -> Self {
        Self(Arc::new(Matcher::from_env()))
    }

    /// One proxy for everything but the hosts of `no`, a list as in `NO_PROXY`.
    #[must_use]
    pub fn all(url: &str, no: &str) -> Self {
        Self(Arc::new(Matcher::builder().all(url.to_owned()).no(no.to_owned()).build()))
    }

    /// The proxy for this URL, if it is to go through one.
    pub(super) fn of(&self, uri: &Uri) -> Option<Intercept> {
        self.0.intercept(uri)
    }

    /// What a request without TLS must tell its proxy; one with TLS tells it while connecting.
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
