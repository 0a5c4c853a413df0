//! What is asked for: method, URL and body, by which rules, whom to trust, what to prove oneself with, and what is known already.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use super::answer::Validators;
use super::credentials::Credentials;
use super::rules::Rules;
use super::statuses::Statuses;
use super::target::FetchTarget;

/// A request. [`Request::new`] and [`Request::get`] begin one, the other methods say more about it.
#[derive(Clone, Debug)]
pub struct Request {
    pub(super) target: FetchTarget,
    pub(super) rules: Arc<Rules>,
    pub(super) content: Content,
    /// Those that the target's origin alone is sent.
    pub(super) headers: HeaderMap,
    pub(super) accept: HeaderValue,
    pub(super) good: Statuses,
    pub(super) trust: Trust,
    pub(super) credentials: Option<Credentials>,
    pub(super) validators: Validators,
    pub(super) failed_before: bool,
}

/// What a request does, and with what.
#[derive(Clone)]
pub(super) struct Content {
    pub method: Method,
    pub body: Bytes,
    /// The media type of the body, if there is one.
    pub kind: Option<HeaderValue>,
}

/// Which server certificates are good.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// Take any certificate. Default: no.
    pub skip_verify: bool,
    /// Certificates of CAs as PEM, trusted beside those of the system. Default none.
    pub ca_pem: Option<Vec<u8>>,
}

/// A header that no request may be given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the header {0} cannot be given: it follows from the rest of the request")]
pub struct HeaderError(HeaderName);

/// Headers that say how a request is sent and answered, or that have a method of [`Request`] to give them.
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
    /// A GET by these rules.
    #[must_use]
    pub fn get(target: FetchTarget, rules: &Arc<Rules>) -> Self {
        Self::new(Method::GET, target, rules)
    }

    /// A request of this method by these rules.
    ///
    /// Where a server hangs up without an answer it is sent once again only if its method does the same when it is done twice: POST
    /// and PATCH do not. Redirects by 301, 302 and 303 are followed by a GET, those by 307 and 308 by the same again.
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

    /// With another header `Accept` than `*/*`.
    #[must_use]
    pub fn accept(self, accept: HeaderValue) -> Self {
        Self { accept, ..self }
    }

    /// With one more header. It is sent to the origin of the target only, as credentials are.
    ///
    /// # Errors
    /// A header that follows from the rest of the request.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Result<Self, HeaderError> {
        if DERIVED.contains(&name) {
            return Err(HeaderError(name));
        }
        self.headers.insert(name, value);
        Ok(self)
    }

    /// With a body of this media type. No redirect takes it to another origin: that is an error.
    #[must_use]
    pub fn body(mut self, kind: HeaderValue, body: impl Into<Bytes>) -> Self {
        self.content.kind = Some(kind);
        self.content.body = body.into();
        self
    }

    /// With other good statuses than 200.
    #[must_use]
    pub fn good(self, good: Statuses) -> Self {
        Self { good, ..self }
    }

    /// With other trust than in the CAs of the system.
    #[must_use]
    pub fn trust(self, trust: Trust) -> Self {
        Self { trust, ..self }
    }

    /// With credentials, if any. They are sent to the origin of the target only; a redirect elsewhere goes without.
    #[must_use]
    pub fn credentials(self, credentials: Option<Credentials>) -> Self {
        Self { credentials, ..self }
    }

    /// With the validators of the last answer, so that the same need not be sent again.
    #[must_use]
    pub fn validators(self, validators: Validators) -> Self {
        Self { validators, ..self }
    }

    /// With word of whether the same failed the last time. Such requests have places of their own.
    #[must_use]
    pub fn failed_before(self, failed_before: bool) -> Self {
        Self { failed_before, ..self }
    }
}

impl Content {
    /// The same after a redirect that does not say to send it again.
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
