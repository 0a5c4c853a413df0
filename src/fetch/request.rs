//! A request: method, URL and body, rules, trust, credentials, and validators.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use super::answer::Validators;
use super::credentials::Credentials;
use super::rules::Rules;
use super::statuses::Statuses;
use super::target::FetchTarget;

/// A request. [`Request::new`] and [`Request::get`] create one; the other methods add to it.
#[derive(Clone, Debug)]
pub struct Request {
    pub(super) target: FetchTarget,
    pub(super) rules: Arc<Rules>,
    pub(super) content: Content,
    /// Headers for the target's origin only.
    pub(super) headers: HeaderMap,
    pub(super) accept: HeaderValue,
    pub(super) good: Statuses,
    pub(super) trust: Trust,
    pub(super) credentials: Option<Credentials>,
    pub(super) validators: Validators,
    pub(super) failed_before: bool,
}

/// The method, body and headers of a request.
#[derive(Clone)]
pub(super) struct Content {
    pub method: Method,
    pub body: Bytes,
    /// The media type of the body, if there is one.
    pub kind: Option<HeaderValue>,
}

/// Which server certificates are accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// Accept any certificate. Default: no.
    pub skip_verify: bool,
    /// CA certificates in PEM, trusted in addition to the system's. Default: none.
    pub ca_pem: Option<Vec<u8>>,
}

/// A header that cannot be set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the header {0} cannot be given: it follows from the rest of the request")]
pub struct HeaderError(HeaderName);

/// Headers that control transfer or content, or that have their own method in [`Request`].
const DERIVED: [HeaderName; 15] = [
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    header::AUTHORIZATION,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::EXPECT,
    header::HOST,
    header::IF_MODIFIED_SINCE,
    header::IF_NONE_MATCH,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

impl Request {
    /// A GET request with these rules.
    #[must_use]
    pub fn get(target: FetchTarget, rules: &Arc<Rules>) -> Self {
        Self::new(Method::GET, target, rules)
    }

    /// A request with this method and these rules.
    ///
    /// If a server closes the connection without an answer, only an idempotent method is sent again, so POST and PATCH are not.
    /// Redirects with 301, 302 and 303 are followed with a GET, those with 307 and 308 with the same method and body.
    #[must_use]
    pub fn new(method: Method, target: FetchTarget, rules: &Arc<Rules>) -> Self {
        Self {
            target,
            rules: rules.clone(),
            content: Content { method, body: Bytes::new(), kind: None },
            headers: HeaderMap::new(),
            accept: HeaderValue::from_static("*/*"),
            good: Statuses::OK,
            trust: Trust::default(),
            credentials: None,
            validators: Validators::default(),
            failed_before: false,
        }
    }

    /// Sets the header `Accept`, which is `*/*` by default.
    #[must_use]
    pub fn accept(self, accept: HeaderValue) -> Self {
        Self { accept, ..self }
    }

    /// Adds a header. It is only sent to the target's origin, like credentials.
    ///
    /// # Errors
    /// When the header follows from other parts of the request.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Result<Self, HeaderError> {
        if DERIVED.contains(&name) {
            return Err(HeaderError(name));
        }
        self.headers.insert(name, value);
        Ok(self)
    }

    /// Sets a body of this media type. It is not sent to another origin: such a redirect is an error.
    #[must_use]
    pub fn body(mut self, kind: HeaderValue, body: impl Into<Bytes>) -> Self {
        self.content.kind = Some(kind);
        self.content.body = body.into();
        self
    }

    /// Sets the good statuses, which are 200 by default.
    #[must_use]
    pub fn good(self, good: Statuses) -> Self {
        Self { good, ..self }
    }

    /// Sets the trust, which is the system's CAs by default.
    #[must_use]
    pub fn trust(self, trust: Trust) -> Self {
        Self { trust, ..self }
    }

    /// Sets credentials, if any. They are only sent to the target's origin; a redirect to another one is followed
    /// without them.
    #[must_use]
    pub fn credentials(self, credentials: Option<Credentials>) -> Self {
        Self { credentials, ..self }
    }

    /// Sets the validators of the last answer, so that an unchanged body is not sent again.
    #[must_use]
    pub fn validators(self, validators: Validators) -> Self {
        Self { validators, ..self }
    }

    /// Sets whether the last such request failed. Failed requests have their own places.
    #[must_use]
    pub fn failed_before(self, failed_before: bool) -> Self {
        Self { failed_before, ..self }
    }
}

impl Content {
    /// Changes it to a GET, for redirects that do not repeat the method.
    pub fn become_get(&mut self) {
        if self.method != Method::HEAD {
            *self = Self { method: Method::GET, body: Bytes::new(), kind: None };
        }
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} bytes", self.method, self.body.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_header_contradicts_what_a_request_is_and_no_debug_shows_its_body() {
        let target: FetchTarget = "http://host/".parse().expect("a URL");
        let (rules, kind) = (Arc::default(), HeaderValue::from_static("text/plain"));
        let request = Request::new(Method::POST, target, &rules).body(kind, "s3cret");
        assert!(!format!("{request:?}").contains("s3cret"));
        for name in DERIVED {
            let error = request.clone().header(name.clone(), HeaderValue::from_static("x")).expect_err("refused");
            assert!(error.to_string().contains(name.as_str()), "{error}");
        }
        request.header(HeaderName::from_static("x-reason"), HeaderValue::from_static("x")).expect("taken");
    }
}
