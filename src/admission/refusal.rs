//! A request that is refused before a handler sees it: the reason and the answer.

use axum::body::Body;
use axum::http::{HeaderValue, Response, header};

use super::metrics::Shed;
use super::reply::Reply;

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// 405
    Method,
    /// 415
    ContentType,
    /// 415
    ContentEncoding,
    /// 413
    TooLarge,
    /// 503 with `Retry-After: 1`
    Overload(Shed),
    /// 400: the connection broke, or the chunks are malformed.
    Broken,
}

/// A refused request.
#[derive(Debug)]
pub struct Refusal {
    /// The reason.
    pub reason: Reason,
    /// The limit of one body, in bytes.
    pub limit: u32,
    /// Whether the rest of the request was left unread, so that the connection has to be closed.
    pub close: bool,
}

impl Refusal {
    /// Returns an HTTP response: one line of text, and `Connection: close` when the rest of the request was left
    /// unread.
    #[must_use]
    pub fn into_response(self) -> Response<Body> {
        let reply = match self.reason {
            Reason::Method => Reply::text(405, "send reviews by POST\n"),
            Reason::ContentType => Reply::text(415, "send the review with Content-Type: application/json\n"),
            Reason::ContentEncoding => {
                Reply::text(415, "send the review uncompressed: Content-Encoding is not supported\n")
            }
            Reason::TooLarge => {
                Reply::text(413, format!("the body is too large: send a review of at most {} bytes\n", self.limit))
            }
            Reason::Overload(Shed::SlowBody) => Reply::text(503, "the body did not arrive in time: send it at once\n"),
            Reason::Overload(Shed::Reviews) => Reply::text(503, "too many reviews in flight: try again in a second\n"),
            Reason::Overload(Shed::Bytes) => {
                Reply::text(503, "too many bytes of reviews in flight: try again in a second\n")
            }
            Reason::Broken => Reply::text(400, "the body ended early or its chunks are malformed: send it again\n"),
        };
        let mut response = reply.into_response();
        let headers = response.headers_mut();
        match self.reason {
            Reason::Method => {
                headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
            }
            Reason::Overload(_) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        if self.close {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
