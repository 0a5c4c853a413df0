//! A handler's answer to one request.

use super::memory::{ANSWERS, Reserved};
use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Response, StatusCode, header};

/// The answer to a request: JSON for a review that was understood, one line of plain text for everything else.
#[derive(Debug)]
pub struct Reply {
    /// The HTTP status code.
    pub status: u16,
    /// The content type of `body`.
    pub kind: ReplyKind,
    /// The body as sent.
    pub body: Vec<u8>,
    memory: Reserved,
}

/// A body, and its memory, which is reserved until it was sent.
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
    /// Returns a 200 with a JSON body: the reviewed `AdmissionReview`.
    #[must_use]
    pub fn json(body: Vec<u8>) -> Self {
        Self { status: 200, kind: ReplyKind::Json, body, memory: Reserved::NOTHING }
    }

    /// Returns one line that says what is wrong and what to do, with any status (400 for a body that cannot be read,
    /// 500 for an internal error).
    #[must_use]
    pub fn text(status: u16, line: impl Into<String>) -> Self {
        Self { status, kind: ReplyKind::Text, body: line.into().into_bytes(), memory: Reserved::NOTHING }
    }

    /// Adds the memory that was reserved for the body.
    pub(super) fn holding(self, memory: Reserved) -> Self {
        Self { memory, ..self }
    }

    /// Reserves memory for the body until its client has read it, or returns an answer that says that no memory is
    /// free.
    pub(super) fn bounded(self) -> Self {
        if !self.memory.is_nothing() {
            return self;
        }
        match ANSWERS.reserve(self.body.len()) {
            Ok(memory) => self.holding(memory),
            Err(_) => {
                Self::text(503, "answers that their clients do not take fill the memory: try again in a second\n")
            }
        }
    }

    /// Returns an HTTP response. A `status` that is invalid in HTTP becomes 500; a 503 says when to retry.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::memory::MIB;

    #[test]
    fn answers_that_are_not_taken_do_not_fill_the_memory() {
        let large = || Reply::json(vec![b' '; 12 * MIB]).bounded();
        let held = [large().into_response(), large().into_response()];
        let refused = large().into_response();
        assert_eq!(held.each_ref().map(|response| response.status().as_u16()), [200, 200]);
        assert_eq!((refused.status().as_u16(), &refused.headers()[header::RETRY_AFTER]), (503, &HeaderValue::from(1)));
        assert_eq!(Reply::json(vec![b' '; 1024]).bounded().status, 200, "a small one is always sent");
        drop(held);
        assert_eq!(large().status, 200);
    }
}
