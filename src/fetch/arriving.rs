//! A body that is read in pieces, within the limits of its request.

use std::fmt;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Response, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::time::{Instant, timeout_at};

use super::error::{FetchError, FetchProblem};
use super::places::RequestPlace;
use super::rules::Rules;
use super::target::FetchTarget;

/// The body of an answer. Dropping it before its end closes the connection.
pub struct Arriving {
    body: Incoming,
    limit: usize,
    arrived: usize,
    total: Duration,
    deadline: Instant,
    asked: FetchTarget,
    reached: FetchTarget,
    _place: RequestPlace,
}

impl Arriving {
    pub(super) fn new(
        body: Incoming,
        rules: &Rules,
        deadline: Instant,
        (asked, reached): (FetchTarget, FetchTarget),
        place: RequestPlace,
    ) -> Self {
        Self { body, limit: rules.body, arrived: 0, total: rules.total, deadline, asked, reached, _place: place }
    }

    /// Returns the next piece; `None` at the end.
    ///
    /// # Errors
    /// When the body is too long, too slow, or incomplete.
    pub async fn next(&mut self) -> Result<Option<Bytes>, FetchError> {
        let piece = self.piece().await;
        piece.map_err(|problem| FetchError::beyond(&self.asked, &self.reached, problem))
    }

    /// Returns the whole body.
    ///
    /// # Errors
    /// As [`Arriving::next`].
    pub async fn whole(mut self) -> Result<Bytes, FetchError> {
        let Some(first) = self.next().await? else { return Ok(Bytes::new()) };
        let Some(second) = self.next().await? else { return Ok(first) };
        let mut whole = BytesMut::from(first);
        whole.extend_from_slice(&second);
        while let Some(piece) = self.next().await? {
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }

    async fn piece(&mut self) -> Result<Option<Bytes>, FetchProblem> {
        loop {
            let Ok(frame) = timeout_at(self.deadline, self.body.frame()).await else {
                return Err(FetchProblem::Timeout(self.total));
            };
            let Some(frame) = frame else { return Ok(None) };
            let Ok(piece) = frame.map_err(|error| FetchProblem::of(&error))?.into_data() else { continue };
            self.arrived = self.arrived.saturating_add(piece.len());
            if self.arrived > self.limit {
                return Err(FetchProblem::TooLarge(self.limit));
            }
            return Ok(Some(piece));
        }
    }
}

impl fmt::Debug for Arriving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes so far", self.arrived)
    }
}

/// Checks the head of an answer for a body that can be accepted.
pub(super) fn check(response: &Response<Incoming>, limit: usize) -> Result<(), FetchProblem> {
    let is_plain = |value: &HeaderValue| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity");
    if !response.headers().get_all(header::CONTENT_ENCODING).iter().all(is_plain) {
        return Err(FetchProblem::Protocol("the body is compressed, which was not asked for".to_owned()));
    }
    if response.body().size_hint().lower() > u64::try_from(limit).unwrap_or(u64::MAX) {
        return Err(FetchProblem::TooLarge(limit));
    }
    Ok(())
}
