//! Requests that are refused before a handler sees them: wrong requests, large bodies, overload.
//!
//! A body is read as it arrives (`bodies`). A review is admitted when its body is whole and a place is free. There is
//! no queue: the API server retries a 503 with `Retry-After` within the webhook's own timeout. Each webhook has its own
//! places, so that load on one does not affect the others.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::{HeaderMap, HeaderValue, Method, Request, header};
use http_body_util::BodyExt;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::bodies::{Bodies, Room, Whole};
use super::metrics::{Shed, Webhook};
use super::refusal::{Reason, Refusal};

/// How much one webhook admits at once. The defaults are those of Pods; [`Limits::of`] returns each webhook's.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Reviews in flight, from the end of the body until the handler has answered. Default 256.
    pub reviews: usize,
    /// Bytes of bodies in flight, without the first 16 KiB of each. Default 64 MiB. At least `body`.
    pub bytes: u32,
    /// Bytes of one body. Default 7 MiB, which controller-runtime allows: object and oldObject of 3 MiB each, and the envelope.
    pub body: u32,
    /// How long reading one body may take, in addition to the time for its size: see [`crate::connections::allowance`].
    /// Default 2 s.
    pub body_timeout: Duration,
    /// Bytes up to which a body is handled on the thread of its connection. A larger one goes to a thread that may be
    /// busy for long. Default 64 KiB, which takes about a millisecond.
    pub inline: usize,
}

/// The places, free or taken.
#[derive(Debug)]
pub struct Gate {
    limits: Limits,
    bodies: Bodies,
    reviews: Arc<Semaphore>,
    in_flight: Gauge,
}

/// A body that was read and admitted. It holds its places until it is dropped.
#[derive(Debug)]
pub struct Admitted {
    /// The whole body.
    pub body: Vec<u8>,
    /// Whether it is to be handled on a thread that may be busy for long.
    pub long: bool,
    _review: ReviewPlace,
    _room: Option<Room>,
}

/// The place of a review. It is counted while it is taken.
#[derive(Debug)]
struct ReviewPlace {
    _permit: OwnedSemaphorePermit,
    in_flight: Gauge,
}

/// A refused body of up to this many bytes is read and discarded, so that its connection can continue.
const SMALL: usize = 64 * 1024;

/// How long reading the rest of a small refused body may take. Most often it has already arrived.
const SMALL_TIMEOUT: Duration = Duration::from_millis(50);

const KIB: usize = 1024;
const MIB: u32 = 1024 * 1024;

impl Default for Limits {
    fn default() -> Self {
        Self { reviews: 256, bytes: 64 * MIB, body: 7 * MIB, body_timeout: Duration::from_secs(2), inline: 64 * KIB }
    }
}

impl Limits {
    /// Returns the limits of a webhook.
    #[must_use]
    pub fn of(webhook: Webhook) -> Self {
        let pods = Self::default();
        match webhook {
            // A created Pod has no old object.
            Webhook::MutatePod => Self { body: 5 * MIB, ..pods },
            // A few bytes of a set can expand a lot, and validation compares it with all others.
            Webhook::MutateSidecarSet | Webhook::ValidateSidecarSet => {
                Self { reviews: 64, bytes: 32 * MIB, inline: 0, ..pods }
            }
            // A list comes in one body, and the answer is as large: 5,100 sets of 13 KiB. A larger list would exhaust
            // this process's memory.
            Webhook::Convert => Self { reviews: 64, bytes: 66 * MIB, body: 66 * MIB, ..pods },
        }
    }
}

impl Gate {
    /// Returns limits with all places free. `in_flight` is set to the number of taken places.
    #[must_use]
    pub fn new(limits: Limits, in_flight: Gauge) -> Self {
        let bytes = |bytes| usize::try_from(bytes).unwrap_or(usize::MAX);
        Self {
            limits,
            bodies: Bodies::new(bytes(limits.bytes), bytes(limits.body), limits.body_timeout),
            reviews: Arc::new(Semaphore::new(limits.reviews.min(Semaphore::MAX_PERMITS))),
            in_flight,
        }
    }

    /// Reads the body of the request, then takes a place for it.
    ///
    /// # Errors
    /// The request is not one for a webhook, is too large or too slow, or finds no place.
    pub async fn admit(&self, request: Request<Body>) -> Result<Admitted, Refusal> {
        let (head, mut body) = request.into_parts();
        if let Err(reason) = self.check(&head.method, &head.headers, &body) {
            let close = !discard(body).await;
            return Err(self.refuse(reason, close));
        }
        let Whole { body, room } = self.bodies.read(&mut body).await.map_err(|reason| self.refuse(reason, true))?;
        let permit = self.reviews.clone().try_acquire_owned();
        let permit = permit.map_err(|_| self.refuse(Reason::Overload(Shed::Reviews), false))?;
        self.in_flight.inc();
        let review = ReviewPlace { _permit: permit, in_flight: self.in_flight.clone() };
        let long = body.len() > self.limits.inline;
        Ok(Admitted { body, long, _review: review, _room: room })
    }

    fn check(&self, method: &Method, headers: &HeaderMap, body: &Body) -> Result<(), Reason> {
        if method != Method::POST {
            return Err(Reason::Method);
        }
        if headers
            .get_all(header::CONTENT_ENCODING)
            .iter()
            .any(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
        {
            return Err(Reason::ContentEncoding);
        }
        if !headers.get(header::CONTENT_TYPE).is_some_and(is_json) {
            return Err(Reason::ContentType);
        }
        if body.size_hint().lower() > self.limits.body.into() {
            return Err(Reason::TooLarge);
        }
        Ok(())
    }

    fn refuse(&self, reason: Reason, close: bool) -> Refusal {
        Refusal { reason, limit: self.limits.body, close }
    }
}

impl Drop for ReviewPlace {
    fn drop(&mut self) {
        self.in_flight.dec();
    }
}

/// Returns whether the type is `application/json`, with or without parameters.
fn is_json(content_type: &HeaderValue) -> bool {
    let essence = content_type.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(b"application/json")
}

/// Discards a small body. Returns false when it is large or slow, and so was left unread.
async fn discard(mut body: Body) -> bool {
    if !usize::try_from(body.size_hint().lower()).is_ok_and(|size| size <= SMALL) {
        return false;
    }
    let read = async {
        let mut size = 0;
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return false };
            size += frame.data_ref().map_or(0, bytes::Bytes::len);
            if size > SMALL {
                return false;
            }
        }
        true
    };
    timeout(SMALL_TIMEOUT, read).await.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_review_of_a_sidecarset_is_worked_on_where_connections_are_served() {
        for webhook in [Webhook::MutateSidecarSet, Webhook::ValidateSidecarSet] {
            assert_eq!(Limits::of(webhook).inline, 0, "{webhook:?}: a few KiB of it may take a second");
        }
    }
}
