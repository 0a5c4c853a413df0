//! What a handler answers to one request.

use super::memory::Reserved;
use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Response, StatusCode, header};

/// The answer to a request: JSON for a review that was understood, one line of plain text for everything else.
#[derive(Debug)]
pub struct Reply {
    /// The HTTP status code.
    pub status: u16,
    /// What `body` is.
    pub kind: ReplyKind,
    /// The body as sent.
    pub body: Vec<u8>,
    memory: Reserved,
}

/// A body, and the memory that is reserved for it until it was sent.
struct Sent {
    body: Vec<u8>,
    _memory: Reserved,
}

impl AsRef<[u8]> for Sent {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

/// The content type of a [`Reply`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyKind {
    /// `application/json`
    Json,
    /// `text/plain; charset=utf-8`
    Text,
}

impl Reply {
    /// A 200 with a JSON body: the reviewed `AdmissionReview`.
    #[must_use]
    pub fn json(body: Vec<u8>) -> Self {
        Self { status: 200, kind: ReplyKind::Json, body, memory: Reserved::NOTHING }
    }

    /// One line that says what is wrong and what to do, with any status (400 for a body that cannot be read, 500 for a
    /// fault of ours).
    #[must_use]
    pub fn text(status: u16, line: impl Into<String>) -> Self {
        Self { status, kind: ReplyKind::Text, body: line.into().into_bytes(), memory: Reserved::NOTHING }
    }

    /// With the memory that was reserved for the body.
    pub(super) fn holding(self, memory: Reserved) -> Self {
        Self { memory, ..self }
    }

    /// As an HTTP response. A `status` that HTTP does not know becomes 500; a 503 says when to try again.
    #[must_use]
    pub fn into_response(self) -> Response<Body> {
        let kind = match self.kind {
            ReplyKind::Json => HeaderValue::from_static("application/json"),
            ReplyKind::Text => HeaderValue::from_static("text/plain; charset=utf-8"),
        };
        let mut response = Response::new(Body::from(Bytes::from_owner(Sent { body: self.body, _memory: self.memory })));
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        if self.status == 503 {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
