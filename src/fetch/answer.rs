//! The answer of a successful request, and what its head says for the next one.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use jiff::Timestamp;
use url::Url;

/// A good answer, with its whole body or a reader of it.
#[derive(Debug)]
pub enum Answer<B = Bytes> {
    /// 304: the content has not changed since the validators.
    NotModified,
    /// A good status.
    Body {
        /// The status.
        status: StatusCode,
        /// The body.
        bytes: B,
        /// The validators for the next request.
        validators: Validators,
    },
}

/// `ETag` and `Last-Modified` of an answer. They are sent only to the URL that returned them, so that validators of
/// another URL, or of one that now redirects, do no harm. None by default.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Validators {
    url: Option<Box<Url>>,
    etag: Option<HeaderValue>,
    last_modified: Option<HeaderValue>,
}

/// The maximum length of validators in bytes, because servers determine how many are kept.
const LONGEST: usize = 1024;

/// The maximum accepted `Retry-After`.
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);

impl Validators {
    /// Reads them from the head of an answer of this URL.
    pub(super) fn of(url: &Url, headers: &HeaderMap) -> Self {
        let kept = |name: HeaderName| headers.get(name).filter(|value| value.len() <= LONGEST).cloned();
        let (etag, last_modified) = (kept(header::ETAG), kept(header::LAST_MODIFIED));
        let url = (etag.is_some() || last_modified.is_some()).then(|| Box::new(url.clone()));
        Self { url, etag, last_modified }
    }

    /// Adds them to a request for this URL, if they are from it. Returns whether they are.
    pub(super) fn add(&self, url: &Url, headers: &mut HeaderMap) -> bool {
        if self.url.as_deref() != Some(url) {
            return false;
        }
        let known = [(header::IF_NONE_MATCH, &self.etag), (header::IF_MODIFIED_SINCE, &self.last_modified)];
        headers.extend(known.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))));
        true
    }
}

impl fmt::Debug for Validators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.url.is_some() { "Validators" } else { "no validators" })
    }
}

/// Reads `Retry-After` in seconds or as a date, up to an hour.
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().map_or(LONGEST_WAIT, Duration::from_secs)
    } else {
        let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
        Duration::try_from(date.duration_since(now)).unwrap_or_default()
    };
    Some(wait.min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date_and_bounded() {
        let now: Timestamp = "2026-01-08T19:07:21Z".parse().expect("a time");
        for (text, seconds) in [
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("3601", Some(3600)),
            ("99999999999999999999999", Some(3600)),
            ("Thu, 08 Jan 2026 19:08:21 GMT", Some(60)),
            ("Thu, 08 Jan 2026 19:07:21 GMT", Some(0)),
            ("Thu, 08 Jan 2026 18:07:21 GMT", Some(0)),
            ("Fri, 08 Jan 2027 19:08:21 GMT", Some(3600)),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ] {
            let headers = HeaderMap::from_iter([(header::RETRY_AFTER, text.parse().expect(text))]);
            assert_eq!(retry_after(&headers, now), seconds.map(Duration::from_secs), "{text}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    #[test]
    fn validators_go_to_the_url_that_gave_them_only() {
        let url = |text: &str| Url::parse(text).expect(text);
        let head = HeaderMap::from_iter([(header::ETAG, HeaderValue::from_static("\"s3cret\""))]);
        let validators = Validators::of(&url("http://host/?s3cret"), &head);
        assert!(!format!("{validators:?}").contains("s3cret"));
        for (text, expected) in
            [("http://host/?s3cret", true), ("http://host/", false), ("https://host/?s3cret", false)]
        {
            let mut headers = HeaderMap::new();
            assert_eq!(validators.add(&url(text), &mut headers), expected, "{text}");
            assert_eq!(headers.get(header::IF_NONE_MATCH).is_some(), expected, "{text}");
        }
        let long = HeaderMap::from_iter([(header::ETAG, "x".repeat(LONGEST + 1).parse().expect("a value"))]);
        for head in [long, HeaderMap::new()] {
            assert_eq!(Validators::of(&url("http://host/"), &head), Validators::default());
        }
        assert!(!Validators::default().add(&url("http://host/"), &mut HeaderMap::new()));
    }
}
