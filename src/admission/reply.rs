//! What a handler answers to one request.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};

/// The answer to a request: JSON for a review that was understood, one line of plain text for everything else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status code.
    pub status: u16,
    /// What `body` is.
    pub kind: ReplyKind,
    /// The body as sent.
    pub body: Vec<u8>,
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
        Self { status: 200, kind: ReplyKind::Json, body }
    }

    /// One line that says what is wrong and what to do, with any status (400 for a body that cannot be read, 500 for a
    /// fault of ours).
    #[must_use]
    pub fn text(status: u16, line: impl Into<String>) -> Self {
        Self { status, kind: ReplyKind::Text, body: line.into().into_bytes() }
    }

    /// As an HTTP response. A `status` that HTTP does not know becomes 500.
    #[must_use]
    pub fn into_response(self) -> Response<Body> {
        let kind = match self.kind {
            ReplyKind::Json => HeaderValue::from_static("application/json"),
            ReplyKind::Text => HeaderValue::from_static("text/plain; charset=utf-8"),
        };
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}
